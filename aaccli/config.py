"""Settings as frozen dataclasses; the ones of a model travel inside its checkpoint."""

from __future__ import annotations

import dataclasses
import json
import math
import reprlib
import typing
from typing import Any, TypeVar

from .errors import ConfigError, UnknownSettingError

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass, nested ones too, as what JSON can hold."""
    return dataclasses.asdict(config)


def from_dict(cls: type[T], data: Any, where: str = "") -> T:
    """Build a dataclass from what ``to_dict`` made of one.

    Raises
    ------
    UnknownSettingError
        A field is unknown: a newer version wrote it.
    ConfigError
        A value is of the wrong type, or makes no sense.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{where or cls.__name__}: a table of settings was expected, not {reprlib.repr(data)}")
    types = typing.get_type_hints(cls)
    unknown = sorted(set(data) - {f.name for f in dataclasses.fields(cls)})  # type: ignore[arg-type]
    if unknown:
        raise UnknownSettingError(f"{where or cls.__name__}: unknown settings {listed(unknown)}")
    values = {}
    for name, value in data.items():
        place = f"{where}.{name}" if where else name
        values[name] = _value(types[name], value, place)
    try:
        return cls(**values)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ConfigError(f"{where or cls.__name__}: {error}") from error


def to_toml(data: dict[str, Any], name: str = "") -> str:
    """What ``to_dict`` makes of a dataclass, as TOML; Python's own tomllib reads it and writes none."""
    lines = [f"{key} = {_toml(value)}" for key, value in data.items() if not isinstance(value, dict)]
    tables = [to_toml(v, f"{name}.{k}" if name else k) for k, v in data.items() if isinstance(v, dict)]
    head = [f"[{name}]"] if name and lines else []
    return "\n\n".join(filter(None, ["\n".join(head + lines), *tables]))


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # inf, -inf, nan
    # JSON's other numbers, booleans and strings are TOML's too, but for one character that has to be escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def listed(names: list[str], most: int = 5) -> str:
    """Names that a stranger may have chosen, in a message: not too many, not too long, nothing a terminal obeys."""
    shown = [name if name.isprintable() and len(name) <= 80 else reprlib.repr(name) for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")


def _value(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return from_dict(typing.cast(type, kind), value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise ConfigError(f"{where}: the number is too large") from error
    origin = typing.get_origin(kind) or kind
    if origin is typing.Literal:
        if value in typing.get_args(kind):
            return value
    elif origin is tuple:
        if isinstance(value, list | tuple):
            kinds = typing.get_args(kind)
            kinds = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
            if len(kinds) == len(value):
                return tuple(_value(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    elif isinstance(value, origin) and not (isinstance(value, bool) and origin is not bool):
        return value
    raise ConfigError(f"{where}: {reprlib.repr(value)} does not fit {kind}")
