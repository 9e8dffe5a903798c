"""The network: log-mel -> CNN10 -> transformer encoder -> transformer decoder."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cnn10 import WIDTH, Cnn10, Cnn10Config, frames_mask
from .features import FrontEndConfig, LogMel
from .rlssr import Rlssr, RlssrConfig
from .transformer import Decoder, Encoder, LayerCache, TransformerConfig

# The first ids of every vocabulary.
PAD, START, END, UNKNOWN = range(4)


@dataclass(frozen=True)
class ModelConfig:
    """All that the network's shape and sound depend on."""

    front_end: FrontEndConfig = field(default_factory=FrontEndConfig)
    cnn10: Cnn10Config = field(default_factory=Cnn10Config)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    rlssr: RlssrConfig = field(default_factory=RlssrConfig)


@dataclass(frozen=True)
class Memory:
    """What the decoder reads of a batch of clips."""

    encoded: Tensor  # (B, T, D), output of the transformer encoder
    inside: Tensor | None  # (B, T), true on a clip's own frames; None where none is padded
    heard: Tensor  # (B, T, 512), output of CNN10, A of RLSSR
    lengths: Tensor | None  # (B,), frames of each clip after CNN10

    def repeat(self, times: int) -> Memory:
        """Each clip ``times`` times in a row: for its beams, or its captions."""

        def rows(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.repeat_interleave(times, 0)

        encoded, heard = self.encoded.repeat_interleave(times, 0), self.heard.repeat_interleave(times, 0)
        return Memory(encoded, rows(self.inside), heard, rows(self.lengths))


@dataclass(frozen=True)
class Losses:
    """Parts of the loss, each a scalar."""

    cross_entropy: Tensor  # nats a word
    rlssr: Tensor


class CaptionerNet(nn.Module):
    """From log-mel frames to words."""

    def __init__(self, config: ModelConfig, words: int) -> None:
        super().__init__()
        self.config = config
        self.logmel = LogMel(config.front_end)
        self.cnn10 = Cnn10(config.cnn10, config.front_end.mels)
        self.encoder = Encoder(config.transformer, WIDTH)
        self.decoder = Decoder(config.transformer, words)
        self.rlssr = Rlssr(config.rlssr, config.transformer.width)

    @property
    def device(self) -> torch.device:
        return self.decoder.bias.device

    def listen(self, logmel: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """CNN10 alone: (B, frames, mels) dB to (B, frames // 16, 512), and the shorter lengths."""
        return self.cnn10(logmel, lengths)

    def remember(self, heard: Tensor, lengths: Tensor | None = None) -> Memory:
        """The transformer encoder over CNN10's sequence (B, T, 512)."""
        inside = None if lengths is None else frames_mask(lengths, heard.shape[1])
        return Memory(self.encoder(heard, inside), inside, heard, lengths)

    def encode(self, logmel: Tensor, lengths: Tensor | None = None) -> Memory:
        """Log-mel frames (B, frames, mels) to what the decoder reads."""
        return self.remember(*self.listen(logmel, lengths))

    def step(self, words: Tensor, caches: list[LayerCache], inside: Tensor | None) -> tuple[Tensor, list[LayerCache]]:
        """Log-probabilities (B, words) of the word after these (B, T), and the cache that goes on."""
        embeddings, caches = self.decoder(words, caches, inside)
        return F.log_softmax(self.decoder.logits(embeddings[:, -1]).float(), dim=-1), caches

    def losses(self, memory: Memory, captions: Tensor) -> Losses:
        """Teacher forcing.

        Parameters
        ----------
        memory : Memory
            Of B clips.
        captions : Tensor, shape (B, L)
            Ids from START to END, then PAD.
        """
        inputs, targets = captions[:, :-1], captions[:, 1:]
        # A row that has ended reads END as an input: what follows is masked out of both losses.
        said, _ = self.decoder(inputs, self.decoder.start(memory.encoded), memory.inside)
        logits = self.decoder.logits(said).float()
        cross_entropy = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PAD)
        rlssr = self.rlssr(memory.heard.float(), memory.lengths, said.float(), targets != PAD)
        return Losses(cross_entropy, rlssr)
