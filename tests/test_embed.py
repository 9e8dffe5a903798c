"""The recipes that ship a model: what is copied, who is named, and what is too large."""

import csv
import sys

import pytest

from aaccli.checkpoints import CONFIG, VOCABULARY, WEIGHTS, CaptionerInfo, load_captioner, save_captioner
from aaccli.model.beam import DecodingConfig
from aaccli.model.captioner import CaptionerNet
from aaccli.recipes import embed, graft
from aaccli.vocabulary import Vocabulary

MANIFEST = """file,label,fold,title,author,licence,source_url,note
dog/a.wav,dog,1,Barks,Ann,CC0,https://x/1,loud
b.wav,zzyzx,2,Hums,,CC BY 4.0,https://x/2,
c.wav,rain,4,Rain,Cy,CC0,https://x/3,
"""


@pytest.fixture
def run(tmp_path, tiny_model_config):
    words = Vocabulary(("a", "dog"))
    info = CaptionerInfo(tiny_model_config, DecodingConfig(length_penalty=0.5), {"recipe": "base"})
    save_captioner(tmp_path / "run", CaptionerNet(tiny_model_config, len(words)), words, info)
    return tmp_path / "run"


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """Where the model that comes with aac is, here."""
    folder = tmp_path / "default_model"
    folder.mkdir()
    monkeypatch.setattr(embed, "DEFAULT_MODEL", folder)
    return folder


@pytest.fixture
def sounds(tmp_path):
    (tmp_path / "sounds").mkdir()
    (tmp_path / "sounds" / "manifest.csv").write_text(MANIFEST)
    return tmp_path / "sounds"


def test_the_model_is_copied_and_all_it_was_trained_on_is_named(run, shipped, sounds, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["embed", str(run), "--sounds", str(sounds)])
    embed.main()
    assert capsys.readouterr().out == "2 attributions\n"
    for name in (CONFIG, VOCABULARY, WEIGHTS):
        assert (shipped / name).read_bytes() == (run / name).read_bytes()
    with (shipped / "ATTRIBUTIONS.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["file", "title", "author", "licence", "source_url"],
            ["a.wav", "Barks", "Ann", "CC0", "https://x/1"],
            ["b.wav", "Hums", "credited in https://x/2", "CC BY 4.0", "https://x/2"],
        ]


def test_a_length_penalty_becomes_the_models_own(run, shipped, sounds):
    assert embed.embed(run, sounds, 1, 0.75) == 2
    _, _, info = load_captioner(shipped)
    assert info.decoding == DecodingConfig(length_penalty=0.75)
    assert info.trained == {"recipe": "base"}


def test_what_a_wheel_cannot_hold_is_refused(run, shipped, sounds, monkeypatch):
    monkeypatch.setattr(embed, "MAX_BYTES", 1000)
    with pytest.raises(SystemExit, match="1000 at most; train with --store float16"):
        embed.embed(run, sounds, 4)
    assert list(shipped.iterdir()) == []


def test_graft_at_the_command_line(monkeypatch):
    given = []
    monkeypatch.setattr(graft, "graft", lambda *paths: given.append([path.name for path in paths]))
    monkeypatch.setattr(sys, "argv", ["graft", "runs/best", "runs/tagger", "--out", "runs/grafted"])
    graft.main()
    assert given == [["best", "tagger", "grafted"]]
