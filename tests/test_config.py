"""Settings to JSON and back, and what is refused on the way back."""

from __future__ import annotations

import dataclasses
import json

import pytest

from aaccli.config import from_dict, to_dict
from aaccli.errors import ConfigError
from aaccli.model.beam import DecodingConfig
from aaccli.model.captioner import ModelConfig
from aaccli.model.cnn10 import Cnn10Config
from aaccli.model.features import FrontEndConfig, SpecAugmentConfig
from aaccli.model.rlssr import RlssrConfig
from aaccli.model.transformer import TransformerConfig

UNUSUAL = ModelConfig(
    FrontEndConfig(32000, 2048, 320, 128, 20.0, 15000.5, 1e-7),
    Cnn10Config(0.35, SpecAugmentConfig(1, 12, 0.3, 4, 5)),
    TransformerConfig(64, 0, 3, 8, 100, 0.01),
    RlssrConfig("huber", 3, True, 0.25),
)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All kinds of fields, one of them needed."""

    names: tuple[str, ...]
    front_end: FrontEndConfig = dataclasses.field(default_factory=FrontEndConfig)
    shuffle: bool = False
    rate: float = 0.1


@pytest.mark.parametrize("config", [ModelConfig(), UNUSUAL], ids=["default", "unusual"])
def test_model_config_through_json(config):
    assert from_dict(ModelConfig, json.loads(json.dumps(to_dict(config)))) == config


def test_unusual_is_unusual_in_every_field():
    def leaves(data: dict) -> list:
        return [leaf for v in data.values() for leaf in (leaves(v) if isinstance(v, dict) else [v])]

    assert all(a != b for a, b in zip(leaves(to_dict(UNUSUAL)), leaves(to_dict(ModelConfig())), strict=True))


def test_lists_of_json_become_tuples_again():
    recipe = Recipe(("a", "b"), shuffle=True)
    assert from_dict(Recipe, json.loads(json.dumps(to_dict(recipe)))) == recipe


def test_what_is_not_said_is_the_default():
    config = from_dict(ModelConfig, {"transformer": {"width": 96}})
    assert config == ModelConfig(transformer=TransformerConfig(width=96))


def test_an_int_is_a_float_too():
    config = from_dict(FrontEndConfig, {"fmin": 20})
    assert config.fmin == 20.0
    assert isinstance(config.fmin, float)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"wavelets": 1}, "wavelets"),
        ({"transformer": {"width": 96, "wings": 2}}, "transformer: unknown settings wings"),
        ({"cnn10": {"spec_augment": {"time_warp": 5}}}, "cnn10.spec_augment: unknown settings time_warp"),
        ({"transformer": {"width": "96"}}, "transformer.width"),
        ({"transformer": {"width": 96.0}}, "transformer.width"),
        ({"transformer": {"width": None}}, "transformer.width"),
        ({"transformer": {"width": True}}, "transformer.width"),
        ({"transformer": {"dropout": False}}, "transformer.dropout"),
        ({"transformer": {"dropout": "0.1"}}, "transformer.dropout"),
        ({"rlssr": {"stop_gradient": 1}}, "rlssr.stop_gradient"),
        ({"rlssr": {"distance": "l3"}}, "rlssr.distance"),
        ({"rlssr": {"distance": ["l1"]}}, "rlssr.distance"),
        ({"transformer": 96}, "transformer"),
        ({"transformer": [96]}, "transformer"),
        ([], "ModelConfig"),
        (None, "ModelConfig"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(data, named):
    with pytest.raises(ConfigError, match=named):
        from_dict(ModelConfig, data)


@pytest.mark.parametrize("names", ["ab", 3, {"a": 1}])
def test_what_is_no_list_is_refused(names):
    with pytest.raises(ConfigError, match="names"):
        from_dict(Recipe, {"names": names})


def test_a_needed_setting_is_asked_for():
    with pytest.raises(ConfigError, match="names"):
        from_dict(Recipe, {"shuffle": True})


def test_values_that_make_no_sense_are_refused():
    with pytest.raises(ConfigError, match="beam_size"):
        from_dict(DecodingConfig, {"beam_size": 0})


@pytest.mark.parametrize("names", [[1], [None], [["a"]]])
def test_what_a_list_holds_is_looked_at(names):
    with pytest.raises(ConfigError, match="names"):
        from_dict(Recipe, {"names": names})


def test_a_number_too_large_for_a_float_is_refused():
    with pytest.raises(ConfigError, match="rate"):
        from_dict(Recipe, {"names": [], "rate": 10**400})
