"""Sentences about a scene: what is there, and in what order or relation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np

from .phrases import Entry, Phrase
from .sounds import SILENCE

T = TypeVar("T")
QUIET_SECONDS = 0.8  # of silence before or after a sound that a listener would mention


@dataclass(frozen=True)
class Event:
    """One sound in a scene."""

    label: str
    onset: float  # s
    end: float  # s
    times: int = 1  # how often a single event comes
    bed: bool = False  # lies under all the others


@dataclass(frozen=True)
class Scene:
    """What happens in a recording; without events, nothing."""

    events: tuple[Event, ...]
    seconds: float

    @property
    def bed(self) -> Event | None:
        return next((event for event in self.events if event.bed), None)

    @property
    def foreground(self) -> list[Event]:
        return sorted((event for event in self.events if not event.bed), key=lambda event: event.onset)


# {A} is a clause, "a dog barks"; {a} the same as a noun phrase, "a dog barking". B and C likewise; Z is the bed.
# The first of each is said most often, the second half as often, and so on (Zipf), as of a label's phrases: a few usual
# sentences and many rare ones, as people speak. Were all alike, each sentence about two sounds would be so much rarer
# than each about one that a search for the likeliest sentence would leave the second sound out.
ALONE = ("{A}", "{A}", "the sound of {a}", "{a}")
THEN_QUIET = (
    "{A} and then it is quiet",
    "{A} and then there is silence",
    "{A} followed by silence",
    "{A} and then everything is quiet",
)
QUIET_THEN = ("it is quiet and then {A}", "after a short silence {A}", "a moment of silence and then {A}")
IN_TURN = (
    "{A} and then {B}",
    "{A} then {B}",
    "{A} before {B}",
    "{A} followed by {b}",
    "first {A} and then {B}",
    "{A} and after that {B}",
    "{B} after {A}",
)
THREE_IN_TURN = (
    "{A} then {B} and then {C}",
    "{A} followed by {b} and then {c}",
    "first {A} then {B} and finally {C}",
    "{A} before {B} and then {C}",
    "{A} and then {B} followed by {c}",
)
TOGETHER = (
    "{A} while {B}",
    "{B} while {A}",
    "{A} as {B}",
    "{B} as {A}",
    "{A} and {B} at the same time",
    "{A} along with {b}",
    "{B} and at the same time {A}",
)
OVER_BED = (
    "{A} while {Z}",
    "{A} as {Z}",
    "{A} with {z} in the background",
    "{Z} in the background as {A}",
    "{Z} in the background while {A}",
    "{Z} while {A}",
    "{A} along with the sound of {z}",
    "{A} and {Z} in the background",
)
TWO_OVER_BED = (
    "{A} and then {B} while {Z}",
    "{A} followed by {b} with {z} in the background",
    "{Z} in the background as {A} and then {B}",
    "{Z} while {A} and then {B}",
    "{A} before {B} as {Z} in the background",
)
REPEATED = ("repeatedly", "again and again", "several times", "over and over")
TWICE = ("twice", "two times")

REPETITION = REPEATED + TWICE
ALL_TEMPLATES = ALONE + THEN_QUIET + QUIET_THEN + IN_TURN + THREE_IN_TURN + TOGETHER + OVER_BED + TWO_OVER_BED


def sentences(scene: Scene, entries: Mapping[str, Entry], count: int, random: np.random.Generator) -> list[str]:
    """Say ``count`` sentences about a scene, in different words where there are enough."""
    said: list[str] = []
    for _ in range(20 * count):
        sentence = _sentence(scene, entries, random)
        if sentence not in said:
            said.append(sentence)
        if len(said) == count:
            return said
    return [said[i % len(said)] for i in range(count)]


def _sentence(scene: Scene, entries: Mapping[str, Entry], random: np.random.Generator) -> str:
    if not scene.events:
        return _clause(_usual(entries[SILENCE].phrases, random))
    words: dict[str, str] = {}
    for name, event in zip("ABC", scene.foreground, strict=False):
        phrase = _usual(entries[event.label].phrases, random)
        often = _often(event, random)
        words[name] = _clause(phrase) + often
        words[name.lower()] = f"{phrase.subject} {phrase.ing}{often}"
    if scene.bed:
        phrase = _usual(entries[scene.bed.label].phrases, random)
        words["Z"], words["z"] = _clause(phrase), f"{phrase.subject} {phrase.ing}"
    return _usual(_templates(scene), random).format_map(words)


def _templates(scene: Scene) -> tuple[str, ...]:
    over = scene.foreground
    if scene.bed:
        return OVER_BED if len(over) == 1 else TWO_OVER_BED
    if len(over) == 1:
        templates: tuple[str, ...] = ALONE
        if scene.seconds - over[0].end > QUIET_SECONDS:
            templates += THEN_QUIET
        if over[0].onset > QUIET_SECONDS:
            templates += QUIET_THEN
        return templates
    if len(over) == 3:
        return THREE_IN_TURN
    return TOGETHER if over[1].onset < over[0].end else IN_TURN


def _clause(phrase: Phrase) -> str:
    return f"{phrase.subject} {phrase.verb}"


def _often(event: Event, random: np.random.Generator) -> str:
    if event.times == 1 or random.random() < 0.3:
        return ""
    return " " + _any(TWICE if event.times == 2 else REPEATED, random)


def _usual(choices: tuple[T, ...], random: np.random.Generator) -> T:
    """One of them, the n-th with a weight of 1/n."""
    return choices[int(np.searchsorted(_zipf(len(choices)), random.random(), side="right"))]


@cache
def _zipf(count: int) -> np.ndarray:
    weights = np.cumsum(1 / np.arange(1, count + 1))
    return weights / weights[-1]


def _any(choices: tuple[T, ...], random: np.random.Generator) -> T:
    return choices[random.integers(len(choices))]
