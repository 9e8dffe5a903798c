"""How fast are captions, on what, and with how much memory?

    python tests/benchmarks/throughput.py [--quick] [--only rows cnn10 ...] [--picture growth.svg]

Prints tables: files to rows against the reference path (reference.py), CNN10 against the processor's peak, formats,
start-up, memory over files and over hours, growth. Medians of interleaved runs; asserts nothing. Sounds are made from
a seed in a temporary folder. Wants free cores, ten minutes, or one with --quick. Only the processor is measured.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio
from growth_picture import draw
from reference import Reference
from torch.nn import functional as F

import aaccli
from aaccli.captioning import Captioner
from aaccli.checkpoints import CaptionerInfo
from aaccli.errors import ConfigError
from aaccli.model.beam import DecodingConfig
from aaccli.model.captioner import CaptionerNet, ModelConfig
from aaccli.model.prepared import prepare
from aaccli.vocabulary import Vocabulary
from aaccli.writers import About, make_writer

RATE = 44100
WORDS = 4368  # of Clotho's captions
THREADS = torch.get_num_threads()


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    clips: int  # of 30 s, heard in one run
    runs: int
    files: tuple[int, ...]  # of 2 s
    minutes: tuple[int, ...]  # of one recording
    growth: tuple[int, ...]  # minutes


FULL = Size(6, 3, (1, 10, 100, 1000), (1, 10, 60, 180), (5, 10, 20, 40))
QUICK = Size(2, 1, (1, 10), (2,), (1, 2, 3, 4))


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print(f"\n{title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |", flush=True)


def interleaved(what: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Median seconds of each, after one run of each that does not count."""
    for call in what.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in what}
    for _ in range(runs):
        for name, call in what.items():
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(some) for name, some in seconds.items()}


def synthesised(seconds: float, seed: int) -> np.ndarray:
    """Something to hear (samples,): a tone that glides, pulses, noise."""
    random = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    tone = np.sin(2 * np.pi * (random.uniform(100, 2000) * t + 50 * np.sin(random.uniform(0.1, 3) * t)))
    pulses = (np.sin(2 * np.pi * random.uniform(0.5, 8) * t) > 0.9) * random.standard_normal(len(t))
    parts = random.uniform(0.02, 0.3, 3)
    return (parts[0] * tone + parts[1] * pulses + 0.1 * parts[2] * random.standard_normal(len(t))).astype(np.float32)


def clips(folder: Path, count: int, seconds: float = 30.0, form: str = "wav", rate: int = RATE) -> list[Path]:
    folder.mkdir()
    files = [folder / f"{i:04}.{form}" for i in range(count)]
    for i, file in enumerate(files):
        sound = synthesised(seconds, i)
        soundfile.write(file, sound if rate == RATE else np.stack((sound, sound[::-1]), 1), rate)
    return files


def paper_sized() -> tuple[CaptionerNet, Vocabulary, CaptionerInfo]:
    """Untrained, of the paper's size: twice the frames, six times the words of the model that comes with aac."""
    torch.manual_seed(0)
    config = ModelConfig()
    vocabulary = Vocabulary(tuple(f"w{i}" for i in range(WORDS - 4)))
    return CaptionerNet(config, WORDS), vocabulary, CaptionerInfo(config, DecodingConfig(max_words=12), {})


def variants(net: CaptionerNet, vocabulary: Vocabulary, info: CaptionerInfo) -> tuple[dict[str, Captioner], list[str]]:
    """Captioners of all precisions that this machine has, and why others are not there."""
    ready, missing = {"fp32": Captioner(net, vocabulary, info, precision="fp32")}, []
    try:
        ready["fp32 --winograd"] = Captioner(net, vocabulary, info, winograd=True)
        _ = ready["fp32 --winograd"].engine.ready
    except ConfigError as error:
        del ready["fp32 --winograd"]
        missing.append(f"fp32 --winograd: {error}")
    if any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16")):
        ready["bf16"] = Captioner(net, vocabulary, info, precision="bf16")
    else:
        missing.append("bf16: this processor has none in hardware")
    return ready, missing


def rows_of(captioner: Captioner, files: Sequence[Path]) -> bytes:
    """Captions of files as the rows of a csv."""
    writer = make_writer("csv", About({}, aaccli.__version__, {}, False))
    return b"".join(writer.rows(caption, first=False) for caption in captioner.stream(files))


def rows(size: Size, folder: Path) -> None:
    files = clips(folder / "rows", size.clips)
    default = Captioner.from_pretrained()
    for title, parts in (
        ("the model that comes with aac (43 frames/s)", (default.net, default.vocabulary, default.info)),
        ("the paper's size, untrained (86 frames/s, 12 words)", paper_sized()),
    ):
        net, _, info = parts
        ready, missing = variants(*parts)
        reference = Reference(copy.deepcopy(net).eval(), info.decoding)
        what: dict[str, Callable[[], object]] = {"reference": lambda r=reference: [r.caption(f) for f in files]}
        what |= {name: lambda c=captioner: rows_of(c, files) for name, captioner in ready.items()}
        seconds = interleaved(what, size.runs)
        table(
            f"Files to rows, {size.clips} clips of 30 s: {title}",
            ("path", "s a clip", "times real time", "times the reference"),
            [
                (name, f"{s / len(files):.3f}", f"{30 * len(files) / s:.0f}", f"{seconds['reference'] / s:.2f}")
                for name, s in seconds.items()
            ],
        )
        print(*missing, sep="\n")


def gigaflop(net: CaptionerNet, frames: int) -> float:
    """Of CNN10's convolutions, two operations a multiplication."""
    total, mels = 0, net.config.front_end.mels
    for block in net.cnn10.blocks:
        for conv in (block.conv1, block.conv2):
            total += 2 * 9 * conv.in_channels * conv.out_channels * frames * mels
        frames, mels = frames // 2, mels // 2
    return total / 1e9


def peak(dtype: torch.dtype, runs: int) -> float:
    """GFLOP/s of the fastest of some convolutions as CNN10 has them."""
    best = 0.0
    for channels, frames, mels in ((64, 2584, 64), (128, 1292, 32), (256, 646, 16), (512, 323, 8)):
        x = torch.randn(1, channels, frames, mels, dtype=dtype).contiguous(memory_format=torch.channels_last)
        weight = torch.randn(channels, channels, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
        work = 2 * 9 * channels * channels * frames * mels / 1e9
        seconds = interleaved({"": lambda x=x, w=weight: F.conv2d(x, w, padding=1)}, 3 * runs)[""]
        best = max(best, work / seconds)
    return best


@torch.no_grad()
def cnn10(size: Size, folder: Path) -> None:
    net, *_ = paper_sized()
    net.eval()
    logmel = torch.randn(1, 2584, 64) * 10 - 40
    work = gigaflop(net, 2584)
    types = {"fp32": torch.float32}
    if any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16")):
        types["bf16"] = torch.bfloat16
    found: list[tuple[object, ...]] = []
    with ThreadPoolExecutor(THREADS, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for name, dtype in types.items():
            most = peak(dtype, size.runs)
            found.append((f"{name}: fastest convolution", "", f"{most:.0f}", "1.00"))
            ways = {name: prepare(net, dtype)}
            if name == "fp32" and shutil.which("c++"):
                ways["fp32 --winograd, as if direct"] = prepare(net, dtype, True)
            what: dict[str, Callable[[], object]] = {"as trained, eager": lambda: net.listen(logmel)}
            for way, ready in ways.items():
                what[f"{way}, one clip on {THREADS} threads"] = lambda r=ready: r.listen(logmel)
                what[f"{way}, {THREADS} clips side by side"] = lambda r=ready: list(
                    pool.map(r.listen, [logmel] * THREADS)
                )
            for way, seconds in interleaved(what, 2 * size.runs).items():
                each = seconds / (THREADS if "side by side" in way else 1)
                rate = work / each
                found.append((way, f"{each * 1e3:.0f}", f"{rate:.0f}", f"{rate / most:.2f}"))
    table(f"CNN10, one clip of 30 s, {work:.2f} GFLOP", ("", "ms a clip", "GFLOP/s", "share of the fastest"), found)


def formats(size: Size, folder: Path) -> None:
    captioner = Captioner.from_pretrained()
    made = {form: clips(folder / form, size.clips, form=form) for form in ("wav", "flac", "ogg", "mp3")}
    made["wav, 48 kHz stereo"] = clips(folder / "resampled", size.clips, rate=48000)
    seconds = interleaved({name: lambda f=files: rows_of(captioner, f) for name, files in made.items()}, size.runs)
    table(
        "Formats, fp32",
        ("clips of 30 s as", "s a clip", "times wav"),
        [(name, f"{s / size.clips:.3f}", f"{s / seconds['wav']:.2f}") for name, s in seconds.items()],
    )


def process(*arguments: object) -> None:
    subprocess.run([sys.executable, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def startup(size: Size, folder: Path) -> None:
    (clip,) = clips(folder / "startup", 1, 5.0)
    what: dict[str, Callable[[], object]] = {
        "python -c pass": lambda: process("-c", "pass"),
        "aac --version": lambda: process("-m", "aaccli", "--version"),
        "aac --help": lambda: process("-m", "aaccli", "--help"),
        'python -c "import torch, torchaudio"': lambda: process("-c", "import torch, torchaudio"),
        "aac caption CLIP, 5 s": lambda: process("-m", "aaccli", "caption", clip),
    }
    seconds = interleaved(what, 2 * size.runs - 1)
    nothing, imports = seconds["python -c pass"], seconds['python -c "import torch, torchaudio"']
    table(
        "Start-up, whole processes",
        ("", "ms", "times pass", "times import torch"),
        [(name, f"{s * 1e3:.0f}", f"{s / nothing:.1f}", f"{s / imports:.2f}") for name, s in seconds.items()],
    )


# A process's peak counts what its parent held when it was started: so the parent is a small one.
SMALL_PARENT = """
import os, sys
child = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[1:]], os.environ)
_, status, usage = os.wait4(child, 0)
print(usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1024))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def peak_of(*arguments: object) -> tuple[float, float]:
    """Peak resident memory in MB, and seconds, of a process of aac."""
    began = time.perf_counter()
    command = [sys.executable, "-c", SMALL_PARENT, "-m", "aaccli", *map(str, arguments), "--quiet"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(said.split()[-1]), time.perf_counter() - began


def write_long(file: Path, minutes: float, rate: int = 16000) -> Path:
    minute = synthesised(60, 0)[: 60 * rate]
    with soundfile.SoundFile(file, "w", rate, 1) as out:
        for _ in range(round(minutes)):
            out.write(minute)
    return file


def memory(size: Size, folder: Path) -> None:
    found = []
    (clip,) = clips(folder / "clip", 1, 2.0)
    for count in size.files:
        many = folder / f"{count} files"
        many.mkdir()
        for i in range(count):
            shutil.copy(clip, many / f"{i:04}.wav")
        megabytes, seconds = peak_of("caption", many, "--out", folder / f"{count}.csv")
        found.append((f"{count} files of 2 s", f"{megabytes:.0f}", f"{seconds:.1f}"))
    for minutes in size.minutes:
        file = write_long(folder / f"{minutes}.wav", minutes)
        megabytes, seconds = peak_of("caption", file, "--out", folder / f"long{minutes}.csv")
        found.append((f"one recording of {minutes} min", f"{megabytes:.0f}", f"{seconds:.1f}"))
        file.unlink()
    table("Peak memory of `aac caption --out`, default options", ("", "MB", "s"), found)


def growth(size: Size, folder: Path, picture: Path | None) -> None:
    captioner = Captioner.from_pretrained()
    rows_of(captioner, [write_long(folder / "first.wav", 1)])  # memory is asked for the first time
    points = []
    for minutes in size.growth:
        file = write_long(folder / f"growth{minutes}.wav", minutes)
        began = time.perf_counter()
        rows_of(captioner, [file])
        points.append((minutes, time.perf_counter() - began))
    x, y = (np.array(some) for some in zip(*points, strict=True))
    slope, intercept = np.polyfit(x, y, 1)
    r2 = 1 - ((y - slope * x - intercept) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    table("Growth, fp32", ("minutes of sound", "s"), [(m, f"{s:.1f}") for m, s in points])
    print(f"line: {slope:.3f} s a minute, {intercept:.2f} s at 0, R2 {r2:.5f}")
    if picture:
        picture.write_text(draw(points, slope, intercept, r2), encoding="utf-8")


def sharing(size: Size, folder: Path) -> None:
    """Threads, batches and Winograd's method against the captions."""
    files = clips(folder / "sharing", 2 * size.clips, 7.0)
    captioner = Captioner.from_pretrained()
    found, first = [], None
    for threads, batch in itertools.product(sorted({1, THREADS}), (1, 3)):
        torch.set_num_threads(threads)
        said = [(c.caption, c.score) for c in captioner.stream(files, batch_size=batch)]
        first = first or said
        same = sum(a[0] == b[0] for a, b in zip(first, said, strict=True))
        apart = max(abs(a[1] - b[1]) for a, b in zip(first, said, strict=True))
        found.append((threads, batch, f"{same} of {len(said)}", f"{apart:.1e}"))
    torch.set_num_threads(THREADS)
    table("Sharing out", ("threads", "batch", "captions as with the first", "scores differ by"), found)


TABLES: dict[str, Callable[[Size, Path], None]] = {
    "startup": startup, "rows": rows, "cnn10": cnn10, "formats": formats, "memory": memory, "sharing": sharing,
}  # fmt: skip


def processor() -> str:
    try:
        lines: Iterator[str] = iter(Path("/proc/cpuinfo").read_text().splitlines())
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="less of everything, in a minute")
    options.add_argument("--only", nargs="+", choices=[*TABLES, "growth"], default=[*TABLES, "growth"])
    options.add_argument("--picture", type=Path, help="where to draw growth")
    given = options.parse_args()
    size = QUICK if given.quick else FULL
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
