"""``aac download``, the cache and Clotho: over the loopback, with archives made on the fly."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from archived import NAMES, as_published, corenlp, sounds_7z, wav
from huggingface_hub import constants
from loopback import Fault, Server, serving
from typer.testing import CliRunner

from aaccli import environment
from aaccli.cli import app
from aaccli.data import clotho
from aaccli.data.clips import read_clotho
from aaccli.data.clotho import ClothoPlan, bring
from aaccli.errors import DataError, FetchError
from aaccli.fetching import archives, assets, cache, download
from aaccli.fetching.assets import CACHED, CLOTHO, CNN10, SPICE, SPICE_JARS, Asset, ClothoSplit, Item
from aaccli.fetching.weights import find_init

runner = CliRunner()
CNN10_CONTENT = b"weights" * 1000


def aac(*arguments):
    return runner.invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def one_server() -> Iterator[Server]:
    with serving() as server:
        yield server


def at(server: Server, asset: Asset, content: bytes) -> Asset:
    """The asset as this server has it."""
    server.files[f"/{asset.file}"] = content
    md5, sha256 = hashlib.md5(content).hexdigest(), hashlib.sha256(content).hexdigest()
    return replace(
        asset, url=f"{server.url}/{asset.file}", size=len(content), exact=True, md5=md5, sha256=asset.sha256 and sha256
    )


@pytest.fixture
def server(one_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    """The world's servers on the loopback, with small files; an empty cache."""
    one_server.files.clear()
    one_server.faults.clear()
    one_server.requests.clear()
    small = replace(CNN10, files=(at(one_server, CNN10.files[0], CNN10_CONTENT),))
    zipped = replace(SPICE, files=(replace(at(one_server, SPICE.files[0], corenlp()), md5="", exact=False),))
    for module in (cache, assets):
        monkeypatch.setattr(module, "CNN10", small)
        monkeypatch.setattr(module, "SPICE", zipped)
    monkeypatch.setitem(CACHED, "cnn10", replace(CACHED["cnn10"], item=small))
    monkeypatch.setitem(CACHED, "spice", replace(CACHED["spice"], item=zipped))
    for version, splits in CLOTHO.items():
        monkeypatch.setitem(CLOTHO, version, tuple(small_split(one_server, split, version) for split in splits))
    monkeypatch.setenv("AAC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(download, "FIRST_WAIT", 0.01)
    monkeypatch.chdir(tmp_path)
    return one_server


def small_split(server: Server, split: ClothoSplit, version: str) -> ClothoSplit:
    # v1's development is another than v2.1's, evaluation is the same: as it is.
    other = version if split.name == "development" else ""
    captions = at(server, split.captions, captions_csv(other))
    audio = at(server, split.audio, as_published(split.name))
    server.files[f"/{other}{captions.file}"] = server.files[f"/{captions.file}"]
    captions = replace(captions, url=f"{server.url}/{other}{captions.file}")
    return ClothoSplit(split.name, captions, audio, 1000)


def captions_csv(said: str = "") -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["file_name", *(f"caption_{i}" for i in range(1, 6))])
    for name in NAMES:
        writer.writerow([name, *(f"A sound {said} {i}" for i in range(5))])
    return text.getvalue().encode()


def test_the_table_is_complete():
    every = [CNN10, SPICE, assets.clotho("v1")[0], assets.clotho("v2.1")[0]]
    for item in every:
        assert item.licence and item.about
        for asset in item.files:
            assert asset.url.startswith("https://") and asset.size > 0
            assert bool(asset.checksums) == (item is not SPICE)
            assert all(len(value) == {"md5": 32, "sha256": 64}[name] for name, value in asset.checksums.items())
    assert CNN10.files[0].url == "https://zenodo.org/record/3987831/files/Cnn10_mAP%3D0.380.pth?download=1"


def test_without_arguments_cnn10_comes(server, tmp_path):
    done = aac("download")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == ""
    path = tmp_path / "cache" / "cnn10" / "Cnn10_mAP=0.380.pth"
    assert done.stderr == f"cnn10: {path}\n"
    assert path.read_bytes() == CNN10_CONTENT
    assert find_init("cnn10") == path
    assert len(server.requests) == 1


def test_training_fetches_what_it_lacks(server, tmp_path):
    assert find_init("cnn10").read_bytes() == CNN10_CONTENT
    (tmp_path / "cache" / "cnn10" / "Cnn10_mAP=0.380.pth").write_bytes(b"damaged")
    assert find_init("cnn10").read_bytes() == CNN10_CONTENT


def test_dry_run_fetches_nothing(server, tmp_path):
    done = aac("download", "cnn10", "spice", "clotho", "--dry-run")
    assert done.exit_code == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == ["cnn10", "spice"] + ["clotho"] * 6
    assert rows[0][1] == "7 kB"
    assert rows[1][1].startswith("about ")
    assert "CC BY 4.0" in done.stderr
    assert server.requests == []
    assert not (tmp_path / "cache").exists() and not (tmp_path / "data").exists()
    aac("download", "cnn10")
    assert "nothing, it is there" in aac("download", "cnn10", "--dry-run").stdout


def test_from_a_file_without_a_network(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refused = aac("download", "cnn10")
    assert refused.exit_code == 1
    assert "aac download cnn10 --from FILE" in refused.stderr
    (tmp_path / "brought").write_bytes(CNN10_CONTENT)
    assert aac("download", "cnn10", "--from", tmp_path / "brought").exit_code == 0
    assert aac("download", "cnn10").exit_code == 0
    (tmp_path / "brought").write_bytes(b"something else")
    wrong = aac("download", "cnn10", "--from", tmp_path / "brought")
    assert wrong.exit_code == 1
    assert "brought is not Cnn10_mAP=0.380.pth" in wrong.stderr
    assert server.requests == []


def test_list_and_remove(server, tmp_path):
    empty = aac("download", "--list")
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert str(tmp_path / "cache") in empty.stderr
    aac("download", "cnn10", "spice")
    rows = [line.split("\t") for line in aac("download", "--list").stdout.splitlines()]
    assert [row[0] for row in rows] == ["cnn10", "spice"]
    assert rows[0][1] == str(len(CNN10_CONTENT))
    assert [row[2] for row in rows] == ["ok (md5, sha256)", "ok (sha256 as unpacked)"]
    assert all(row[3].startswith(server.url) for row in rows)
    for name in ("cnn10/Cnn10_mAP=0.380.pth", f"spice/{SPICE_JARS[1]}"):
        path = tmp_path / "cache" / name
        path.write_bytes(b"x" + path.read_bytes()[1:])
    assert [line.split("\t")[2] for line in aac("download", "--list").stdout.splitlines()] == ["DAMAGED"] * 2
    (tmp_path / "cache" / "spice" / cache.SUMS).write_bytes(b"c0ffee\xff")  # cut short
    assert [line.split("\t")[2] for line in aac("download", "--list").stdout.splitlines()] == ["DAMAGED"] * 2
    removed = aac("download", "--remove", "cnn10")
    assert removed.exit_code == 0
    assert "7 kB freed" in removed.stderr
    assert [line.split("\t")[0] for line in aac("download", "--list").stdout.splitlines()] == ["spice"]
    again = aac("download", "--remove", "cnn10")
    assert again.exit_code == 1
    assert "not in the cache" in again.stderr


def test_a_user_without_a_home(server, tmp_path, monkeypatch):
    """As a container's may be: what needs no cache works, the rest says what to set."""
    monkeypatch.delenv("AAC_CACHE")

    def no_home(*_, **__):
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr(cache.platformdirs, "user_cache_path", no_home)
    done = aac("download")
    assert done.exit_code == 1 and "AAC_CACHE=FOLDER" in done.stderr and "Traceback" not in done.stderr
    assert cache.spice_jars() is None and cache.clotho_folders() == [Path("data")]
    assert "AAC_CACHE" in environment.describe()["cache"]
    monkeypatch.setenv("AAC_CACHE", str(tmp_path / "cache"))
    assert aac("download").exit_code == 0


def test_what_came_so_far_is_listed_and_removed_too(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 1)
    server.faults["/Cnn10_mAP=0.380.pth"] = [Fault(cut=3000)]
    cut = aac("download")
    assert cut.exit_code == 1
    assert "the next run goes on from there" in cut.stderr
    assert "incomplete" in aac("download", "--list").stdout
    assert aac("download", "--remove", "cnn10").exit_code == 0
    assert aac("download", "--list").stdout == ""


def test_another_cache(server, tmp_path):
    assert aac("download", "cnn10", "--cache-dir", tmp_path / "other").exit_code == 0
    assert (tmp_path / "other" / "cnn10").is_dir()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cnn14"], "neither cnn10, clotho or spice"),
        (["--list", "cnn10"], "go alone"),
        (["--list", "--dry-run"], "go alone"),
        (["--remove", "clotho"], "--to put it"),
        (["--remove", "nonsense"], "neither"),
        (["cnn10", "spice", "--from", "x"], "one name"),
        (["cnn10", "--keep"], "for clotho"),
        (["cnn10", "--to", "x"], "for clotho"),
        (["clotho", "--version", "v3"], "v2.1, v1"),
        (["clotho", "--split", "test"], "development, validation, evaluation"),
        (["clotho", "--version", "v1", "--split", "validation"], "Clotho v1 has development, evaluation"),
        (["a/b", "--from", "x"], "HF_HOME"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(server, arguments, said):
    done = aac("download", *arguments)
    assert done.exit_code == 2, done.stderr
    assert said in done.stderr
    assert server.requests == []


def test_spice_comes_as_two_jars(server, tmp_path):
    assert cache.spice_jars() is None
    done = aac("download", "spice")
    assert done.exit_code == 0, done.stderr
    folder = cache.spice_jars()
    assert folder == tmp_path / "cache" / "spice"
    assert sorted(path.name for path in folder.iterdir()) == sorted([*SPICE_JARS, "SHA256SUMS"])
    assert (folder / SPICE_JARS[0]).read_bytes() == SPICE_JARS[0].encode() * 100
    assert [path.name for path in (tmp_path / "cache").iterdir() if not path.name.endswith(".lock")] == ["spice"]
    aac("download", "spice")
    assert len(server.requests) == 1


@pytest.mark.parametrize("damage", ["crc", "truncated", "no jar", "no zip"])
def test_a_damaged_zip_is_not_kept(server, tmp_path, damage):
    path = f"/{SPICE.files[0].file}"
    good = server.files[path]
    flipped = good.replace(SPICE_JARS[1].encode() * 100, b"X" * len(SPICE_JARS[1] * 100))
    server.files[path] = {
        "crc": flipped,
        "truncated": good[:-50],
        "no jar": corenlp(SPICE_JARS[:1]),
        "no zip": b"<html>" * 600,
    }[damage]
    done = aac("download", "spice")
    assert done.exit_code == 1
    assert "fetch it again" in done.stderr
    assert cache.spice_jars() is None
    server.files[path] = good
    assert aac("download", "spice").exit_code == 0
    assert cache.spice_jars()


def test_spice_from_a_file(server, tmp_path):
    (tmp_path / "brought.zip").write_bytes(corenlp())
    assert aac("download", "spice", "--from", tmp_path / "brought.zip").exit_code == 0
    assert cache.spice_jars()
    (tmp_path / "bad.zip").write_bytes(corenlp()[:-50])
    assert aac("download", "spice", "--from", tmp_path / "bad.zip").exit_code == 1
    assert cache.spice_jars(), "what was there before is still there"
    assert (tmp_path / "bad.zip").exists()
    assert aac("download", "spice", "--from", tmp_path / "none.zip").exit_code == 1
    assert server.requests == []


def test_clotho_ends_in_what_training_takes(server, tmp_path):
    done = aac("download", "clotho", "--to", tmp_path / "clotho")
    assert done.exit_code == 0, done.stderr
    assert "development 3, validation 3, evaluation 3" in done.stderr
    assert "aac train --clotho" in done.stderr
    splits = read_clotho(tmp_path / "clotho")
    assert list(splits) == ["development", "validation", "evaluation"]
    assert [clip.path.name for clip in splits["development"]] == NAMES
    left = sorted(p.name for p in (tmp_path / "clotho").iterdir() if not p.name.endswith(".lock"))
    assert left == sorted([*splits, *(f"clotho_captions_{name}.csv" for name in splits)])
    asked = len(server.requests)
    assert aac("download", "clotho", "--to", tmp_path / "clotho").exit_code == 0
    assert len(server.requests) == asked
    dry = aac("download", "clotho", "--to", tmp_path / "clotho", "--dry-run").stdout
    assert dry.count("nothing, it is there") == 6


def test_clotho_1_one_split_archives_kept(server, tmp_path):
    folder = tmp_path / "clotho"
    done = aac("download", "clotho", "--version", "v1", "--split", "development", "--to", folder, "--keep")
    assert done.exit_code == 0, done.stderr
    assert list(read_clotho(folder)) == ["development"]
    assert (folder / "clotho_audio_development.7z").is_file()
    other = aac("download", "clotho", "--split", "development", "--to", folder)
    assert other.exit_code == 1
    assert "not the captions of this version" in other.stderr


def plan_of(folder: Path, **options) -> ClothoPlan:
    return ClothoPlan(*assets.clotho("v2.1", ("evaluation",)), folder, **options)


@pytest.mark.parametrize("inside", ["", "evaluation", "clotho_audio_evaluation/evaluation"])
def test_recordings_at_any_depth(server, tmp_path, inside, monkeypatch):
    (split,) = plan_of(tmp_path).splits
    split = replace(split, audio=at(server, split.audio, sounds_7z(inside)))
    assert bring(replace(plan_of(tmp_path / "clotho"), splits=(split,))) == {"evaluation": 3}
    assert sorted(p.name for p in (tmp_path / "clotho" / "evaluation").iterdir()) == sorted(NAMES)


def test_stopped_while_unpacking_goes_on_without_fetching_again(server, tmp_path, monkeypatch):
    plan = plan_of(tmp_path / "clotho")

    def stop(archive: Path, folder: Path, watch: object) -> None:
        (folder / "half.wav").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(clotho, "unpack_7z", stop)
        bring(plan)
    assert not (plan.folder / "evaluation").exists()
    asked = len(server.requests)
    assert bring(plan) == {"evaluation": 3}
    assert len(server.requests) == asked
    assert not list(plan.folder.glob("**/half.wav"))


def test_files_that_the_user_brought(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    brought, plan = tmp_path / "stick", plan_of(tmp_path / "clotho", source=tmp_path / "stick")
    brought.mkdir()
    with pytest.raises(FetchError, match="No such file"):
        bring(plan)
    for asset in plan.item.files:
        (brought / asset.file).write_bytes(server.files[f"/{asset.file}"])
    assert bring(plan) == {"evaluation": 3}
    assert len(list(brought.iterdir())) == 2
    assert server.requests == []


def test_an_archive_without_the_recordings_of_the_captions(server, tmp_path):
    (split,) = plan_of(tmp_path).splits
    split = replace(split, audio=at(server, split.audio, sounds_7z("evaluation", {"rain.wav": wav(1)})))
    with pytest.raises(DataError, match="2 of 3 recordings are missing"):
        bring(replace(plan_of(tmp_path / "clotho"), splits=(split,)))


@pytest.mark.parametrize("content", [b"RIFF nonsense", wav(1)[:44]])
def test_recordings_that_cannot_be_read(server, tmp_path, content):
    (split,) = plan_of(tmp_path).splits
    split = replace(split, audio=at(server, split.audio, sounds_7z("evaluation", dict.fromkeys(NAMES, content))))
    with pytest.raises(DataError, match=r"Ambience Birds\.wav: .*remove .*evaluation and run again"):
        bring(replace(plan_of(tmp_path / "clotho"), splits=(split,)))


def test_what_was_fetched_is_kept_until_there_is_room_to_unpack_it(server, monkeypatch):
    room = archives.check_room
    with monkeypatch.context() as patched:
        patched.setattr(archives, "check_room", lambda folder, needed: room(folder, needed << 60))
        failed = aac("download", "spice")
    assert failed.exit_code == 1 and "free some room" in failed.stderr
    assert aac("download", "spice").exit_code == 0
    assert len(server.requests) == 1, "fetched once"


def test_by_hand_names_all_that_is_needed():
    asset = Asset("a.7z", "https://x/a.7z", 1, md5="0" * 32)
    assert (
        Item("clotho", "", "", (asset, asset))
        .by_hand(asset)
        .endswith("aac download clotho --from FOLDER that holds it")
    )
