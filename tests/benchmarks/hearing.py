"""What the benchmarks of hearing share: held-out recordings, their captions, and shares as text."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from naming import names

from aaccli.captioning.captioner import Caption, Captioner
from aaccli.data.phrases import load_phrases
from aaccli.data.sounds import Recording, read_sounds, relabel, split


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Options that all of them take."""
    options = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("sounds", type=Path, help="folder with manifest.csv")
    options.add_argument("--model", type=Path)
    options.add_argument("--fold", type=int, default=4)
    options.add_argument("--beam-size", type=int, default=4)
    options.add_argument("--length-penalty", type=float)
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    return options


class Listener:
    """A captioner with the options of a benchmark, and the recordings that it never heard."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.set_num_threads(options.threads)
        self.captioner = Captioner.from_pretrained(options.model, precision="fp32")  # figures of all machines compare
        self.decoding = replace(self.captioner.info.decoding, beam_size=options.beam_size)
        if options.length_penalty is not None:
            self.decoding = replace(self.decoding, length_penalty=options.length_penalty)
        known = set(self.captioner.info.trained["labels"])
        _, held_out = split(relabel(read_sounds(options.sounds), load_phrases()), options.fold)
        self.recordings = [r for r in held_out if r.label in known]

    def caption(self, files: Sequence[Path]) -> list[Caption]:
        return list(self.captioner.stream(files, self.decoding))


def hits(recordings: Sequence[Recording], captions: Sequence[Caption]) -> list[bool]:
    """Whether each recording's caption names its label."""
    return [names(caption.caption, recording.label) for recording, caption in zip(recordings, captions, strict=True)]


def share(right: Sequence[bool]) -> str:
    return f"{sum(right)}/{len(right)} = {sum(right) / max(1, len(right)):.1%}"
