"""How much faster is training here than the nearest public relative's way?

    python tests/benchmarks/training_speed.py [--clips 24] [--batch-size 4] [--steps 6] [--threads 2]

Both train the paper's network, CNN10 and all, on the same noise of 15 to 30 seconds, on the processor in float32. The
relative's way: convolutions in NCHW, recordings decoded for every batch in the same thread, clips in random order
padded to the longest of the batch. Ours: channels-last, Winograd convolutions, features from a cache that is filled
before, decoded by threads, clips of like length together. The ratio of examples a second is printed.
"""

import argparse
import tempfile
import time
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch
from measuring import pytorchs_convolutions
from torch import Tensor
from torch.nn import functional as F

from aaccli.data.clips import Clip, ClipSource, collate
from aaccli.data.featurecache import FeatureCache
from aaccli.model.captioner import ModelConfig
from aaccli.model.cnn10 import Cnn10, blank_padding
from aaccli.training.batching import Loader, loading
from aaccli.training.config import TrainingConfig
from aaccli.training.runs import Init, Run, run_on_clips
from aaccli.training.trainer import Trainer

RATE = 44100
WORDS = "a dog barks while rain falls on the roof and people talk in the background as cars pass by".split()


def make_clips(folder: Path, count: int) -> list[Clip]:
    """Noise, with captions of 8 to 20 words as Clotho's are."""
    random = np.random.default_rng(0)
    clips = []
    for i in range(count):
        seconds = random.uniform(15, 30)
        path = folder / f"{i}.wav"
        soundfile.write(path, 0.1 * random.standard_normal(round(seconds * RATE)), RATE)
        caption = " ".join(random.choice(WORDS, random.integers(8, 21)))
        clips.append(Clip(path, (caption,), seconds))
    return clips


def nchw_forward(self: Cnn10, logmel: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """``Cnn10.forward`` in PyTorch's default layout."""
    x = self.spec_augment(self._normalise(logmel, lengths), lengths).contiguous()
    for block in self.blocks:
        x = block(x, lengths)
        lengths = None if lengths is None else lengths // 2
        x = blank_padding(F.dropout(x, self.dropout, self.training), lengths)
    return x.mean(dim=3).transpose(1, 2), lengths


class InOneThread(Loader):
    """Decodes each batch when it is asked for."""

    def __init__(self) -> None:
        pass

    def batches(self, examples, plan) -> Iterator:
        for indices in plan:
            yield collate([examples[i] for i in indices])


def examples_per_second(run: Run, loader: Loader, steps: int) -> float:
    """Without the first step, in which memory is taken."""
    times = [0.0]

    def on_step(step) -> None:
        times.append(time.perf_counter())

    trainer = Trainer(run, loader, on_step=on_step, should_stop=lambda: len(times) > steps)
    trainer.train()
    taken = len(times) - 2
    return taken * run.config.batch_size / (times[-1] - times[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    config = TrainingConfig(
        batch_size=given.batch_size, accumulate=1, decode_epochs=0, precision="fp32", save_minutes=1e9
    )
    with tempfile.TemporaryDirectory() as name, loading(1) as loader:
        folder = Path(name)
        clips = make_clips(folder, given.clips)
        cache = FeatureCache(folder / "cache")
        unmeasured = [replace(clip, seconds=0.0) for clip in clips]  # random order
        theirs = run_on_clips(unmeasured, clips[:1], ModelConfig(), config, Init(), torch.device("cpu"))
        theirs.net.cnn10.to(memory_format=torch.contiguous_format)
        theirs.net.cnn10.forward = types.MethodType(nchw_forward, theirs.net.cnn10)
        with pytorchs_convolutions():
            slow = examples_per_second(theirs, InOneThread(), given.steps)
        ours = run_on_clips(clips, clips[:1], ModelConfig(), config, Init(), torch.device("cpu"), cache=cache)
        source = ours.train
        assert isinstance(source, ClipSource)
        for i in range(len(source)):
            source[i]  # fills the cache, as the first epoch does
        fast = examples_per_second(ours, loader, given.steps)
    print(f"the relative's way: {slow:.2f} examples/s")
    print(f"aac train:          {fast:.2f} examples/s")
    print(f"ratio:              {fast / slow:.2f}")


if __name__ == "__main__":
    main()
