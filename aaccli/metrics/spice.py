"""SPICE 1.0, by the Java program of its authors."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import MetricError, NotInstalledError
from ..fetching.assets import SPICE_JARS
from ..fetching.cache import spice_jars
from .java import in_package, running
from .result import Score, mean_score

JAR = "spice/spice-1.0.jar"
HEAP = "-Xmx8G"  # at most; the parser's models take most of it
SECONDS = 900.0  # to load the models
SECONDS_A_CAPTION = 1.0  # allowed, to parse it


def spice(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
    """SPICE (Anderson et al., 2016): F-score over the scene graphs of captions as tokens.

    Its cache is not used: it breaks on Java 16 and newer.

    Parameters
    ----------
    candidates : sequence of str
        One a clip, tokens separated by blanks.
    references : sequence of sequences of str
        One or more a clip.

    Raises
    ------
    NotInstalledError
        The models or Java are missing.
    MetricError
        The program failed.
    """
    models = spice_jars()
    if models is None:
        raise NotInstalledError("run aac download spice")
    jars = [in_package(JAR), *(models / jar for jar in SPICE_JARS)]
    clips = [
        {"image_id": i, "test": candidate, "refs": list(those)}
        for i, (candidate, those) in enumerate(zip(candidates, references, strict=True))
    ]
    seconds = SECONDS + SECONDS_A_CAPTION * sum(1 + len(those) for those in references)
    with tempfile.TemporaryDirectory(prefix="aac-", ignore_cleanup_errors=True) as temporary:
        given, found = Path(temporary, "captions.json"), Path(temporary, "scores.json")
        given.write_text(json.dumps(clips), encoding="utf-8")
        program = (HEAP, "-cp", os.pathsep.join(map(str, jars)), "edu.anu.spice.SpiceScorer")
        with running("SPICE", (*program, given, "-out", found, "-silent"), seconds, Path(temporary)) as java:
            java.drain()
            java.finish()
        return mean_score(_scores(found, len(clips)))


def _scores(path: Path, count: int) -> np.ndarray:
    """F-scores by clip, from what SPICE wrote."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        scores = {int(row["image_id"]): float(row["scores"]["All"]["f"]) for row in rows}
        values = [scores[i] for i in range(count)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MetricError(f"SPICE wrote no scores ({type(error).__name__}: {error})") from error
    if not all(map(math.isfinite, values)):
        raise MetricError("SPICE wrote scores that are no numbers")
    return np.array(values)
