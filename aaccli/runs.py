"""Set up a training run: network, vocabulary and examples from what the user has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import sentences
from .checkpoints import CaptionerInfo, Store, load_panns_file, load_tagger, save_captioner
from .config import to_dict
from .data import Clip, ClipSource, HeardSource, SoundscapeSource, Source
from .errors import CheckpointError, DataError
from .model.beam import DecodingConfig
from .model.captioner import CaptionerNet, ModelConfig
from .model.cnn10 import LoadedKeys, load_panns
from .model.features import PANNS_FRONT_END, FrontEndConfig
from .phrases import Entry, PhraseBook
from .sounds import SILENCE, SoundBank
from .soundscapes import Composer, SoundscapeConfig
from .training import Epoch, TrainingConfig
from .vocabulary import Vocabulary

# Soundscapes differ from Clotho: endless, short, with a CNN10 that was trained on the same labels just before.
SOUNDS_TRAINING = TrainingConfig(
    accumulate=1,
    epochs=60,
    patience=20,
    learning_rate=1e-3,
    warmup_steps=100,
    schedule="cosine",
    freeze_cnn=True,
    captions_per_clip=SoundscapeConfig().captions,
    keep_epochs=10,
)
VALIDATION_SOUNDSCAPES = 300
OnHeard = Callable[[int, int], None]  # told how many examples a frozen CNN10 has heard, of how many


@dataclass(frozen=True)
class Run:
    """All that a training run needs."""

    net: CaptionerNet
    vocabulary: Vocabulary
    train: Source
    validation: Source
    config: TrainingConfig
    decoding: DecodingConfig
    about: dict[str, Any]  # data and start of the run, for config.json
    start: tuple[str, ...] = ()  # how CNN10 began, in lines for people

    def save(self, folder: Path, epoch: Epoch, store: Store = "float32") -> None:
        """Write the network as it is now."""
        trained = {"config": to_dict(self.config), "epoch": to_dict(epoch), **self.about}
        info = CaptionerInfo(self.net.config, self.decoding, trained)
        save_captioner(folder, self.net, self.vocabulary, info, store)


@dataclass(frozen=True)
class Init:
    """Where CNN10 starts from."""

    path: Path | None
    cnn10: dict[str, Tensor]  # empty: from scratch
    front_end: FrontEndConfig | None  # the one it was trained with, where that is known


def read_init(path: Path | None) -> Init:
    """Read a tagger's folder or a CNN10 file of PANNs; without a path, start from scratch.

    Raises
    ------
    CheckpointError
        It is neither.
    """
    if path is None:
        return Init(None, {}, None)
    if path.is_dir():
        tagger, info = load_tagger(path)
        return Init(path, tagger.cnn10.state_dict(), info.front_end)
    return Init(path, load_panns_file(path), None)


def new_net(model: ModelConfig, vocabulary: Vocabulary, init: Init, seed: int) -> tuple[CaptionerNet, LoadedKeys]:
    """Make a network and fill its CNN10; raises CheckpointError where the weights are not a CNN10's."""
    torch.manual_seed(seed)
    net = CaptionerNet(model, len(vocabulary))
    if not init.cnn10:
        return net, LoadedKeys((), ())
    try:
        return net, load_panns(net.cnn10, init.cnn10)
    except ValueError as error:
        raise CheckpointError(f"{init.path}: {error}") from error


def run_on_clips(
    train: Sequence[Clip],
    validation: Sequence[Clip],
    model: ModelConfig,
    config: TrainingConfig,
    init: Init,
    device: torch.device,
    on_heard: OnHeard = lambda done, total: None,
) -> Run:
    """Train on captioned recordings."""
    vocabulary = Vocabulary.build((c for clip in train for c in clip.captions), config.min_count)
    net, keys = new_net(model, vocabulary, init, config.seed)
    net = net.to(device)

    def source(clips: Sequence[Clip]) -> ClipSource:
        return ClipSource(clips, vocabulary, model.front_end, config.max_seconds, config.captions_per_clip)

    heard = _heard(source(train), source(validation), net, config, 1, on_heard)
    about = {"clips": len(train), "validation_clips": len(validation), "init": _name(init.path)}
    return Run(net, vocabulary, *heard, config, DecodingConfig(), about, _start(init, keys, model.front_end))


def run_on_sounds(
    train: SoundBank,
    validation: SoundBank,
    book: PhraseBook,
    model: ModelConfig,
    config: TrainingConfig,
    soundscapes: SoundscapeConfig,
    init: Init,
    device: torch.device,
    on_heard: OnHeard = lambda done, total: None,
) -> Run:
    """Train on soundscapes that are composed of labelled sounds."""
    labels = train.labels
    held_out = [label for label in validation.labels if label in labels]
    if held_out == [SILENCE]:
        raise DataError("no recording to validate with; choose another --validation-fold")
    vocabulary = Vocabulary.build(book_sentences([book.entry(label) for label in labels]))
    net, keys = new_net(model, vocabulary, init, config.seed)
    net = net.to(device)
    soundscapes = replace(soundscapes, captions=config.captions_per_clip)

    def source(bank: SoundBank, some: list[str], count: int, fixed: bool) -> SoundscapeSource:
        composer = Composer(bank, book, soundscapes, some)
        return SoundscapeSource(composer, vocabulary, model.front_end, count, config.seed + fixed, fixed)

    heard = _heard(
        source(train, labels, config.soundscapes, fixed=False),
        source(validation, held_out, min(VALIDATION_SOUNDSCAPES, config.soundscapes), fixed=True),
        net,
        config,
        config.keep_epochs,
        on_heard,
    )
    about = {
        "recordings": len(train),
        "validation_recordings": len(validation),
        "labels": labels,
        "soundscapes": to_dict(soundscapes),
        "init": _name(init.path),
    }
    decoding = DecodingConfig(no_repeat_ngram=3, length_penalty=0.0)
    return Run(net, vocabulary, *heard, config, decoding, about, _start(init, keys, model.front_end))


def _heard(
    train: Source, validation: Source, net: CaptionerNet, config: TrainingConfig, keep_epochs: int, on_heard: OnHeard
) -> tuple[Source, Source]:
    """The sources through CNN10 where it is frozen: what does not learn need not listen again."""
    if not config.freeze_cnn:
        return train, validation
    return (
        HeardSource(train, net, keep_epochs, augment=True, on_heard=on_heard),
        HeardSource(validation, net, config.epochs, augment=False, on_heard=on_heard),
    )


def book_sentences(entries: Iterable[Entry]) -> list[str]:
    """Every word that sentences about these labels can have: phrases as they are, templates without their slots."""
    said = [f"{p.subject} {verb}" for entry in entries for p in entry.phrases for verb in (p.verb, p.ing)]
    slots = dict.fromkeys("ABCZabcz", "")
    return said + [template.format_map(slots) for template in sentences.ALL_TEMPLATES] + [*sentences.REPETITION]


def _start(init: Init, keys: LoadedKeys, used: FrontEndConfig) -> tuple[str, ...]:
    """What became of every key that CNN10 starts from, and what it was used to hear."""
    if init.path is None:
        return ()
    skipped = f"; skipped {', '.join(keys.skipped)}: front end and tagging head" if keys.skipped else ""
    lines = (f"CNN10 of {init.path.name}: {len(keys.used)} tensors used{skipped}",)
    heard = init.front_end or PANNS_FRONT_END
    if heard == used:
        return lines
    return (*lines, f"it was trained on {_describe(heard)}; here it hears {_describe(used)}")


def _describe(front_end: FrontEndConfig) -> str:
    c = front_end
    return (
        f"{c.sample_rate / 1000:g} kHz, window {c.window}, hop {c.hop} ({1000 * c.hop / c.sample_rate:.3g} ms), "
        f"{c.mels} mels of {c.fmin:g} to {c.fmax:g} Hz"
    )


def _name(path: Path | None) -> str | None:
    return None if path is None else path.name
