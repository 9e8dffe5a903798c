"""Does the caption still name the label when the recording is not as it was?

    python tests/benchmarks/robustness.py SOUNDS [--model DIR] [--fold 4] [--every 1]

The held-out recordings as they are, then each under eight conditions, written as files and captioned from there.
Prints the share named under each, and its ratio to the clean share. Needs ffmpeg for mp3.
"""

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
from hearing import Listener, hits, parser, share

from aaccli import audio
from aaccli.model.features import resample

RATE = 44100  # Hz
Condition = Callable[[np.ndarray, Path], Path]


def wav(samples: np.ndarray, path: Path, rate: int = RATE) -> Path:
    soundfile.write(path, samples, rate, subtype="PCM_16")
    return path


def mp3(samples: np.ndarray, path: Path) -> Path:
    out = path.with_suffix(".mp3")
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(wav(samples, path)), "-b:a", "64k", str(out)]
    subprocess.run(command, check=True)
    return out


def at_rate(samples: np.ndarray, path: Path, rate: int) -> Path:
    return wav(resample(torch.from_numpy(samples), RATE, rate).numpy(), path, rate)


def noisy(samples: np.ndarray, path: Path) -> Path:
    noise = np.random.default_rng(len(samples)).standard_normal(len(samples))
    level = np.sqrt(np.mean(samples**2)) * 10 ** (-20 / 20)
    mixed = samples + noise * level
    return wav(mixed / max(1.0, np.abs(mixed).max()), path)


def one_channel_silent(samples: np.ndarray, path: Path) -> Path:
    return wav(np.stack((samples, np.zeros_like(samples)), axis=1), path)


def padded(samples: np.ndarray, path: Path) -> Path:
    return wav(np.concatenate((samples, np.zeros(5 * RATE, samples.dtype))), path)


def repeated(samples: np.ndarray, path: Path) -> Path:
    return wav(np.resize(samples, 30 * RATE), path)


CONDITIONS: dict[str, Condition] = {
    "clean": wav,
    "mp3 at 64 kbit/s": mp3,
    "16 kHz": lambda samples, path: at_rate(samples, path, 16000),
    "8 kHz": lambda samples, path: at_rate(samples, path, 8000),
    "-30 dB": lambda samples, path: wav(samples * 10 ** (-30 / 20), path),
    "20 dB of white noise": noisy,
    "stereo, one channel silent": one_channel_silent,
    "5 s of silence after it": padded,
    "repeated to 30 s": repeated,
}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--every", type=int, default=1, help="take each n-th recording only")
    given = options.parse_args()
    listener = Listener(given)
    recordings = listener.recordings[:: given.every]
    sounds = [audio.read(r.path, RATE).waveform.numpy() for r in recordings]
    clean = 1.0
    for name, condition in CONDITIONS.items():
        with tempfile.TemporaryDirectory() as folder:
            files = [condition(s, Path(folder, f"{i}.wav")) for i, s in enumerate(sounds)]
            right = hits(recordings, listener.caption(files))
        clean = sum(right) / len(right) if name == "clean" else clean
        print(f"{name:28} {share(right)}  {sum(right) / len(right) / clean:.2f} of clean", flush=True)


if __name__ == "__main__":
    main()
