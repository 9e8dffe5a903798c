"""Sound files of all kinds to mono waveforms, and files that are not sound."""

from __future__ import annotations

import ctypes
import io
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from aaccli import audio
from aaccli.errors import AudioError

RATE = 44100
RATES = [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 96000]


def frequency_of(waveform: np.ndarray, rate: int = RATE) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(spectrum.argmax() * rate / len(waveform))


def level_of(waveform: np.ndarray) -> float:
    """Peak of a sine, from its middle, where codecs and filters do not fade."""
    middle = waveform[len(waveform) // 4 : -len(waveform) // 4]
    return float(np.sqrt(2 * np.mean(middle**2)))


def read(path: Path, **settings) -> np.ndarray:
    return audio.read(path, RATE, **settings).waveform.numpy()


def assert_refused(path: Path, *named: str) -> None:
    with pytest.raises(AudioError) as error:
        audio.read(path, RATE)
    for part in (str(path), *named):
        assert part in str(error.value)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_rate_and_channels(tmp_path, rate, channels, tone, write_wav):
    waveform = np.stack([tone(1000.0, 0.5, rate)] * channels, axis=1)
    sound = audio.read(write_wav(tmp_path / "a.wav", waveform, rate), RATE)
    assert sound.sample_rate == RATE
    assert not sound.truncated
    assert sound.waveform.ndim == 1
    assert str(sound.waveform.dtype) == "torch.float32"
    assert len(sound.waveform) == pytest.approx(len(waveform) * RATE / rate, abs=1)
    assert frequency_of(sound.waveform.numpy()) == pytest.approx(1000.0, abs=3)
    assert level_of(sound.waveform.numpy()) == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize(
    ("subtype", "step"),
    [("PCM_16", 2**-15), ("PCM_24", 2**-23), ("PCM_32", 2**-23), ("PCM_U8", 2**-7), ("FLOAT", 1e-9), ("DOUBLE", 1e-9)],
)
def test_any_sample_type(tmp_path, subtype, step, noise, write_wav):
    waveform = noise(0.1)
    assert read(write_wav(tmp_path / "a.wav", waveform, RATE, subtype)) == pytest.approx(waveform, abs=step)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff", "w64", "caf"])
def test_any_format(tmp_path, suffix, tone, write_wav):
    if suffix.upper() not in soundfile.available_formats():
        pytest.skip(f"this libsndfile has no {suffix}")
    waveform = read(write_wav(tmp_path / f"a.{suffix}", tone(1000.0, 1.0)))
    assert len(waveform) == pytest.approx(RATE, abs=0.1 * RATE)
    assert frequency_of(waveform) == pytest.approx(1000.0, abs=3)
    assert level_of(waveform) == pytest.approx(0.5, rel=0.05)


def test_the_content_counts_and_not_the_suffix(tmp_path, noise, write_wav):
    flac = write_wav(tmp_path / "a.flac", noise(0.1))
    assert np.array_equal(read(flac.rename(tmp_path / "b.wav")), read(write_wav(tmp_path / "a.flac", noise(0.1))))


@pytest.mark.parametrize("channels", [2, 3, 6])
def test_channels_are_averaged(tmp_path, channels, rng, write_wav):
    waveform = rng.uniform(-1, 1, (4000, channels)).astype(np.float32)
    path = write_wav(tmp_path / "a.wav", waveform, RATE, "FLOAT")
    assert read(path) == pytest.approx(waveform.mean(axis=1), abs=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_count_as_silence(tmp_path, bad, rng, write_wav):
    waveform = rng.uniform(-1, 1, (4000, 2)).astype(np.float32)
    silent = waveform.copy()
    waveform[100:200, 0] = bad
    silent[100:200, 0] = 0
    broken = write_wav(tmp_path / "broken.wav", waveform, RATE, "FLOAT")
    whole = write_wav(tmp_path / "whole.wav", silent, RATE, "FLOAT")
    assert np.array_equal(read(broken), read(whole))


@pytest.mark.filterwarnings("ignore:overflow")
def test_huge_samples_stay_finite(tmp_path, write_wav):
    path = write_wav(tmp_path / "a.wav", np.full((4000, 2), 3e38, np.float32), RATE, "FLOAT")
    assert np.isfinite(read(path)).all()


@pytest.mark.parametrize(("max_seconds", "samples"), [(0.25, 11025), (0.5, 22050), (0.7, 22050), (None, 22050)])
def test_max_seconds(tmp_path, max_seconds, samples, noise, write_wav):
    path = write_wav(tmp_path / "a.wav", noise(0.5), RATE, "FLOAT")
    sound = audio.read(path, RATE, max_seconds)
    assert np.array_equal(sound.waveform.numpy(), noise(0.5)[:samples])
    assert sound.truncated == (samples < 22050)


def test_one_sample_too_many_is_truncated(tmp_path, noise, write_wav):
    path = write_wav(tmp_path / "a.wav", noise(1.0)[: RATE // 2 + 1])
    sound = audio.read(path, RATE, 0.5)
    assert len(sound.waveform) == RATE // 2
    assert sound.truncated


def test_max_seconds_counts_at_the_rate_of_the_file(tmp_path, noise, write_wav):
    path = write_wav(tmp_path / "a.wav", noise(1.0, 16000), 16000)
    sound = audio.read(path, RATE, 0.5)
    assert len(sound.waveform) == pytest.approx(RATE / 2, abs=1)
    assert sound.truncated


@pytest.mark.parametrize("block", [1, 999, 1000, 4000, 5000])
@pytest.mark.parametrize("max_seconds", [None, 2000 / RATE, 3000 / RATE])
def test_blocks_join_without_a_seam(tmp_path, monkeypatch, block, max_seconds, rng, write_wav):
    path = write_wav(tmp_path / "a.wav", rng.uniform(-1, 1, (4000, 2)), RATE)
    expected = audio.read(path, RATE, max_seconds)
    monkeypatch.setattr(audio, "BLOCK", block)
    actual = audio.read(path, RATE, max_seconds)
    assert np.array_equal(actual.waveform, expected.waveform)
    assert actual.truncated == expected.truncated


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3"])
def test_blocks_of_compressed_sound_join_without_a_seam(tmp_path, monkeypatch, suffix, tone, write_wav):
    path = write_wav(tmp_path / f"a.{suffix}", tone(1000.0, 1.0))
    expected = soundfile.read(path, dtype="float32")[0]
    monkeypatch.setattr(audio, "BLOCK", 3000)
    assert read(path) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("rate", [4000, 192000, 384000])
def test_extreme_rates(tmp_path, rate, tone, write_wav):
    waveform = read(write_wav(tmp_path / "a.wav", tone(1000.0, 0.5, rate), rate))
    assert frequency_of(waveform) == pytest.approx(1000.0, abs=3)
    assert level_of(waveform) == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("rate", [1, 999, 2_000_000_000])
def test_a_rate_that_no_sound_has(tmp_path, rate, noise, write_wav):
    assert_refused(write_wav(tmp_path / "a.wav", noise(0.1), rate), f"{rate} Hz")


needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg on PATH")


def through_ffmpeg(path: Path, *arguments: str) -> Path:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments, str(path)], check=True)
    return path


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["m4a", "webm", "wma", "mka", "aac", "avi"])
def test_what_ffmpeg_reads(tmp_path, suffix, tone, write_wav):
    wav = write_wav(tmp_path / "a.wav", np.stack([tone(1000.0, 1.0)] * 2, 1))
    path = through_ffmpeg(tmp_path / f"-%d a'b.{suffix}", "-i", str(wav))
    waveform = read(path)
    assert len(waveform) == pytest.approx(RATE, abs=0.1 * RATE)
    assert frequency_of(waveform) == pytest.approx(1000.0, abs=3)
    assert level_of(waveform) == pytest.approx(0.5, rel=0.05)


@needs_ffmpeg
def test_the_sound_of_a_video_and_a_video_without_any(tmp_path, tone, write_wav):
    wav = write_wav(tmp_path / "a.wav", tone(1000.0, 1.0))
    picture = ("-f", "lavfi", "-i", "color=d=1:s=16x16")
    video = through_ffmpeg(tmp_path / "a.mp4", *picture, "-i", str(wav), "-shortest")
    assert frequency_of(read(video)) == pytest.approx(1000.0, abs=3)
    assert_refused(through_ffmpeg(tmp_path / "mute.mp4", *picture), "no sound track")


def test_without_ffmpeg_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " * 100)
    assert_refused(tmp_path / "a.m4a", "install ffmpeg")


def test_a_playlist_in_disguise_fetches_nothing(tmp_path, monkeypatch):
    wanted = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: wanted.append(command) or 1 / 0)
    (tmp_path / "a.wav").write_text("#EXTM3U\nhttp://localhost/b.wav\n")
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(ZeroDivisionError):
        read(tmp_path / "a.wav")
    command = wanted[0]
    assert command[command.index("-protocol_whitelist") + 1] == "file"
    assert command[command.index("-i") + 1] == f"file:{tmp_path / 'a.wav'}"


PLAYLISTS = {  # of another file, as hls, concat and dash
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{path}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {path.name}\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-live:2011"><Period><AdaptationSet '
    'mimeType="audio/mp4"><Representation id="1" bandwidth="1"><BaseURL>{path.name}</BaseURL><SegmentBase/>'
    "</Representation></AdaptationSet></Period></MPD>",
}


@needs_ffmpeg
def test_a_playlist_in_disguise_opens_no_other_file(tmp_path, tone, write_wav):
    wav = write_wav(tmp_path / "a.wav", tone(1000.0, 0.5))
    secret = through_ffmpeg(tmp_path / "secret.m4a", "-i", str(wav))
    for kind, playlist in PLAYLISTS.items():
        (tmp_path / f"{kind}.mp4").write_text(playlist.format(path=secret))
        assert_refused(tmp_path / f"{kind}.mp4", "a playlist")


def problem(path: Path) -> str:
    """What the reader says after all was read that is there; and that something was."""
    with audio.opened(path) as reader:
        assert sum(len(block) for block in reader) > 0
        return str(reader.error or "")


@pytest.mark.parametrize("suffix", ["wav", "flac", "w64", "aiff", "au"])
def test_a_file_that_breaks_off_is_read_and_says_so(tmp_path, suffix, noise, write_wav):
    path = write_wav(tmp_path / f"a.{suffix}", noise(2.0))
    assert problem(path) == ""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    assert str(path) in problem(path)


@pytest.mark.parametrize(("suffix", "at"), [("w64", b"data"), ("flac", None)])
def test_a_header_that_claims_more_than_the_world_holds(tmp_path, suffix, at, noise, write_wav):
    path = write_wav(tmp_path / f"a.{suffix}", noise(1.0))
    content = bytearray(path.read_bytes())
    if at is None:  # the 36 bits of STREAMINFO
        content[21:26] = bytes([content[21] | 0x0F, 0xFF, 0xFF, 0xFF, 0xFF])
    else:
        place = content.find(at) + 16  # a GUID, then the size
        content[place : place + 8] = (2**41).to_bytes(8, "little")
    path.write_bytes(content)
    assert "its header promises" in problem(path)
    assert len(read(path)) == pytest.approx(RATE, abs=1)


def test_a_size_that_a_recorder_left_open_is_no_promise(tmp_path, noise, write_wav):
    path = write_wav(tmp_path / "a.wav", noise(1.0))
    content = bytearray(path.read_bytes())
    place = content.find(b"data") + 4
    content[place : place + 4] = b"\xff" * 4
    path.write_bytes(content)
    assert problem(path) == ""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_does_not_make_it_wait(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    assert_refused(tmp_path / "a.wav", "stdin")


def test_a_loop_of_links(tmp_path):
    (tmp_path / "a.wav").symlink_to("a.wav")
    assert_refused(tmp_path / "a.wav", "symbolic links")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path, noise, write_wav):
    write_wav(tmp_path / "a.wav", noise(0.1)).chmod(0)
    assert_refused(tmp_path / "a.wav", "denied")


def test_stdin_is_read_like_a_file(tmp_path, monkeypatch, noise, write_wav):
    content = write_wav(tmp_path / "a.flac", noise(0.5)).read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert np.array_equal(read(Path("-")), read(tmp_path / "a.flac"))


def test_missing_file(tmp_path):
    assert_refused(tmp_path / "nowhere.wav", "no such file")


def test_folder(tmp_path):
    assert_refused(tmp_path, "not a file")


def test_link_to_nowhere(tmp_path):
    (tmp_path / "a.wav").symlink_to(tmp_path / "gone.wav")
    assert_refused(tmp_path / "a.wav", "no such file")


@pytest.mark.parametrize("content", [b"", b"just some text\n" * 100, b"\0" * 1000, b"RIFF", b"ID3", b"fLaC"])
@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.flac", "a"])
def test_what_is_no_sound(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    assert_refused(tmp_path / name)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_header_without_samples(tmp_path, suffix, write_wav):
    assert_refused(write_wav(tmp_path / f"a.{suffix}", np.zeros(0, np.float32)))


def test_truncated_wav_gives_what_is_there(tmp_path, noise, write_wav):
    path = write_wav(tmp_path / "a.wav", noise(0.5))
    whole, content = read(path), path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    part = read(path)
    assert len(part) == pytest.approx(len(whole) / 2, abs=50)
    assert np.array_equal(part, whole[: len(part)])


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.99])
def test_truncated_file_gives_sound_or_a_clear_error(tmp_path, suffix, share, tone, write_wav):
    path = write_wav(tmp_path / f"a.{suffix}", tone(440.0, 1.0))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    try:
        waveform = read(path)
    except AudioError as error:
        assert str(path) in str(error)
    else:
        assert 0 < len(waveform) <= 1.1 * RATE
        assert np.isfinite(waveform).all()


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_damaged_file_gives_sound_or_a_clear_error(tmp_path, suffix, tone, rng, write_wav):
    path = write_wav(tmp_path / f"a.{suffix}", tone(440.0, 1.0))
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    content[rng.integers(0, len(content), len(content) // 20)] ^= 0xFF
    path.write_bytes(content.tobytes())
    try:
        waveform = read(path)
    except AudioError as error:
        assert str(path) in str(error)
    else:
        assert len(waveform) > 0
        assert np.isfinite(waveform).all()


NAMES = [
    "with space.wav",
    "Glocke läutet, 犬.wav",
    "two\nlines.wav",
    "-.wav",
    "%s {0}.wav",
    "quote'\".wav",
    "no_suffix",
]
UNDECODABLE = os.fsdecode(b"caf\xe9 \xff\xfe.wav")  # ISO-8859-1, as old archives have it


@pytest.mark.parametrize("name", [*NAMES, UNDECODABLE], ids=ascii)
def test_any_file_name(tmp_path, name, noise, write_wav):
    path = write_wav(tmp_path / "a.wav", noise(0.1), RATE, "FLOAT").rename(tmp_path / name)
    assert np.array_equal(read(path), noise(0.1))


@pytest.mark.parametrize("name", [*NAMES, UNDECODABLE], ids=ascii)
def test_any_file_name_in_an_error(tmp_path, name):
    (tmp_path / name).write_text("no sound")
    assert_refused(tmp_path / name)


def test_a_name_too_long_to_exist(tmp_path):
    assert_refused(tmp_path / ("a" * 300 + ".wav"))


@pytest.mark.parametrize("name", ["a\0b.wav", "\ud800.wav"], ids=ascii)
def test_a_name_that_no_file_can_have(name):
    assert_refused(Path(name))


def test_a_damaged_sample_dump_prints_nothing_among_the_captions(tmp_path, capfd, noise, write_wav):
    """Where a packet should begin and does not, libsndfile says so on stdout."""
    path = write_wav(tmp_path / "a.sds", noise(0.1))
    content = bytearray(path.read_bytes())
    for packet in range(21, len(content), 127):
        content[packet] = 0x42
    path.write_bytes(content)
    try:
        read(path)
    except AudioError as error:
        assert str(path) in str(error)
    ctypes.CDLL(None).fflush(None)
    assert capfd.readouterr().out == ""


@needs_ffmpeg
def test_a_sample_dump_is_read(tmp_path, tone, write_wav):
    assert frequency_of(read(write_wav(tmp_path / "a.sds", tone(1000.0, 1.0)))) == pytest.approx(1000.0, abs=3)


def test_a_raw_file_has_no_sample_rate(tmp_path):
    (tmp_path / "a.raw").write_bytes(b"\0" * 1000)
    assert_refused(tmp_path / "a.raw")


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("a.wav", True),
        ("A.WAV", True),
        ("b.c.Mp3", True),
        ("a.txt", False),
        ("wav", False),
        (".a.wav", False),
        (".wav", False),
    ],
)
def test_sound_files_by_name(name, taken):
    assert audio.is_sound_file(Path("folder.wav") / name) == taken
