"""Models of the Hub, from a server on the loopback that speaks its API."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import forked
import pytest
from full_disk import filling_up
from huggingface_hub import constants
from loopback import COMMIT, Repo, Server, serving
from typer.testing import CliRunner

from aaccli.checkpoints import CaptionerInfo, save_captioner
from aaccli.cli import app
from aaccli.commands import download as download_command
from aaccli.errors import CheckpointError, FetchError
from aaccli.fetching import hub
from aaccli.fetching.download import Progress
from aaccli.fetching.hub import HubName, hub_name
from aaccli.fetching.weights import find_init, find_model
from aaccli.model.beam import DecodingConfig
from aaccli.model.captioner import CaptionerNet
from aaccli.vocabulary import Vocabulary

WORDS = ("a", "dog", "barks")
NAME = HubName("someone/tiny")


@pytest.fixture(scope="module")
def files(tmp_path_factory, tiny_model_config) -> dict[str, bytes]:
    """What a published model's repository holds."""
    folder = tmp_path_factory.mktemp("published") / "model"
    net = CaptionerNet(tiny_model_config, len(WORDS) + 4)
    save_captioner(folder, net, Vocabulary(WORDS), CaptionerInfo(tiny_model_config, DecodingConfig(max_words=6), {}))
    own = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {
        **own,
        "README.md": b"# Tiny",
        "pytorch_model.bin": b"pickles",
        "code.py": b"import os",
        ".gitattributes": b"",
    }


@pytest.fixture(scope="module")
def one_server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def server(one_server: Server, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """huggingface_hub reads its environment once, at import: what it read is set here."""
    one_server.repos = {"someone/tiny": Repo(dict(files))}
    one_server.requests.clear()
    monkeypatch.setattr(constants, "ENDPOINT", one_server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", one_server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    return one_server


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a/b", HubName("a/b")),
        ("some-one/a.b_c-1@v1.0", HubName("some-one/a.b_c-1", "v1.0")),
        ("a/b@refs/pr/1", HubName("a/b", "refs/pr/1")),
        *(
            (text, None)
            for text in (
                "b",
                "/a/b",
                "./a/b",
                "../b",
                "a/b/c",
                "~/b",
                "a\\b",
                "C:/a",
                "a/b@",
                "a/b c",
                "a/",
                "",
                "a/../b",
            )
        ),
    ],
)
def test_names(text, name):
    assert hub_name(text) == name


def test_a_model_is_fetched_once_and_then_needs_nobody(server, files):
    seen: list[Progress] = []
    folder = find_model("someone/tiny", seen.append)
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "vocabulary.json",
    ]
    assert all((folder / name).read_bytes() == files[name] for name in hub.FILES)
    assert seen[-1].done > len(files["model.safetensors"])
    asked = {path for _, path, _ in server.requests}
    assert not any(name in path for path in asked for name in ("pytorch_model.bin", "code.py", ".gitattributes"))
    server.requests.clear()
    assert find_model("someone/tiny") == folder
    assert server.requests == []


def test_a_revision(server):
    folder = find_model("someone/tiny@v1")
    assert folder.name == COMMIT
    server.requests.clear()
    assert find_model(f"someone/tiny@{COMMIT}") == folder
    assert server.requests == []
    with pytest.raises(FetchError, match="someone/tiny has no revision v9"):
        find_model("someone/tiny@v9")


def test_a_folder_here_comes_first(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "someone" / "tiny").mkdir(parents=True)
    assert find_model("someone/tiny") == Path("someone/tiny")
    assert find_model(Path("no/such/folder")) == Path("no/such/folder")
    assert server.requests == []


def test_only_who_shows_the_token_gets_a_private_model(server, monkeypatch):
    server.repos["someone/tiny"].token = "secret"
    with pytest.raises(FetchError, match=r"no such model, or it is private \(then type: hf auth login\)"):
        find_model("someone/tiny")
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert find_model("someone/tiny").is_dir()


def test_no_such_model(server):
    with pytest.raises(FetchError, match=r"someone/else.*no such model.*no folder someone/else here"):
        find_model("someone/else")


@pytest.mark.parametrize("lacking", [["vocabulary.json"], ["config.json", "model.safetensors"]])
def test_what_is_missing_in_a_strangers_repository_is_said(server, lacking):
    for name in lacking:
        del server.repos["someone/tiny"].files[name]
    with pytest.raises(CheckpointError, match=f"someone/tiny is no model of aac: it has no {', no '.join(lacking)}"):
        find_model("someone/tiny")
    assert not any("resolve" in path for _, path, _ in server.requests)


def test_another_kind_of_config_is_refused_before_the_weights_come(server):
    server.repos["someone/tiny"].files["config.json"] = json.dumps({"model_type": "bert"}).encode()
    with pytest.raises(CheckpointError, match="no captioner of aac"):
        find_model("someone/tiny")
    assert not any("safetensors" in path for _, path, _ in server.requests)


def test_absurd_sizes_are_refused_before_anything_comes(server):
    server.repos["someone/tiny"].files["vocabulary.json"] = b" " * (5 << 20)
    with pytest.raises(CheckpointError, match=r"vocabulary\.json has 5,242,880 bytes"):
        find_model("someone/tiny")


def test_damaged_on_the_way(server):
    server.repos["someone/tiny"].damage = "model.safetensors"
    with pytest.raises(FetchError, match=r"model\.safetensors came damaged"):
        find_model("someone/tiny")
    assert hub.in_cache(NAME) is None
    server.repos["someone/tiny"].damage = None
    assert find_model("someone/tiny").is_dir()


def test_a_snapshot_that_lacks_a_file_is_not_trusted(server):
    folder = find_model("someone/tiny")
    (folder / "vocabulary.json").unlink()
    assert hub.in_cache(NAME) is None
    assert find_model("someone/tiny") == folder
    assert (folder / "vocabulary.json").is_file()


def test_without_a_network_the_answer_is_quick_and_says_what_to_do(server, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(
        FetchError, match=r"not in the cache .* cannot be reached .* aac download someone/tiny; then copy"
    ):
        find_model("someone/tiny")
    assert time.monotonic() - began < 3


def test_a_disk_that_is_full(server, tmp_path, files):
    with (
        filling_up(tmp_path / "hub", 12),
        pytest.raises(FetchError, match=r"cannot be kept in .* make room, or .*HF_HOME"),
    ):
        find_model("someone/tiny")
    assert (find_model("someone/tiny") / "model.safetensors").read_bytes() == files["model.safetensors"]


def test_offline_by_choice(server, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FetchError, match="HF_HUB_OFFLINE forbids the network"):
        find_model("someone/tiny")
    assert server.requests == []


def test_what_the_cache_holds_and_its_removal(server):
    assert list(hub.kept()) == []
    folder = find_model("someone/tiny")
    server.repos["someone/other"] = Repo({"config.json": b"{}"})
    (kept,) = hub.kept()
    assert (kept.name, kept.folder, kept.whole) == ("someone/tiny@main", folder, True)
    blob = (folder / "model.safetensors").resolve()
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    assert not next(hub.kept()).whole
    with pytest.raises(FetchError, match="not in the cache"):
        hub.remove(HubName("someone/tiny", "v7"))
    assert hub.remove(NAME) > 0
    assert list(hub.kept()) == []
    with pytest.raises(FetchError, match="not in the cache"):
        hub.remove(NAME)


def test_init_names(tmp_path):
    assert find_init("none") is None
    assert find_init(str(tmp_path)) == tmp_path


def test_as_a_user_types_it(one_server, files, tmp_path):
    """The environment of the Hub's tools, a fetch, and then no network at all."""
    one_server.repos = {"someone/tiny": Repo(dict(files), token="secret")}
    environment = {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": one_server.url, "HF_TOKEN": "secret"}
    environment |= {
        "AAC_CACHE": str(tmp_path / "aac"),
        "HF_HUB_CACHE": str(tmp_path / "hf" / "hub"),
        "HF_HUB_OFFLINE": "0",
    }
    fetched = forked.run(forked.AAC, "download", "someone/tiny", environment=environment)
    assert (fetched.returncode, fetched.stdout) == (0, ""), fetched.stderr
    assert str(tmp_path / "hf") in fetched.stderr
    offline = {**environment, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": ""}
    siren = Path(__file__).parent / "data" / "siren.wav"
    said = forked.run(forked.AAC, "caption", siren, "--model", "someone/tiny", environment=offline)
    assert said.returncode == 0, said.stderr
    assert set(said.stdout.split()) <= set(WORDS)


def test_a_dry_run_lists_what_would_come_and_where_it_is(server, tmp_path):
    dry = CliRunner().invoke(app, ["download", "someone/tiny", "--dry-run"])
    assert dry.exit_code == 0, dry.stderr
    rows = [line.split("\t") for line in dry.stdout.splitlines()]
    assert [row[0] for row in rows] == ["someone/tiny"] * len(rows)
    assert {"config.json", "model.safetensors", "vocabulary.json"} <= {row[2] for row in rows}
    assert {row[3] for row in rows} == {"not in the cache"}
    assert not list(tmp_path.rglob("model.safetensors"))
    folder = hub.find(NAME)
    again = CliRunner().invoke(app, ["download", "someone/tiny", "--dry-run"]).stdout
    assert {line.split("\t")[3] for line in again.splitlines()} == {str(folder)}


def test_what_is_held_is_a_table_on_a_terminal(server, tmp_path, monkeypatch, capsys):
    hub.find(NAME)
    (model,) = (tmp_path / "hub").rglob("model.safetensors")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "400")
    for damage, state in ((b"", "ok (sha256)"), (b"x", "DAMAGED")):
        model.write_bytes(model.read_bytes() + damage)
        download_command._list(tmp_path / "cache")
        head, row = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
        assert head.split() == ["name", "size", "checksums", "origin", "place"]
        assert row.startswith("someone/tiny") and state in row and f"{server.url}/someone/tiny" in row
