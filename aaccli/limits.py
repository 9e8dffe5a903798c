"""How much a checkpoint may ask for. It may come from a stranger: no field of it is believed before it was looked at.

The bounds are far beyond any model of this kind, and what stays within them loads in a second and in less than 1 GB.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from .errors import ConfigError

MAX_JSON_BYTES = 4 << 20
MAX_WORDS = 100_000
MAX_LABELS = 10_000
MAX_WORD_LENGTH = 100  # characters, of a word or a label
MAX_PARAMETERS = 100_000_000  # the paper's model has 7 million
MAX_WEIGHTS_BYTES = 4 * MAX_PARAMETERS + (1 << 20)  # as float32, and the header
MAX_PANNS_BYTES = 1 << 30
MAX_FRAMES_PER_SECOND = 500  # of a log-mel; PANNs have 100

RANGES: dict[str, tuple[float, float]] = {
    "front_end.sample_rate": (1000, 400_000),
    "front_end.window": (16, 16_384),
    "front_end.hop": (1, 16_384),
    "front_end.mels": (16, 512),
    "front_end.fmin": (0, 200_000),
    "front_end.fmax": (1, 200_000),
    "front_end.floor": (1e-30, 1),
    "cnn10.dropout": (0, 1),
    "spec_augment.time_masks": (0, 100),
    "spec_augment.time_width": (0, 100_000),
    "spec_augment.time_share": (0, 1),
    "spec_augment.mel_masks": (0, 100),
    "spec_augment.mel_width": (0, 512),
    "transformer.width": (2, 4096),
    "transformer.encoder_layers": (0, 48),
    "transformer.decoder_layers": (1, 48),
    "transformer.heads": (1, 256),
    "transformer.feed_forward": (1, 16_384),
    "transformer.dropout": (0, 1),
    "rlssr.pool_window": (1, 1000),
    "rlssr.huber_delta": (1e-6, 1e6),
    "decoding.beam_size": (1, 100),
    "decoding.min_words": (1, 1000),
    "decoding.max_words": (1, 1000),
    "decoding.length_penalty": (-10, 10),
    "decoding.no_repeat_ngram": (0, 1000),
    "calibration.slope": (-1000, 1000),
    "calibration.intercept": (-1000, 1000),
}


def check_ranges(config: Any, name: str = "") -> None:
    """Hold every number of nested dataclasses against its range.

    Raises
    ------
    ConfigError
        One is out of range, or not a number at all.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            check_ranges(value, field.name)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            low, high = RANGES[f"{name}.{field.name}"]
            if not low <= value <= high:  # so that nan is refused too
                raise ConfigError(f"{name}.{field.name}: {value!r} is not within {low:g} and {high:g}")
    if name == "front_end" and config.sample_rate > MAX_FRAMES_PER_SECOND * config.hop:
        raise ConfigError(f"front_end.hop: more than {MAX_FRAMES_PER_SECOND} frames a second")
