"""Any settings and any junk in their place: through JSON and TOML and back, or a ConfigError."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaccli.checkpoints import CaptionerInfo, TaggerInfo
from aaccli.config import from_dict, to_dict
from aaccli.errors import ConfigError
from aaccli.metrics.output import write_whole
from aaccli.model.beam import DecodingConfig
from aaccli.model.captioner import ModelConfig
from aaccli.model.transformer import TransformerConfig
from aaccli.training.config import TrainingConfig
from aaccli.training.settings import DataConfig, Settings, as_toml, merge, read_layer

TEXT = st.text('aB "\\\n\r\t\0\x7f\x85\u2028#=[]é犬🐕\udce9', max_size=8)
NUMBERS = st.integers(-(10**20), 10**20) | st.floats() | st.integers(0, 40)
JUNK = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
KINDS = (Settings, ModelConfig, DecodingConfig, TrainingConfig, CaptionerInfo, TaggerInfo)


def paths(table: dict[str, Any]) -> list[tuple[str, ...]]:
    """Of every field, in tables of tables too."""
    inner = [(name, *path) for name, value in table.items() if isinstance(value, dict) for path in paths(value)]
    return [*((name,) for name in table), *inner]


def layer(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """One setting as a table."""
    return {path[0]: layer(path[1:], value) if path[1:] else value}


PATHS = paths(to_dict(Settings()))
SETTINGS = st.builds(
    Settings,
    recipe=TEXT,
    init=TEXT,
    tensorboard=st.booleans(),
    data=st.builds(DataConfig, clotho=TEXT, csv=TEXT, phrases=TEXT, workers=st.integers()),
    model=st.builds(ModelConfig, transformer=st.builds(TransformerConfig, dropout=st.floats(0, 1))),
    training=st.builds(
        TrainingConfig,
        learning_rate=st.floats(0),
        alpha=st.floats(0),
        explosion=st.floats(1, exclude_min=True),
        seed=st.integers(-(2**70), 2**70),
    ),
    decoding=st.builds(DecodingConfig, length_penalty=st.floats(-10, 10), max_words=st.integers(1, 10**9)),
)


@settings(max_examples=30)
@given(SETTINGS, TEXT)
def test_settings_written_are_settings_read(tmp_path_factory, wanted, command):
    assert from_dict(Settings, to_dict(wanted)) == wanted
    assert from_dict(Settings, json.loads(json.dumps(to_dict(wanted)))) == wanted
    path = tmp_path_factory.getbasetemp() / "settings.toml"
    write_whole(path, as_toml(wanted, command))
    assert from_dict(Settings, read_layer(path)) == wanted


@pytest.mark.parametrize("kind", KINDS)
@given(junk=JUNK)
@settings(max_examples=20)
def test_junk_is_a_config_error(kind, junk):
    try:
        found = from_dict(kind, junk)
    except ConfigError as error:
        assert str(error)
    else:
        assert isinstance(junk, dict) and isinstance(found, kind)


@settings(max_examples=100)
@given(st.sampled_from(PATHS), JUNK | NUMBERS)
def test_junk_in_the_place_of_a_setting_is_a_config_error_or_a_setting(path, junk):
    wanted = merge(to_dict(Settings()), layer(path, junk))
    try:
        found = to_dict(from_dict(Settings, wanted))
    except ConfigError as error:
        assert str(error)
    else:
        for name in path:
            found, wanted = found[name], wanted[name]
        assert json.dumps(found) == json.dumps(wanted) or found == wanted


@settings(max_examples=100)
@given(st.binary(max_size=40) | st.text('a="[]{}.\n1-:T', max_size=20).map(str.encode))
def test_any_file_is_a_table_or_a_config_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "settings.toml"
    path.write_bytes(content)
    try:
        assert isinstance(read_layer(path), dict)
    except ConfigError as error:
        assert str(path) in str(error)
