"""Captions for sound files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from . import audio
from .checkpoints import DEFAULT_MODEL, CaptionerInfo, load_captioner
from .errors import AudioError
from .model.beam import DecodingConfig, Hypothesis, beam_search
from .model.captioner import CaptionerNet
from .vocabulary import Vocabulary

MAX_SECONDS = 30.0  # heard of a recording: the longest that models are trained on


@dataclass(frozen=True)
class Caption:
    """What was heard in one file, or why nothing was."""

    file: str  # as it was given
    caption: str = ""
    score: float = float("nan")  # mean log-probability (natural) of a word, from -inf to 0
    truncated: bool = False  # the file is longer than MAX_SECONDS, only its start was heard
    error: AudioError | None = None


class Captioner:
    """A model that is ready to caption.

    >>> captioner = Captioner.load()  # doctest: +SKIP
    >>> next(captioner.caption(["clip.wav"])).caption  # doctest: +SKIP
    'a dog barks while rain falls'
    """

    def __init__(self, net: CaptionerNet, vocabulary: Vocabulary, info: CaptionerInfo) -> None:
        self.net = net.eval()
        self.vocabulary = vocabulary
        self.info = info

    @classmethod
    def load(cls, model: Path | None = None, device: torch.device | str = "cpu") -> Captioner:
        """Load a model's folder; without one, the model that comes with aac.

        Raises
        ------
        CheckpointError
            The folder is missing, damaged, or not a captioner.
        """
        net, vocabulary, info = load_captioner(model or DEFAULT_MODEL)
        return cls(net.to(device), vocabulary, info)

    def caption(
        self, files: Iterable[str | Path], decoding: DecodingConfig | None = None, batch_size: int = 4
    ) -> Iterator[Caption]:
        """Caption files one after the other, in the order given; a file that cannot be read gives its error.

        The first 30 seconds of a file are heard. Files are read as they are needed, ``batch_size`` at a time,
        which changes the speed and not the captions.
        """
        waiting = map(str, files)
        while names := list(islice(waiting, batch_size)):
            heard = [self._hear(name) for name in names]
            sounds = [h.waveform for h in heard if isinstance(h, audio.Sound)]
            best = iter(self.caption_waveforms(sounds, decoding))
            for name, h in zip(names, heard, strict=True):
                if isinstance(h, AudioError):
                    yield Caption(name, error=h)
                else:
                    hypothesis = next(best)[0]
                    caption = self.vocabulary.decode(hypothesis.words)
                    yield Caption(name, caption, hypothesis.score, h.truncated)

    def _hear(self, name: str) -> audio.Sound | AudioError:
        try:
            return audio.read(Path(name), self.net.config.front_end.sample_rate, MAX_SECONDS)
        except AudioError as error:
            return error

    @torch.no_grad()
    def caption_waveforms(
        self, waveforms: Sequence[Tensor], decoding: DecodingConfig | None = None
    ) -> list[list[Hypothesis]]:
        """Find the best captions of mono waveforms (samples,) at the model's sample rate, best first."""
        if not waveforms:
            return []
        # One by one to frames: a clip's last frames depend on where it ends.
        frames = [self.net.logmel(waveform.to(self.net.device)) for waveform in waveforms]
        lengths = torch.tensor([len(f) for f in frames], device=self.net.device)
        memory = self.net.encode(pad_sequence(frames, batch_first=True), lengths)
        return beam_search(self.net, memory, decoding or self.info.decoding)


def find_sounds(inputs: Iterable[str]) -> Iterator[str]:
    """The files that inputs mean: a file is itself, a folder all sound files under it, in order of their names.

    Hidden files and folders are passed over.
    """
    for name in inputs:
        if not Path(name).is_dir():
            yield name
            continue
        for folder, folders, files in os.walk(name):
            folders[:] = sorted(f for f in folders if not f.startswith("."))
            yield from (str(Path(folder, f)) for f in sorted(files) if audio.is_sound_file(Path(f)))
