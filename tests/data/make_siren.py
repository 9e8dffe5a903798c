"""Make siren.wav, the clip of the README: a wailing siren, synthesised, free to use under the project's licence."""

from pathlib import Path

import numpy as np
import soundfile

RATE = 22050


def siren(seconds: int = 5) -> np.ndarray:
    time = np.arange(seconds * RATE) / RATE
    frequency = 900 + 400 * np.sin(2 * np.pi * 0.35 * time)  # Hz, up and down in three seconds
    phase = 2 * np.pi * np.cumsum(frequency) / RATE
    overtones = sum(np.sin(k * phase) / k for k in range(1, 9))  # as of a horn loudspeaker
    return 0.25 * overtones


if __name__ == "__main__":
    soundfile.write(Path(__file__).with_name("siren.wav"), siren(), RATE, subtype="PCM_16")
