"""Soundscapes: what is heard in them is what their scenes say."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
import torch

from aaccli.data.phrases import Entry, Phrase, PhraseBook
from aaccli.data.sentences import Scene
from aaccli.data.sounds import SILENCE, Recording, SoundBank
from aaccli.data.soundscapes import Composer, Soundscape, SoundscapeConfig, active_level, looped
from aaccli.errors import DataError

RATE = 8000
CONFIG = SoundscapeConfig(alone=0.4, two=0.4, max_seconds=1.0, gap_seconds=0.4, looped=0.0)
# Hz of each label's tone: multiples of 1 / WINDOW apart, so that no tone is heard at another's frequency.
TONES = {"dog": 500, "cat": 900, "drum": 1400, "rain": 2000, "wind": 2700}
BEDS = {"rain", "wind"}
WINDOW = 0.02  # s


def phrases(label: str) -> tuple[Phrase, ...]:
    return tuple(Phrase(f"{word} {label}", "sounds", "sounding") for word in ("a", "the", "some", "one"))


BOOK = PhraseBook(
    [Entry(label, phrases(label), label in BEDS, label in BEDS) for label in TONES]
    + [Entry(SILENCE, phrases("nothing"))]
)


def make_bank(folder, write_wav, sounds: dict[str, np.ndarray]) -> SoundBank:
    recordings = [Recording(write_wav(folder / f"{n}.wav", sounds[n], RATE), n.split(" ")[0], 1) for n in sounds]
    bank = SoundBank(recordings, RATE)
    assert bank.load() == []
    return bank


@pytest.fixture(scope="module")
def bank(tmp_path_factory, tone, write_wav) -> SoundBank:
    """A short and a long tone of every label, at different levels."""
    sounds = {}
    for i, (label, frequency) in enumerate(TONES.items()):
        sounds[f"{label} short"] = tone(frequency, 0.2, RATE, 0.1 + 0.2 * i)
        sounds[f"{label} long"] = tone(frequency, 0.6 + 0.3 * i, RATE, 0.9 - 0.2 * i)
    return make_bank(tmp_path_factory.mktemp("bank"), write_wav, sounds)


@pytest.fixture(scope="module")
def composer(bank) -> Composer:
    return Composer(bank, BOOK, CONFIG, bank.labels)


@pytest.fixture(scope="module")
def many(composer) -> list[Soundscape]:
    return [composer.compose(1, i) for i in range(300)]


def rms_db(waveform: torch.Tensor) -> float:
    return 10 * math.log10(float(waveform.double().square().mean()) + 1e-30)


def power_at(waveform: torch.Tensor, frequency: float) -> np.ndarray:
    """Power of a waveform at a frequency around every sample."""
    time = np.arange(len(waveform)) / RATE
    size = round(WINDOW * RATE)
    mixed = waveform.numpy() * np.exp(-2j * np.pi * frequency * time)
    return np.abs(np.convolve(mixed, np.ones(size) / size, mode="same")) ** 2


def kinds(scenes: list[Scene]) -> Counter[int]:
    return Counter(len(scene.events) for scene in scenes)


# --- the same and other seeds ---


def test_soundscapes_of_a_seed(composer, bank):
    again = Composer(bank, BOOK, CONFIG, bank.labels)
    for seed in ((0,), (1, 2), (1, 2, 3)):
        one, two = composer.compose(*seed), again.compose(*seed)
        assert torch.equal(one.waveform, two.waveform)
        assert (one.scene, one.captions) == (two.scene, two.captions)


def test_soundscapes_of_other_seeds(composer):
    seeds = list(product((0, 1, 7), repeat=3))
    assert len({composer.compose(*seed).waveform.numpy().tobytes() for seed in seeds}) == len(seeds)


# --- waveforms ---


def test_waveforms_are_sound(many):
    for soundscape in many:
        waveform = soundscape.waveform
        assert waveform.dtype == torch.float32
        assert waveform.ndim == 1
        assert torch.isfinite(waveform).all()
        assert waveform.abs().max() <= 1
        assert abs(len(waveform) / RATE - soundscape.scene.seconds) < 0.001


def test_peaks_are_within_the_gains(many):
    peaks = [20 * math.log10(float(s.waveform.abs().max())) for s in many if s.scene.events]
    assert -CONFIG.gain_db - 1 < min(peaks) < -CONFIG.gain_db + 3, "the noise floor may add or take a little"
    assert -3 < max(peaks) < 0


@pytest.mark.parametrize("gain_db", [1.0, 40.0])
def test_gain_is_configured(bank, gain_db):
    composer = Composer(bank, BOOK, replace(CONFIG, silence=0, gain_db=gain_db), bank.labels)
    peaks = [20 * math.log10(float(composer.compose(i).waveform.abs().max())) for i in range(20)]
    assert -gain_db - 3 < min(peaks) < -gain_db / 2
    assert max(peaks) < 0


def test_silent_soundscapes_are_faint(bank):
    composer = Composer(bank, BOOK, replace(CONFIG, silence=1.0), bank.labels)
    for soundscape in (composer.compose(i) for i in range(20)):
        assert soundscape.scene.events == ()
        assert rms_db(soundscape.waveform) < -50
        assert 1 <= soundscape.scene.seconds <= CONFIG.max_seconds + 1
        assert all("nothing" in caption for caption in soundscape.captions)


def test_some_soundscapes_have_a_noise_floor(many):
    """Digital silence between two sounds is no clue that a soundscape is composed."""
    floors = [float((s.waveform == 0).float().mean()) for s in many if len(s.scene.events) == 2]
    assert 0.2 < np.mean([floor < 0.01 for floor in floors]) < 0.9


# --- scenes ---


def test_events_lie_within_the_recording(many):
    for scene in (s.scene for s in many):
        assert all(0 <= e.onset < e.end <= scene.seconds + 1e-9 for e in scene.events)


def test_events_have_labels_of_their_own(many, bank):
    for scene in (s.scene for s in many):
        labels = [event.label for event in scene.events]
        assert len(set(labels)) == len(labels)
        assert set(labels) <= set(bank.labels) - {SILENCE}
        assert len(labels) <= 3
        assert sum(event.bed for event in scene.events) <= 1


def test_beds_lie_under_everything(many):
    beds = [(scene, scene.bed) for scene in (s.scene for s in many) if scene.bed]
    assert len(beds) > 30
    for scene, bed in beds:
        assert bed.label in BEDS
        assert bed.onset == 0
        assert bed.end == pytest.approx(scene.seconds)
        assert bed.times == 1
        assert len(scene.foreground) in (1, 2)


def test_three_sounds_follow_one_another(many):
    """So do two over a bed: sentences about them say 'then'."""
    scenes = [s.scene for s in many if len(s.scene.events) == 3]
    assert {scene.bed is None for scene in scenes} == {True, False}
    for scene in scenes:
        assert all(before.end <= after.onset for before, after in pairwise(scene.foreground))


def test_only_short_single_events_repeat(many):
    repeated = [event for s in many for event in s.scene.events if event.times > 1]
    assert len(repeated) > 20
    assert {event.times for event in repeated} == {2, 3, 4}
    assert not {event.label for event in repeated} & BEDS
    assert all(e.end - e.onset >= 0.2 * e.times + 0.1 * (e.times - 1) - 0.001 for e in repeated)


def test_sounds_are_no_longer_than_configured(many):
    events = [e for s in many for e in s.scene.foreground if e.times == 1]
    lengths = [e.end - e.onset for e in events]
    assert CONFIG.max_seconds - 0.01 < max(lengths) < CONFIG.max_seconds + 0.01


def test_every_label_is_heard(many, bank):
    heard = Counter(event.label for s in many for event in s.scene.events)
    assert set(heard) == set(TONES)
    assert min(heard.values()) > 0.5 * max(heard.values())


def test_rare_labels_are_drawn_less(bank, tmp_path, write_wav, tone):
    sounds = {f"dog {i}": tone(TONES["dog"], 0.2, RATE) for i in range(9)} | {"cat 0": tone(TONES["cat"], 0.2, RATE)}
    composer = Composer(
        make_bank(tmp_path, write_wav, sounds), BOOK, replace(CONFIG, silence=0, alone=1, full_weight=4), ["dog", "cat"]
    )
    heard = Counter(composer.compose(i).scene.events[0].label for i in range(300))
    assert heard["cat"] / 300 == pytest.approx(1 / 5, abs=0.07)


def test_shares_of_kinds(many):
    count = kinds([s.scene for s in many])
    shares = [count[n] / len(many) for n in range(4)]
    three = 1 - CONFIG.silence - CONFIG.alone - CONFIG.two
    assert shares == pytest.approx([CONFIG.silence, CONFIG.alone, CONFIG.two, three], abs=0.08)


def test_share_of_overlaps(bank):
    composer = Composer(bank, BOOK, replace(CONFIG, silence=0, alone=0, two=1), bank.labels)
    scenes = [composer.compose(2, i).scene for i in range(200)]
    onsets = [sorted(scene.events, key=lambda event: event.onset) for scene in scenes]
    overlaps = [second.onset < first.end for first, second in onsets]
    assert np.mean(overlaps) == pytest.approx(CONFIG.overlap, abs=0.1)
    # A bed is possible where one of the two is: 7 of 10 pairs of these labels.
    assert np.mean([s.bed is not None for s in scenes]) == pytest.approx(CONFIG.overlap * CONFIG.bed * 0.7, abs=0.08)


@pytest.mark.parametrize(
    ("shares", "events"),
    [
        ({"silence": 0, "alone": 1, "two": 0}, {1}),
        ({"silence": 0, "alone": 0, "two": 1}, {2}),
        ({"silence": 0, "alone": 0, "two": 0}, {3}),
    ],
)
def test_kinds_are_configured(bank, shares, events):
    composer = Composer(bank, BOOK, replace(CONFIG, **shares), bank.labels)
    assert set(kinds([composer.compose(i).scene for i in range(15)])) == events


@pytest.mark.parametrize(("overlap", "bed"), [(0.0, 0.6), (1.0, 0.0), (1.0, 1.0)])
def test_overlap_is_configured(bank, overlap, bed):
    config = replace(CONFIG, silence=0, alone=0, two=1, overlap=overlap, bed=bed)
    composer = Composer(bank, BOOK, config, bank.labels)
    for scene in (composer.compose(i).scene for i in range(20)):
        first, second = sorted(scene.events, key=lambda event: event.onset)
        assert (second.onset < first.end) == (overlap == 1)
        possible = bool({first.label, second.label} & BEDS)
        assert (scene.bed is not None) == (overlap == bed == 1 and possible)


@pytest.mark.parametrize("as_recorded", [0.0, 1.0])
def test_silence_around_single_sounds_is_configured(bank, as_recorded):
    config = replace(CONFIG, silence=0, alone=1, as_recorded=as_recorded)
    composer = Composer(bank, BOOK, config, bank.labels)
    for scene in (composer.compose(i).scene for i in range(20)):
        (event,) = scene.events
        around = scene.seconds - (event.end - event.onset)
        assert around < 0.001 if as_recorded else around > 0.001


def test_single_sounds_have_seconds_of_silence_around_when_asked(bank):
    config = replace(CONFIG, silence=0, alone=1, as_recorded=0, long_silence=1, silence_seconds=6.0)
    scenes = [Composer(bank, BOOK, config, bank.labels).compose(i).scene for i in range(60)]
    before = [scene.events[0].onset for scene in scenes]
    after = [scene.seconds - scene.events[0].end for scene in scenes]
    for silences in (before, after):
        assert 3 < max(silences) < 6.01
    assert not any(b > 1.51 and a > 1.51 for b, a in zip(before, after, strict=True))


def test_looped_sounds_sound_all_the_time(bank):
    config = replace(CONFIG, silence=0, alone=1, looped=1, loop_seconds=8.0, repeat=0)
    made = [Composer(bank, BOOK, config, bank.labels).compose(i) for i in range(20)]
    seconds = [scene.scene.seconds for scene in made]
    assert min(seconds) >= 1.0 and 6 < max(seconds) < 8.01
    for soundscape in made:
        (event,) = soundscape.scene.events
        assert (event.onset, event.times) == (0, 1)
        assert event.end == pytest.approx(soundscape.scene.seconds)
        power = power_at(soundscape.waveform, TONES[event.label])
        assert power[400:-400].min() > 0.01 * power.max()


# --- what is heard, and when ---


def test_events_are_heard_where_the_scene_says(many):
    seen = 0
    margin = round(WINDOW * RATE)
    for soundscape in many:
        for event in soundscape.scene.foreground:
            power = power_at(soundscape.waveform, TONES[event.label])
            start, end = round(event.onset * RATE), round(event.end * RATE)
            inside = power[start + margin : end - margin]
            outside = np.concatenate([power[: max(0, start - margin)], power[end + margin :]])
            if len(outside) > margin:
                seen += 1
                assert inside.mean() > 100 * outside.mean(), soundscape.scene
    assert seen > 200


def test_events_begin_and_end_when_the_scene_says(many):
    margin = round(WINDOW * RATE)
    for soundscape in many:
        for event in soundscape.scene.foreground:
            power = power_at(soundscape.waveform, TONES[event.label])
            loud = np.flatnonzero(power > 0.3 * power.max())
            assert abs(loud[0] - event.onset * RATE) < margin
            assert abs(loud[-1] - event.end * RATE) < margin


def test_repeated_events_are_heard_as_often_as_the_scene_says(many):
    for soundscape in many:
        for event in soundscape.scene.foreground:
            power = power_at(soundscape.waveform, TONES[event.label])
            loud = np.flatnonzero(power > 0.3 * power.max())
            pauses = np.diff(loud) > 0.05 * RATE
            assert pauses.sum() + 1 == event.times


def test_beds_are_heard_all_the_time_and_fainter(many):
    gap = round(0.1 * RATE)
    for soundscape in many:
        bed = soundscape.scene.bed
        if bed:
            power = power_at(soundscape.waveform, TONES[bed.label])
            # Tones of other phase may cancel where a loop is joined, not for longer.
            assert min(power[i : i + gap].max() for i in range(0, len(power) - gap, gap)) > 0.3 * power.max()
            louder = [power_at(soundscape.waveform, TONES[e.label]).max() for e in soundscape.scene.foreground]
            assert max(louder) > 0.5 * power.max()


def test_captions_are_of_the_scene(many):
    for soundscape in many:
        labels = {event.label for event in soundscape.scene.events} or {"nothing"}
        for caption in soundscape.captions:
            assert set(caption.split()) & {*TONES, "nothing"} == labels


@pytest.mark.parametrize("captions", [1, 3])
def test_number_of_captions_is_configured(bank, captions):
    composer = Composer(bank, BOOK, replace(CONFIG, captions=captions), bank.labels)
    assert {len(composer.compose(i).captions) for i in range(10)} == {captions}


# --- banks that are poor ---


def test_nothing_but_silence_is_refused(bank):
    with pytest.raises(DataError):
        Composer(bank, BOOK, CONFIG, [SILENCE])


def test_two_labels_are_enough(bank):
    for labels in (["dog", "cat"], ["dog", "rain"], ["rain", "wind"]):
        composer = Composer(bank, BOOK, CONFIG, [*labels, SILENCE])
        heard = {event.label for i in range(40) for event in composer.compose(i).scene.events}
        assert heard == set(labels)


@pytest.mark.parametrize("label", ["dog", "rain"])
def test_one_label_is_enough(bank, label):
    composer = Composer(bank, BOOK, CONFIG, [label, SILENCE])
    assert all(len(composer.compose(i).scene.events) <= 1 for i in range(40))


def test_silent_recordings_and_short_ones(tmp_path, write_wav):
    """A recording of zeros or of a few samples is a poor one, but no reason to stop."""
    sounds = {"dog 1": np.zeros(800), "cat 1": np.ones(1), "rain 1": np.zeros(800), "wind 1": np.ones(300)}
    bank = make_bank(tmp_path, write_wav, sounds)
    composer = Composer(bank, BOOK, CONFIG, bank.labels)
    assert all(torch.isfinite(composer.compose(i).waveform).all() for i in range(40))


# --- levels and loops ---


@pytest.mark.parametrize("level", [0.01, 0.5])
@pytest.mark.parametrize(("before", "after"), [(0.0, 0.0), (0.4, 0.0), (0.0, 0.4), (0.2, 0.2)])
def test_active_level_is_that_of_what_sounds(tone, level, before, after):
    sound = np.concatenate([np.zeros(round(before * RATE)), tone(500, 0.4, RATE, level), np.zeros(round(after * RATE))])
    assert active_level(torch.from_numpy(sound), RATE) == pytest.approx(level / math.sqrt(2), rel=0.01)


def test_active_level_of_something_short():
    assert active_level(torch.full((10,), 0.5), RATE) == pytest.approx(0.5)


def test_active_level_of_silence_is_not_zero():
    assert 0 < active_level(torch.zeros(RATE), RATE) <= 1e-3


@pytest.mark.parametrize("samples", [1, 999, 1000, 1001, 5000])
@pytest.mark.parametrize("fade", [0, 100, 400, 5000])
def test_looped_is_as_long_as_asked_and_without_gap(samples, fade):
    out = looped(torch.full((1000,), 0.5), samples, fade)
    torch.testing.assert_close(out, torch.full((samples,), 0.5))


def test_looped_begins_with_the_recording():
    material = torch.randn(1000)
    assert torch.equal(looped(material, 900, 100), material[:900])
    assert torch.equal(looped(material, 3000, 100)[:900], material[:900])


def test_looped_repeats():
    out = looped(torch.randn(1000), 5000, 100)
    torch.testing.assert_close(out[900:1800], out[1800:2700])


def test_looped_leaves_the_recording_as_it_is():
    material = torch.ones(1000)
    looped(material, 3000, 100)
    assert torch.equal(material, torch.ones(1000))


@pytest.mark.parametrize("frequency", [110.0, 333.3, 1234.5])
def test_looped_does_not_click(tone, frequency):
    material = torch.from_numpy(tone(frequency, 0.25, RATE))
    out = looped(material, 5 * len(material), 400)
    assert out.diff().abs().max() <= 1.01 * material.diff().abs().max() + 2 * 0.5 / 400
    assert out.abs().max() <= 0.501


def test_looped_noise_is_even(noise):
    out = looped(torch.from_numpy(noise(0.5, RATE)), 4 * RATE, 400)
    levels = out.reshape(-1, 200).square().mean(1).sqrt()
    assert levels.min() > 0.05, "half the level of the noise"
    assert levels.max() < 0.15
