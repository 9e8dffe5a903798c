"""The network at work on devices that are here, and on one that is not."""

from dataclasses import replace

import pytest
import torch

from aaccli import precision
from aaccli.captioning.engine import MAX_BATCH, Engine, fitting
from aaccli.errors import ConfigError, DeviceError
from aaccli.model.beam import DecodingConfig
from aaccli.model.captioner import CaptionerNet
from aaccli.model.features import FrontEndConfig
from aaccli.precision import pick_inference_precision

GREEDY = DecodingConfig(beam_size=1, max_words=4)
CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


@pytest.fixture(scope="module")
def net(tiny_model_config):
    torch.manual_seed(0)
    return CaptionerNet(tiny_model_config, 12).eval()


@pytest.fixture
def waveforms():
    torch.manual_seed(1)
    return [torch.randn(20000 + 3000 * i) * 0.1 for i in range(7)]


class SmallDevice(Engine):
    """Has memory for so many waveforms."""

    def __init__(self, net, room):
        super().__init__(net)
        self.room = room
        self.heard = []

    def _hear(self, waveforms, decoding, families):
        self.heard.append(len(waveforms))
        if len(waveforms) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super()._hear(waveforms, decoding, families)


def test_a_device_that_runs_out_of_memory_gets_half_from_then_on(net, waveforms):
    small = SmallDevice(net, 2)
    assert small.hear(waveforms, GREEDY, ()) == [Engine(net).hear([w], GREEDY, ())[0] for w in waveforms]
    assert small.heard == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    small.heard.clear()
    small.hear(waveforms[:3], GREEDY, ())
    assert small.heard == [1, 1, 1]


def test_two_that_are_too_much_are_heard_one_by_one(net, waveforms):
    small = SmallDevice(net, 1)
    assert len(small.hear(waveforms[:2], GREEDY, ())) == 2
    assert small.heard == [2, 1, 1]


@pytest.mark.parametrize("count", [2, 7])
def test_a_short_waveform_is_heard_beside_long_ones_as_alone(net, waveforms, count):
    engine = Engine(net, "fp32")
    together = engine.hear(waveforms[-count:], GREEDY, ())
    for waveform, (best,) in zip(waveforms[-count:], together, strict=True):
        ((alone,),) = engine.hear([waveform], GREEDY, ())
        assert best.words == alone.words
        assert best.log_probability == pytest.approx(alone.log_probability, abs=1e-5)


def test_one_waveform_that_is_too_much_is_an_error_with_what_to_do(net, waveforms):
    with pytest.raises(DeviceError, match=r"cpu: too little memory for 0 s.*--window"):
        SmallDevice(net, 0).hear(waveforms[:2], GREEDY, ())


class FakeCuda:
    """A tensor as seen by the transfer to a GPU."""

    def __init__(self):
        self.done = []

    def pin_memory(self):
        self.done.append("pinned")
        return self

    def to(self, device, non_blocking=False):
        self.done.append((device.type, non_blocking))
        return self


def test_sound_goes_to_a_gpu_from_pinned_memory_and_nobody_waits(net):
    there = Engine(net)
    there.device = CUDA
    tensor = FakeCuda()
    there._moved(tensor)
    assert tensor.done == ["pinned", ("cuda", True)]


@pytest.mark.parametrize(("precision", "size"), [("fp32", 4), ("bf16", 2)])
def test_the_batch_on_a_gpu_follows_its_free_memory(net, monkeypatch, precision, size):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4 << 30, 8 << 30))
    there = Engine(net, precision)
    there.device = CUDA
    plan = there.plan(None, 30)
    assert plan.workers == 1
    assert plan.batch == fitting(4 << 30, 30, net.config.front_end, size) > 1
    assert there.plan(3, 30).batch == 3
    there.device = MPS
    assert there.plan(None, 30).batch == 4


def test_what_fits_grows_with_memory_and_shrinks_with_windows_and_types():
    front_end = FrontEndConfig()
    assert fitting(0, 30, front_end, 4) == 1
    assert fitting(1 << 50, 30, front_end, 4) == MAX_BATCH
    some = fitting(8 << 30, 30, front_end, 4)
    assert some == (4 << 30) // (45 * 44100 // 512 * 64 * 64 * 4 * 4)  # half of it, four maps of 64 channels for 45 s
    assert fitting(8 << 30, 60, front_end, 4) == pytest.approx(some / 2, abs=1)
    assert fitting(4 << 30, 30, front_end, 2) == some
    assert fitting(8 << 30, 30, replace(front_end, hop=1024), 4) > some


@pytest.mark.parametrize(
    ("name", "device", "has", "expected"),
    [
        ("auto", CPU, {}, torch.float32),
        ("auto", CPU, {"avx512_bf16": True}, torch.bfloat16),
        ("auto", CPU, {"amx_bf16": True}, torch.bfloat16),
        ("auto", MPS, {}, torch.float32),
        ("bf16", CPU, {}, torch.bfloat16),
        ("fp16", CUDA, {}, torch.float16),
        ("fp32", CPU, {"amx_bf16": True}, torch.float32),
    ],
)
def test_precision(name, device, has, expected, monkeypatch):
    monkeypatch.setattr(precision, "capabilities", lambda: has)
    assert pick_inference_precision(name, device) == expected


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_precision_on_a_gpu(native, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert pick_inference_precision("auto", CUDA) == expected


def test_a_precision_that_there_is_not():
    with pytest.raises(ConfigError, match="fp8"):
        pick_inference_precision("fp8", CPU)


def test_precision_is_told_by_its_short_name(net):
    assert Engine(net, "bf16").precision == "bf16"


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_no_bit(net, waveforms, threads):
    torch.set_num_threads(threads)
    decoding = DecodingConfig(beam_size=3, max_words=6)
    found = Engine(net).hear(waveforms[:1], decoding, ())
    assert found == Engine(net).hear(waveforms[:1], decoding, ())
    torch.set_num_threads(3 - threads)
    assert found == Engine(net).hear(waveforms[:1], decoding, ())
