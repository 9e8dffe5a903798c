"""Checkpoints that a stranger made: a thousand mutations of each file, and a typed error for each that is wrong.

Every trial runs in this process, under a limit on time; its memory is watched at the end.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aaccli.calibration import Calibration
from aaccli.captioning.captioner import Captioner
from aaccli.checkpoints import (
    CONFIG,
    VOCABULARY,
    WEIGHTS,
    CaptionerInfo,
    TaggerInfo,
    check_header,
    load_captioner,
    load_tagger,
    load_weights,
    save_captioner,
    save_weights,
)
from aaccli.errors import AacError, CheckpointError
from aaccli.limits import MAX_JSON_BYTES, RANGES
from aaccli.model.beam import DecodingConfig
from aaccli.model.captioner import CaptionerNet, ModelConfig
from aaccli.vocabulary import Vocabulary

WORDS = Vocabulary(("a", "dog", "barks", "naïve"))
TRIALS = 1000
SECONDS = 1.0
GIGABYTE = 1 << 30


@pytest.fixture(scope="module")
def original(tmp_path_factory, tiny_model_config) -> Path:
    folder = tmp_path_factory.mktemp("stranger") / "model"
    net = CaptionerNet(tiny_model_config, len(WORDS))
    save_captioner(folder, net, WORDS, CaptionerInfo(tiny_model_config, DecodingConfig(), {"epochs": 3}), "float16")
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(original, tmp_path / "model"))


ABSURD: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        3,
        7,
        2**31,
        2**63,
        10**30,
        10**400,
        0.5,
        -0.5,
        1e300,
        float("nan"),
        float("inf"),
    ),
    *("", "x", "l1", "\x1b[2J", "\ud800", "9" * 5000, [], {}, [[]], [1, 2], {"width": 1}, ["a"] * 1000, {"\x1b": 1}),
]


def places(data: Any, at: tuple = ()) -> Iterator[tuple]:
    """Every place in nested JSON."""
    yield at
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from places(value, (*at, key))


def mutated_json(data: Any, chance: random.Random) -> bytes:
    """Values exchanged, keys dropped, renamed or added; or the text itself damaged."""
    data = copy.deepcopy(data)
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        path = chance.choice(list(places(data)))
        if not path:
            continue
        parent = data
        for key in path[:-1]:
            parent = parent[key]
        kind = chance.randrange(4)
        if kind == 0 and isinstance(parent, dict):
            parent[chance.choice(["wings", "\x1b[31m", "", "width", "version"])] = parent.pop(path[-1])
        elif kind == 1:
            del parent[path[-1]]
        elif kind == 2 and isinstance(parent, dict):
            parent[chance.choice(["wings", "x" * 300])] = copy.deepcopy(chance.choice(ABSURD))
        else:
            parent[path[-1]] = copy.deepcopy(chance.choice(ABSURD))
    text = json.dumps(data).encode("utf-8", "surrogatepass")
    if chance.random() < 0.2:
        text = mutated_bytes(text, chance)
    return text


def mutated_bytes(content: bytes, chance: random.Random) -> bytes:
    """Bytes changed, cut out, doubled, cut off."""
    changed = bytearray(content)
    for _ in range(chance.choice([1, 1, 3, 20])):
        at, many = chance.randrange(len(changed) + 1), chance.choice([1, 1, 2, 8, 100])
        kind = chance.randrange(4)
        if kind == 0:
            changed[at : at + 1] = chance.randbytes(1)
        elif kind == 1:
            del changed[at : at + many]
        elif kind == 2:
            changed[at:at] = changed[at : at + many]
        elif chance.random() < 0.2:
            del changed[at:]
    return bytes(changed)


def mutated_weights(content: bytes, chance: random.Random) -> bytes:
    """A safetensors file with another header, which may lie about its own length."""
    (length,) = struct.unpack("<Q", content[:8])
    header, rest = content[8 : 8 + length], content[8 + length :]
    kind = chance.randrange(3)
    if kind == 0:
        header = mutated_bytes(header, chance)
    else:
        tensors = json.loads(header)
        for name in chance.sample(sorted(tensors), chance.choice([1, 1, 5])):
            tensor = tensors[name]
            change = chance.randrange(5)
            if change == 0:
                tensor["shape"] = chance.choice(
                    [[], [0], [2**40], [2**63, 2], [-1], [1.5], "x", None, tensor["shape"] + [1]]
                )
            elif change == 1:
                tensor["data_offsets"] = chance.choice([[0, 0], [0, 2**62], [5, 1], [0, len(rest)], [-1, 3], None])
            elif change == 2:
                tensor["dtype"] = chance.choice(["F64", "I64", "F8_E4M3", "BOOL", "", 5, None, "F32"])
            elif change == 3:
                tensors[chance.choice(["stray", "", "\x1b[2J", "logmel.mel.mel_scale.fb"])] = tensors.pop(name)
            else:
                tensors[name] = chance.choice(ABSURD[:12])
        header = json.dumps(tensors).encode()
    told = len(header) if chance.random() < 0.9 else chance.choice([0, 1, 2**31, 2**40, 2**64 - 1, len(header) - 1])
    return struct.pack("<Q", told) + header + (rest if chance.random() < 0.9 else rest[: len(rest) // 2])


def memory() -> int:
    """Most bytes that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def refused(load: Callable[[Path], object], path: Path) -> bool:
    """Whether loading ends in a typed error, in time; anything but success or a typed error fails the test."""
    began = time.process_time()
    try:
        load(path)
    except AacError as error:
        message = str(error)
        assert path.parent.name in message
        assert len(message) < 2000
        assert message.replace("\n", "").isprintable(), "nothing that a terminal obeys"
        return True
    finally:
        assert time.process_time() - began < SECONDS
    return False


def fuzz(load: Callable[[Path], object], path: Path, mutate: Callable[[random.Random], bytes], trials: int) -> int:
    """How many of so many mutations of a file are refused."""
    before, count = memory(), 0
    for seed in range(trials):
        path.unlink(
            missing_ok=True
        )  # a file made empty and filled again is waited for by some file systems, ext4 for one
        path.write_bytes(mutate(random.Random(seed)))
        count += refused(load, path)
    assert memory() - before < GIGABYTE
    return count


def load_folder_of(path: Path) -> object:
    return load_captioner(path.parent)


def test_a_thousand_configs(folder):
    """Up to the weights, which are left out: their absence is the only fault of a config that is all right."""
    path = folder / CONFIG
    config = json.loads(path.read_text())
    (folder / WEIGHTS).unlink()
    right = 0

    def load(path: Path) -> None:
        nonlocal right
        try:
            load_folder_of(path)
        except CheckpointError as error:
            right += WEIGHTS in str(error)
            raise

    assert fuzz(load, path, lambda chance: mutated_json(config, chance), TRIALS) == TRIALS
    assert 0 < right < TRIALS / 2, "most mutations matter, some do not"


def test_a_thousand_vocabularies(folder):
    words = json.loads((folder / VOCABULARY).read_text())
    assert fuzz(Vocabulary.load, folder / VOCABULARY, lambda chance: mutated_json(words, chance), TRIALS) > TRIALS / 2


def test_a_thousand_headers(tmp_path):
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
    wanted, path = net.state_dict(), tmp_path / WEIGHTS
    save_weights(path, wanted)
    content = path.read_bytes()

    def load(path: Path) -> None:
        check_header(path, wanted)
        load_weights(path)

    load(path)
    assert fuzz(load, path, lambda chance: mutated_weights(content, chance), TRIALS) > 0.8 * TRIALS


@pytest.mark.parametrize("name", [CONFIG, VOCABULARY, WEIGHTS])
def test_whole_folders(folder, name):
    """Some of the above with all that follows, down to the loaded network."""
    content = (folder / name).read_bytes()
    mutate = mutated_weights if name == WEIGHTS else lambda text, chance: mutated_json(json.loads(text), chance)
    fuzz(load_folder_of, folder / name, lambda chance: mutate(content, chance), 20)


def numbers(kind: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every number in a config, as a path of names."""
    default = kind() if dataclasses.is_dataclass(kind) and isinstance(kind, type) else kind
    for field in dataclasses.fields(default):
        value = getattr(default, field.name)
        if dataclasses.is_dataclass(value):
            yield from numbers(value, (*path, field.name))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield (*path, field.name)


NUMBERS = [
    *numbers(ModelConfig(), ("model",)),
    *numbers(DecodingConfig(), ("decoding",)),
    *numbers(Calibration(), ("calibration",)),
]


def test_every_number_has_a_range_and_every_range_a_number():
    assert {".".join(path[-2:]) for path in NUMBERS} == set(RANGES)


def test_numbers_out_of_range_are_refused_by_name(folder):
    text = (folder / CONFIG).read_text()
    for path in NUMBERS:
        low, high = RANGES[".".join(path[-2:])]
        for value in (low - 1, high + 1, float("nan")):
            (folder / CONFIG).write_text(text)
            changed(folder, **{"__".join(path): value})
            with pytest.raises(CheckpointError, match=r"config\.json") as error:
                load_captioner(folder)
            assert path[-1] in str(error.value) or path[-2] in str(error.value)


def changed(folder: Path, **changes: Any) -> Path:
    config = json.loads((folder / CONFIG).read_text())
    for path, value in changes.items():
        table = config
        *above, last = path.split("__")
        for name in above:
            table = table[name]
        table[last] = value
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


def test_sizes_that_only_together_are_too_much(folder):
    big = {"width": 4096, "feed_forward": 16384, "encoder_layers": 48, "decoder_layers": 48}
    before = memory()
    changed(folder, **{f"model__transformer__{name}": value for name, value in big.items()})
    with pytest.raises(CheckpointError, match=r"asks for .* weights, over 100,000,000"):
        load_captioner(folder)
    assert memory() - before < GIGABYTE / 10, "no memory is taken for weights that are refused"


def test_the_first_load_imports_nothing_more_of_torch(folder):
    """Laid out carelessly on "meta", a network costs two seconds of imports."""
    code = "import sys, pathlib, aaccli.captioning.captioner as c; before = len(sys.modules); "
    code += f"c.load_captioner(pathlib.Path({str(folder)!r})); print(len(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 50


def test_so_many_frames_a_second(folder):
    changed(folder, model__front_end__hop=40, model__front_end__window=512)
    with pytest.raises(CheckpointError, match="500 frames a second"):
        load_captioner(folder)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("9.1.0", r"aac 9\.1\.0 wrote it.*pip install --upgrade 'aac>=9\.1\.0'"),
        ("1.0; rm -rf /", "if a newer one wrote it: pip install --upgrade aac$"),
        (None, "if a newer one wrote it: pip install --upgrade aac$"),
    ],
)
def test_an_unknown_setting_names_the_version_that_knows_it(folder, written, said):
    changed(folder, aac=written, model__transformer__rotary=True)
    with pytest.raises(CheckpointError, match=f"unknown settings rotary.*{said}"):
        load_captioner(folder)
    changed(folder, version=2)
    with pytest.raises(CheckpointError, match=f"format version 2, this aac reads 1.*{said}"):
        load_captioner(folder)


def test_words_that_a_terminal_would_obey(folder):
    Vocabulary(("a", "dog", "barks", "\x1b[2J")).save(folder / VOCABULARY)
    with pytest.raises(CheckpointError, match=r"'\\x1b\[2J' is not a word"):
        load_captioner(folder)


def test_a_million_words(folder):
    (folder / VOCABULARY).write_text(json.dumps({"special": ["<pad>"], "words": ["a"] * 1_000_000}))
    with pytest.raises(CheckpointError, match=f"over the {MAX_JSON_BYTES:,}"):
        load_captioner(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(folder, tiny_model_config, value):
    net = CaptionerNet(tiny_model_config, len(WORDS))
    with torch.no_grad():
        net.decoder.bias[2] = value
    save_captioner(folder, net, WORDS, CaptionerInfo(tiny_model_config, DecodingConfig(), {}))
    with pytest.raises(CheckpointError, match=r"no numbers in decoder\.bias"):
        load_captioner(folder)


def test_weights_so_large_that_nothing_can_be_computed(folder, tiny_model_config):
    net = CaptionerNet(tiny_model_config, len(WORDS))
    with torch.no_grad():
        net.decoder.embedding.weight.fill_(3e38)
    save_captioner(folder, net, WORDS, CaptionerInfo(tiny_model_config, DecodingConfig(), {}))
    captioner = Captioner.from_pretrained(folder)
    with pytest.raises(CheckpointError, match="computes no probabilities") as error:
        captioner.caption(np.ones(44100, np.float32), sample_rate=44100)
    assert str(folder) in str(error.value)


def test_a_file_larger_than_its_config_asks_for(folder):
    with (folder / WEIGHTS).open("r+b") as file:
        file.truncate(3 * GIGABYTE)  # sparse
    assert refused(load_folder_of, folder / WEIGHTS)


@pytest.mark.parametrize("name", [CONFIG, VOCABULARY, WEIGHTS])
def test_a_pipe_in_place_of_a_file(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert refused(load_folder_of, folder / name)


@pytest.mark.parametrize("labels", [[], ["\x1b[2J"], ["a" * 1000], ["a"] * 20_000])
def test_strange_labels_of_a_tagger(tmp_path, labels):
    head = {"format": "aac-tagger", "version": 1, "front_end": {}, "cnn10": {}, "trained": {}, "labels": labels}
    assert set(head) >= {field.name for field in dataclasses.fields(TaggerInfo)}
    (tmp_path / CONFIG).write_text(json.dumps(head))
    with pytest.raises(CheckpointError, match="label"):
        load_tagger(tmp_path)
