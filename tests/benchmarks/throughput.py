"""How fast are captions, on what, and with how much memory?

    python tests/benchmarks/throughput.py [--quick] [--only rows cnn10 ...] [--clips 6] [--runs 3] [--picture FILE.svg]

Prints tables: start-up, files to rows against the reference path (reference.py), CNN10 against the processor's peak,
formats, memory over files and over hours, threads and batches, growth. Medians of interleaved runs; asserts nothing
about time. Sounds are made from a seed in a temporary folder. Wants free cores and ten minutes, or one with --quick.
Only the processor is measured. Where a process is not said to be measured, its start is left out.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torchaudio
from growth_picture import draw
from measuring import interleaved, peak_of, process, processor, pytorchs_convolutions, table
from reference import Reference
from synthetic import clips, recording
from torch import Tensor
from torch.nn import functional as F

import aaccli
from aaccli.captioning.captioner import Caption, Captioner
from aaccli.checkpoints import CaptionerInfo
from aaccli.model import winograd
from aaccli.model.beam import DecodingConfig
from aaccli.model.captioner import CaptionerNet, ModelConfig
from aaccli.model.prepared import prepare
from aaccli.precision import pick_inference_precision
from aaccli.vocabulary import Vocabulary
from aaccli.writing.writers import About, make_writer

WORDS = 4368  # of Clotho's captions
THREADS = torch.get_num_threads()
Call = Callable[[], object]
NO_BF16 = "no bf16 in hardware"
DIRECT = "fp32, PyTorch's convolutions"


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    clips: int  # of 30 s, heard in one run
    runs: int
    files: tuple[int, ...]  # of 5 s
    minutes: tuple[int, ...]  # of one recording
    growth: tuple[int, ...]  # minutes


FULL = Size(6, 3, (1, 10, 100, 1000), (1, 10, 60, 180), (2, 4, 8, 16))
QUICK = Size(2, 1, (1, 10), (10,), (1, 2, 3, 4))


def has_bf16() -> bool:
    return pick_inference_precision("auto", torch.device("cpu")) == torch.bfloat16


def paper_sized() -> tuple[CaptionerNet, Vocabulary, CaptionerInfo]:
    """Untrained, of the paper's size: twice the frames, six times the words of the model that comes with aac."""
    torch.manual_seed(0)
    config = ModelConfig()
    vocabulary = Vocabulary(tuple(f"w{i}" for i in range(WORDS - 4)))
    return CaptionerNet(config, WORDS), vocabulary, CaptionerInfo(config, DecodingConfig(max_words=12), {})


def to_rows(captioner: Captioner, files: Sequence[Path], out: Path) -> list[Caption]:
    """Caption files, a row of a csv each."""
    writer = make_writer("csv", About({}, aaccli.__version__, {}, False))
    heard: list[Caption] = []
    with out.open("wb") as rows:
        rows.write(writer.head())
        for caption in captioner.stream(files):
            if caption.error:
                raise caption.error
            rows.write(writer.rows(caption, first=not heard))
            heard.append(caption)
    return heard


def variants(
    net: CaptionerNet, vocabulary: Vocabulary, info: CaptionerInfo
) -> tuple[dict[str, Captioner], list[tuple[str, str]]]:
    """Captioners of all precisions that this machine has, and rows of the others."""
    parts = (net, vocabulary, info)
    ready = {name: Captioner(*parts, precision="fp32") for name in (DIRECT, "fp32")}
    with pytorchs_convolutions():
        _ = ready[DIRECT].engine.ready
    missing = []
    if why := winograd.why_not():
        missing.append(("fp32", f"{why}: as {DIRECT}"))
    if has_bf16():
        ready["bf16"] = Captioner(*parts, precision="bf16")
    else:
        missing.append(("bf16", NO_BF16))
    return ready, missing


def rows(size: Size, folder: Path) -> None:
    files = clips(folder / "rows", size.clips)
    default = Captioner.from_pretrained()
    trained = (default.net, default.vocabulary, default.info)
    rows_of(trained, files, size, "the model that comes with aac (43 frames/s)")
    rows_of(paper_sized(), files, size, "the paper's size, untrained (86 frames/s, at most 12 words)")


def rows_of(
    parts: tuple[CaptionerNet, Vocabulary, CaptionerInfo], files: Sequence[Path], size: Size, title: str
) -> None:
    net, vocabulary, info = parts
    # The reference does not know of words said before.
    info = replace(info, decoding=replace(info.decoding, no_repeat_ngram=0, no_repeat_words=False))
    ready, missing = variants(net, vocabulary, info)
    reference = Reference(copy.deepcopy(net).eval(), info.decoding)
    said: dict[str, list[str]] = {}

    def by_reference() -> None:
        said["reference"] = [vocabulary.decode(reference.caption(file)) for file in files]

    def by(name: str) -> None:
        said[name] = [c.caption for c in to_rows(ready[name], files, files[0].with_suffix(".csv"))]

    what: dict[str, Call] = {"reference": by_reference, **{name: partial(by, name) for name in ready}}
    seconds = interleaved(what, size.runs)
    found = []
    for name, s in seconds.items():
        same = sum(a == b for a, b in zip(said[name], said["reference"], strict=True))
        speed = f"{s / len(files):.3f}", f"{30 * len(files) / s:.0f}", f"{seconds['reference'] / s:.2f}"
        found.append((name, *speed, f"{same} of {len(files)}"))
    head = ("path", "s a clip", "times real time", "times the reference", "captions as the reference's")
    table(f"Files to rows, {len(files)} clips of 30 s: {title}", head, [*found, *missing])


def gigaflop(net: CaptionerNet, frames: int) -> float:
    """Of CNN10's convolutions, two operations a multiplication."""
    total, mels = 0, net.config.front_end.mels
    for block in net.cnn10.blocks:
        for conv in (block.conv1, block.conv2):
            total += 2 * 9 * conv.in_channels * conv.out_channels * frames * mels
        frames, mels = frames // 2, mels // 2
    return total / 1e9


def convolutions(dtype: torch.dtype) -> dict[str, tuple[float, Call]]:
    """Some as CNN10 has them: GFLOP, and what to call."""
    found: dict[str, tuple[float, Call]] = {}
    for channels, frames, mels in ((64, 2584, 64), (128, 1292, 32), (256, 646, 16), (512, 323, 8)):
        x = torch.randn(1, channels, frames, mels, dtype=dtype).contiguous(memory_format=torch.channels_last)
        weight = torch.randn(channels, channels, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
        work = 2 * 9 * channels * channels * frames * mels / 1e9
        found[f"{channels} channels"] = (work, partial(F.conv2d, x, weight, padding=1))
    return found


@torch.no_grad()  # here, because each thread has its own
def listen(net: CaptionerNet, logmel: Tensor) -> None:
    net.listen(logmel)


def ways_of(net: CaptionerNet, name: str, pool: ThreadPoolExecutor) -> dict[str, tuple[float, Call]]:
    """CNN10 over a clip, and over as many as there are threads: GFLOP, and what to call."""
    logmel = torch.randn(1, 2584, 64) * 10 - 40
    work = gigaflop(net, 2584)

    def side_by_side(ready: CaptionerNet) -> None:
        list(pool.map(listen, [ready] * THREADS, [logmel] * THREADS))

    nets = {"as trained, eager": net} if name == "fp32" else {}
    with pytorchs_convolutions():
        nets[DIRECT if name == "fp32" else name] = prepare(net, torch.float32 if name == "fp32" else torch.bfloat16)
    if name == "fp32":
        nets["fp32, GFLOP as if direct"] = prepare(net, torch.float32)
    ways: dict[str, tuple[float, Call]] = {}
    for way, ready in nets.items():
        ways[f"{way}: one clip on {THREADS} threads"] = (work, partial(listen, ready, logmel))
        if ready is not net:
            ways[f"{way}: {THREADS} clips side by side"] = (THREADS * work, partial(side_by_side, ready))
    return ways


@torch.no_grad()
def cnn10(size: Size, folder: Path) -> None:
    net, *_ = paper_sized()
    net.eval()
    work = gigaflop(net, 2584)
    found: list[tuple[object, ...]] = []
    with ThreadPoolExecutor(THREADS, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for name, dtype in {"fp32": torch.float32, **({"bf16": torch.bfloat16} if has_bf16() else {})}.items():
            ways, single = ways_of(net, name, pool), convolutions(dtype)
            what = {way: call for way, (_, call) in {**single, **ways}.items()}
            seconds = interleaved(what, 2 * size.runs - 1)
            rates = {way: w / seconds[way] for way, (w, _) in {**single, **ways}.items()}
            fastest = max(single, key=lambda way: rates[way])
            found.append((f"{name}: the fastest convolution, {fastest}", "", f"{rates[fastest]:.0f}", "1.00"))
            for way in ways:
                each = f"{1e3 * work / rates[way]:.0f}"
                found.append((way, each, f"{rates[way]:.0f}", f"{rates[way] / rates[fastest]:.2f}"))
    if why := winograd.why_not():
        found.append(("fp32", f"{why}: as {DIRECT}"))
    if not has_bf16():
        found.append(("bf16", NO_BF16))
    table(f"CNN10, one clip of 30 s, {work:.2f} GFLOP", ("", "ms a clip", "GFLOP/s", "share of the peak"), found)


def as_m4a(files: Sequence[Path], folder: Path) -> list[Path]:
    folder.mkdir()
    made = [folder / f"{file.stem}.m4a" for file in files]
    for file, out in zip(files, made, strict=True):
        subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-i", file, out], check=True)
    return made


def formats(size: Size, folder: Path) -> None:
    captioner = Captioner.from_pretrained(precision="fp32")
    made = {form: clips(folder / form, size.clips, form=form) for form in ("wav", "flac", "ogg", "mp3")}
    made["wav, 48 kHz stereo"] = clips(folder / "resampled", size.clips, rate=48000)
    missing = [] if shutil.which("ffmpeg") else [("m4a, by ffmpeg", "no ffmpeg")]
    if not missing:
        made["m4a, by ffmpeg"] = as_m4a(made["wav"], folder / "m4a")
    out = folder / "formats.csv"
    what = {name: partial(to_rows, captioner, files, out) for name, files in made.items()}
    what["wav"]()  # takes memory, which only the first has to
    seconds = interleaved(what, size.runs, warm=False)
    found = [(name, f"{s / size.clips:.3f}", f"{s / seconds['wav']:.2f}") for name, s in seconds.items()]
    table("Formats, fp32", ("clips of 30 s as", "s a clip", "times wav"), [*found, *missing])


def startup(size: Size, folder: Path) -> None:
    (clip,) = clips(folder / "startup", 1, 5.0)
    imports = 'python -c "import torch, torchaudio"'
    what: dict[str, Call] = {
        "python -c pass": lambda: process("-c", "pass"),
        "aac --version": lambda: process("-m", "aaccli", "--version"),
        "aac --help": lambda: process("-m", "aaccli", "--help"),
        imports: lambda: process("-c", "import torch, torchaudio"),
        "aac caption CLIP, 5 s": lambda: process("-m", "aaccli", "caption", clip),
    }
    seconds = interleaved(what, 2 * size.runs - 1, warm=False)  # all is in the file cache: it runs here
    table(
        "Start-up, whole processes",
        ("", "ms", "times pass", "times import torch"),
        [
            (name, f"{s * 1e3:.0f}", f"{s / seconds['python -c pass']:.1f}", f"{s / seconds[imports]:.2f}")
            for name, s in seconds.items()
        ],
    )


def peak_of_caption(sound: Path) -> tuple[str, str]:
    return peak_of("-m", "aaccli", "caption", sound, "--out", sound.with_name("captions.csv"), "--overwrite", "--quiet")


def memory(size: Size, folder: Path) -> None:
    # It ends as aac ends: taking torch apart takes more.
    found = [("import torch, torchaudio alone", *peak_of("-c", "import os, torch, torchaudio; os._exit(0)"))]
    (clip,) = clips(folder / "clip", 1, 5.0)
    for count in size.files:
        many = folder / f"{count} files"
        many.mkdir()
        for i in range(count):
            shutil.copy(clip, many / f"{i:04}.wav")
        found.append((f"{count} files of 5 s", *peak_of_caption(many)))
    for minutes in size.minutes:
        file = recording(folder / f"{minutes}.wav", minutes)
        found.append((f"one recording of {minutes} min, 16 kHz", *peak_of_caption(file)))
        file.unlink()
    table("Peak memory of `aac caption --out`, default options, whole processes", ("", "MB", "s"), found)


def sharing(size: Size, folder: Path) -> None:
    """Do threads, batches and Winograd's convolutions change captions?"""
    files = clips(folder / "sharing", 2 * size.clips, 7.0)
    shares = list(itertools.product(sorted({1, THREADS}), (1, 3)))
    ways = {"fp32": shares, DIRECT: [(THREADS, 1)]} | ({"bf16": shares} if has_bf16() else {})
    found, first = [], {}
    for name, shares in ways.items():
        precision = "fp32" if name == DIRECT else name
        captioner = Captioner.from_pretrained(precision=precision)
        with pytorchs_convolutions() if name == DIRECT else nullcontext():
            _ = captioner.engine.ready
        for threads, batch in shares:
            torch.set_num_threads(threads)
            said = [(c.caption, c.score) for c in captioner.stream(files, batch_size=batch)]
            expected = first.setdefault(precision, said)
            same = sum(a[0] == b[0] for a, b in zip(expected, said, strict=True))
            apart = max(abs(a[1] - b[1]) for a, b in zip(expected, said, strict=True))
            equal = "yes" if same == len(said) else "no"
            found.append((name, threads, batch, equal, f"{same} of {len(said)}", f"{apart:.1e}"))
    torch.set_num_threads(THREADS)
    head = ("path", "threads", "batch", "all captions equal", "as its first row's", "scores differ by")
    table("Threads and batches, clips of 7 s", head, found)


def growth(size: Size, folder: Path, picture: Path | None) -> None:
    captioner = Captioner.from_pretrained(precision="fp32")
    out = folder / "growth.csv"
    files = {str(minutes): recording(folder / f"{minutes}.wav", minutes) for minutes in size.growth}
    what = {minutes: partial(to_rows, captioner, [file], out) for minutes, file in files.items()}
    next(iter(what.values()))()  # takes memory, which only the first has to
    seconds = interleaved(what, size.runs, warm=False)
    points = [(float(minutes), s) for minutes, s in seconds.items()]
    x, y = (np.array(some) for some in zip(*points, strict=True))
    slope, intercept = np.polyfit(x, y, 1)
    r2 = 1 - ((y - slope * x - intercept) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    found = [(f"{m:g}", f"{m / 60:.3f}", f"{s:.2f}") for m, s in points]
    table("Growth, fp32, one recording, 16 kHz", ("minutes of sound", "hours", "s"), found)
    print(f"\nline: {slope:.3f} s a minute, {60 * slope:.1f} s an hour, {intercept:.2f} s at 0, R2 {r2:.5f}")
    if picture:
        picture.write_text(draw(points, slope, intercept, r2), encoding="utf-8")


TABLES: dict[str, Callable[[Size, Path], None]] = {
    "startup": startup, "rows": rows, "cnn10": cnn10, "formats": formats, "memory": memory, "sharing": sharing,
}  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="less of everything, in a minute")
    options.add_argument("--only", nargs="+", choices=[*TABLES, "growth"], default=[*TABLES, "growth"])
    options.add_argument("--clips", type=int, help="of 30 s, heard in one run")
    options.add_argument("--runs", type=int, help="that medians are taken of")
    options.add_argument("--picture", type=Path, help="where to draw growth")
    given = options.parse_args()
    size = QUICK if given.quick else FULL
    size = replace(size, clips=given.clips or size.clips, runs=given.runs or size.runs)
    print(f"{processor()}, {os.cpu_count()} cores, {THREADS} threads; {platform.platform()}; Python "
          f"{platform.python_version()}, torch {torch.__version__}, torchaudio {torchaudio.__version__}, "
          f"aac {aaccli.__version__}; medians of {size.runs} interleaved runs")  # fmt: skip
    began = time.perf_counter()
    for name in given.only:
        with tempfile.TemporaryDirectory(prefix="aac-throughput-") as folder:
            if name == "growth":
                growth(size, Path(folder), given.picture)
            else:
                TABLES[name](size, Path(folder))
    print(f"\n{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
