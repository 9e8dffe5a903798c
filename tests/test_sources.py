"""Examples and batches: of recordings, of soundscapes, and through a frozen CNN10."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from aaccli.data.clips import (
    Clip,
    ClipSource,
    Example,
    HeardSource,
    SoundscapeSource,
    collate,
)
from aaccli.data.phrases import load_phrases
from aaccli.data.sounds import Recording, SoundBank
from aaccli.data.soundscapes import Composer, SoundscapeConfig
from aaccli.errors import AudioError
from aaccli.model.captioner import END, PAD, START, CaptionerNet
from aaccli.model.features import FrontEndConfig, LogMel
from aaccli.training.runs import book_sentences
from aaccli.vocabulary import Vocabulary

RATE = 8000
FRONT_END = FrontEndConfig(sample_rate=RATE, window=256, hop=128, fmax=4000)


# --- batches ---


def test_collate_pads_to_the_longest():
    first = Example(torch.ones(3, 2), ((START, 7, END), (START, END)))
    second = Example(torch.full((5, 2), 2.0), ((START, 8, 9, 10, END), (START, 8, END)))
    batch = collate([first, second])
    assert batch.lengths.tolist() == [3, 5]
    assert torch.equal(batch.frames[0], torch.tensor([[1.0, 1]] * 3 + [[0, 0]] * 2))
    assert torch.equal(batch.frames[1], second.frames)
    assert batch.captions.tolist() == [
        [START, 7, END, PAD, PAD],
        [START, END, PAD, PAD, PAD],
        [START, 8, 9, 10, END],
        [START, 8, END, PAD, PAD],
    ]
    assert (batch.lengths.dtype, batch.captions.dtype) == (torch.int64, torch.int64)


# --- recordings from disk ---


CAPTIONS = [("a dog barks", "a dog", "dogs bark"), ("rain",), tuple("abcdefg")]


@pytest.fixture
def recorded(tmp_path, tone, write_wav) -> list[Clip]:
    """Three clips of other lengths, with three, one and seven captions."""
    return [
        Clip(write_wav(tmp_path / f"{i}.wav", tone(300, 0.3 + 0.1 * i, RATE), RATE, "FLOAT"), captions)
        for i, captions in enumerate(CAPTIONS)
    ]


def make_source(recorded: list[Clip], group: int, seconds: float = 30.0) -> ClipSource:
    vocabulary = Vocabulary.build(caption for captions in CAPTIONS for caption in captions)
    return ClipSource(recorded, vocabulary, FRONT_END, seconds, group)


def test_lengths_and_references_of_clips(recorded):
    assert make_source(recorded, 2).lengths() is None, "not measured"
    source = make_source([replace(clip, seconds=1.0 + i) for i, clip in enumerate(recorded)], 2, seconds=2.5)
    assert source.lengths() == [1.0, 1.0, 2.0, 2.5, 2.5, 2.5, 2.5]
    assert source.references()[2:4] == [CAPTIONS[1], CAPTIONS[2]]


@pytest.mark.parametrize("group", [1, 2, 5])
def test_an_epoch_covers_every_caption(recorded, group):
    vocabulary = Vocabulary.build(caption for captions in CAPTIONS for caption in captions)
    examples = make_source(recorded, group).epoch(0)
    said: dict[int, list[str]] = {}
    for example in (examples[i] for i in range(len(examples))):
        assert len(example.captions) == group
        captions = [vocabulary.decode(ids) for ids in example.captions]
        said.setdefault(len(example.frames), []).extend(captions)
    assert [set(captions) for _, captions in sorted(said.items())] == [set(captions) for captions in CAPTIONS]
    most = [max(map(captions.count, captions)) for captions in said.values()]
    assert group != 1 or most == [1, 1, 1], "none twice where groups need no filling up"


def test_groups_are_no_more_than_needed(recorded):
    assert [len(make_source(recorded, group).epoch(0)) for group in (1, 2, 5)] == [3 + 1 + 7, 2 + 1 + 4, 1 + 1 + 2]


def test_frames_are_of_the_recording(recorded, tone):
    expected = LogMel(FRONT_END)(torch.from_numpy(tone(300, 0.3, RATE)))
    torch.testing.assert_close(make_source(recorded, 1).epoch(0)[0].frames, expected)


def test_long_recordings_are_cut(recorded):
    examples = make_source(recorded, 5, seconds=0.4).epoch(0)
    assert [len(examples[i].frames) for i in range(len(examples))] == [19, 26, 26, 26]


def test_epochs_of_clips_are_alike(recorded):
    source = make_source(recorded, 2)
    one, two = source.epoch(0)[3], source.epoch(1)[3]
    assert torch.equal(one.frames, two.frames)
    assert one.captions == two.captions


def test_recording_that_is_no_sound(recorded):
    recorded[0].path.write_bytes(b"no sound")
    with pytest.raises(AudioError, match=r"0\.wav"):
        make_source(recorded, 1).epoch(0)[0]


# --- soundscapes ---


@pytest.fixture(scope="module")
def composer(tmp_path_factory, tone, write_wav) -> Composer:
    folder = tmp_path_factory.mktemp("bank")
    tones = {"dog": 400, "cat": 900, "rain": 2000}
    recordings = [Recording(write_wav(folder / f"{n}.wav", tone(f, 0.3, RATE), RATE), n, 1) for n, f in tones.items()]
    bank = SoundBank(recordings, RATE)
    assert bank.load() == []
    return Composer(bank, load_phrases(), SoundscapeConfig(max_seconds=0.6, captions=3), bank.labels)


def soundscapes(composer: Composer, seed: int = 0, fixed: bool = False) -> SoundscapeSource:
    vocabulary = Vocabulary.build(book_sentences(composer.entries.values()))
    return SoundscapeSource(composer, vocabulary, FRONT_END, 4, seed, fixed)


def heard(source, epoch: int) -> list[bytes]:
    examples = source.epoch(epoch)
    return [examples[i].frames.numpy().tobytes() for i in range(len(examples))]


def test_soundscapes_differ_by_epoch(composer):
    source = soundscapes(composer)
    assert len(set(heard(source, 0) + heard(source, 1))) == 8
    assert heard(source, 1) == heard(soundscapes(composer), 1)


def test_soundscapes_differ_by_seed(composer):
    assert not set(heard(soundscapes(composer, 0), 0)) & set(heard(soundscapes(composer, 1), 0))


def test_fixed_soundscapes_are_alike_in_every_epoch(composer):
    source = soundscapes(composer, fixed=True)
    assert heard(source, 0) == heard(source, 1) == heard(source, 7)


def test_soundscapes_are_the_composers(composer):
    source = soundscapes(composer, seed=5, fixed=True)
    example, soundscape = source.epoch(2)[3], composer.compose(5, 0, 3)
    assert torch.equal(example.frames, LogMel(FRONT_END)(soundscape.waveform))
    assert [source.vocabulary.decode(ids) for ids in example.captions] == list(soundscape.captions)


def test_soundscapes_to_train_on_are_degraded(composer):
    source = soundscapes(composer, seed=5)
    clean = [LogMel(FRONT_END)(composer.compose(5, 2, i).waveform) for i in range(4)]
    frames = [source.epoch(2)[i].frames for i in range(4)]
    assert [f.shape for f in frames] == [c.shape for c in clean]
    assert not all(torch.equal(f, c) for f, c in zip(frames, clean, strict=True))


# --- through a frozen CNN10 ---


class Counting:
    """A source of three examples, which notes the epochs it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def epoch(self, number: int) -> list[Example]:
        self.asked.append(number)
        random = np.random.default_rng(number)
        lengths = (20, 37, 64)
        frames = [torch.from_numpy(random.normal(-40, 10, (n, 64)).astype(np.float32)) for n in lengths]
        return [Example(f, ((START, number + 4, END),)) for f in frames]


@pytest.fixture(scope="module")
def net(tiny_model_config) -> CaptionerNet:
    torch.manual_seed(0)
    return CaptionerNet(tiny_model_config, 20)


def test_heard_is_what_cnn10_gives(net):
    source = Counting()
    examples = HeardSource(source, net, 1, augment=False).epoch(3)
    assert len(examples) == 3
    net.eval()
    for example, original in zip(examples, source.epoch(3), strict=True):
        with torch.no_grad():
            expected, _ = net.listen(original.frames[None])
        torch.testing.assert_close(example.frames, expected[0])
        assert example.frames.shape == (len(original.frames) // 16, 512)
        assert not example.frames.requires_grad
        assert example.captions == original.captions


def test_heard_in_training_mode_is_the_same(net):
    """Neither dropout nor batch statistics of the captioner that trains around it."""
    evaluated = HeardSource(Counting(), net.eval(), 1, augment=False).epoch(0)
    trained = HeardSource(Counting(), net.train(), 1, augment=False).epoch(0)
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(evaluated, trained, strict=True))


def test_heard_is_kept_for_some_epochs(net):
    source = Counting()
    kept = HeardSource(source, net, 3, augment=False)
    epochs = [kept.epoch(number) for number in range(7)]
    first = [examples[0].frames for examples in epochs]
    assert [torch.equal(a, b) for a, b in pairwise(first)] == [True, True, False, True, True, False]
    assert len(source.asked) == len(set(source.asked)) == 3, "three times other examples"
    assert epochs[0] is epochs[2], "listened to once"


def test_progress_of_hearing_is_told_once(net):
    told = []
    kept = HeardSource(Counting(), net, 2, augment=False, on_heard=lambda *done: told.append(done))
    kept.epoch(0)
    kept.epoch(1)
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_augmented_hearing_differs_by_epoch_and_seed_alone(net):
    plain = HeardSource(Counting(), net, 1, augment=False).epoch(0)
    augmented = HeardSource(Counting(), net, 1, augment=True, seed=1)
    first = [example.frames for example in augmented.epoch(0)]
    augmented.epoch(1)
    again = [example.frames for example in augmented.epoch(0)]
    other = [example.frames for example in HeardSource(Counting(), net, 1, augment=True, seed=2).epoch(0)]
    for one, two, else_, bare in zip(first, again, other, plain, strict=True):
        assert not torch.equal(one, bare.frames)
        assert torch.equal(one, two), "as in a run that was taken up again"
        assert not torch.equal(one, else_)
    assert not net.cnn10.spec_augment.training, "as before"
