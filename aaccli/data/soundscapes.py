"""Compose soundscapes of labelled sounds, and know what happens in them.

Every draw comes from a seed, so that the same seed, bank and book give the same sound and sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError
from .phrases import PhraseBook
from .sentences import Event, Scene, sentences
from .sounds import SILENCE, SoundBank, crop, faint_noise, gain

FRAME_SECONDS = 0.05  # of the level measurement


@dataclass(frozen=True)
class SoundscapeConfig:
    """What soundscapes are like. The paper has none: its recordings come with sentences."""

    silence: float = 0.04  # share of soundscapes that hold nothing
    alone: float = 0.34  # share that hold one sound
    two: float = 0.54  # share that hold two; the rest hold three
    as_recorded: float = 0.6  # share of single sounds that are the recording itself, no silence around it
    long_silence: float = 0.3  # share of the other single sounds that have seconds of silence before or after
    silence_seconds: float = 6.0  # which are at most as many
    looped: float = 0.06  # share of single sounds that are repeated up to a length
    loop_seconds: float = 30.0  # of at most as much
    overlap: float = 0.6  # share of two sounds that overlap rather than follow one another
    bed: float = 0.25  # share of overlaps of two in which one lies under the other all the time, if it can
    max_seconds: float = 5.0  # of one sound
    gap_seconds: float = 1.0  # silence between two sounds, at most
    repeat: float = 0.35  # share of short single events that come more than once
    level_db: float = 4.0  # foreground sounds differ by up to this
    bed_db: tuple[float, float] = (4.0, 14.0)  # a bed is fainter by this
    gain_db: float = 24.0  # the whole is made fainter than full scale by up to this
    full_weight: int = 60  # labels with as many recordings are drawn equally often, music and speech; others less
    captions: int = 5  # sentences each


@dataclass(frozen=True)
class Soundscape:
    """One composed recording."""

    waveform: Tensor  # (samples,) float32
    scene: Scene
    captions: tuple[str, ...]


class Composer:
    """Makes soundscapes of a bank's sounds in a book's words."""

    def __init__(self, bank: SoundBank, book: PhraseBook, config: SoundscapeConfig, labels: Sequence[str]) -> None:
        self.bank = bank
        self.entries = {label: book.entry(label) for label in (*labels, SILENCE)}
        self.config = config
        self.rate = bank.sample_rate
        self.sounding = [label for label in labels if label != SILENCE]
        if not self.sounding:
            raise DataError("no label but silence to compose soundscapes of")
        weights = np.array([min(len(bank.by_label.get(x, ())), config.full_weight) for x in self.sounding], dtype=float)
        self.weights = weights / weights.sum()
        self.beds = [label for label in self.sounding if self.entries[label].background]

    def compose(self, *seed: int) -> Soundscape:
        """Compose the soundscape of a seed; any tuple of non-negative integers is one."""
        random = np.random.default_rng(seed)
        waveform, scene = self._draw(random)
        if scene.events:
            peak = waveform.abs().max().clamp_min(1e-6)
            waveform = gain(waveform / peak, -random.uniform(0.5, self.config.gain_db))
            if random.random() < 0.5:  # a recording has a noise floor; digital silence is no clue
                waveform = waveform + faint_noise(len(waveform), random)
        return Soundscape(waveform, scene, tuple(sentences(scene, self.entries, self.config.captions, random)))

    def _draw(self, random: np.random.Generator) -> tuple[Tensor, Scene]:
        kind, c = random.random(), self.config
        if kind < c.silence:
            samples = round(random.uniform(1, c.max_seconds) * self.rate)
            return faint_noise(samples, random), Scene((), samples / self.rate)
        if kind < c.silence + c.alone:
            return self._one(random)
        labels = self._labels(2 if kind < c.silence + c.alone + c.two else 3, random)
        count = len(labels)
        if count == 1:  # there is but one label
            return self._one(random)
        bed = [label for label in labels if label in self.beds]
        overlap = count == 2 and random.random() < c.overlap
        if bed and (count == 3 or (overlap and random.random() < c.bed)):
            under = bed[random.integers(len(bed))]
            return self._over_bed([label for label in labels if label != under], under, random)
        if overlap:
            return self._together(labels, random)
        return self._in_turn(labels, random)

    def _labels(self, count: int, random: np.random.Generator) -> list[str]:
        count = min(count, len(self.sounding))
        chosen = random.choice(len(self.sounding), count, replace=False, p=self.weights)
        return [self.sounding[i] for i in chosen]

    def _sound(self, label: str, random: np.random.Generator) -> tuple[Tensor, int]:
        """One sound at a common level, and how many times the event comes."""
        waveform = self.bank.pick(label, random)
        longest = round(self.config.max_seconds * self.rate)
        if len(waveform) > longest:
            waveform = crop(waveform, longest, random)
        waveform = waveform / active_level(waveform, self.rate)
        if self.entries[label].continuous or len(waveform) > longest / 3 or random.random() >= self.config.repeat:
            return waveform, 1
        times = int(random.integers(2, longest // len(waveform) + 1)) if longest >= 2 * len(waveform) else 1
        times = min(times, 4)
        pause = torch.zeros(round(random.uniform(0.1, 0.6) * self.rate))
        return torch.cat([waveform, *([pause, waveform] * (times - 1))]), times

    def _one(self, random: np.random.Generator) -> tuple[Tensor, Scene]:
        (label,) = self._labels(1, random)
        waveform, times = self._sound(label, random)
        c, before, after = self.config, 0.0, 0.0
        if random.random() < c.looped:
            seconds = random.uniform(c.max_seconds, c.loop_seconds)
            waveform, times = looped(waveform, round(seconds * self.rate), 0), 1
        elif random.random() >= c.as_recorded:
            before, after = random.uniform(0, 1.5, 2)
            if random.random() < c.long_silence:
                longer = random.uniform(0, c.silence_seconds)
                before, after = (longer, after) if random.random() < 0.4 else (before, longer)
        return self._place([(label, waveform, times, before)], after)

    def _in_turn(self, labels: list[str], random: np.random.Generator) -> tuple[Tensor, Scene]:
        placed, now = [], 0.0
        for label in labels:
            waveform, times = self._shorter(label, len(labels), random)
            placed.append((label, self._level(waveform, random), times, now))
            now += len(waveform) / self.rate + random.uniform(0, self.config.gap_seconds)
        return self._place(placed)

    def _together(self, labels: list[str], random: np.random.Generator) -> tuple[Tensor, Scene]:
        sounds = [(label, *self._sound(label, random)) for label in labels]
        sounds.sort(key=lambda sound: len(sound[1]), reverse=True)
        slack = (len(sounds[0][1]) - len(sounds[1][1])) / self.rate
        onsets = (0.0, random.uniform(0, slack) if slack > 0 else 0.0)
        return self._place(
            [(label, self._level(w, random), times, at) for (label, w, times), at in zip(sounds, onsets, strict=True)]
        )

    def _over_bed(self, labels: list[str], under: str, random: np.random.Generator) -> tuple[Tensor, Scene]:
        over, scene = self._in_turn(labels, random)
        before, after = random.uniform(0, 1.0, 2)
        samples = len(over) + round((before + after) * self.rate)
        bed = self.bank.pick(under, random)
        bed = bed / active_level(bed, self.rate) * 10 ** (-random.uniform(*self.config.bed_db) / 20)
        waveform = looped(bed, samples, round(0.05 * self.rate))
        start = round(before * self.rate)
        waveform[start : start + len(over)] += over
        seconds = samples / self.rate
        events = tuple(Event(e.label, e.onset + before, e.end + before, e.times) for e in scene.events)
        return waveform, Scene((*events, Event(under, 0.0, seconds, bed=True)), seconds)

    def _shorter(self, label: str, sounds: int, random: np.random.Generator) -> tuple[Tensor, int]:
        """A sound that leaves room for others: cut if it is long, unless it is an event that comes several times."""
        waveform, times = self._sound(label, random)
        longest = round(self.config.max_seconds / sounds * random.uniform(0.8, 2.0) * self.rate)
        if times == 1 and len(waveform) > longest:
            waveform = crop(waveform, longest, random)
        return waveform, times

    def _level(self, waveform: Tensor, random: np.random.Generator) -> Tensor:
        return waveform * 10 ** (random.uniform(-self.config.level_db, 0) / 20)

    def _place(self, sounds: list[tuple[str, Tensor, int, float]], after: float = 0.0) -> tuple[Tensor, Scene]:
        """Mix (label, waveform, times, onset) into one waveform, with silence after it."""
        events = [
            Event(label, onset, onset + len(waveform) / self.rate, times) for label, waveform, times, onset in sounds
        ]
        seconds = max(event.end for event in events) + after
        mix = torch.zeros(round(seconds * self.rate) + 1)
        for _, waveform, _, onset in sounds:
            start = round(onset * self.rate)
            mix[start : start + len(waveform)] += waveform
        return mix, Scene(tuple(events), seconds)


def active_level(waveform: Tensor, rate: int) -> float:
    """Root mean square of the frames within 20 dB of the loudest: how loud a sound is while it sounds."""
    frame = max(1, round(FRAME_SECONDS * rate))
    if len(waveform) < 2 * frame:
        power = waveform.square().mean()
    else:
        frames = waveform[: len(waveform) // frame * frame].reshape(-1, frame).square().mean(1)
        power = frames[frames >= 0.01 * frames.max()].mean()
    return max(float(power.sqrt()), 1e-4)  # never lift the noise of a silent recording to full scale


def looped(waveform: Tensor, samples: int, fade: int) -> Tensor:
    """Repeat a waveform up to a length, fading its end into its start where it is joined."""
    fade = min(fade, len(waveform) // 2)
    out = torch.zeros(samples + len(waveform))
    up = torch.linspace(0, 1, fade)
    step = max(1, len(waveform) - fade)
    for start in range(0, samples, step):
        piece = waveform.clone()
        if start:
            piece[:fade] *= up
        piece[len(piece) - fade :] *= up.flip(0)
        out[start : start + len(piece)] += piece
    return out[:samples]
