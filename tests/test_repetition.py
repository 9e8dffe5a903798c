"""Which words a caption says once."""

from aaccli.captioning.repetition import FREE, families
from aaccli.vocabulary import SPECIAL, Vocabulary


def test_forms_of_a_word_are_one_family_and_function_words_are_free():
    vocabulary = Vocabulary(
        ("a", "while", "person", "sheep", "bleats", "bleating", "honks", "honking", "dog", "dogs", "do")
    )
    found = dict(zip((*SPECIAL, *vocabulary.words), families(vocabulary), strict=True))
    assert {found[word] for word in (*SPECIAL, "a", "while", "person")} == {0}
    assert found["bleats"] == found["bleating"] != 0
    assert found["honks"] == found["honking"] != found["bleats"], "four letters are enough"
    assert len({found[word] for word in ("sheep", "bleats", "dog", "dogs", "do")}) == 5


def test_what_joins_the_sentences_of_soundscapes_is_free():
    from aaccli.data import sentences

    words = {word for template in sentences.ALL_TEMPLATES for word in template.split() if "{" not in word}
    assert words - FREE <= {"quiet", "silence", "everything", "short", "moment", "together"}
