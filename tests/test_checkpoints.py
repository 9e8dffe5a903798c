"""Checkpoints: round trips, folders that are replaced whole or not at all, and files that are not to be trusted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from aaccli.checkpoints import (
    CONFIG,
    VOCABULARY,
    WEIGHTS,
    CaptionerInfo,
    TaggerInfo,
    load_captioner,
    load_panns_file,
    load_tagger,
    load_weights,
    mend,
    replacing,
    save_captioner,
    save_tagger,
    save_weights,
)
from aaccli.errors import CheckpointError
from aaccli.model.beam import DecodingConfig
from aaccli.model.captioner import CaptionerNet
from aaccli.model.cnn10 import Cnn10Config, Tagger
from aaccli.model.features import FrontEndConfig, SpecAugmentConfig
from aaccli.vocabulary import Vocabulary

INFO = TaggerInfo(
    FrontEndConfig(sample_rate=32000, hop=320, mels=16),
    Cnn10Config(dropout=0.1, spec_augment=SpecAugmentConfig(time_masks=3)),
    ("dog", "rain on a roof", "naïve"),
    {"epochs": 3, "accuracy": 0.5, "data": ["a", "b"], "note": None},
)


def trained_tagger() -> Tagger:
    """Batch statistics too are not those of a fresh one."""
    tagger = Tagger(INFO.cnn10, len(INFO.labels), INFO.front_end.mels).train()
    tagger(torch.randn(2, 32, INFO.front_end.mels))
    return tagger


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, Tagger]:
    folder, tagger = tmp_path_factory.mktemp("taggers") / "tagger", trained_tagger()
    save_tagger(folder, tagger, INFO)
    return folder, tagger


@pytest.fixture
def folder(written, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(written[0], tmp_path / "tagger"))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_tagger_round_trip_is_exact(written):
    folder, tagger = written
    loaded, info = load_tagger(folder)
    assert info == INFO
    assert not loaded.training
    assert loaded.state_dict().keys() == tagger.state_dict().keys()
    assert all(torch.equal(value, tagger.state_dict()[key]) for key, value in loaded.state_dict().items())


def test_loaded_tagger_gives_the_same_tags(written):
    folder, tagger = written
    logmel = torch.randn(2, 40, INFO.front_end.mels)
    with torch.no_grad():
        assert torch.equal(load_tagger(folder)[0](logmel), tagger.eval()(logmel))


def test_float16_is_close_and_half_the_size(written, tmp_path):
    state = written[1].state_dict()
    half, full = tmp_path / "half.safetensors", tmp_path / "full.safetensors"
    save_weights(half, state, "float16")
    save_weights(full, state)
    assert half.stat().st_size == pytest.approx(full.stat().st_size / 2, rel=0.01)
    loaded = load_weights(half)
    assert loaded.keys() == state.keys()
    for key, value in state.items():
        assert loaded[key].dtype == value.dtype
        torch.testing.assert_close(loaded[key], value, rtol=1e-3, atol=1e-6)
    assert any(not torch.equal(loaded[key], value) for key, value in state.items())


def test_counts_stay_whole_numbers_in_float16(tmp_path):
    save_weights(tmp_path / "w.safetensors", {"num_batches_tracked": torch.tensor(123_457)}, "float16")
    assert load_weights(tmp_path / "w.safetensors")["num_batches_tracked"].item() == 123_457


WORDS = Vocabulary(("a", "dog", "barks", "naïve"))


@pytest.fixture(scope="module")
def captioner(tiny_model_config) -> tuple[CaptionerNet, CaptionerInfo]:
    info = CaptionerInfo(tiny_model_config, DecodingConfig(beam_size=2, length_penalty=0.5), {"epochs": 3})
    return CaptionerNet(info.model, len(WORDS)), info


def test_captioner_round_trip_is_exact(captioner, tmp_path):
    net, info = captioner
    save_captioner(tmp_path / "captioner", net, WORDS, info)
    loaded, vocabulary, loaded_info = load_captioner(tmp_path / "captioner")
    assert (vocabulary, loaded_info) == (WORDS, info)
    assert not loaded.training
    assert loaded.state_dict().keys() == net.state_dict().keys()
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in loaded.state_dict().items())


def test_a_card_may_quote_a_command_that_is_not_utf_8(captioner, tmp_path):
    net, info = captioner
    save_captioner(tmp_path / "captioner", net, WORDS, info, card="aac train --csv caf\udce9.csv")
    card = (tmp_path / "captioner" / "README.md").read_text(encoding="utf-8")
    assert card == r"aac train --csv caf\udce9.csv"


def test_captioner_in_float16_is_close_and_hears_the_same(captioner, tmp_path):
    net, info = captioner
    save_captioner(tmp_path / "half", net, WORDS, info, "float16")
    save_captioner(tmp_path / "full", net, WORDS, info)
    half, full = (tmp_path / name / WEIGHTS for name in ("half", "full"))
    assert half.stat().st_size == pytest.approx(full.stat().st_size / 2, rel=0.02)
    loaded = load_captioner(tmp_path / "half")[0]
    for key, value in net.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value, rtol=1e-3, atol=1e-6)
    waveform = torch.randn(20000)
    assert torch.equal(loaded.logmel(waveform), net.logmel(waveform)), "the filterbank is not rounded"


@pytest.mark.parametrize("words", [("a",), ("a", "dog", "barks", "naïve", "cat")])
def test_captioner_with_the_vocabulary_of_another(captioner, tmp_path, words):
    net, info = captioner
    save_captioner(tmp_path / "captioner", net, WORDS, info)
    Vocabulary(words).save(tmp_path / "captioner" / VOCABULARY)
    with pytest.raises(CheckpointError, match=r"decoder\.embedding\.weight"):
        load_captioner(tmp_path / "captioner")


def test_captioner_without_a_vocabulary(captioner, tmp_path):
    net, info = captioner
    save_captioner(tmp_path / "captioner", net, WORDS, info)
    (tmp_path / "captioner" / VOCABULARY).unlink()
    with pytest.raises(CheckpointError, match=VOCABULARY):
        load_captioner(tmp_path / "captioner")


def test_tagger_in_place_of_a_captioner(written):
    with pytest.raises(CheckpointError, match="aac-tagger"):
        load_captioner(written[0])


def test_sizes_that_make_no_sense(folder):
    edit_config(folder, front_end={"mels": -1})
    assert_refused(folder, str(folder / CONFIG))


def fill(folder: Path, content: str) -> None:
    (folder / "a.txt").write_text(content)


def test_replacing_makes_the_folder_and_those_above_it(tmp_path):
    with replacing(tmp_path / "runs" / "best") as fresh:
        fill(fresh, "new")
    assert names_in(tmp_path / "runs") == ["best"]
    assert (tmp_path / "runs" / "best" / "a.txt").read_text() == "new"


def test_replacing_takes_the_place_of_the_former(tmp_path):
    former = tmp_path / "best"
    former.mkdir()
    fill(former, "old")
    (former / "stale.txt").touch()
    with replacing(former) as fresh:
        assert names_in(fresh) == []
        fill(fresh, "new")
        assert (former / "a.txt").read_text() == "old", "readers see the former one until the block ends"
    assert names_in(former) == ["a.txt"]
    assert (former / "a.txt").read_text() == "new"
    assert names_in(tmp_path) == ["best"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_replacing_leaves_the_former_intact_when_the_block_raises(tmp_path, error):
    former = tmp_path / "best"
    former.mkdir()
    fill(former, "old")
    with pytest.raises(error), replacing(former) as fresh:
        fill(fresh, "half")
        raise error
    assert (former / "a.txt").read_text() == "old"
    assert names_in(tmp_path) == ["best"]


def test_replacing_leaves_nothing_when_the_first_block_raises(tmp_path):
    with pytest.raises(RuntimeError), replacing(tmp_path / "best") as fresh:
        fill(fresh, "half")
        raise RuntimeError
    assert names_in(tmp_path) == []


def test_replacing_leaves_the_former_intact_when_the_move_fails(tmp_path, monkeypatch):
    former = tmp_path / "best"
    former.mkdir()
    fill(former, "old")
    move = Path.rename

    def fail_into_place(source: Path, target: Path) -> Path:
        if source.name.endswith(".new"):
            raise OSError("no")
        return move(source, target)

    monkeypatch.setattr(Path, "rename", fail_into_place)
    with pytest.raises(OSError), replacing(former) as fresh:
        fill(fresh, "new")
    assert (former / "a.txt").read_text() == "old"


@pytest.mark.parametrize("between", [True, False])
def test_mend_puts_right_what_a_kill_left(tmp_path, between):
    """Killed between its two moves, or once before them and once after."""
    (tmp_path / ".best.7.old").mkdir()
    (tmp_path / ".best.7.old" / "weights").write_text("former")
    (tmp_path / ".best.8.new").mkdir()
    if not between:
        (tmp_path / "best").mkdir()
        (tmp_path / "best" / "weights").write_text("fresh")
    mend(tmp_path / "best")
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
    assert (tmp_path / "best" / "weights").read_text() == ("former" if between else "fresh")


@pytest.mark.parametrize("kind", ["file", "link"])
def test_replacing_refuses_what_is_no_folder_and_leaves_nothing_lying_around(tmp_path, kind):
    place, elsewhere = tmp_path / "parent" / "best", tmp_path / "elsewhere"
    place.parent.mkdir()
    elsewhere.mkdir()
    if kind == "file":
        place.write_text("old")
    else:
        place.symlink_to(elsewhere)
    with pytest.raises(CheckpointError, match="not a folder"), replacing(place) as fresh:
        fill(fresh, "new")
    assert names_in(place.parent) == ["best"]


def edit_config(folder: Path, **changes) -> None:
    path = folder / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def assert_refused(folder: Path, *named: str) -> None:
    with pytest.raises(CheckpointError) as error:
        load_tagger(folder)
    for part in named:
        assert part in str(error.value)


def test_missing_folder(tmp_path):
    assert_refused(tmp_path / "nowhere", str(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_missing_file(folder, name):
    (folder / name).unlink()
    assert_refused(folder, str(folder / name))


def test_file_in_place_of_the_folder(folder):
    assert_refused(folder / CONFIG, str(folder / CONFIG))


def test_other_format(folder):
    edit_config(folder, format="aac-captioner")
    assert_refused(folder, str(folder / CONFIG), "aac-captioner")


@pytest.mark.parametrize("version", [2, 99, None, "1"])
def test_other_version(folder, version):
    edit_config(folder, version=version)
    assert_refused(folder, str(folder / CONFIG), repr(version))


def test_unknown_setting(folder):
    edit_config(folder, cnn10={"dropout": 0.1, "wavelets": 3})
    assert_refused(folder, str(folder / CONFIG), "wavelets")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe"])
def test_damaged_config(folder, content):
    (folder / CONFIG).write_bytes(content)
    assert_refused(folder, str(folder / CONFIG))


@pytest.mark.parametrize("share", [0.0, 0.00001, 0.5, 0.999])
def test_truncated_weights(folder, share):
    path = folder / WEIGHTS
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert_refused(folder, str(path))


def test_garbage_weights(folder):
    (folder / WEIGHTS).write_bytes(b"garbage" * 1000)
    assert_refused(folder, str(folder / WEIGHTS))


def test_weights_of_another_shape(folder):
    edit_config(folder, labels=["dog"])
    assert_refused(folder, str(folder / WEIGHTS), "fc_audioset.weight")


def test_weights_that_are_missing_or_unknown(folder):
    state = load_weights(folder / WEIGHTS)
    state["stray"] = state.pop("fc1.weight")
    save_weights(folder / WEIGHTS, state)
    assert_refused(folder, str(folder / WEIGHTS), "stray", "fc1.weight")


MODEL = {
    "bn0.weight": torch.ones(3),
    "conv_block1.conv1.weight": torch.rand(2, 2),
    "bn0.num_batches_tracked": torch.tensor(5),
}
SAMPLER = {
    "random_state": np.random.RandomState(7).get_state(),
    "indexes": np.arange(10),
    "queue": [1, 2, 3],
    "indexes_per_class": [np.arange(3, dtype=np.int32), np.arange(2)],
    "audio_names": np.array(["a.wav", "b.wav"]),
    "black_list": np.array([True, False]),
}
pickle_formats = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def torch_file(path: Path, content: object, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pickle_formats
def test_panns_file_with_its_samplers_state(tmp_path, zipped):
    path = torch_file(tmp_path / "a.pth", {"iteration": 9, "model": MODEL, "sampler": SAMPLER}, zipped)
    state = load_panns_file(path)
    assert state.keys() == MODEL.keys()
    assert all(torch.equal(state[key], value) for key, value in MODEL.items())


def test_panns_file_written_beside_numpy_1(tmp_path):
    path = torch_file(tmp_path / "a.pth", {"iteration": 9, "model": MODEL, "sampler": SAMPLER}, zipped=False)
    content = path.read_bytes()
    assert b"numpy._core.multiarray\n" in content
    path.write_bytes(content.replace(b"numpy._core.multiarray\n", b"numpy.core.multiarray\n"))
    assert load_panns_file(path).keys() == MODEL.keys()


@pickle_formats
def test_panns_file_with_an_empty_array(tmp_path, zipped):
    path = torch_file(tmp_path / "a.pth", {"model": MODEL, "sampler": {"indexes_per_class": [np.zeros(0)]}}, zipped)
    assert load_panns_file(path).keys() == MODEL.keys()


def test_panns_file_of_the_parity_folder(shared):
    state = load_panns_file(shared / "parity" / "cnn10_random.pth")
    assert len(state) == 60
    assert state["fc_audioset.weight"].shape == (527, 512)


class Intruder:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return open, (str(self.trace), "w")


@pickle_formats
@pytest.mark.parametrize("place", ["model", "sampler", "weight", "array", "whole"])
def test_panns_file_with_a_foreign_object_executes_nothing(tmp_path, place, zipped):
    intruder = Intruder(tmp_path / "trace")
    content = {
        "model": {"model": intruder},
        "sampler": {"model": MODEL, "sampler": intruder},
        "weight": {"model": {**MODEL, "bn0.bias": intruder}},
        "array": {"model": MODEL, "sampler": np.array([intruder], dtype=object)},
        "whole": intruder,
    }[place]
    path = torch_file(tmp_path / "a.pth", content, zipped)
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        load_panns_file(path)
    assert names_in(tmp_path) == ["a.pth"]


def test_the_intruder_would_leave_a_trace(tmp_path):
    function, arguments = Intruder(tmp_path / "trace").__reduce__()
    function(*arguments).close()
    assert (tmp_path / "trace").exists()


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"PK\x03\x04" + b"\0" * 100, b"\x80\x02."])
def test_panns_file_of_garbage(tmp_path, content):
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        load_panns_file(path)


@pickle_formats
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_panns_file(tmp_path, share, zipped):
    path = torch_file(tmp_path / "a.pth", {"model": MODEL, "sampler": SAMPLER}, zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        load_panns_file(path)


@pytest.mark.parametrize(
    "content",
    [MODEL, {"iteration": 1}, {"model": [1, 2]}, {"model": None}, {"model": {"bn0.weight": 3}}, [MODEL], torch.ones(2)],
    ids=["bare weights", "no model", "a list", "none", "a number for a weight", "list of models", "a tensor"],
)
def test_panns_file_without_a_model(tmp_path, content):
    with pytest.raises(CheckpointError, match=r"a\.pth.*model"):
        load_panns_file(torch_file(tmp_path / "a.pth", content))


def test_missing_panns_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere\.pth"):
        load_panns_file(tmp_path / "nowhere.pth")


def test_folder_in_place_of_a_panns_file(tmp_path):
    with pytest.raises(CheckpointError, match=tmp_path.name):
        load_panns_file(tmp_path)
