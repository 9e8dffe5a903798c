"""What the command line names -> sound files."""

import io
import os

import pytest

from aaccli.errors import DataError
from aaccli.inputs import find_sources, read_list


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in ["rec/b.wav", "rec/a.FLAC", "rec/sub/c.mp3", "rec/.hidden.wav", "rec/.folder/d.wav", "rec/notes.txt"]:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    (tmp_path / "film.mkv").touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*inputs, **settings):
    return [source.name.replace(os.sep, "/") for source in find_sources(inputs, **settings)]


def test_folders_give_their_sound_files_in_order_without_hidden_ones(tree):
    assert names("rec") == names("rec/") == names("./rec") == ["rec/a.FLAC", "rec/b.wav", "rec/sub/c.mp3"]
    assert names("rec", recursive=False) == ["rec/a.FLAC", "rec/b.wav"]
    assert "film.mkv" in names(".")


def test_a_file_that_is_named_is_taken_whatever_its_name(tree):
    assert names("strange.xyz", "rec/.hidden.wav", "-") == ["strange.xyz", "rec/.hidden.wav", "-"]


def test_patterns_that_the_shell_left_alone(tree):
    assert names("rec/*.wav") == ["rec/b.wav"]
    assert names("**/*.mp3") == ["rec/sub/c.mp3"]
    assert names("r*") == names("rec")
    assert names("*.ogg") == ["*.ogg"], "hearing it says that there is no such file"


def test_a_file_whose_name_looks_like_a_pattern(tree):
    (tree / "a[1].wav").touch()
    (tree / "a1.wav").touch()
    assert names("a[1].wav") == ["a[1].wav"]


def test_each_file_once_in_the_order_of_the_inputs(tree):
    assert names("rec/sub", "film.mkv", "rec", "./film.mkv", str(tree / "rec")) == [
        "rec/sub/c.mp3",
        "film.mkv",
        "rec/a.FLAC",
        "rec/b.wav",
    ]


def test_what_cannot_be_searched_is_given_as_it_is(tree):
    assert names("empty") == ["empty"]
    (tree / "rec/dir.wav").mkdir()
    (tree / "rec/quiet").mkdir()
    assert names("rec") == ["rec/a.FLAC", "rec/b.wav", "rec/dir.wav", "rec/sub/c.mp3"]


def test_links_are_followed_and_a_loop_is_found(tree):
    (tree / "more").mkdir()
    (tree / "more/e.wav").touch()
    (tree / "rec/link").symlink_to(tree / "more")
    (tree / "rec/sub/up").symlink_to("..")
    (tree / "rec/broken.wav").symlink_to("nowhere.wav")
    (tree / "rec/self.wav").symlink_to("self.wav")
    assert names("rec") == [
        *("rec/a.FLAC", "rec/b.wav", "rec/broken.wav", "rec/self.wav"),
        *("rec/link/e.wav", "rec/sub/c.mp3", "rec/sub/up"),
    ]


def test_the_same_folder_twice_is_no_loop(tree):
    (tree / "twice").mkdir()
    for link in ("one", "two"):
        (tree / "twice" / link).symlink_to(tree / "rec/sub")
    assert names("twice") == ["twice/one/c.mp3", "twice/two/c.mp3"]


def test_roots_are_the_folders_that_were_given(tree):
    roots = {s.name: s.root for s in find_sources(["rec/", "film.mkv", "rec/sub/*.mp3"])}
    assert roots["rec/sub/c.mp3"] == "rec"
    assert roots["film.mkv"] == "."


LATIN = b"caf\xe9.wav"


@pytest.mark.parametrize(
    "content",
    [b"a.wav\nb c.wav\n" + LATIN, b"\xef\xbb\xbfa.wav\r\nb c.wav\r\n\r\n" + LATIN + b"\r\n"],
    ids=["unix", "windows"],
)
def test_lists_by_line(tmp_path, content):
    (tmp_path / "list").write_bytes(content)
    assert read_list(str(tmp_path / "list")) == ["a.wav", "b c.wav", os.fsdecode(LATIN)]


def test_lists_with_nul_between_keep_line_ends(tmp_path):
    (tmp_path / "list").write_bytes(b"two\nlines.wav\0b.wav\0")
    assert read_list(str(tmp_path / "list")) == ["two\nlines.wav", "b.wav"]


def test_a_list_on_stdin(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a.wav\nb.wav\n")))
    assert read_list("-") == ["a.wav", "b.wav"]


def test_a_list_of_windows(tree, tmp_path):
    (tree / "by hand\\c.mp3").touch()
    (tmp_path / "list").write_bytes(b"rec\\sub\\c.mp3\r\nby hand\\c.mp3\r\nC:\\gone.wav\r\n")
    assert read_list(str(tmp_path / "list")) == ["rec/sub/c.mp3", "by hand\\c.mp3", "C:\\gone.wav"]


@pytest.mark.parametrize("content", [None, b"a.wav\n-\n", "a.wav\r\n".encode("utf-16")])
def test_a_list_that_cannot_be(tmp_path, content):
    if content is not None:
        (tmp_path / "list").write_bytes(content)
    with pytest.raises(DataError, match="list"):
        read_list(str(tmp_path / "list"))


def test_identity_changes_with_the_file(tree):
    (source,) = find_sources(["film.mkv"])
    before = source.identity()
    (tree / "film.mkv").write_bytes(b"longer")
    assert before != source.identity()
    (tree / "film.mkv").unlink()
    assert source.identity() is None
