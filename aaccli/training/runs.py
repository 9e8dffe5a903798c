"""Set up a training run: network, vocabulary and examples from what the user has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoints import CAPTIONER, CONFIG, learned, load_captioner, load_panns_file, load_tagger
from ..config import listed, to_dict
from ..data import sentences
from ..data.clips import Clip, ClipSource, HeardSource, SoundscapeSource, Source
from ..data.featurecache import FeatureCache
from ..data.phrases import Entry, PhraseBook
from ..data.sounds import SILENCE, SoundBank
from ..data.soundscapes import Composer, SoundscapeConfig
from ..errors import CheckpointError, DataError
from ..files.jsonfile import read_json
from ..model.beam import DecodingConfig
from ..model.captioner import CaptionerNet, ModelConfig
from ..model.cnn10 import LoadedKeys, load_matching, load_panns
from ..model.features import PANNS_FRONT_END, FrontEndConfig
from ..vocabulary import Vocabulary
from .config import TrainingConfig

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
    decode_epochs=10,
)
SOUNDS_DECODING = DecodingConfig(no_repeat_ngram=3, no_repeat_words=True, length_penalty=0.0)
VALIDATION_SOUNDSCAPES = 300
MOST_KEYS = 100  # named in one line
OnHeard = Callable[[int, int], None]  # told how many examples a frozen CNN10 has heard, of how many


@dataclass(frozen=True)
class Init:
    """Where a network starts from."""

    path: Path | None = None  # None: from scratch
    name: str = ""  # of it, for people
    cnn10: dict[str, Tensor] | None = None  # of a tagger, or of PANNs
    captioner: tuple[CaptionerNet, Vocabulary] | None = None
    model: ModelConfig = field(default_factory=ModelConfig)  # for what starts from it: its sizes, what it hears
    heard: FrontEndConfig | None = None  # what its weights were trained to hear


def read_init(path: Path | None, name: str = "") -> Init:
    """Read a captioner's or a tagger's folder, or a CNN10 file of PANNs; without a path, start from scratch.

    People are told ``name``, or the last part of the path.

    Raises
    ------
    CheckpointError
        It is none of them.
    """
    if path is None:
        return Init()
    name = name or path.name
    if not path.is_dir():
        return Init(path, name, load_panns_file(path), heard=PANNS_FRONT_END)
    config = read_json(path / CONFIG)
    if isinstance(config, dict) and config.get("format") == CAPTIONER:
        net, vocabulary, info = load_captioner(path)
        return Init(path, name, captioner=(net, vocabulary), model=info.model, heard=info.model.front_end)
    tagger, about = load_tagger(path)
    model = replace(ModelConfig(), front_end=about.front_end)
    return Init(path, name, tagger.cnn10.state_dict(), model=model, heard=about.front_end)


@dataclass(frozen=True)
class Run:
    """All that a training run needs."""

    net: CaptionerNet
    vocabulary: Vocabulary
    train: Source
    validation: Source
    config: TrainingConfig
    decoding: DecodingConfig
    about: dict[str, Any]  # its data: a run that is taken up again must find the same
    start: tuple[str, ...] = ()  # how the network began, in lines for people


def new_net(model: ModelConfig, vocabulary: Vocabulary, init: Init, seed: int) -> tuple[CaptionerNet, LoadedKeys]:
    """Make a network and fill it with what it starts from.

    Raises
    ------
    CheckpointError
        The weights have other shapes, or are of another kind of network.
    """
    torch.manual_seed(seed)
    net = CaptionerNet(model, len(vocabulary))
    try:
        if init.captioner is not None:
            old, words = init.captioner
            return net, load_matching(net, {**_lengthened(net, old, words), **_front_end(net)})
        if init.cnn10 is not None:
            return net, load_panns(net.cnn10, init.cnn10)
    except ValueError as error:
        raise CheckpointError(f"{init.path}: {error}") from error
    return net, LoadedKeys()


def _lengthened(net: CaptionerNet, old: CaptionerNet, words: Vocabulary) -> dict[str, Tensor]:
    """A captioner's weights with the first values of the new network for the words it does not know yet."""
    state = learned(old.state_dict())
    for key in ("decoder.embedding.weight", "decoder.bias"):
        fresh = net.state_dict()[key]
        if state[key].shape[1:] == fresh.shape[1:]:
            state[key] = torch.cat((state[key], fresh[len(words) :]))
    return state


def _front_end(net: CaptionerNet) -> dict[str, Tensor]:
    """What is computed from the config, not learned."""
    state = net.state_dict()
    return {key: state[key] for key in state.keys() - learned(state).keys()}


def _words(captions: Iterable[str], min_count: int, init: Init) -> Vocabulary:
    """The words of captions; a captioner to start from keeps its own, and learns the others."""
    vocabulary = Vocabulary.build(captions, min_count)
    return vocabulary if init.captioner is None else init.captioner[1].extended(vocabulary)


def _start(init: Init, keys: LoadedKeys, used: FrontEndConfig) -> tuple[str, ...]:
    """What became of every key that a network starts from, and what it was trained to hear."""
    if init.path is None:
        return ()
    tensors = len(learned(dict.fromkeys(keys.used)))
    lines = [f"{'captioner' if init.captioner else 'CNN10'} of {init.name}: {tensors} tensors used"]
    if keys.skipped:
        lines.append(f"skipped, front end and tagging head: {listed(list(keys.skipped), MOST_KEYS)}")
    if keys.unknown:
        lines.append(f"unknown, left aside: {listed(list(keys.unknown), MOST_KEYS)}")
    if keys.missing:
        lines.append(f"missing, learned from scratch: {listed(list(keys.missing), MOST_KEYS)}")
    if init.heard and init.heard != used:
        lines.append(f"it was trained on {_describe(init.heard)}; here it hears {_describe(used)}")
    return tuple(lines)


def _describe(front_end: FrontEndConfig) -> str:
    c = front_end
    return (
        f"{c.sample_rate / 1000:g} kHz, window {c.window}, hop {c.hop} ({1000 * c.hop / c.sample_rate:.3g} ms), "
        f"{c.mels} mels of {c.fmin:g} to {c.fmax:g} Hz"
    )


def _digest(items: Iterable[Any]) -> str:
    """Tells one data set from another."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps(item).encode() + b"\n")
    return digest.hexdigest()[:16]


def run_on_clips(
    train: Sequence[Clip],
    validation: Sequence[Clip],
    model: ModelConfig,
    config: TrainingConfig,
    init: Init,
    device: torch.device,
    on_heard: OnHeard = lambda done, total: None,
    vocabulary: Vocabulary | None = None,
    decoding: DecodingConfig = DecodingConfig(),
    cache: FeatureCache | None = None,
) -> Run:
    """Train on captioned recordings; with the words of ``vocabulary``, or those of the captions."""
    vocabulary = vocabulary or _words((c for clip in train for c in clip.captions), config.min_count, init)
    net, keys = new_net(model, vocabulary, init, config.seed)
    net = net.to(device)

    def source(clips: Sequence[Clip], group: int) -> ClipSource:
        return ClipSource(clips, vocabulary, model.front_end, config.max_seconds, group, cache)

    # A validation clip is heard once, with all its captions.
    every = max(len(clip.captions) for clip in validation)
    heard = _heard(source(train, config.captions_per_clip), source(validation, every), net, config, 1, on_heard)
    about = {
        "clips": len(train),
        "validation_clips": len(validation),
        "captions": sum(len(clip.captions) for clip in train),
        "digest": _digest((clip.path.name, clip.captions) for clip in (*train, *validation)),
    }
    return Run(net, vocabulary, *heard, config, decoding, about, _start(init, keys, model.front_end))


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
    vocabulary: Vocabulary | None = None,
    decoding: DecodingConfig = SOUNDS_DECODING,
) -> Run:
    """Train on soundscapes that are composed of labelled sounds."""
    labels = train.labels
    held_out = [label for label in validation.labels if label in labels]
    if held_out == [SILENCE]:
        raise DataError("no recording to validate with; choose another --validation-fold")
    vocabulary = vocabulary or _words(book_sentences([book.entry(label) for label in labels]), 1, init)
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
        "digest": _digest((r.path.name, r.label) for bank in (train, validation) for r in bank.recordings),
    }
    return Run(net, vocabulary, *heard, config, decoding, about, _start(init, keys, model.front_end))


def _heard(
    train: Source, validation: Source, net: CaptionerNet, config: TrainingConfig, keep_epochs: int, on_heard: OnHeard
) -> tuple[Source, Source]:
    """The sources through CNN10 where it is frozen: what does not learn need not listen again."""
    if not config.freeze_cnn:
        return train, validation
    return (
        HeardSource(train, net, keep_epochs, augment=True, on_heard=on_heard, seed=config.seed),
        HeardSource(validation, net, config.epochs, augment=False, on_heard=on_heard),
    )


def book_sentences(entries: Iterable[Entry]) -> list[str]:
    """Every word that sentences about these labels can have: phrases as they are, templates without their slots."""
    said = [f"{p.subject} {verb}" for entry in entries for p in entry.phrases for verb in (p.verb, p.ing)]
    slots = dict.fromkeys("ABCZabcz", "")
    return said + [template.format_map(slots) for template in sentences.ALL_TEMPLATES] + [*sentences.REPETITION]
