"""What counts as a word, and words to ids and back."""

from __future__ import annotations

import json

import pytest

from aaccli.errors import CheckpointError
from aaccli.model.captioner import END, PAD, START, UNKNOWN
from aaccli.vocabulary import SPECIAL, Vocabulary, words_of

CAPTIONS = ["A dog barks.", "A dog's far-off bark; a CAT!", "The cat barks, a dog barks"]


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("", []),
        (" \t\n", []),
        ("...!?", []),
        ("A DOG Barks", ["a", "dog", "barks"]),
        ("a dog's bark isn't loud", ["a", "dog's", "bark", "isn't", "loud"]),
        ("a dog’s bark", ["a", "dog's", "bark"]),
        ("‘quoted’ “words”, 'all' \"of\" them", ["quoted", "words", "all", "of", "them"]),
        ("the dogs' barks, rock 'n' roll", ["the", "dogs", "barks", "rock", "n", "roll"]),
        ("far-off -- and-- then -off", ["far-off", "and", "then", "off"]),
        ("a merry-go-round", ["a", "merry-go-round"]),
        ("3 birds at 10:45, 2nd", ["3", "birds", "at", "10", "45", "2nd"]),
        ("snake_case _word_", ["snake", "case", "word"]),
        ("Café, NAÏVE Ångström", ["café", "naïve", "ångström"]),
        ("wind/rain,thunder;hail", ["wind", "rain", "thunder", "hail"]),
        ("<unk> <end>", ["unk", "end"]),
        ("犬が吠える", ["犬が吠える"]),
    ],
)
def test_words_of(caption, words):
    assert words_of(caption) == words


def test_words_of_accents_as_marks_of_their_own():
    assert words_of("two cafe\u0301s") == words_of("two caf\u00e9s")


@pytest.mark.parametrize("caption", CAPTIONS)
def test_words_of_is_stable(caption):
    assert words_of(" ".join(words_of(caption))) == words_of(caption)


def test_words_are_ordered_by_count_then_alphabet():
    words = Vocabulary.build(CAPTIONS).words
    assert words == ("a", "barks", "cat", "dog", "bark", "dog's", "far-off", "the")


def test_order_of_captions_does_not_matter():
    assert Vocabulary.build(CAPTIONS) == Vocabulary.build(reversed(CAPTIONS))


@pytest.mark.parametrize(("min_count", "words"), [(2, ("a", "barks", "cat", "dog")), (3, ("a", "barks")), (9, ())])
def test_rare_words_are_left_out(min_count, words):
    assert Vocabulary.build(CAPTIONS, min_count).words == words


def test_no_more_words_are_taken_than_can_be_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("aaccli.vocabulary.MAX_WORDS", 3)
    vocabulary = Vocabulary.build([*CAPTIONS, "犬" * 101])
    assert vocabulary.words == ("a", "barks", "cat"), "the commonest"
    assert vocabulary.encode("犬" * 101) == [START, UNKNOWN, END]
    vocabulary.save(tmp_path / "vocabulary.json")
    assert Vocabulary.load(tmp_path / "vocabulary.json") == vocabulary


def test_ids_count_from_the_special_words():
    vocabulary = Vocabulary(("dog", "cat"))
    assert len(vocabulary) == 6
    assert vocabulary.encode("cat dog") == [START, 5, 4, END]
    assert vocabulary.encode("") == [START, END]


@pytest.mark.parametrize("caption", [*CAPTIONS, "", "a a a", "THE dog’s CAT"])
def test_decode_gives_back_what_was_encoded(caption):
    vocabulary = Vocabulary.build(CAPTIONS)
    assert vocabulary.decode(vocabulary.encode(caption)) == " ".join(words_of(caption))


def test_unknown_words():
    vocabulary = Vocabulary(("a", "dog"))
    ids = vocabulary.encode("a zebra")
    assert ids == [START, 4, UNKNOWN, END]
    assert vocabulary.decode(ids) == "a <unk>"


def test_decode_leaves_padding_out():
    assert Vocabulary(("dog",)).decode([START, 4, END, PAD, PAD]) == "dog"


def test_a_word_twice_is_refused():
    with pytest.raises(ValueError):
        Vocabulary(("dog", "dog"))


def test_save_and_load(tmp_path):
    vocabulary = Vocabulary(("a", "dog's", "far-off", "naïve", "犬"))
    path = tmp_path / "vocabulary.json"
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary
    assert "naïve" in path.read_text(encoding="utf-8"), "people may read it"


def refused(path, content: str | bytes) -> None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CheckpointError, match=path.name):
        Vocabulary.load(path)


@pytest.mark.parametrize(
    "data",
    [
        [],
        "words",
        None,
        {},
        {"special": SPECIAL},
        {"words": ["a"]},
        {"special": SPECIAL, "words": "a dog"},
        {"special": SPECIAL, "words": ["a", 1]},
        {"special": SPECIAL, "words": ["a", "a"]},
        {"special": ["<start>", "<pad>", "<end>", "<unk>"], "words": ["a"]},
        {"special": {}, "words": ["a"]},
    ],
)
def test_what_is_no_vocabulary_is_refused(tmp_path, data):
    refused(tmp_path / "vocabulary.json", json.dumps(data))


@pytest.mark.parametrize("content", ["", "{", '{"words": [', b"\xff\xfe\x00", b"\x00" * 100])
def test_a_damaged_file_is_refused(tmp_path, content):
    refused(tmp_path / "vocabulary.json", content)


@pytest.mark.parametrize("special", [None, 5, True])
def test_special_words_that_are_no_list_are_refused(tmp_path, special):
    refused(tmp_path / "vocabulary.json", json.dumps({"special": special, "words": ["a"]}))


def test_json_of_endless_depth_is_refused(tmp_path):
    refused(tmp_path / "vocabulary.json", "[" * 100_000)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere\.json"):
        Vocabulary.load(tmp_path / "nowhere.json")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=tmp_path.name):
        Vocabulary.load(tmp_path)
