"""The paper's ablation on soundscapes, where Clotho cannot be had: all eight recipes, with seeds, as a table.

    python -m aaccli.recipes.ablation --sounds ../shared/sounds --tagger runs/ear/tagger --out runs/ablation

Soundscapes of labelled recordings are written once, in Clotho's layout: development from the recordings outside the
fold that is held out, validation and evaluation from the two halves of that fold. A tagger trained outside the fold
takes the place of PANN (`aac pretrain`, or the distilled one). The same command goes on where it was stopped: what is
done is kept, and a run that was cut short is taken up again. The table is written after every run that ends.
"""

from __future__ import annotations

import csv
import io
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer

from ..checkpoints import load_tagger
from ..config import to_dict, to_toml
from ..data.phrases import PhraseBook, load_phrases
from ..data.sounds import Recording, SoundBank, read_sounds, relabel, split
from ..data.soundscapes import Composer, SoundscapeConfig
from ..metrics.output import write_whole
from ..metrics.published import PAPER, PAPER_COLUMNS
from ..training.settings import RECIPES

# Small enough for a processor: an hour of sound or less, every clip heard once an epoch with two of its sentences.
TRAINING = {
    "batch_size": 8,
    "accumulate": 1,
    "captions_per_clip": 2,
    "patience": 6,
    "warmup_steps": 50,
    "decode_epochs": 0,
    "max_seconds": 8.0,
}
# Short, or CNN10 takes days: it is trained in every run.
SOUNDSCAPES = SoundscapeConfig(max_seconds=3.0, silence_seconds=2.0, looped=0.0)
METRICS = ("bleu_4", "rouge_l", "meteor", "cider_d")
ROWS = {  # what the paper calls the recipes
    "base": "Base",
    "base+l1": "Base + L1",
    "base+l2": "Base + L2",
    "base+pann": "Base + PANN",
    "base+pann+l1": "Base + PANN + L1",
    "base+pann+l2": "Base + PANN + L2",
    "base-encoder": "Base - encoder",
    "base-encoder+pann": "Base - encoder + PANN",
}


def write_split(folder: Path, name: str, recordings: Sequence[Recording], book: PhraseBook, count: int, rate: int,
                seed: int) -> None:  # fmt: skip
    """Compose one split of the data set; the csv comes last, so that one that is there is whole."""
    table = folder / f"clotho_captions_{name}.csv"
    if table.is_file():
        return
    bank = SoundBank(recordings, rate)
    bank.load()
    composer = Composer(bank, book, SOUNDSCAPES, bank.labels)
    (folder / name).mkdir(parents=True, exist_ok=True)
    rows = [["file_name", *(f"caption_{i}" for i in range(1, 6))]]
    for index in range(count):
        soundscape = composer.compose(seed, index)
        file = f"{index:05d}.wav"
        soundfile.write(folder / name / file, soundscape.waveform.numpy().astype(np.float32), rate)
        rows.append([file, *soundscape.captions])
    lines = io.StringIO()
    csv.writer(lines).writerows(rows)
    write_whole(table, lines.getvalue())


def write_clotho(folder: Path, sounds: Path, fold: int, rate: int, clips: int, held_out: int) -> None:
    """All three splits. Validation and evaluation share no recording with each other or with development."""
    book = load_phrases()
    recordings, held = split(relabel(read_sounds(sounds), book, known_only=True), fold)
    known = {r.label for r in recordings}
    held = sorted((r for r in held if r.label in known), key=lambda r: (r.label, r.path.name))
    for seed, (name, some, count) in enumerate(
        [("development", recordings, clips), ("validation", held[::2], held_out), ("evaluation", held[1::2], held_out)]
    ):
        write_split(folder, name, some, book, count, rate, seed)


def aac(threads: int, *arguments: object) -> None:
    """Run a command of aac; SystemExit where it fails, so that nothing is built on half of a result."""
    command = [sys.executable, "-m", "aaccli", *map(str, arguments)]
    typer.echo(" ".join(command[2:]), err=True)
    code = subprocess.run(command, check=False, env=os.environ | {"OMP_NUM_THREADS": str(threads)}).returncode
    if code:
        raise SystemExit(code)


def train_and_score(
    recipe: str, seed: int, epochs: int, out: Path, tagger: Path, threads: int, extra: Sequence[str]
) -> dict[str, float]:
    """One run, and its scores on evaluation."""
    run = out / f"{recipe}-{seed}"
    scores = run / "scores.json"
    if not scores.is_file():
        init = tagger.absolute() if "pann" in recipe else "none"
        aac(threads, "train", "--clotho", out / "clotho", "--config", out / "small.toml", "--recipe", recipe,
            "--init", init, "--seed", seed, "--epochs", epochs, "--out", run, "--cache", out / "cache", "--resume",
            *extra)  # fmt: skip
        aac(threads, "evaluate", "--split", "evaluation", "--clotho", out / "clotho", "--model", run / "best",
            "--out", scores, "--metrics", "bleu,rouge_l,meteor,cider_d", "--bootstrap", 0)  # fmt: skip
    (system,) = json.loads(scores.read_text(encoding="utf-8"))["systems"]
    return {name: system["scores"][name] for name in METRICS}


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """Mean and standard deviation over seeds, beside the paper's scores on Clotho."""
    head = [name for metric in METRICS for name in (metric, "paper")]
    lines = [f"| recipe | seeds | {' | '.join(head)} |", f"|{'---|' * (len(head) + 2)}"]
    for recipe, runs in found.items():
        cells = []
        for metric in METRICS:
            values = [run[metric] for run in runs]
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            paper = PAPER[ROWS[recipe]][PAPER_COLUMNS.index(metric)]
            cells += [f"{statistics.mean(values):.3f}{spread}", f"{paper:.3f}"]
        lines.append(f"| {recipe} | {len(runs)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(
    sounds: Annotated[Path, typer.Option(help="Folder of labelled recordings.")],
    tagger: Annotated[Path, typer.Option(help="Folder of a tagger trained outside the fold.")],
    out: Annotated[Path, typer.Option(help="Where everything lives; what is there is taken up.")],
    fold: Annotated[int, typer.Option(help="Fold that is held out.")] = 4,
    seeds: Annotated[int, typer.Option(help="Runs of each recipe.")] = 3,
    clips: Annotated[int, typer.Option(help="Soundscapes to train on.")] = 600,
    held_out: Annotated[int, typer.Option(help="To validate with, and as many to score.")] = 200,
    epochs: int = 30,
    jobs: Annotated[int, typer.Option(help="Runs at once; the processors are shared out among them.")] = 1,
    extra: Annotated[list[str] | None, typer.Argument(help="More options of aac train, after --.")] = None,
) -> None:
    """Run what is not done yet, seed by seed, and write OUT/table.md."""
    front_end = load_tagger(tagger)[1].front_end
    out.mkdir(parents=True, exist_ok=True)
    settings = {"model": {"front_end": to_dict(front_end)}, "training": TRAINING}
    write_whole(out / "small.toml", to_toml(settings) + "\n")
    write_clotho(out / "clotho", sounds, fold, front_end.sample_rate, clips, held_out)
    found: dict[str, list[dict[str, float]]] = {}
    threads = max(1, (os.cpu_count() or 1) // jobs)
    runs = [(recipe, seed) for seed in range(seeds) for recipe in RECIPES]
    with ThreadPoolExecutor(jobs) as pool:
        scored = pool.map(lambda run: train_and_score(run[0], run[1], epochs, out, tagger, threads, extra or ()), runs)
        for (recipe, _), scores in zip(runs, scored, strict=True):
            found.setdefault(recipe, []).append(scores)
            write_whole(out / "table.md", table(found))
    typer.echo(table(found))


if __name__ == "__main__":
    typer.run(main)
