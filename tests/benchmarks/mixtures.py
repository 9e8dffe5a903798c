"""Does the caption of two held-out sounds name both, and their order?

    python tests/benchmarks/mixtures.py SOUNDS [--model DIR] [--fold 4] [--count 300] [--seed 0]

Two clips of different labels at equal level, half of the pairs one after the other with a short pause, half at the
same time. Both named: words of both labels are there (accepted_words.toml). The order word is right when the caption
says first what came first ("then", "before", "followed by", "after"), or of sounds at the same time that they are
("while", "as", "with", "and ... at the same time", "in the background").
"""

import random
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch
from hearing import Listener, parser, share
from naming import names, plain, where

from aaccli import audio
from aaccli.data.soundscapes import active_level

RATE = 44100  # Hz
SECONDS = 5.0  # of one sound, at most
SEQUENCE = ("then", "before", "followed by", "after", "afterwards", "first", "finally", "next")
TOGETHER = ("while", "as", "with", "together", "at the same time", "in the background", "over the sound of", "during")


def mix(first: torch.Tensor, second: torch.Tensor, together: bool, draw: random.Random) -> torch.Tensor:
    """Both at the same level, the second after a pause or somewhere within the first."""
    first, second = (w[: round(SECONDS * RATE)] / active_level(w, RATE) for w in (first, second))
    if together:
        first, second = sorted((first, second), key=len, reverse=True)
        at = draw.randint(0, len(first) - len(second))
    else:
        at = len(first) + round(draw.uniform(0.2, 0.8) * RATE)
    out = torch.zeros(max(len(first), at + len(second)))
    out[: len(first)] += first
    out[at : at + len(second)] += second
    return out * (0.8 / out.abs().max())


def order_is_right(caption: str, first: str, second: str, together: bool) -> bool:
    """Whether a caption that names both tells how they lie in time."""
    words = f" {plain(caption)} "
    said_in_turn = any(f" {word} " in words for word in SEQUENCE)
    if together:
        return not said_in_turn and any(f" {word} " in words for word in TOGETHER)
    if not said_in_turn:
        return False
    straight = where(caption, first) < where(caption, second)
    turned = " after " in words and " after that " not in words and " after a short silence " not in words
    return straight != turned


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--count", type=int, default=300)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--examples", type=int, default=10)
    given = options.parse_args()
    listener = Listener(given)
    draw = random.Random(given.seed)
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(given.count):
            first, second = draw.sample(listener.recordings, 2)
            while second.label == first.label or "silence" in (first.label, second.label):
                first, second = draw.sample(listener.recordings, 2)
            sounds = [audio.read(r.path, RATE).waveform for r in (first, second)]
            together = i % 2 == 1
            path = Path(folder, f"{i}.wav")
            soundfile.write(path, mix(*sounds, together, draw).numpy().astype(np.float32), RATE)
            pairs.append((first.label, second.label, together, path))
        captions = [c.caption for c in listener.caption([path for *_, path in pairs])]
    told = [(names(c, a), names(c, b)) for c, (a, b, *_) in zip(captions, pairs, strict=True)]
    both = [a and b for a, b in told]
    order = [
        order_is_right(c, a, b, together)
        for c, (a, b, together, _), two in zip(captions, pairs, both, strict=True)
        if two
    ]
    for name, kind in (("one after the other", False), ("at the same time", True)):
        rows = [i for i, pair in enumerate(pairs) if pair[2] == kind]
        print(f"{name}: both {share([both[i] for i in rows])}, one or more {share([any(told[i]) for i in rows])}")
    print(f"both named:       {share(both)}")
    print(f"one or more:      {share([any(t) for t in told])}")
    print(f"order word right: {share(order)} of those that name both")
    print("unselected examples:")
    for i in range(min(given.examples, len(pairs))):
        a, b, together, _ = pairs[i]
        print(f"  {a} {'with' if together else 'then'} {b}: {captions[i]}")


if __name__ == "__main__":
    main()
