"""Archives that are unpacked: what they hold stays in its folder, or they are refused whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import py7zr
import pytest
from archived import NAMES, as_published, corenlp

from aaccli.errors import FetchError
from aaccli.fetching import archives
from aaccli.fetching.archives import check_names, unpack_7z, unpack_from_zip
from aaccli.fetching.assets import SPICE_JARS


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/../../x",
        "/etc/x",
        "C:\\x",
        "C:x",
        "..\\x",
        "a\\..\\..\\x",
        "\\\\host\\share\\x",
        "//host/x",
        "a\0b",
        "",
    ],
)
def test_names_that_leave_the_folder(name):
    with pytest.raises(FetchError, match="would leave the folder"):
        check_names(Path("a.7z"), ["fine.wav", name])


def test_names_of_clotho_are_fine():
    check_names(
        Path("a.7z"), [f"development/{name}" for name in [*NAMES, "a..b.wav", "...wav", "City Ambience w_ Car.wav"]]
    )


def evil_7z(path: Path, name: str) -> Path:
    with py7zr.SevenZipFile(path, "w", filters=[{"id": py7zr.FILTER_COPY}]) as archive:
        archive.writestr(b"fine", "fine.wav")
        archive.writestr(b"evil", "x" * len(name))
        archive.header.files_info.files[-1]["filename"] = name
    return path


@pytest.mark.parametrize("name", ["../evil.wav", "/tmp/evil-of-aac.wav", "a/../../evil.wav"])
def test_an_evil_archive_is_refused_whole(tmp_path, name):
    archive = evil_7z(tmp_path / "evil.7z", name)
    with py7zr.SevenZipFile(archive) as packed:
        assert name in packed.getnames(), "the archive is as evil as it should be"
    (tmp_path / "into").mkdir()
    with pytest.raises(FetchError, match="would leave the folder"):
        unpack_7z(archive, tmp_path / "into")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["evil.7z", "into"]
    assert not Path("/tmp/evil-of-aac.wav").exists()


def test_links_are_refused(tmp_path):
    (tmp_path / "link").symlink_to("/etc")
    with py7zr.SevenZipFile(tmp_path / "links.7z", "w") as archive:
        archive.write(tmp_path / "link", "link")
    (tmp_path / "into").mkdir()
    with pytest.raises(FetchError, match="link or a special file"):
        unpack_7z(tmp_path / "links.7z", tmp_path / "into")
    assert not list((tmp_path / "into").iterdir())


def test_a_7z_damaged_anywhere(tmp_path):
    whole = as_published("evaluation")
    random = np.random.default_rng(0)
    contents = [b"", b"7z", whole[:100], whole[:-10], b"7z\xbc\xaf\x27\x1c" + random.bytes(500)]
    for place in random.integers(0, len(whole), 20):
        contents.append(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
    refused = 0
    for i, content in enumerate(contents):
        (tmp_path / "a.7z").write_bytes(content)
        (tmp_path / str(i)).mkdir()
        try:
            unpack_7z(tmp_path / "a.7z", tmp_path / str(i))
        except FetchError as error:
            refused += 1
            assert "a.7z" in str(error)
    assert refused >= 20  # a few bytes, such as times, may change unnoticed


def test_no_room_to_unpack(tmp_path, monkeypatch):
    (tmp_path / "a.7z").write_bytes(as_published("evaluation"))
    (tmp_path / "a.zip").write_bytes(corenlp())
    usage = archives.shutil.disk_usage("/")
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: usage._replace(free=10))
    for unpack in (
        lambda: unpack_7z(tmp_path / "a.7z", tmp_path),
        lambda: unpack_from_zip(tmp_path / "a.zip", SPICE_JARS, tmp_path),
    ):
        with pytest.raises(FetchError, match="bytes are needed to unpack, 10 are free"):
            unpack()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.7z", "a.zip"]
