"""How much longer than METEOR alone does an evaluation without SPICE take?

    python tests/benchmarks/evaluation_speed.py PREDICTIONS.csv REFERENCES.csv [--clips 1045] [--runs 3]

Prints seconds of wall clock for METEOR as pycocoevalcap runs it on captions that are tokenized already, and for the
whole of `aac evaluate` without SPICE: reading, tokenization, BLEU, ROUGE-L, METEOR, CIDEr-D, and 1000 bootstrap
samples. Fewer clips than asked for are taken again under other names. Wants free cores.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

from aaccli.metrics import java
from aaccli.metrics.bootstrap import bootstrap
from aaccli.metrics.evaluation import evaluate
from aaccli.metrics.reading import Pairs, pair, read_predictions, read_references
from aaccli.metrics.tokenization import tokenize

METRICS = ("bleu", "rouge_l", "meteor", "cider_d")
SYSTEM = "system"


def read(predictions: Path, references: Path, clips: int) -> Pairs:
    said, wanted = read_predictions(predictions), read_references(references)
    files = list(said)
    for i in range(len(files), clips):
        file = files[i % len(files)]
        said[f"{i} {file}"], wanted[f"{i} {file}"] = said[file], wanted[file]
    return pair({f: wanted[f] for f in list(said)[:clips]}, {SYSTEM: {f: said[f] for f in list(said)[:clips]}})


def meteor_alone(pairs: Pairs) -> float:
    """Seconds of pycocoevalcap's METEOR, its captions being tokens already."""
    from pycocoevalcap.meteor.meteor import Meteor

    words = tokenize([*pairs.systems[SYSTEM], *(c for captions in pairs.references for c in captions)]).of
    references = {i: [words[c] for c in captions] for i, captions in enumerate(pairs.references)}
    candidates = {i: [words[c]] for i, c in enumerate(pairs.systems[SYSTEM])}
    began = time.monotonic()
    scorer = Meteor()
    scorer.compute_score(references, candidates)
    seconds = time.monotonic() - began
    scorer.meteor_p.stdin.close()
    scorer.meteor_p.wait()
    return seconds


def everything(predictions: Path, references: Path, clips: int) -> float:
    """Seconds of our evaluation."""
    began = time.monotonic()
    found = evaluate(read(predictions, references, clips), METRICS)
    bootstrap([found.systems[SYSTEM].scores], 1000)
    return time.monotonic() - began


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("predictions", type=Path)
    options.add_argument("references", type=Path)
    options.add_argument("--clips", type=int, default=1045)
    options.add_argument("--runs", type=int, default=3)
    given = options.parse_args()
    os.environ["PATH"] = f"{java.find_java().parent}{os.pathsep}{os.environ['PATH']}"  # pycocoevalcap calls "java"
    pairs = read(given.predictions, given.references, given.clips)
    print(f"{len(pairs.files)} clips, {sum(map(len, pairs.references))} references")
    print("| run | METEOR alone, s | everything, s | ratio |\n|---|---|---|---|")
    ratios = []
    for run in range(1, given.runs + 1):
        alone, whole = meteor_alone(pairs), everything(given.predictions, given.references, given.clips)
        ratios.append(whole / alone)
        print(f"| {run} | {alone:.2f} | {whole:.2f} | {ratios[-1]:.2f} |", flush=True)
    print(f"median ratio: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
