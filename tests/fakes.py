"""A captioner that is fast and listens to nothing but the level: for tests of all that is around the network."""

from __future__ import annotations

from functools import cache

from aaccli.captioning.captioner import Captioner
from aaccli.checkpoints import CaptionerInfo
from aaccli.model.beam import DecodingConfig, Hypothesis
from aaccli.model.captioner import CaptionerNet, ModelConfig
from aaccli.model.transformer import TransformerConfig
from aaccli.vocabulary import Vocabulary

WORDS = ("rain", "wind", "a-dog", "a-car", "birds", "thunder", "voices", "music")
TINY = ModelConfig(transformer=TransformerConfig(width=16, heads=2, feed_forward=32, dropout=0.0))


@cache
def net() -> CaptionerNet:
    """One for all, which takes a tenth of a second to draw: nobody listens to it."""
    return CaptionerNet(TINY, 4 + len(WORDS))


class FakeCaptioner(Captioner):
    """Two words: the first tells the loudness, the second the length."""

    def __init__(self) -> None:
        info = CaptionerInfo(TINY, DecodingConfig(), {})
        super().__init__(net(), Vocabulary(WORDS), info, "fake")
        self.__dict__["fingerprint"] = "fake"
        self.engine.__dict__["ready"] = self.net  # nothing to prepare: it hears without a network
        self.batches: list[int] = []  # how many waveforms were heard at once

    def caption_waveforms(self, waveforms, decoding=None):
        self.batches.append(len(waveforms))
        found = []
        for waveform in waveforms:
            level, length = float(waveform.double().abs().mean()), len(waveform)
            words = [4 + int(level * 1e4) % 8, 4 + length % 8]
            beam = [
                Hypothesis((words[0], 4 + (words[1] + i) % 8), -1.0 - level - i, 0.0)
                for i in range((decoding or self.info.decoding).beam_size)
            ]
            found.append(beam)
        return found
