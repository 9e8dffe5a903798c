"""Captioned recordings: csv files, Clotho's layouts, and the examples and batches made of them."""

from __future__ import annotations

import csv
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

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
    hold_out,
    read_captions,
    read_clotho,
)
from aaccli.data.phrases import load_phrases
from aaccli.data.sounds import Recording, SoundBank
from aaccli.data.soundscapes import Composer, SoundscapeConfig
from aaccli.errors import AudioError, DataError
from aaccli.model.captioner import END, PAD, START, CaptionerNet
from aaccli.model.features import FrontEndConfig, LogMel
from aaccli.training.runs import book_sentences
from aaccli.vocabulary import Vocabulary

RATE = 8000
FRONT_END = FrontEndConfig(sample_rate=RATE, window=256, hop=128, fmax=4000)
FIVE = [f"caption_{i}" for i in range(1, 6)]
NAMES = ["a.wav", "rain, then sun.wav", "  two  spaces .wav", "Küche – naïve 音.wav", 'the "dog".wav', "it's.flac"]


def write_csv(path: Path, rows: list[list[str]], encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def touch(folder: Path, *names: str) -> Path:
    """Empty files: reading captions looks at names alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def read(tmp_path: Path, rows: list[list[str]], encoding: str = "utf-8") -> list[tuple[str, tuple[str, ...]]]:
    """What read_captions makes of these rows: names and captions."""
    names = [row[rows[0].index("file_name")] for row in rows[1:]]
    folder = touch(tmp_path / "sounds", *names)
    clips = read_captions(write_csv(tmp_path / "captions.csv", rows, encoding), folder)
    assert all(clip.path.parent == folder for clip in clips)
    return [(clip.path.name, clip.captions) for clip in clips]


# --- csv files of captions ---


def test_columns_of_captions(tmp_path):
    rows = [["file_name", *FIVE], ["b.wav", *"vwxyz"], ["a.wav", "One, two.", "2", "3", "4", "5"]]
    assert read(tmp_path, rows) == [("b.wav", tuple("vwxyz")), ("a.wav", ("One, two.", "2", "3", "4", "5"))]


def test_one_caption_a_row(tmp_path):
    rows = [["caption", "file_name"], ["one", "a.wav"], ["two", "b.wav"], ["three", "a.wav"]]
    assert read(tmp_path, rows) == [("a.wav", ("one", "three")), ("b.wav", ("two",))]


def test_several_rows_of_several_captions(tmp_path):
    rows = [["file_name", "caption_1", "caption_2"], ["a.wav", "one", "two"], ["a.wav", "three", ""]]
    assert read(tmp_path, rows) == [("a.wav", ("one", "two", "three"))]


def test_other_columns_are_left_alone(tmp_path):
    rows = [["keywords", "file_name", "start", "caption_1"], ["rain", "a.wav", "7", "one"]]
    assert read(tmp_path, rows) == [("a.wav", ("one",))]


def test_blank_captions_are_left_out(tmp_path):
    rows = [["file_name", *FIVE], ["a.wav", "one", "", "  ", "\t", "five"], ["b.wav", *[""] * 5]]
    assert read(tmp_path, rows) == [("a.wav", ("one", "five"))]


def test_rows_that_are_too_short(tmp_path):
    rows = [["file_name", "caption_1", "caption_2"], ["a.wav", "one"], ["b.wav", "one", "two", ""]]
    assert read(tmp_path, rows) == [("a.wav", ("one",)), ("b.wav", ("one", "two"))]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("name", NAMES)
def test_names_of_files(tmp_path, name, encoding):
    rows = [["file_name", "caption"], [name, "Ein Hund – „wau“"]]
    assert read(tmp_path, rows, encoding) == [(name, ("Ein Hund – „wau“",))]


@pytest.mark.parametrize(
    "header",
    [["file", "caption"], ["file_name"], ["file_name", "captions"], ["file_name", "Caption_1"], ["caption_1"], []],
    ids=",".join,
)
def test_wrong_columns(tmp_path, header):
    path = write_csv(tmp_path / "captions.csv", [header, ["a.wav", "one"]] if header else [])
    with pytest.raises(DataError, match=r"captions\.csv.*file_name.*caption_1"):
        read_captions(path, touch(tmp_path, "a.wav"))


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_csv_that_is_not_utf8(tmp_path, encoding):
    path = write_csv(tmp_path / "captions.csv", [["file_name", "caption"], ["Küche.wav", "one"]], encoding)
    with pytest.raises(DataError, match=r"captions\.csv.*UTF-8"):
        read_captions(path, touch(tmp_path, "Küche.wav"))


@pytest.mark.parametrize("rows", [[], [["a.wav", ""]], [["a.wav", " "], ["b.wav", ""]]])
def test_no_caption_at_all(tmp_path, rows):
    path = write_csv(tmp_path / "captions.csv", [["file_name", "caption"], *rows])
    with pytest.raises(DataError, match=r"captions\.csv"):
        read_captions(path, touch(tmp_path, "a.wav", "b.wav"))


def test_missing_recordings_are_counted(tmp_path):
    rows = [["file_name", "caption"], *([f"{i}.wav", "one"] for i in range(5))]
    path = write_csv(tmp_path / "captions.csv", rows)
    with pytest.raises(DataError, match=r"captions\.csv: 3 of 5 .*1\.wav"):
        read_captions(path, touch(tmp_path / "sounds", "0.wav", "2.wav"))


def test_a_caption_in_the_place_of_a_file_name(tmp_path):
    """No file can have so long a name; the system says so in its own way."""
    path = write_csv(tmp_path / "captions.csv", [["file_name", "caption"], ["a dog barks " * 50, "a.wav"]])
    with pytest.raises(DataError, match=r"captions\.csv: 1 of 1 recordings are missing"):
        read_captions(path, tmp_path)
    (clip,) = read_captions(path, tmp_path, missing_ok=True)
    assert not clip.is_there


def test_rows_of_audiocaps_and_no_such_folder(tmp_path):
    path = write_csv(tmp_path / "captions.csv", [["youtube_id", "caption"], ["abc", "one"]])
    with pytest.raises(DataError, match=r"nowhere: No such file"):
        read_captions(path, tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["nowhere.csv", "folder.csv"])
def test_csv_that_is_no_file(tmp_path, name):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=name):
        read_captions(tmp_path / name, tmp_path)


def test_row_without_a_file(tmp_path):
    path = write_csv(tmp_path / "captions.csv", [["caption", "file_name"], ["one", "a.wav"], ["two"]])
    try:
        clips = read_captions(path, touch(tmp_path, "a.wav"))
    except DataError:
        return
    assert [clip.captions for clip in clips] == [("one",)]


# --- Clotho ---

SPLITS = {"development": 3, "validation": 2, "evaluation": 1}


def write_split(csvs: Path, sounds: Path, split: str) -> None:
    names = [f"{split}, {name}" for name in NAMES[: SPLITS[split]]]
    touch(sounds, *names)
    rows = [[name, *(f"{split} {i} {k}" for k in range(5))] for i, name in enumerate(names)]
    write_csv(csvs / f"clotho_captions_{split}.csv", [["file_name", *FIVE], *rows])


# Folder of the csv files, and of the recordings of a split.
LAYOUTS = {
    "plain": (".", "{}"),
    "archives": (".", "clotho_audio_{0}/{0}"),
    "unpacked": ("clotho_csv_files", "clotho_audio_files/{}"),
    "aac-datasets v2.1": ("CLOTHO_v2.1/clotho_csv_files", "CLOTHO_v2.1/clotho_audio_files/{}"),
    "aac-datasets v2": ("CLOTHO_v2/clotho_csv_files", "CLOTHO_v2/clotho_audio_files/{}"),
    "aac-datasets v1": ("CLOTHO_v1/clotho_csv_files", "CLOTHO_v1/clotho_audio_files/{}"),
}


@pytest.mark.parametrize("splits", [list(SPLITS), ["development", "evaluation"], ["development"]], ids=len)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_clotho(tmp_path, layout, splits):
    csvs, sounds = LAYOUTS[layout]
    for split in splits:
        write_split(tmp_path / csvs, tmp_path / sounds.format(split), split)
    found = read_clotho(tmp_path)
    assert sorted(found) == sorted(splits)
    for split in splits:
        assert len(found[split]) == SPLITS[split]
        for i, clip in enumerate(found[split]):
            assert clip.path == tmp_path / sounds.format(split) / f"{split}, {NAMES[i]}"
            assert clip.captions == tuple(f"{split} {i} {k}" for k in range(5))


def test_newest_version_of_clotho(tmp_path):
    for version in ("CLOTHO_v1", "CLOTHO_v2.1"):
        root = tmp_path / version
        write_split(root / "clotho_csv_files", root / "clotho_audio_files/development", "development")
    assert read_clotho(tmp_path)["development"][0].path.is_relative_to(tmp_path / "CLOTHO_v2.1")


@pytest.mark.parametrize("name", ["", "nowhere", "file"])
def test_no_clotho(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"clotho_captions_development\.csv"):
        read_clotho(tmp_path / name)


def test_clotho_without_development(tmp_path):
    write_split(tmp_path, tmp_path / "evaluation", "evaluation")
    with pytest.raises(DataError, match=r"clotho_captions_development\.csv"):
        read_clotho(tmp_path)


def test_clotho_without_recordings(tmp_path):
    write_split(tmp_path, tmp_path / "elsewhere", "development")
    with pytest.raises(DataError, match="3 of 3 recordings are missing"):
        read_clotho(tmp_path)


# --- a share to validate with ---


def clips(count: int) -> list[Clip]:
    return [Clip(Path(f"{i}.wav"), ("one",)) for i in range(count)]


@pytest.mark.parametrize(
    ("count", "share", "held"), [(2, 0.0, 1), (2, 1.0, 1), (10, 0.01, 1), (10, 0.3, 3), (50, 0.5, 25), (5, 1.0, 4)]
)
def test_hold_out(count, share, held):
    train, validation = hold_out(clips(count), share, seed=0)
    assert len(validation) == held
    assert not set(train) & set(validation)
    assert sorted([*train, *validation], key=clips(count).index) == clips(count)


def test_hold_out_of_a_seed():
    assert hold_out(clips(30), 0.2, 1) == hold_out(clips(30), 0.2, 1)
    assert len({frozenset(hold_out(clips(30), 0.2, seed)[1]) for seed in range(10)}) == 10


@pytest.mark.parametrize("count", [0, 1])
def test_hold_out_of_too_few(count):
    with pytest.raises(DataError):
        hold_out(clips(count), 0.2, 0)


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


def test_rows_of_audiocaps(tmp_path):
    """Its csv names videos; downloaders name files by them, in several ways."""
    folder = touch(tmp_path / "clips", "abc_30.flac", "Y-de.wav", "fg.mp3", "fg.txt")
    rows = [["audiocap_id", "youtube_id", "start_time", "caption"]]
    rows += [["1", "abc", "30", "one"], ["2", "-de", "0", "two"], ["3", "fg", "7", "three"], ["4", "abc", "30", "four"]]
    found = read_captions(write_csv(tmp_path / "a.csv", rows), folder)
    assert [(clip.path.name, clip.captions) for clip in found] == [
        ("abc_30.flac", ("one", "four")),
        ("Y-de.wav", ("two",)),
        ("fg.mp3", ("three",)),
    ]
    path = write_csv(tmp_path / "b.csv", [*rows, ["5", "gone", "1", "five"]])
    with pytest.raises(DataError, match=r"1 of 4 .* missing .* gone_1\.wav"):
        read_captions(path, folder)
    assert len(read_captions(path, folder, missing_ok=True)) == 4


def test_lengths_and_references_of_clips(recorded):
    assert make_source(recorded, 2).lengths() is None, "not measured"
    source = make_source([replace(clip, seconds=1.0 + i) for i, clip in enumerate(recorded)], 2, seconds=2.5)
    assert source.lengths() == [1.0, 1.0, 2.0, 2.5, 2.5, 2.5, 2.5]
    assert source.references()[2:4] == [CAPTIONS[1], CAPTIONS[2]]


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


def test_soundscapes_to_train_on_are_degraded(composer):
    source = soundscapes(composer, seed=5)
    clean = [LogMel(FRONT_END)(composer.compose(5, 2, i).waveform) for i in range(4)]
    frames = [source.epoch(2)[i].frames for i in range(4)]
    assert [f.shape for f in frames] == [c.shape for c in clean]
    assert not all(torch.equal(f, c) for f, c in zip(frames, clean, strict=True))
