"""Sentences name what a scene holds, in its order, and nothing else."""

from __future__ import annotations

import re
import string
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from aaccli.data.phrases import load_phrases
from aaccli.data.sentences import ALL_TEMPLATES, REPETITION, Event, Scene, sentences

sys.path.append(str(Path(__file__).with_name("benchmarks")))
from naming import ACCEPTED, named, names_only

BOOK = load_phrases()
# Single sounds and what can lie under them; each has a word that no other has.
EVENTS = ("dog", "sneezing", "glass_breaking", "car_horn")
BEDS = ("rain", "washing_machine")


def in_turn(*labels: str, times: int = 1) -> Scene:
    events = tuple(Event(label, 2.0 * i, 2.0 * i + 1.5, times) for i, label in enumerate(labels))
    return Scene(events, events[-1].end)


def over_bed(bed: str, *labels: str) -> Scene:
    scene = in_turn(*labels)
    return Scene((*scene.events, Event(bed, 0.0, scene.seconds, bed=True)), scene.seconds)


def alone(label: str, before: float = 0.0, after: float = 0.0, times: int = 1) -> Scene:
    return Scene((Event(label, before, before + 2.0, times),), before + 2.0 + after)


def together(first: str, second: str) -> Scene:
    return Scene((Event(first, 0.0, 4.0), Event(second, 1.0, 2.0)), 4.0)


def say(scene: Scene, count: int = 60, seed: int = 0) -> list[str]:
    labels = {event.label for event in scene.events} | {"silence"}
    entries = {label: BOOK.entry(label) for label in labels}
    return sentences(scene, entries, count, np.random.default_rng(seed))


SCENES = {
    "silence": Scene((), 3.0),
    "one": alone("dog"),
    "in turn": in_turn("dog", "sneezing"),
    "together": together("car_horn", "sneezing"),
    "at once": Scene((Event("dog", 0.0, 2.0), Event("sneezing", 0.0, 1.0)), 2.0),
    "over a bed": over_bed("rain", "dog"),
    "two over a bed": over_bed("washing_machine", "dog", "car_horn"),
    "three in turn": in_turn("dog", "glass_breaking", "car_horn"),
}
every_scene = pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)


def first_heard(sentence: str, one: str, other: str) -> str:
    """Which of two named sounds a sentence says to come first, by its grammar; fails where it tells no order."""
    places = {label: min(_places(sentence, label)) for label in (one, other)}
    named_first, named_second = sorted(places, key=places.__getitem__)
    between = sentence[places[named_first] : places[named_second]]
    if re.search(r"\bafter (?!that\b)", between):  # "a dog barks after someone sneezes"
        return named_second
    if sentence.startswith("after ") or re.search(r"\b(then|before|followed by|after that|finally)\b", between):
        return named_first
    raise AssertionError(f"no order in: {sentence}")


def _places(sentence: str, label: str) -> list[int]:
    """Where the words of a label stand."""
    words = "|".join(w.replace("*", r"[\w'-]*") for w in ACCEPTED[label] if "+" not in w)
    if label == "glass_breaking":
        words += "|glass"
    return [match.start() for match in re.finditer(rf"\b({words})\b", sentence)]


@pytest.mark.parametrize(
    ("sentence", "first"),
    [
        ("a dog barks and then a person sneezes", "dog"),
        ("a dog barks before a person sneezes", "dog"),
        ("after a dog barking a person sneezes", "dog"),
        ("a person sneezes after a dog barks", "dog"),
        ("a person sneezes and after that a dog barks", "sneezing"),
        ("first someone sneezes twice and then dogs bark", "sneezing"),
    ],
)
def test_the_parser_of_order(sentence, first):
    assert first_heard(sentence, "dog", "sneezing") == first


# --- templates ---


@pytest.mark.parametrize("template", sorted(set(ALL_TEMPLATES)))
def test_templates_can_be_filled(template):
    slots = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    assert slots
    assert len({slot.upper() for slot in slots}) == len(slots), "no sound is named twice"
    assert set(slots) <= set("ABCZabcz")
    filled = template.format_map({slot: f"<{slot}>" for slot in slots})
    assert all(f"<{slot}>" in filled for slot in slots)
    assert re.fullmatch(r"[a-z]+( [a-z]+)*", re.sub("[<>]", "", filled).lower()), "words with one space between"


@pytest.mark.parametrize("template", sorted(set(ALL_TEMPLATES) | set(REPETITION)))
def test_templates_name_no_sound(template):
    bare = re.sub(r"{\w}", "something", template)
    assert named(bare) <= {"silence"}


# --- what is named ---


@every_scene
def test_sentences_name_the_sounds_of_the_scene(scene):
    labels = {event.label for event in scene.events} or {"silence"}
    for sentence in say(scene):
        assert names_only(sentence, labels), sentence


@pytest.mark.parametrize("label", sorted(set(BOOK.entries) - {"silence"}))
def test_sentences_about_one_sound(label):
    for sentence in say(alone(label), 10):
        assert names_only(sentence, {label}), sentence


QUIET = {"before": alone("dog", before=1.2), "after": alone("dog", after=1.2), "around": alone("dog", 1.2, 1.2)}


@pytest.mark.parametrize("scene", QUIET.values(), ids=QUIET)
def test_sentences_about_a_sound_and_quiet(scene):
    said = [named(sentence) for sentence in say(scene)]
    assert all({"dog"} <= labels <= {"dog", "silence"} for labels in said)
    assert {"dog"} in said, "not every sentence mentions the quiet"
    assert {"dog", "silence"} in said


@pytest.mark.parametrize("where", QUIET)
def test_quiet_is_mentioned_where_it_is(where):
    for sentence in say(QUIET[where]):
        early = re.match(r"it is quiet|after a short silence|a moment of silence", sentence)
        late = re.search(r"quiet$|silence$|and stops$", sentence)
        assert not (early and where == "after"), sentence
        assert not (late and where == "before"), sentence
        assert not (early and late)


@pytest.mark.parametrize(("before", "after"), [(0.5, 0.0), (0.0, 0.5), (0.5, 0.5)])
def test_short_quiet_is_not_mentioned(before, after):
    assert all(named(s) == {"dog"} and "stops" not in s for s in say(alone("dog", before, after)))


def test_sentences_about_unknown_labels():
    for sentence in say(in_turn("sewing_machine", "dog")):
        assert "sewing machine" in sentence
        assert named(sentence) == {"dog"}


def test_three_sounds_are_named_whatever_their_kind():
    for labels in permutations(("dog", "sneezing", "car_horn")):
        assert all(named(sentence) == set(labels) for sentence in say(in_turn(*labels), 10))


@pytest.mark.parametrize(
    "scene",
    [
        in_turn("chirping_birds", "insects"),  # "after birds chirping insects buzz": crickets
        in_turn("hand_saw", "fireworks"),  # "after someone sawing wood fireworks boom": crackling_fire
        in_turn("chainsaw", "fireworks"),
    ],
    ids=lambda scene: "-".join(event.label for event in scene.events),
)
def test_two_sounds_that_are_taken_for_a_third(scene):
    labels = {event.label for event in scene.events}
    assert all(names_only(sentence, labels) for sentence in say(scene, 200))


def test_the_sound_of_a_sound():
    assert not any("sound of the sound" in sentence for sentence in say(alone("sewing_machine"), 60))


# --- in which order ---


@pytest.mark.parametrize("labels", list(permutations(EVENTS, 2)), ids="-".join)
def test_order_of_two_in_turn(labels):
    for sentence in say(in_turn(*labels), 30):
        assert first_heard(sentence, *labels) == labels[0], sentence


def test_order_does_not_depend_on_the_order_of_events():
    scene = in_turn("dog", "sneezing")
    backwards = Scene(scene.events[::-1], scene.seconds)
    assert all(first_heard(s, "dog", "sneezing") == "dog" for s in say(backwards))


def test_repeated_sounds_in_turn_keep_their_order():
    for sentence in say(in_turn("dog", "sneezing", times=2)):
        assert first_heard(sentence, "dog", "sneezing") == "dog", sentence


@pytest.mark.parametrize("bed", BEDS)
def test_order_over_a_bed(bed):
    for sentence in say(over_bed(bed, "dog", "sneezing"), 30):
        assert first_heard(sentence, "dog", "sneezing") == "dog", sentence


def test_order_of_three_in_turn():
    for sentence in say(in_turn("dog", "sneezing", "car_horn")):
        for pair in (("dog", "sneezing"), ("sneezing", "car_horn"), ("dog", "car_horn")):
            assert first_heard(sentence, *pair) == pair[0], sentence


SAME_TIME = r"\b(while|as|along with|at the same time|with|in the background)\b"


@pytest.mark.parametrize("kind", ["together", "at once", "over a bed"])
def test_simultaneous_sounds_are_in_no_order(kind):
    for sentence in say(SCENES[kind]):
        assert re.search(SAME_TIME, sentence), sentence
        assert not re.search(r"\b(then|before|after|followed|first)\b", sentence)


@pytest.mark.parametrize("kind", ["in turn", "three in turn"])
def test_sounds_in_turn_are_not_simultaneous(kind):
    assert not any(re.search(SAME_TIME, sentence) for sentence in say(SCENES[kind]))


def test_only_the_bed_is_in_the_background():
    for sentence in say(over_bed("rain", "dog")):
        if match := re.search(r"(.*) in the background", sentence):
            nearest = re.split(r"\b(?:with|and|as|while)\b", match[1])[-1]
            assert named(nearest) == {"rain"}, sentence


# --- how often ---

TWICE = r"\b(twice|two times)\b"
OFTEN = r"\b(repeatedly|again and again|several times|over and over)\b"


@every_scene
def test_single_sounds_do_not_repeat(scene):
    assert not any(re.search(f"{TWICE}|{OFTEN}", sentence) for sentence in say(scene))


@pytest.mark.parametrize(("times", "words", "not_words"), [(2, TWICE, OFTEN), (3, OFTEN, TWICE), (4, OFTEN, TWICE)])
def test_repeated_sounds_say_so_sometimes(times, words, not_words):
    said = say(alone("dog", times=times))
    share = np.mean([bool(re.search(words, sentence)) for sentence in said])
    assert 0.4 < share < 1
    assert not any(re.search(not_words, sentence) for sentence in said)


def test_repetition_belongs_to_the_sound_that_repeats():
    events = (Event("dog", 0.0, 1.0, times=2), Event("sneezing", 2.0, 3.0))
    for sentence in say(Scene(events, 3.0)):
        if match := re.search(TWICE, sentence):
            nearest = max(EVENTS[:2], key=lambda label: max(_places(sentence[: match.start()], label), default=-1))
            assert nearest == "dog", sentence


# --- how many, and chance ---


@every_scene
def test_five_different_sentences(scene):
    for seed in range(5):
        assert len(set(say(scene, 5, seed))) == 5


def test_few_words_are_said_again():
    entries = {"zebra": load_phrases().entry("zebra")}
    said = sentences(alone("zebra"), entries, 100, np.random.default_rng(0))
    assert len(said) == 100
    assert 2 <= len(set(said)) < 100


@every_scene
def test_sentences_of_a_seed(scene):
    assert say(scene, 5, 3) == say(scene, 5, 3)
    assert say(scene, 5, 3) != say(scene, 5, 4)


@every_scene
def test_sentences_are_plain_words(scene):
    assert all(re.fullmatch(r"[a-z'-]+( [a-z'-]+)*", sentence) for sentence in say(scene))
