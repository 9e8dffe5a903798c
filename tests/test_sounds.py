"""Labelled recordings: how they are listed, decoded, cut and made louder or fainter."""

from __future__ import annotations

import math
import os
import sys
from collections import Counter
from pathlib import Path

import forked
import numpy as np
import pytest
import torch

from aaccli.data.phrases import Entry, Phrase, PhraseBook
from aaccli.data.sounds import Recording, SoundBank, crop, faint_noise, gain, read_sounds, relabel, split
from aaccli.errors import AudioError, DataError

RATE = 8000
seeds = pytest.mark.parametrize("seed", range(20))


def write_manifest(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    (folder / "manifest.csv").write_bytes(text.encode(encoding))
    return folder


def touch(folder: Path, *files: str) -> Path:
    """Empty files: read_sounds looks at names alone."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


def decibels(waveform: torch.Tensor) -> float:
    """Level of a waveform, dB below a full-scale square."""
    return 10 * math.log10(float(waveform.double().square().mean()) or 1e-30)


# --- a folder with manifest.csv ---


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_manifest(tmp_path, encoding, newline):
    rows = ["licence,label,file,fold", 'CC0,dog,"a, b.wav",2', "CC-BY,crying_baby,sub/ünë.ogg,5"]
    write_manifest(tmp_path, newline.join([*rows, ""]), encoding)
    assert read_sounds(tmp_path) == [
        Recording(tmp_path / "a, b.wav", "dog", 2),
        Recording(tmp_path / "sub/ünë.ogg", "crying_baby", 5),
    ]


def test_manifest_wins_over_folders(tmp_path):
    touch(tmp_path, "cat/a.wav")
    write_manifest(tmp_path, "file,label\ncat/a.wav,dog\n")
    assert [r.label for r in read_sounds(tmp_path)] == ["dog"]


def test_space_around_a_label_is_not_part_of_it(tmp_path):
    write_manifest(tmp_path, "file,label,fold\na.wav, dog , 3 \n")
    assert read_sounds(tmp_path) == [Recording(tmp_path / "a.wav", "dog", 3)]


@pytest.mark.parametrize("row", [",dog", "a.wav,", "a.wav", "", ","])
def test_rows_without_file_or_label_are_left_out(tmp_path, row):
    write_manifest(tmp_path, f"file,label\n{row}\nb.wav,cat\n")
    assert [r.path.name for r in read_sounds(tmp_path)] == ["b.wav"]


def test_blank_fold_is_the_fold_of_a_recording_that_names_none(tmp_path):
    files = [f"{i}.wav" for i in range(30)]
    rows = "".join(f"{file},dog\n" for file in files)
    without = read_sounds(write_manifest(tmp_path, "file,label\n" + rows))
    blank = read_sounds(write_manifest(tmp_path, "file,label,fold\n" + rows.replace("\n", ",\n")))
    assert without == blank


def test_a_fold_of_thousands_of_digits_is_none(tmp_path):
    (strange,) = read_sounds(write_manifest(tmp_path, f"file,label,fold\na.wav,dog,{'9' * 5000}\n"))
    (without,) = read_sounds(write_manifest(tmp_path, "file,label\na.wav,dog\n"))
    assert strange == without


@pytest.mark.parametrize(
    ("header", "lacking"),
    [("file", "label"), ("label", "file"), ("path,class", "file or label"), ("", "file or label")],
)
def test_missing_column_is_named(tmp_path, header, lacking):
    write_manifest(tmp_path, f"{header}\nx,y\n" if header else "")
    with pytest.raises(DataError, match=rf"manifest\.csv: line 1: no column {lacking}; it has"):
        read_sounds(tmp_path)


def test_manifest_that_names_nothing(tmp_path):
    write_manifest(tmp_path, "file,label\n")
    with pytest.raises(DataError, match=r"manifest\.csv"):
        read_sounds(tmp_path)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_manifest_that_is_not_utf8(tmp_path, encoding):
    write_manifest(tmp_path, "file,label\ngeräusch.wav,dog\n", encoding)
    with pytest.raises(DataError, match=r"manifest\.csv.*UTF-8"):
        read_sounds(tmp_path)


def test_a_label_of_spaces_is_no_label(tmp_path):
    write_manifest(tmp_path, "file,label\na.wav,  \nb.wav,cat\n")
    assert [r.label for r in read_sounds(tmp_path)] == ["cat"]


# --- one folder a label ---


def test_folders(tmp_path):
    touch(tmp_path, "dog/b.wav", "dog/a.FLAC", "dog/yard/night/c.ogg", "crying baby/x.mp3")
    found = {(r.path.relative_to(tmp_path).as_posix(), r.label) for r in read_sounds(tmp_path)}
    assert found == {
        ("dog/a.FLAC", "dog"),
        ("dog/b.wav", "dog"),
        ("dog/yard/night/c.ogg", "dog"),
        ("crying baby/x.mp3", "crying baby"),
    }


def test_what_is_no_sound_is_left_out(tmp_path):
    touch(tmp_path, "dog/a.wav", "dog/notes.txt", "dog/.b.wav", "dog/._a.wav", ".cache/c.wav", "top.wav", "empty/x.pdf")
    (tmp_path / "dog" / "folder.wav").mkdir()
    assert [r.path.relative_to(tmp_path).as_posix() for r in read_sounds(tmp_path)] == ["dog/a.wav"]


def test_hidden_folders_of_a_label_are_left_out(tmp_path):
    touch(tmp_path, "dog/a.wav", "dog/.trash/b.wav")
    assert [r.path.name for r in read_sounds(tmp_path)] == ["a.wav"]


@pytest.mark.skipif(sys.platform != "linux", reason="names that are not UTF-8 are Linux's")
def test_names_that_are_not_utf8(tmp_path):
    (tmp_path / "dog").mkdir()
    name = os.fsdecode(os.fsencode(tmp_path / "dog") + b"/caf\xe9.wav")
    Path(name).touch()
    assert [str(r.path) for r in read_sounds(tmp_path)] == [name]


@pytest.mark.parametrize("files", [(), ("a.wav",), ("dog/readme.txt",)])
def test_folder_without_labelled_sounds(tmp_path, files):
    touch(tmp_path, *files)
    with pytest.raises(DataError, match=f"{tmp_path.name}.*manifest"):
        read_sounds(tmp_path)


def test_folder_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        read_sounds(tmp_path / "nowhere")


# --- folds ---


def test_folds_spread(tmp_path):
    touch(tmp_path, *(f"dog/{i}.wav" for i in range(200)))
    counts = Counter(r.fold for r in read_sounds(tmp_path))
    assert set(counts) == {1, 2, 3, 4, 5}
    assert min(counts.values()) > 20


def test_folds_are_the_same_in_another_process_and_folder(tmp_path):
    first, second = tmp_path / "one", tmp_path / "two"
    for folder in (first, second):
        touch(folder, *(f"dog/{i}.wav" for i in range(20)))
    code = "import sys, pathlib; from aaccli.data.sounds import read_sounds; "
    code += "print(*(r.fold for r in read_sounds(pathlib.Path(sys.argv[1]))))"
    elsewhere = forked.run(code, second)  # where texts have another hash
    assert elsewhere.stdout.split() == [str(r.fold) for r in read_sounds(first)]


def test_split():
    recordings = [Recording(Path(f"{i}.wav"), "dog", i % 5 + 1) for i in range(12)]
    train, validation = split(recordings, 3)
    assert [r.path.stem for r in validation] == ["2", "7"]
    assert sorted([*train, *validation], key=recordings.index) == recordings


def test_split_on_a_fold_that_no_recording_has():
    recordings = [Recording(Path("a.wav"), "dog", 1)]
    assert split(recordings, 9) == (recordings, [])


# --- labels of the book ---


@pytest.mark.parametrize(("known_only", "labels"), [(False, ["cow", "cow", "spaceship"]), (True, ["cow", "cow"])])
def test_relabel(known_only, labels):
    book = PhraseBook([Entry("cow", (Phrase("a cow", "moos", "mooing"),), also=("cattle",))])
    recordings = [Recording(Path(f"{name}.wav"), name, 2) for name in ("cattle", "cow", "spaceship")]
    result = relabel(recordings, book, known_only)
    assert [r.label for r in result] == labels
    assert [(r.path, r.fold) for r in result] == [(r.path, 2) for r in recordings[: len(result)]]


# --- the bank ---


@pytest.fixture
def bank(tmp_path, tone, write_wav) -> SoundBank:
    """Two dogs and a cat; and a wolf, of which nothing can be read, and a dog that is no sound."""
    for name, frequency in {"dog1": 300, "dog2": 400, "cat": 900}.items():
        write_wav(tmp_path / f"{name}.wav", tone(frequency, 0.3, RATE), RATE)
    (tmp_path / "dog3.wav").write_bytes(b"no sound")
    labels = {"dog1": "dog", "dog3": "dog", "dog2": "dog", "cat": "cat", "wolf": "wolf"}
    return SoundBank([Recording(tmp_path / f"{n}.wav", label, 1) for n, label in labels.items()], RATE)


def test_unreadable_files_are_left_out_and_told(bank):
    heard = []
    errors = bank.load(lambda: heard.append(1))
    assert all(isinstance(error, AudioError) for error in errors)
    assert sorted(next(n for n in ("dog3.wav", "wolf.wav") if n in str(e)) for e in errors) == ["dog3.wav", "wolf.wav"]
    assert sorted(r.path.stem for r in bank.recordings) == ["cat", "dog1", "dog2"]
    assert bank.labels == ["cat", "dog", "silence"]
    assert len(bank) == 3
    assert len(heard) == 5, "told of every file, read or not"


def test_labels_of_an_empty_bank():
    assert SoundBank([], RATE).labels == ["silence"]


def test_recorded_silence_is_one_label():
    assert SoundBank([Recording(Path("a.wav"), "silence", 1)], RATE).labels == ["silence"]


@pytest.mark.parametrize("level", [1.0, 0.5, 0.001])
def test_waveform_within_16_bit(tmp_path, noise, write_wav, level):
    original = np.clip(noise(0.3, RATE, level), -1, 1)
    recording = Recording(write_wav(tmp_path / "a.wav", original, RATE, subtype="FLOAT"), "dog", 1)
    bank = SoundBank([recording], RATE)
    assert bank.load() == []
    waveform = bank.waveform(recording)
    assert waveform.dtype == torch.float32
    assert np.abs(waveform.numpy() - original).max() <= 0.51 / 32767


def test_samples_beyond_full_scale_do_not_wrap_around(tmp_path, write_wav):
    path = write_wav(tmp_path / "a.wav", np.float32([-3, -1, 0, 1, 3]), RATE, subtype="FLOAT")
    bank = SoundBank([Recording(path, "dog", 1)], RATE)
    bank.load()
    assert bank.waveform(bank.recordings[0]).tolist() == [-1, -1, 0, 1, 1]


def test_waveform_has_the_banks_rate(tmp_path, tone, write_wav):
    path = write_wav(tmp_path / "a.wav", tone(300, 0.3, 16000), 16000)
    bank = SoundBank([Recording(path, "dog", 1)], RATE)
    bank.load()
    assert len(bank.waveform(bank.recordings[0])) == 0.3 * RATE


def test_pick_takes_every_recording_of_the_label_and_no_other(bank, rng):
    bank.load()
    picked = {float(bank.pick("dog", rng)[5]) for _ in range(40)}
    assert picked == {float(bank.waveform(r)[5]) for r in bank.recordings if r.label == "dog"}
    assert len(picked) == 2


# --- crops, gain, noise ---


@pytest.mark.parametrize("length", [1, 50, 99, 100, 101, 1000])
def test_crop_has_exactly_the_length(length, rng):
    for samples in (1, 100, 257):
        assert crop(torch.ones(length), samples, rng).shape == (samples,)


def test_crop_is_a_stretch_of_the_recording(rng):
    ramp = torch.arange(1.0, 1001.0)
    starts = []
    for _ in range(50):
        piece = crop(ramp, 100, rng)
        assert torch.equal(piece.diff(), torch.ones(99))
        starts.append(int(piece[0]) - 1)
    assert 0 <= min(starts) < 200
    assert 700 < max(starts) <= 900


def test_short_sound_lies_whole_somewhere_in_zeros(rng):
    sound = torch.arange(1.0, 11.0)
    starts = set()
    for _ in range(200):
        piece = crop(sound, 14, rng)
        start = int(piece.nonzero()[0])
        starts.add(start)
        assert torch.equal(piece[start : start + 10], sound)
        assert piece.count_nonzero() == 10
    assert starts == {0, 1, 2, 3, 4}


def share_audible(onset: float, rng: np.random.Generator) -> float:
    """Share of crops of 1 s with anything in it, of 3 s of silence but for 0.3 s."""
    waveform = torch.zeros(3000)
    waveform[round(1000 * onset) :][:300] = 0.5
    return float(np.mean([bool(crop(waveform, 1000, rng).any()) for _ in range(300)]))


def test_crop_of_a_mostly_silent_recording_is_audible(rng):
    assert share_audible(1.3, rng) > 0.95


@pytest.mark.parametrize("onset", [0.0, 2.7])
def test_crop_finds_a_sound_at_an_end(onset, rng):
    assert share_audible(onset, rng) > 0.95


def test_crop_of_silence_ends(rng):
    assert not crop(torch.zeros(1000), 100, rng).any()


@pytest.mark.parametrize(("db", "factor"), [(0, 1), (-20, 0.1), (20, 10), (-6.0206, 0.5), (6.0206, 2)])
def test_gain_in_decibels(db, factor):
    waveform = torch.tensor([-0.09, 0.0, 0.05])
    torch.testing.assert_close(gain(waveform, db), waveform * factor)


def test_gain_keeps_full_scale():
    assert gain(torch.tensor([-0.5, -0.01, 0.01, 0.5]), 20).tolist() == pytest.approx([-1, -0.1, 0.1, 1])


@seeds
def test_faint_noise_is_faint(seed):
    noise = faint_noise(RATE // 2, np.random.default_rng(seed))
    assert noise.shape == (RATE // 2,)
    assert noise.dtype == torch.float32
    assert not noise.any() or -90.1 < decibels(noise) < -54.9


def test_faint_noise_differs_in_level_and_colour():
    noises = [faint_noise(RATE // 2, np.random.default_rng(seed)) for seed in range(60)]
    levels = [decibels(noise) for noise in noises if noise.any()]
    assert 3 <= sum(not noise.any() for noise in noises) <= 25, "some are digital silence"
    assert min(levels) < -80
    assert max(levels) > -65
    roughness = [float(n.diff().square().mean() / n.square().mean()) for n in noises if n.any()]
    assert max(roughness) > 1.5, "white: neighbours differ by twice the power"
    assert min(roughness) < 0.3, "brown: neighbours are alike"


@seeds
def test_faint_noise_of_a_seed(seed):
    first, again, other = (faint_noise(200, np.random.default_rng(s)) for s in (seed, seed, seed + 1000))
    assert torch.equal(first, again)
    assert not torch.equal(first, other) or not (first.any() or other.any())
