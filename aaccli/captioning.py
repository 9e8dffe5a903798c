"""Captions for sound: files, recordings of any length, arrays."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from . import audio
from .checkpoints import DEFAULT_MODEL, CaptionerInfo, load_captioner
from .errors import AudioError, ConfigError
from .model.beam import DecodingConfig, Hypothesis, beam_search
from .model.captioner import CaptionerNet
from .model.features import resample
from .repetition import families
from .vocabulary import Vocabulary
from .watching import Watch, nobody
from .weights import find_model
from .windows import Windowing, cut

MIN_SECONDS = 0.01  # less is a click of which nothing could be said
BATCH_SECONDS = 60.0  # of padded sound heard at once: what bounds the memory of the network


@dataclass(frozen=True)
class Alternative:
    """Another caption that the beam search found."""

    caption: str
    score: float


@dataclass(frozen=True)
class Window:
    """What was heard in one stretch of a recording."""

    start: float  # seconds from the beginning
    end: float
    caption: str
    score: float  # mean log-probability (natural) of a word, from -inf to 0
    alternatives: tuple[Alternative, ...] = ()  # the next best, best first, where they were asked for
    probability: float | None = None  # that the caption names what is there, where the model was calibrated

    @property
    def log_probability(self) -> float:
        """Of the whole caption, its end included: what tells right captions from wrong ones better than the mean."""
        return self.score * (len(self.caption.split()) + 1)

    @property
    def is_doubtful(self) -> bool:
        """Whether the caption is more likely wrong than right, as far as that is known."""
        return self.probability is not None and self.probability < 0.5


@dataclass(frozen=True)
class Caption:
    """What was heard in one file, or why nothing was.

    A file that breaks off has both: the windows of what was there, and the error.
    """

    file: str  # as it was given
    windows: tuple[Window, ...] = ()
    error: AudioError | None = None
    not_finite: int = 0  # samples that were NaN or infinite, heard as silence

    @cached_property
    def best(self) -> Window | None:
        """The window that stands for the whole: of the caption that most windows have, the best-scored.

        Where no caption comes twice, that is the best-scored window. None where nothing was heard.
        """
        times = Counter(window.caption for window in self.windows)
        return max(self.windows, key=lambda window: (times[window.caption], window.score), default=None)

    @property
    def caption(self) -> str:
        """The whole in one line; empty where nothing was heard."""
        return self.best.caption if self.best else ""

    @property
    def score(self) -> float:
        """The best window's score, NaN where nothing was heard."""
        return self.best.score if self.best else float("nan")

    @property
    def end(self) -> float:
        """Seconds that were heard."""
        return self.windows[-1].end if self.windows else 0.0


@dataclass(frozen=True)
class Heard:
    """A window of a recording that is still being heard, as told to whoever watches."""

    file: str
    window: Window
    seconds: float | None  # of the recording, where its header says so


OnWindow = Callable[[Heard], None]


def _ignore(_: Heard) -> None: ...


class Captioner:
    """A model that is ready to caption.

    >>> captioner = Captioner.from_pretrained()  # doctest: +SKIP
    >>> captioner.caption("clip.wav").caption  # doctest: +SKIP
    'a dog barks while rain falls'
    """

    def __init__(self, net: CaptionerNet, vocabulary: Vocabulary, info: CaptionerInfo, name: str = "") -> None:
        self.net = net.eval()
        self.vocabulary = vocabulary
        self.families = families(vocabulary)
        self.info = info
        self.name = name  # for people: where it came from

    @classmethod
    def from_pretrained(
        cls, model: str | Path | None = None, device: torch.device | str = "cpu", watch: Watch = nobody
    ) -> Captioner:
        """Load a model: a folder, or ``OWNER/NAME[@REVISION]`` on the Hub; without one, the model that comes with aac.

        ``watch`` is told how far a download is.

        Raises
        ------
        CheckpointError
            The folder is missing, damaged, or not a captioner.
        FetchError
            The model cannot be had from the Hub.
        """
        net, vocabulary, info = load_captioner(find_model(model, watch) if model else DEFAULT_MODEL)
        return cls(net.to(device), vocabulary, info, str(model or "default"))

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that change with the weights, the words or the front end."""
        digest = hashlib.sha256(repr((self.info.model, self.vocabulary.words)).encode())
        for name, tensor in sorted(self.net.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]

    def caption(
        self,
        sound: str | PathLike[str] | np.ndarray | Tensor,
        decoding: DecodingConfig | None = None,
        batch_size: int = 4,
        *,
        sample_rate: int | None = None,
        windowing: Windowing = Windowing(),
        alternatives: int = 0,
    ) -> Caption:
        """Caption one sound: a file or an array.

        Parameters
        ----------
        sound : path, or array, shape (samples,) or (samples, channels)
            Arrays as soundfile gives them, floats with full scale at 1 or integers.
        decoding, windowing, alternatives, batch_size
            As for ``stream``.
        sample_rate : int, optional
            Hz of an array; it needs one, a file has its own.

        Raises
        ------
        AudioError
            Nothing could be heard. Of a file that breaks off what is there is captioned, and ``error`` says so.
        ConfigError
            An array has no sample rate, or a file was given one.
        """
        job = _Job(decoding or self.info.decoding, windowing, alternatives, batch_size)
        if isinstance(sound, str | PathLike) and sample_rate is None:
            result = self._hear_file(str(sound), job)
        elif isinstance(sound, np.ndarray | Tensor) and sample_rate is not None:
            result = self._hear(audio.from_array(sound, sample_rate), job)
        else:
            raise ConfigError("sample_rate goes with an array: caption(array, sample_rate=44100), caption('clip.wav')")
        if result.error and not result.windows:
            raise result.error
        return result

    def stream(
        self,
        paths: Iterable[str | PathLike[str]],
        decoding: DecodingConfig | None = None,
        batch_size: int = 4,
        *,
        windowing: Windowing = Windowing(),
        alternatives: int = 0,
        on_window: OnWindow = _ignore,
    ) -> Iterator[Caption]:
        """Caption files one after the other, in the order given; a file that cannot be read gives its error.

        Each file is heard by itself and read as it is needed, so that its caption does not depend on the others, and
        no more than a few windows of it are held.

        Parameters
        ----------
        paths : iterable of path
            Sound files; ``-`` is standard input.
        decoding : DecodingConfig, optional
            How words are chosen; else as the model's folder says.
        batch_size : int
            Windows of one file that are heard at once, up to a minute of sound.
        windowing : Windowing
            How recordings are cut.
        alternatives : int
            How many of the other captions found are kept, less than the beam size.
        on_window : callable
            Told of each window as it is heard, before the file is done.

        Raises
        ------
        ConfigError
            More alternatives than the beam holds.
        """
        job = _Job(decoding or self.info.decoding, windowing, alternatives, batch_size, on_window)
        return (self._hear_file(str(path), job) for path in paths)

    def _hear_file(self, name: str, job: _Job) -> Caption:
        try:
            with audio.opened(name) as reader:
                return self._hear(reader, job)
        except AudioError as error:
            return Caption(name, error=error)

    def _hear(self, reader: audio.Reader, job: _Job) -> Caption:
        windows: list[Window] = []
        for window in self._windows(reader, job):
            windows.append(window)
            job.on_window(Heard(reader.name, window, reader.seconds))
        error = reader.error
        if not windows and not error:
            error = AudioError(f"{reader.name}: holds no samples")
        elif windows and windows[-1].end < MIN_SECONDS:
            error = AudioError(f"{reader.name}: too short to hear anything in it ({windows[-1].end:.5f} s)")
            windows = []
        return Caption(reader.name, tuple(windows), error, reader.not_finite)

    def _windows(self, reader: audio.Reader, job: _Job) -> Iterator[Window]:
        rate, wanted = reader.sample_rate, self.net.config.front_end.sample_rate
        batch: list[tuple[float, float, Tensor]] = []
        for piece in cut(reader, rate, job.windowing):
            if batch and (len(batch) == job.batch_size or (len(batch) + 1) * job.windowing.window > BATCH_SECONDS):
                yield from self._say(batch, job)
                batch = []
            waveform = resample(torch.from_numpy(piece.samples), rate, wanted)
            batch.append((piece.start / rate, (piece.start + len(piece.samples)) / rate, waveform))
        if batch:
            yield from self._say(batch, job)

    def _say(self, batch: list[tuple[float, float, Tensor]], job: _Job) -> Iterator[Window]:
        found = self.caption_waveforms([waveform for _, _, waveform in batch], job.decoding)
        for (start, end, _), hypotheses in zip(batch, found, strict=True):
            best, *others = (Alternative(self.vocabulary.decode(h.words), h.score) for h in hypotheses)
            window = Window(start, end, best.caption, best.score, tuple(others[: job.alternatives]))
            curve = self.info.calibration
            yield replace(window, probability=curve.probability(window.log_probability)) if curve.is_fitted else window

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
        return beam_search(self.net, memory, decoding or self.info.decoding, self.families)


@dataclass(frozen=True)
class _Job:
    """What is wanted of a sound."""

    decoding: DecodingConfig
    windowing: Windowing
    alternatives: int
    batch_size: int
    on_window: OnWindow = _ignore

    def __post_init__(self) -> None:
        if not 0 <= self.alternatives < self.decoding.beam_size:
            raise ConfigError(
                f"alternatives: {self.alternatives} were asked for, a beam of {self.decoding.beam_size} has "
                f"{self.decoding.beam_size - 1}; widen it with --beam-size"
            )
