"""Captions for sound: files, recordings of any length, arrays."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import audio
from ..checkpoints import DEFAULT_MODEL, CaptionerInfo, load_captioner
from ..errors import AudioError, CheckpointError, ConfigError
from ..fetching.weights import find_model
from ..model.beam import DecodingConfig, Hypothesis
from ..model.captioner import CaptionerNet
from ..model.features import resample
from ..precision import Precision
from ..vocabulary import Vocabulary
from ..watching import Watch, nobody
from .engine import Engine
from .pipeline import Plan, heard_in_order
from .reading import Ending, Part, Stretch, parts, read_ahead
from .repetition import families
from .windows import Windowing

MIN_SECONDS = 0.01  # less is a click of which nothing could be said


@dataclass(frozen=True)
class Alternative:
    """Another caption that the beam search found.

    Attributes
    ----------
    caption : str
    score : float
        As a window's.
    """

    caption: str
    score: float


@dataclass(frozen=True)
class Window:
    """What was heard in one stretch of a recording.

    Attributes
    ----------
    start, end : float
        Seconds from the recording's beginning.
    caption : str
    score : float
        Mean log-probability (natural) of a word, from -inf to 0.
    alternatives : tuple of Alternative
        The next best, best first, where they were asked for.
    probability : float or None
        That the caption names what is there, where the model was calibrated.
    """

    start: float
    end: float
    caption: str
    score: float
    alternatives: tuple[Alternative, ...] = ()
    probability: float | None = None

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

    Attributes
    ----------
    file : str
        As it was given.
    windows : tuple of Window
        In the order of time.
    error : AudioError or None
        A file that breaks off has both: the windows of what was there, and the error.
    not_finite : int
        Samples that were NaN or infinite, heard as silence.
    """

    file: str
    windows: tuple[Window, ...] = ()
    error: AudioError | None = None
    not_finite: int = 0

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

    Attributes
    ----------
    net : CaptionerNet
        As it was trained; ``engine`` runs it.
    vocabulary : Vocabulary
    families : tuple of int
        Of each word the family of its forms, for ``no_repeat_words``.
    info : CaptionerInfo
        What the checkpoint says of itself: front end, decoding, calibration.
    name : str
        For people: where the model came from.
    engine : Engine
    """

    def __init__(
        self,
        net: CaptionerNet,
        vocabulary: Vocabulary,
        info: CaptionerInfo,
        name: str = "",
        precision: Precision = "auto",
    ) -> None:
        self.net = net.eval()
        self.vocabulary = vocabulary
        self.families = families(vocabulary)
        self.info = info
        self.name = name
        self.engine = Engine(net, precision)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        device: torch.device | str = "cpu",
        watch: Watch = nobody,
        *,
        precision: Precision = "auto",
    ) -> Captioner:
        """Load a model: a folder, or ``OWNER/NAME[@REVISION]`` on the Hub; without one, the model that comes with aac.

        Parameters
        ----------
        model : str or Path, optional
        device : torch.device or str
        watch : callable
            Told how far a download is.
        precision : str
            What CNN10 computes with: fp32, bf16, fp16; auto takes bf16 (or fp16) where the device is made for it.

        Raises
        ------
        CheckpointError
            The folder is missing, damaged, or not a captioner.
        FetchError
            The model cannot be had from the Hub.
        ConfigError
            The device cannot compute so.
        """
        net, vocabulary, info = load_captioner(find_model(model, watch) if model else DEFAULT_MODEL)
        return cls(net.to(device), vocabulary, info, str(model or "default"), precision)

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
        batch_size: int | None = None,
        *,
        sample_rate: float | None = None,
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
        job = _Job(decoding or self.info.decoding, windowing, alternatives)
        recording: AbstractContextManager[audio.Reader]
        if isinstance(sound, str | PathLike) and sample_rate is None:
            name, recording = str(sound), audio.opened(str(sound))
        elif isinstance(sound, np.ndarray | Tensor) and sample_rate is not None:
            name, recording = "array", nullcontext(audio.from_array(sound, sample_rate))
        else:
            raise ConfigError(
                f"{type(sound).__name__}, sample_rate {sample_rate}: a path has its own rate, an array of numpy or "
                "torch needs one: caption('clip.wav'), caption(array, sample_rate=44100)"
            )
        plan = self.engine.plan(batch_size, windowing.window)
        (result,) = self._caption_all(parts(name, recording, windowing), job, plan)
        if result.error and not result.windows:
            raise result.error
        return result

    def stream(
        self,
        paths: Iterable[str | PathLike[str]] | str | PathLike[str],
        decoding: DecodingConfig | None = None,
        batch_size: int | None = None,
        *,
        windowing: Windowing = Windowing(),
        alternatives: int = 0,
        on_window: OnWindow = _ignore,
    ) -> Iterator[Caption]:
        """Caption files, in the order given; a file that cannot be read gives its error.

        Files are read as they are needed, while others are heard; no more than a few windows are held. The caption of
        a file depends neither on the others nor on how many windows are heard at once.

        Parameters
        ----------
        paths : iterable of path, or one path
            Sound files; ``-`` is standard input.
        decoding : DecodingConfig, optional
            How words are chosen; else as the model's folder says.
        batch_size : int, optional
            Windows that are heard at once; else one on a processor, and on a GPU as many as its memory holds.
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
        if isinstance(paths, str | PathLike):  # a text is an iterable too, of its letters
            paths = [paths]
        job = _Job(decoding or self.info.decoding, windowing, alternatives, on_window)
        return self._caption_files(map(str, paths), job, self.engine.plan(batch_size, windowing.window))

    def _caption_files(self, names: Iterable[str], job: _Job, plan: Plan) -> Iterator[Caption]:
        recordings = ((name, parts(name, audio.opened(name), job.windowing)) for name in names)
        with ThreadPoolExecutor(plan.workers, "aac-read") as pool:
            yield from self._caption_all(read_ahead(recordings, pool, plan.workers), job, plan)

    def _caption_all(self, parts: Iterable[Part], job: _Job, plan: Plan) -> Iterator[Caption]:
        windows: list[Window] = []
        for heard in heard_in_order(parts, partial(self._hear, job=job), plan):
            if isinstance(heard, Ending):
                yield _whole(heard, windows)
                windows = []
            else:
                stretch, window = heard
                windows.append(window)
                job.on_window(Heard(stretch.file, window, stretch.seconds))

    def _hear(self, stretches: Sequence[Stretch], job: _Job) -> list[Window]:
        wanted = self.net.config.front_end.sample_rate
        waveforms = [resample(torch.from_numpy(s.samples), s.sample_rate, wanted) for s in stretches]
        found = self.caption_waveforms(waveforms, job.decoding)
        return [self._window(s, hypotheses, job) for s, hypotheses in zip(stretches, found, strict=True)]

    def _window(self, stretch: Stretch, hypotheses: Sequence[Hypothesis], job: _Job) -> Window:
        best, *others = (Alternative(self.vocabulary.decode(h.words), h.score) for h in hypotheses)
        window = Window(stretch.start, stretch.end, best.caption, best.score, tuple(others[: job.alternatives]))
        curve = self.info.calibration
        return replace(window, probability=curve.probability(window.log_probability)) if curve.is_fitted else window

    def caption_waveforms(
        self, waveforms: Sequence[Tensor], decoding: DecodingConfig | None = None
    ) -> list[list[Hypothesis]]:
        """Find the best captions of mono waveforms (samples,) at the model's sample rate, best first.

        Raises
        ------
        CheckpointError
            The model's weights are so large that it computes no probabilities.
        """
        found = self.engine.hear(waveforms, decoding or self.info.decoding, self.families)
        if not all(found):
            raise CheckpointError(
                f"{self.name}: computes no probabilities, its weights are damaged; train it or fetch it again"
            )
        return found


def _whole(ending: Ending, windows: Sequence[Window]) -> Caption:
    """What was heard in a file that has come to its end."""
    error = ending.error
    if not windows and not error:
        error = AudioError(f"{ending.file}: holds no samples")
    elif windows and windows[-1].end < MIN_SECONDS:
        error = AudioError(f"{ending.file}: too short to hear anything in it ({windows[-1].end:.5f} s)")
        windows = []
    return Caption(ending.file, tuple(windows), error, ending.not_finite)


@dataclass(frozen=True)
class _Job:
    """What is wanted of a sound."""

    decoding: DecodingConfig
    windowing: Windowing
    alternatives: int
    on_window: OnWindow = _ignore

    def __post_init__(self) -> None:
        if not 0 <= self.alternatives < self.decoding.beam_size:
            raise ConfigError(
                f"alternatives: {self.alternatives} were asked for, a beam of {self.decoding.beam_size} has "
                f"{self.decoding.beam_size - 1}; widen it with --beam-size"
            )
