"""Recipes, files and options laid over each other."""

from __future__ import annotations

import os
import tomllib
from dataclasses import replace

import pytest

from aaccli.config import from_dict
from aaccli.errors import ConfigError
from aaccli.metrics.output import write_whole
from aaccli.model.captioner import ModelConfig
from aaccli.model.features import FrontEndConfig
from aaccli.training.config import TrainingConfig
from aaccli.training.runs import SOUNDS_TRAINING, Init
from aaccli.training.settings import RECIPES, Settings, as_toml, changes, check_data, gather, read_layer


def of(given: dict, file: dict | None = None, start: Init | None = None) -> Settings:
    return gather(file or {}, given, lambda init: start or Init())[0]


def test_the_eight_rows_of_the_papers_tables():
    found = {}
    for name in RECIPES:
        s = of({"recipe": name})
        assert s.recipe == name and s.training == TrainingConfig()
        found[name] = (s.init, s.model.rlssr.distance, s.model.transformer.encoder_layers)
    assert found == {
        "base": ("none", "none", 2),
        "base+l1": ("none", "l1", 2),
        "base+l2": ("none", "l2", 2),
        "base+pann": ("cnn10", "none", 2),
        "base+pann+l1": ("cnn10", "l1", 2),
        "base+pann+l2": ("cnn10", "l2", 2),
        "base-encoder": ("none", "none", 0),
        "base-encoder+pann": ("cnn10", "none", 0),
    }
    assert of({}) == of({"recipe": "base+pann+l1"})


def test_a_recipe_only_sets_fields():
    s = of({"recipe": "base", "init": "x.pth", "model": {"rlssr": {"distance": "huber"}}, "training": {"alpha": 2.0}})
    assert (s.init, s.model.rlssr.distance, s.training.alpha) == ("x.pth", "huber", 2.0)


def test_the_command_line_counts_before_the_file_before_the_recipe(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text('recipe = "base+l2"\ninit = "cnn10"\n[training]\nseed = 3\nepochs = 7\n')
    s = of({"training": {"epochs": 9}}, read_layer(path))
    assert (s.recipe, s.init, s.model.rlssr.distance) == ("base+l2", "cnn10", "l2")
    assert (s.training.seed, s.training.epochs) == (3, 9)


def test_settings_written_are_settings_read():
    s = of({"training": {"learning_rate": 1e-5, "freeze_cnn": True}, "data": {"csv": 'a "b"\\ü\n.csv'}})
    assert from_dict(Settings, tomllib.loads(as_toml(s, "aac train\nin two lines"))) == s


def test_paths_and_commands_that_are_not_text_are_settings_read(tmp_path):
    strange = os.fsdecode(b"caf\xe9 \x7f\x01.csv")
    s = of({"training": {"explosion": float("inf")}, "data": {"csv": strange, "audio": "a"}})
    write_whole(tmp_path / "a.toml", as_toml(s, f"aac train --csv {strange}\rb"))
    assert from_dict(Settings, read_layer(tmp_path / "a.toml")) == s


@pytest.mark.parametrize(
    "content", ["a = " + "9" * 5000, "a = " + "[" * 10_000, "a = \xe9", "[a\n"], ids=lambda c: c[:8]
)
def test_what_is_no_toml_is_refused(tmp_path, content):
    (tmp_path / "a.toml").write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"a\.toml: not a TOML file"):
        read_layer(tmp_path / "a.toml")


def test_labelled_sounds_have_settings_of_their_own():
    s = of({"data": {"sounds": "x"}})
    assert (s.init, s.training, s.decoding.no_repeat_ngram, s.recipe) == ("tagger", SOUNDS_TRAINING, 3, "")
    assert of({"data": {"sounds": "x"}, "recipe": "base+pann+l2"}).model.rlssr.distance == "l2"


def test_a_captioner_or_a_tagger_brings_its_own_sizes():
    narrow = replace(ModelConfig(), front_end=FrontEndConfig(fmax=8000))
    thin = replace(narrow, transformer=replace(narrow.transformer, width=64, encoder_layers=0))
    captioner = Init(captioner=("net", "words"), model=thin)  # type: ignore[arg-type]
    assert of({"init": "old"}, start=captioner).model == thin
    assert of({"init": "old", "recipe": "base"}, start=captioner).model.transformer.encoder_layers == 2
    tagger = of({"init": "tags"}, start=Init(model=narrow))
    assert (tagger.model.front_end.fmax, tagger.model.transformer.encoder_layers) == (8000, 2)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"recipe": "best"}, "--recipe best.*base-encoder"),
        ({"training": {"batchsize": 3}}, "training: unknown settings batchsize"),
        ({"training": {"batch_size": 0}}, "batch_size is at least 1"),
        ({"training": {"learning_rate": "fast"}}, "training.learning_rate"),
        ({"training": {"select": "cider", "decode_epochs": 0}}, "decode_epochs"),
        ({"init": "none", "training": {"freeze_cnn": True}}, "--train-cnn"),
        ({"init": "tagger"}, "--sounds"),
    ],
)
def test_settings_that_make_no_sense(given, named):
    with pytest.raises(ConfigError, match=named):
        of(given)


@pytest.mark.parametrize(
    "data",
    [{}, {"csv": "a"}, {"clotho": "a", "sounds": "b"}, {"sounds": "a", "audio": "b"}, {"clotho": "a", "audio": "b"}],
)
def test_one_source_of_data(data):
    with pytest.raises(ConfigError):
        check_data({"data": data})
    check_data({"data": {"clotho": "a"}})
    check_data({"data": {"csv": "a", "audio": "b"}})


@pytest.mark.parametrize("content", [b"a = ", b"\xff", None])
def test_a_file_that_is_no_toml(tmp_path, content):
    if content is not None:
        (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.toml"):
        read_layer(tmp_path / "a.toml")


def test_what_may_change_of_a_run():
    s = of({})
    free = replace(s, training=replace(s.training, epochs=3, learning_rate=1e-4), data=replace(s.data, workers=5))
    assert changes(s, free) == []
    other = replace(s, init="none", training=replace(s.training, batch_size=8))
    assert changes(s, other) == ["init: 'cnn10' → 'none'", "training.batch_size: 64 → 8"]
