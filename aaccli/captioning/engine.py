"""The network at work: waveforms in, hypotheses out, as fast as the device allows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..errors import DeviceError
from ..model.beam import DecodingConfig, Hypothesis, beam_search
from ..model.captioner import CaptionerNet
from ..model.cnn10 import CHANNELS
from ..model.features import FrontEndConfig
from ..model.prepared import prepare
from ..precision import NAMES, Precision, pick_inference_precision
from .pipeline import Plan, one_thread, plan_for_processor

BATCH_SECONDS = 60.0  # of padded sound heard at once on a processor: what bounds the memory
MAX_BATCH = 64  # windows: more gain nothing
MEMORY_SHARE = 0.5  # of a GPU's free memory, because the estimate below knows nothing of the libraries' workspaces


class Engine:
    """A network that is ready for inference on its device.

    Raises
    ------
    ConfigError
        The device cannot compute as it is asked to.
    """

    def __init__(self, net: CaptionerNet, precision: Precision = "auto") -> None:
        self.net = net
        self.device = net.device
        self.dtype = pick_inference_precision(precision, self.device)
        self.most = sys.maxsize  # waveforms heard at once without running out of memory

    @property
    def precision(self) -> str:
        """As ``--precision`` calls it."""
        return NAMES[self.dtype]

    @cached_property
    def ready(self) -> CaptionerNet:
        return prepare(self.net, self.dtype)

    def plan(self, batch_size: int | None, seconds: float) -> Plan:
        """How windows of so many seconds are shared out; ``batch_size`` of them are heard at once where it is given."""
        _ = self.ready  # made now, and not in several threads at once
        if self.device.type == "cpu":
            return plan_for_processor(torch.get_num_threads(), batch_size or 1, BATCH_SECONDS)
        if batch_size is None and self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            batch_size = fitting(free, seconds, self.net.config.front_end, self.dtype.itemsize)
        return Plan(1, torch.get_num_threads(), batch_size or 4, float("inf"))

    @torch.no_grad()
    def hear(
        self, waveforms: Sequence[Tensor], decoding: DecodingConfig, families: Sequence[int]
    ) -> list[list[Hypothesis]]:
        """Find the best captions of mono waveforms (samples,) at the model's sample rate, best first.

        Where the device runs out of memory, the half is tried, then and in calls to come.

        Raises
        ------
        DeviceError
            One waveform alone is too much for the device.
        """
        found: list[list[Hypothesis]] = []
        while len(found) < len(waveforms):
            some = waveforms[len(found) : len(found) + self.most]
            try:
                found += self._hear(some, decoding, families)
                continue
            except torch.OutOfMemoryError as error:
                if len(some) == 1:
                    seconds = len(some[0]) / self.net.config.front_end.sample_rate
                    raise DeviceError(
                        f"{self.device}: too little memory for {seconds:.0f} s of sound at once; "
                        "give a shorter --window, or --device cpu"
                    ) from error
            # After the except clause: until its end the error holds all that was computed.
            self.most = len(some) // 2
        return found

    def _hear(
        self, waveforms: Sequence[Tensor], decoding: DecodingConfig, families: Sequence[int]
    ) -> list[list[Hypothesis]]:
        with one_thread():
            # One by one to frames: a clip's last frames depend on where it ends.
            frames = [self.ready.logmel(self._moved(waveform)) for waveform in waveforms]
        lengths = None
        if len(frames) > 1:
            lengths = torch.tensor([len(f) for f in frames], device=self.device)
        heard, lengths = self.ready.listen(pad_sequence(frames, batch_first=True), lengths)
        with one_thread():
            return beam_search(self.ready, self.ready.remember(heard, lengths), decoding, families)

    def _moved(self, waveform: Tensor) -> Tensor:
        """On the device; from pinned memory the transfer runs beside what the device computes."""
        if self.device.type == "cuda":
            return waveform.pin_memory().to(self.device, non_blocking=True)
        return waveform.to(self.device)


def fitting(free: int, seconds: float, front_end: FrontEndConfig, itemsize: int) -> int:
    """How many windows of so many seconds go into so many bytes.

    The most is held in CNN10's first block: its input, its output, and the copy that convolves.
    """
    frames = 1.5 * seconds * front_end.sample_rate / front_end.hop  # the last window of a file may be as long
    held = 4 * frames * front_end.mels * CHANNELS[0] * itemsize
    return max(1, min(MAX_BATCH, int(MEMORY_SHARE * free / held)))
