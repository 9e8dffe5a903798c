"""Transformer encoder and decoder (Vaswani et al., 2017), the decoder with a key/value cache."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of both transformers. Layers and width are the paper's; the rest it leaves open."""

    width: int = 192  # hidden size, the paper's
    encoder_layers: int = 2  # the paper's; 0 leaves the encoder out, as in its ablation
    decoder_layers: int = 2  # the paper's
    heads: int = 4  # 48 a head: near the usual 64
    feed_forward: int = 768  # 4 x width, the usual ratio
    dropout: float = 0.2  # high, because Clotho is small

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width < 2 or self.width % self.heads or self.width % 2:
            raise ValueError("width is even and a multiple of heads")
        if min(self.encoder_layers, self.decoder_layers - 1) < 0:
            raise ValueError("encoder_layers is at least 0, decoder_layers at least 1")


def positions(start: int, length: int, width: int, device: torch.device) -> Tensor:
    """Sinusoidal positions (length, width): no table to outgrow, so a sequence may be as long as it likes."""
    place = torch.arange(start, start + length, device=device, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10000.0) / width))
    return torch.stack((torch.sin(place * rate), torch.cos(place * rate)), dim=-1).flatten(1)


class Attention(nn.Module):
    """Multi-head attention; keys and values may be kept from call to call."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.dropout
        self.query = nn.Linear(config.width, config.width)
        self.key_value = nn.Linear(config.width, 2 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, D) to keys and values, each (B, heads, S, D // heads)."""
        keys, values = self.key_value(memory).chunk(2, dim=-1)
        return self._split(keys), self._split(values)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, allowed: Tensor | None) -> Tensor:
        """Attend from x (B, T, D); ``allowed`` is true where a query may look, (B or 1, 1, T or 1, S)."""
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(self._split(self.query(x)), keys, values, allowed, dropout)
        return self.out(y.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


def feed_forward(config: TransformerConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(config.width, config.feed_forward),
        nn.GELU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.feed_forward, config.width),
    )


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each normalised before (trains without a warm-up's luck)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.feed_forward = feed_forward(config)
        self.norm1 = nn.LayerNorm(config.width)
        self.norm2 = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, allowed: Tensor | None) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        y = self.norm1(x)
        x = x + self.dropout(self.attention(y, *self.attention.keys_values(y), allowed))
        return x + self.dropout(self.feed_forward(self.norm2(x)))


class Encoder(nn.Module):
    """From CNN10's sequence to the memory that the decoder reads."""

    def __init__(self, config: TransformerConfig, inputs: int) -> None:
        super().__init__()
        self.project = nn.Linear(inputs, config.width)
        self.norm_in = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))
        self.norm_out = nn.LayerNorm(config.width)

    def forward(self, sequence: Tensor, inside: Tensor | None) -> Tensor:
        """(B, T, inputs) to (B, T, D); ``inside`` (B, T) is true on a clip's own frames."""
        x = self.norm_in(self.project(sequence))
        x = self.dropout(x + positions(0, x.shape[1], x.shape[2], x.device).to(x.dtype))
        allowed = None if inside is None else inside[:, None, None, :]
        for layer in self.layers:
            x = layer(x, allowed)
        return self.norm_out(x)


@dataclass
class LayerCache:
    """What one decoder layer keeps between steps; every tensor is (rows, heads, length, D // heads)."""

    memory_keys: Tensor
    memory_values: Tensor
    keys: Tensor
    values: Tensor

    def repeat(self, times: int) -> LayerCache:
        """Each row ``times`` times in a row."""
        return LayerCache(*(x.repeat_interleave(times, 0) for x in vars(self).values()))

    def select(self, rows: Tensor) -> LayerCache:
        """The cache of the beams that go on, in their new order.

        The memory's part stays: beams only ever change places within their clip.
        """
        return LayerCache(self.memory_keys, self.memory_values, self.keys[rows], self.values[rows])


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the memory, feed-forward."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.self_attention = Attention(config)
        self.cross_attention = Attention(config)
        self.feed_forward = feed_forward(config)
        self.norm1 = nn.LayerNorm(config.width)
        self.norm2 = nn.LayerNorm(config.width)
        self.norm3 = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def start(self, memory: Tensor) -> LayerCache:
        keys, values = self.cross_attention.keys_values(memory)
        nothing = keys[:, :, :0]
        return LayerCache(keys, values, nothing, nothing)

    def forward(
        self, x: Tensor, cache: LayerCache, causal: Tensor | None, allowed: Tensor | None
    ) -> tuple[Tensor, LayerCache]:
        """Words (B, T, D) that follow those in the cache; gives their output and the longer cache."""
        y = self.norm1(x)
        keys, values = self.self_attention.keys_values(y)
        keys, values = torch.cat((cache.keys, keys), 2), torch.cat((cache.values, values), 2)
        x = x + self.dropout(self.self_attention(y, keys, values, causal))
        y = self.norm2(x)
        x = x + self.dropout(self.cross_attention(y, cache.memory_keys, cache.memory_values, allowed))
        x = x + self.dropout(self.feed_forward(self.norm3(x)))
        return x, LayerCache(cache.memory_keys, cache.memory_values, keys, values)


class Decoder(nn.Module):
    """From words so far and the memory to the next word; input and output embeddings are tied."""

    def __init__(self, config: TransformerConfig, words: int) -> None:
        super().__init__()
        self.width = config.width
        self.embedding = nn.Embedding(words, config.width)
        nn.init.normal_(self.embedding.weight, std=config.width**-0.5)
        self.bias = nn.Parameter(torch.zeros(words))
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.norm_out = nn.LayerNorm(config.width)

    def start(self, memory: Tensor) -> list[LayerCache]:
        """An empty cache over the memory (B, S, D)."""
        return [layer.start(memory) for layer in self.layers]  # type: ignore[operator]

    def forward(
        self, words: Tensor, caches: list[LayerCache], inside: Tensor | None
    ) -> tuple[Tensor, list[LayerCache]]:
        """Decode words that follow those in the cache.

        Parameters
        ----------
        words : Tensor, shape (B, T)
            Ids.
        caches : list of LayerCache
            From ``start`` or the call before.
        inside : Tensor, shape (B, S), or None
            True where the memory is a clip's own.

        Returns
        -------
        embeddings : Tensor, shape (B, T, D)
            Output of the last layer: T of RLSSR; ``logits`` makes words of it.
        caches : list of LayerCache
        """
        past, length = caches[0].keys.shape[2], words.shape[1]
        x = self.embedding(words) * math.sqrt(self.width)
        x = self.dropout(x + positions(past, length, self.width, x.device).to(x.dtype))
        causal = None
        if length > 1:
            causal = torch.ones(length, past + length, dtype=torch.bool, device=x.device).tril(past)[None, None]
        allowed = None if inside is None else inside[:, None, None, :]
        longer = []
        for layer, cache in zip(self.layers, caches, strict=True):
            x, cache = layer(x, cache, causal, allowed)
            longer.append(cache)
        return self.norm_out(x), longer

    def logits(self, embeddings: Tensor) -> Tensor:
        """(B, T, D) to (B, T, words)."""
        return F.linear(embeddings, self.embedding.weight, self.bias)
