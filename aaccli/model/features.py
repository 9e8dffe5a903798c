"""Log-mel front end and SpecAugment.

The filterbank is Slaney's in scale and norm, as PANNs (and librosa) compute it. torchaudio's own
defaults are HTK and no norm, which would be about 22 dB off without any warning.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn

try:
    import torchaudio
except (ImportError, OSError, RuntimeError) as error:  # a wheel built for another CUDA raises any of the three
    raise ImportError(
        f"torchaudio does not work beside torch {torch.__version__} ({error}). "
        "Install a pair that does: pip install 'torch>=2.11,<2.15' torchaudio==2.11.0, "
        "or both from PyTorch's CPU index: "
        "pip install torch==2.11.0 torchaudio==2.11.0 --index-url https://download.pytorch.org/whl/cpu"
    ) from error

# CNN10 halves time four times; fewer frames than this leave nothing.
MIN_FRAMES = 16
# Largest term of a resampling ratio: 44.1 kHz to 16 kHz is 160/441.
MAX_RATIO = 1000


@dataclass(frozen=True)
class FrontEndConfig:
    """How sound becomes log-mel frames."""

    sample_rate: int = 44100  # Hz; the paper's
    window: int = 1024  # samples; Hann window and FFT size, the paper's
    hop: int = 512  # samples from one frame to the next, the paper's
    mels: int = 64  # mel bands, the paper's
    fmin: float = 50.0  # Hz; open in the paper: PANNs' value
    fmax: float = 14000.0  # Hz; open in the paper: PANNs' value
    floor: float = 1e-10  # power floor before the logarithm: -100 dB, PANNs' amin

    def __post_init__(self) -> None:
        if min(self.sample_rate, self.window, self.hop, self.mels) < 1:
            raise ValueError("sample_rate, window, hop and mels are at least 1")
        if not 0 <= self.fmin < self.fmax <= self.sample_rate / 2:
            raise ValueError("0 <= fmin < fmax <= sample_rate / 2 is needed")
        if self.window // 2 >= self.min_samples:
            raise ValueError(f"hop is too small for the window: {MIN_FRAMES - 1} hops must exceed half a window")

    @property
    def min_samples(self) -> int:
        """Shortest waveform, in samples, that CNN10 can take."""
        return (MIN_FRAMES - 1) * self.hop


# What PANNs' weights were trained with (Kong et al., 2020), against the paper's 44.1 kHz and hop 512.
PANNS_FRONT_END = FrontEndConfig(sample_rate=32000, hop=320)


class LogMel(nn.Module):
    """Waveform to log-mel frames in dB: Slaney mel power, 10 log10, no clipping at the top."""

    def __init__(self, config: FrontEndConfig) -> None:
        super().__init__()
        self.config = config
        # Computed, not learned: real numbers even where the network around it is only laid out (device "meta").
        with torch.device("cpu"):
            self.mel = torchaudio.transforms.MelSpectrogram(  # of which ``_power`` takes window and filterbank
                sample_rate=config.sample_rate,
                n_fft=config.window,
                f_min=config.fmin,
                f_max=config.fmax,
                n_mels=config.mels,
                norm="slaney",
                mel_scale="slaney",
            )

    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """Compute log-mel frames.

        Clips of different length go through one by one, because the reflection at a clip's end is
        part of its last frames: padding the waveforms first would change them.

        Parameters
        ----------
        waveform : Tensor, shape (..., samples)
            Mono sound at ``config.sample_rate``; padded with silence up to ``config.min_samples``.

        Returns
        -------
        Tensor, shape (..., frames, mels)
            Power in dB, ``frames = samples // hop + 1``.
        """
        missing = self.config.min_samples - waveform.shape[-1]
        if missing > 0:
            waveform = nn.functional.pad(waveform, (0, missing))
        power = self._power(waveform.reshape(-1, waveform.shape[-1])).clamp_min_(self.config.floor)
        logmel = power.log10_().mul_(10.0).transpose(-1, -2)
        return logmel.reshape(*waveform.shape[:-1], *logmel.shape[1:])

    def _power(self, waveforms: Tensor) -> Tensor:
        """(B, samples) to (B, mels, frames): what torchaudio computes, without the square root that it squares."""
        spectra = torch.stft(
            waveforms,
            self.config.window,
            self.config.hop,
            window=self.mel.spectrogram.window,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        power = torch.addcmul(spectra.real.square(), spectra.imag, spectra.imag)
        return self.mel.mel_scale.fb.T @ power


def resample(waveform: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """Band-limited resampling of (..., samples) from one sample rate (Hz) to another.

    Rates with hardly a common factor (44101 to 44100 Hz) would need a filter bank of gigabytes: their ratio is
    rounded, which changes the pitch by less than anybody hears.
    """
    # Both of its numbers are kept small: the filter bank has as many filters as the one, as long as the other.
    ratio = Fraction(to_rate, from_rate).limit_denominator(max(1, MAX_RATIO * min(from_rate, to_rate) // to_rate))
    if ratio == 1:
        return waveform
    return torchaudio.functional.resample(waveform, ratio.denominator, ratio.numerator)


@dataclass(frozen=True)
class SpecAugmentConfig:
    """Widths of the masks of SpecAugment (Park et al., 2019); the paper gives none."""

    time_masks: int = 2  # PANNs' count
    time_width: int = 64  # frames, at most (0.74 s at 44.1 kHz / 512); PANNs' width
    time_share: float = 0.2  # never more than this share of a clip in one mask, so that short clips survive
    mel_masks: int = 2  # PANNs' count
    mel_width: int = 8  # bands, at most; PANNs' width


class SpecAugment(nn.Module):
    """Blank random stretches of time and bands of frequency, while training only.

    The masks are zeros: it runs after CNN10's first batch norm, where zero is the mean of a band.
    """

    def __init__(self, config: SpecAugmentConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Mask (B, 1, frames, mels); each clip draws its own masks, within its own ``lengths`` frames."""
        if not self.training:
            return x
        c = self.config
        batch, _, frames, mels = x.shape
        if lengths is None:
            lengths = torch.full((batch,), frames, device=x.device)
        for _ in range(c.time_masks):
            widest = (c.time_share * lengths).clamp(max=c.time_width)
            x = x.masked_fill(_stretch(frames, lengths, widest)[:, None, :, None], 0.0)
        for _ in range(c.mel_masks):
            bands = torch.full_like(lengths, mels)
            x = x.masked_fill(_stretch(mels, bands, bands.clamp(max=c.mel_width))[:, None, None, :], 0.0)
        return x


def _stretch(size: int, lengths: Tensor, widest: Tensor) -> Tensor:
    """One random stretch a row, (B, size) true inside: up to ``widest`` long, within the first ``lengths``."""
    width = torch.rand(len(lengths), device=lengths.device) * (widest + 1)
    width = width.floor().clamp(max=widest.floor())
    start = (torch.rand(len(lengths), device=lengths.device) * (lengths - width + 1)).floor()
    place = torch.arange(size, device=lengths.device)[None, :]
    return (place >= start[:, None]) & (place < (start + width)[:, None])
