"""JSON files of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..limits import MAX_JSON_BYTES
from .wholefile import replace_file


def write_json(path: Path, data: Any) -> None:
    replace_file(path, [(json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()])


def read_json(path: Path) -> Any:
    """Raises CheckpointError where the file is missing, too large, or not JSON."""
    try:
        if not path.is_file() and path.exists():  # a pipe would keep its reader waiting
            raise CheckpointError(f"{path}: is not a file")
        if path.stat().st_size > MAX_JSON_BYTES:
            raise CheckpointError(f"{path}: {path.stat().st_size:,} bytes, over the {MAX_JSON_BYTES:,} that are read")
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a JSON file ({error})") from error
