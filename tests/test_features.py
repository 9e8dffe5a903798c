"""The log-mel front end against references, SpecAugment and resampling by property."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchaudio

from aaccli.model.features import MAX_RATIO, FrontEndConfig, LogMel, SpecAugment, SpecAugmentConfig, resample

FRONT_ENDS = [
    FrontEndConfig(),
    FrontEndConfig(sample_rate=32000, hop=320),
    FrontEndConfig(sample_rate=16000, window=512, hop=160, mels=40, fmin=0.0, fmax=8000.0),
]
front_ends = pytest.mark.parametrize("config", FRONT_ENDS, ids=lambda c: f"{c.sample_rate}/{c.hop}")


def mel_of(hertz: np.ndarray) -> np.ndarray:
    """Slaney's mel scale: linear below 1 kHz, 27 steps per factor 6.4 above."""
    hertz = np.asarray(hertz, dtype=float)
    return np.where(hertz < 1000, 3 * hertz / 200, 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4))


def hertz_of(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, 200 * mel / 3, 1000 * 6.4 ** ((np.maximum(mel, 15) - 15) / 27))


def band_corners(config: FrontEndConfig) -> np.ndarray:
    """Lower corner, peak and upper corner of band i, in Hz, are at i, i + 1 and i + 2."""
    return hertz_of(np.linspace(mel_of(config.fmin), mel_of(config.fmax), config.mels + 2))


def reference_filterbank(config: FrontEndConfig) -> np.ndarray:
    """Triangles of area one, (bins, mels)."""
    bins = np.arange(config.window // 2 + 1) * config.sample_rate / config.window
    low, peak, high = (band_corners(config)[i : i + config.mels] for i in range(3))
    rising = (bins[:, None] - low) / (peak - low)
    falling = (high - bins[:, None]) / (high - peak)
    return np.clip(np.minimum(rising, falling), 0, None) * 2 / (high - low)


def reference_logmel(waveform: np.ndarray, config: FrontEndConfig) -> np.ndarray:
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.window) / config.window)
    padded = np.pad(waveform.astype(np.float64), config.window // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, config.window)[:: config.hop]
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    return 10 * np.log10(np.maximum(power @ reference_filterbank(config), config.floor))


def peak_frequency(waveform: torch.Tensor, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(waveform.numpy() * np.hanning(len(waveform))))
    return float(spectrum.argmax() * rate / len(waveform))


def level_of(waveform: torch.Tensor) -> float:
    """Root mean square without the ends, where a resampling filter fades."""
    edge = len(waveform) // 10
    return waveform[edge:-edge].square().mean().sqrt().item()


def test_logmel_is_that_of_panns(shared):
    with np.load(shared / "parity" / "cnn10_44100_1024_512.npz") as parity:
        config = FrontEndConfig(
            *(int(parity[name]) for name in ("sample_rate", "window", "hop")),
            fmin=float(parity["fmin"]),
            fmax=float(parity["fmax"]),
        )
        logmel = LogMel(config)(torch.from_numpy(parity["waveform"])).numpy()
        assert logmel.shape == parity["logmel"].shape
        assert np.abs(logmel - parity["logmel"]).max() <= 1e-3


def test_default_front_end_is_the_one_of_the_parity_files():
    assert FrontEndConfig() == FrontEndConfig(44100, 1024, 512, 64, 50.0, 14000.0, 1e-10)


@pytest.mark.parametrize(
    ("sizes", "why"),
    [
        ({"sample_rate": 0, "fmin": 0.0, "fmax": 0.0}, "sample_rate, window, hop and mels are at least 1"),
        ({"window": 0}, "sample_rate, window, hop and mels are at least 1"),
        ({"hop": 0}, "sample_rate, window, hop and mels are at least 1"),
        ({"mels": 0}, "sample_rate, window, hop and mels are at least 1"),
        ({"fmin": -1.0}, "0 <= fmin < fmax <= sample_rate / 2 is needed"),
        ({"fmin": 14000.0}, "0 <= fmin < fmax <= sample_rate / 2 is needed"),
        ({"sample_rate": 27999}, "0 <= fmin < fmax <= sample_rate / 2 is needed"),
        ({"window": 30, "hop": 1}, "hop is too small for the window: 15 hops must exceed half a window"),
    ],
)
def test_front_ends_that_make_no_sense_are_refused(sizes, why):
    with pytest.raises(ValueError, match=f"^{why}$"):
        FrontEndConfig(**sizes)


@pytest.mark.parametrize(
    "config",
    [
        FrontEndConfig(sample_rate=28000, window=29, hop=1, fmin=0.0),
        FrontEndConfig(sample_rate=1, window=1, hop=1, mels=1, fmin=0.0, fmax=0.5),
    ],
    ids=["edges", "ones"],
)
def test_front_ends_at_the_edge_of_sense_are_taken(config):
    assert config.min_samples == 15 * config.hop


@front_ends
def test_logmel_agrees_with_numpy(config, noise):
    waveform = noise(0.7, config.sample_rate)
    logmel = LogMel(config)(torch.from_numpy(waveform)).numpy()
    reference = reference_logmel(waveform, config)
    assert logmel.shape == reference.shape
    assert np.abs(logmel - reference).max() < 1e-2


@pytest.mark.parametrize("samples", [15 * 512, 16 * 512 - 1, 16 * 512, 16 * 512 + 1, 44100])
def test_number_of_frames(samples):
    assert LogMel(FrontEndConfig())(torch.zeros(samples)).shape == (samples // 512 + 1, 64)


@front_ends
@pytest.mark.parametrize("samples", [1, 100, 2000])
def test_short_clip_is_padded_with_silence_to_16_frames(config, samples, noise):
    waveform = torch.from_numpy(noise(1.0, config.sample_rate)[:samples])
    silence = torch.zeros(15 * config.hop - samples)
    logmel = LogMel(config)(waveform)
    assert logmel.shape == (16, config.mels)
    assert torch.equal(logmel, LogMel(config)(torch.cat((waveform, silence))))
    assert torch.isfinite(logmel).all()


def test_silence_is_at_the_floor():
    assert LogMel(FrontEndConfig())(torch.zeros(20000)).numpy() == pytest.approx(-100.0)


def test_louder_by_20_db_everywhere(noise):
    quiet = torch.from_numpy(noise(0.5))
    logmel = LogMel(FrontEndConfig())
    assert (logmel(10 * quiet) - logmel(quiet)).numpy() == pytest.approx(20.0, abs=1e-3)


def test_waveforms_of_a_batch_do_not_mix(noise):
    clips = torch.from_numpy(np.stack([noise(0.5, seed=seed) for seed in range(3)]))
    logmel = LogMel(FrontEndConfig())
    torch.testing.assert_close(logmel(clips), torch.stack([logmel(clip) for clip in clips]))


@front_ends
@pytest.mark.parametrize("share", [0.15, 0.5, 0.8])
def test_sine_peaks_in_the_band_at_its_frequency(config, share, tone):
    band = int(share * config.mels)
    waveform = tone(band_corners(config)[band + 1], 0.5, config.sample_rate)
    logmel = LogMel(config)(torch.from_numpy(waveform))
    assert logmel.mean(0).argmax() == band


def test_default_masks_are_those_of_panns_and_spare_short_clips():
    assert SpecAugmentConfig() == SpecAugmentConfig(2, 64, time_share=0.2, mel_masks=2, mel_width=8)


def ones(clips: int = 8, frames: int = 200) -> torch.Tensor:
    return torch.ones(clips, 1, frames, 64)


def test_spec_augment_leaves_evaluation_alone():
    x = torch.randn(4, 1, 100, 64)
    assert torch.equal(SpecAugment(SpecAugmentConfig()).eval()(x), x)


def test_each_clip_draws_its_own_masks():
    masked = SpecAugment(SpecAugmentConfig()).train()(ones())
    assert len({clip.numpy().tobytes() for clip in masked}) == len(masked)


@pytest.mark.parametrize(("frames", "widest"), [(16, 3), (50, 10), (320, 64), (1000, 64)])
def test_a_time_mask_is_never_wider_than_its_width_or_share(frames, widest):
    one_mask = SpecAugment(SpecAugmentConfig(time_masks=1, mel_masks=0)).train()
    masked = one_mask(ones(100, frames))[:, 0] == 0
    assert torch.equal(masked.any(2), masked.all(2)), "a time mask covers all bands"
    assert 0.8 * widest - 1 <= masked[:, :, 0].sum(1).max() <= widest


def test_every_width_of_a_mask_and_every_place_of_it_are_equally_likely():
    one_mask = SpecAugment(SpecAugmentConfig(time_masks=1, mel_masks=0)).train()
    masked = one_mask(torch.ones(20_000, 1, 20, 1))[:, 0, :, 0] == 0  # up to 4 of 20 frames
    widths = masked.sum(1)
    assert (widths.bincount() / len(widths)).numpy() == pytest.approx([1 / 5] * 5, abs=0.02)
    for width in range(1, 5):
        first = masked[widths == width].int().argmax(1)
        assert (first.bincount() / len(first)).numpy() == pytest.approx([1 / (21 - width)] * (21 - width), abs=0.02)


def test_time_masks_leave_most_of_a_clip():
    masked = SpecAugment(SpecAugmentConfig(mel_masks=0)).train()(ones(400, 16))[:, 0, :, 0] == 0
    assert 0 < masked.sum(1).max() <= 2 * 0.2 * 16


def test_mel_masks_cover_few_bands_and_all_frames():
    masked = SpecAugment(SpecAugmentConfig(time_masks=0)).train()(ones(200))[:, 0] == 0
    assert torch.equal(masked.any(1), masked.all(1))
    assert 8 <= masked[:, 0].sum(1).max() <= 2 * 8


def test_spec_augment_leaves_its_input_alone():
    x = ones()
    SpecAugment(SpecAugmentConfig()).train()(x)
    assert (x == 1).all()


@pytest.mark.parametrize(("from_rate", "to_rate"), [(48000, 44100), (22050, 44100), (8000, 44100), (44100, 16000)])
def test_resample_keeps_frequency_and_level(from_rate, to_rate, tone):
    waveform = torch.from_numpy(tone(1000.0, 1.0, from_rate))
    resampled = resample(waveform, from_rate, to_rate)
    assert abs(len(resampled) - to_rate) <= 1
    assert peak_frequency(resampled, to_rate) == pytest.approx(1000.0, abs=1.5)
    assert level_of(resampled) == pytest.approx(0.5 / 2**0.5, rel=0.01)


def test_resample_removes_what_the_lower_rate_cannot_hold(tone):
    too_high = torch.from_numpy(tone(12000.0, 1.0, 44100))
    assert level_of(resample(too_high, 44100, 16000)) < 0.01 * level_of(too_high)


@pytest.mark.parametrize(("from_rate", "to_rate"), [(44101, 44100), (44100, 44101), (44101, 22050)])
def test_rates_without_a_common_factor_are_taken_as_their_neighbours(from_rate, to_rate, noise):
    """At 44101 Hz the exact filter bank would have two billion numbers."""
    waveform = torch.from_numpy(noise(0.1))
    near = resample(waveform, 44100, 22050 if to_rate == 22050 else 44100)
    assert torch.equal(resample(waveform, from_rate, to_rate), near)


@pytest.mark.parametrize("to_rate", [16000, 32000, 44100])
def test_no_rate_needs_a_large_filter_bank(monkeypatch, to_rate):
    """A damaged header may give any rate: 1013 to 44100 Hz exactly would be 44100 filters, 300 MB and a second."""
    asked = []
    monkeypatch.setattr(torchaudio.functional, "resample", lambda _, old, new: asked.append((old, new)))
    rates = [*range(1000, 3000), *range(3001, 1_000_000, 997)]
    for rate in rates:
        resample(torch.zeros(1), rate, to_rate)
    assert len(asked) == len(rates) - rates.count(to_rate)
    assert max(map(max, asked)) <= MAX_RATIO
    off = [abs(new / old * rate / to_rate - 1) for rate, (old, new) in zip(rates, asked, strict=True)]
    assert max(off) < 0.001, "a fiftieth of a semitone"


def test_resample_to_the_same_rate_changes_nothing(noise):
    waveform = torch.from_numpy(noise(0.1))
    assert torch.equal(resample(waveform, 44100, 44100), waveform)
