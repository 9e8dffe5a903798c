"""Reconstruction latent space similarity regularization (Koh, Xue and Chng, arXiv 2108.04692, Eq. 1).

The decoder's output embeddings must hold enough to rebuild what CNN10 heard: a linear layer maps
their mean to CNN10's space, where it is compared to CNN10's pooled output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cnn10 import WIDTH, frames_mask

Distance = Literal["l1", "l2", "cosine", "huber", "none"]


@dataclass(frozen=True)
class RlssrConfig:
    """The regularizer. The paper names the distances and the two poolings and leaves their details open."""

    distance: Distance = "l1"  # the paper's best; none: no regularizer
    pool_window: int = 2  # frames in one window of "average max pooling": CNN10's own pooling size
    stop_gradient: bool = False  # True: CNN10 is not drawn towards what is easy to rebuild
    huber_delta: float = 1.0  # where Huber turns from square to linear; PyTorch's default


class Rlssr(nn.Module):
    """Distance between A_pooled (what was heard) and A_rec (rebuilt from what was said)."""

    def __init__(self, config: RlssrConfig, width: int) -> None:
        super().__init__()
        self.config = config
        # Eq. 1 pools before this layer and the text after it: the same, since the layer is affine.
        self.rebuild = nn.Linear(width, WIDTH)

    def forward(self, heard: Tensor, heard_lengths: Tensor | None, said: Tensor, said_mask: Tensor) -> Tensor:
        """Compute the regularizer, a scalar: mean over clips and channels.

        Parameters
        ----------
        heard : Tensor, shape (B, T, 512)
            CNN10's sequence (A).
        heard_lengths : Tensor, shape (B,), or None
            Frames of each clip.
        said : Tensor, shape (B, L, D)
            Output embeddings of the last decoder layer (T).
        said_mask : Tensor, shape (B, L)
            True on a caption's own words.
        """
        if self.config.stop_gradient:
            heard = heard.detach()
        pooled = average_max_pool(heard, heard_lengths, self.config.pool_window)
        weight = said_mask[:, :, None].to(said.dtype)
        rebuilt = self.rebuild((said * weight).sum(1) / weight.sum(1).clamp_min(1))
        return self._distance(rebuilt, pooled)

    def _distance(self, rebuilt: Tensor, pooled: Tensor) -> Tensor:
        match self.config.distance:
            case "l1":
                return F.l1_loss(rebuilt, pooled)
            case "l2":
                return F.mse_loss(rebuilt, pooled)
            case "huber":
                return F.huber_loss(rebuilt, pooled, delta=self.config.huber_delta)
            case "cosine":
                return (1 - F.cosine_similarity(rebuilt, pooled, dim=1)).mean()
            case _:  # "none"
                return rebuilt.new_zeros(())


def average_max_pool(sequence: Tensor, lengths: Tensor | None, window: int) -> Tensor:
    """Average plus max over windows of frames, then the mean over a clip's windows.

    Parameters
    ----------
    sequence : Tensor, shape (B, T, C)
        Zeros beyond each clip's end, no value below zero (CNN10 ends in ReLU).
    lengths : Tensor, shape (B,), or None
    window : int
        Frames; a clip's last window may be partly padded, and pools over its own frames only.

    Returns
    -------
    Tensor, shape (B, C)
    """
    batch, frames, channels = sequence.shape
    missing = -frames % window
    windows = F.pad(sequence, (0, 0, 0, missing)).reshape(batch, -1, window, channels)
    if lengths is None:
        lengths = torch.full((batch,), frames, device=sequence.device)
    inside = frames_mask(lengths, frames + missing).reshape(batch, -1, window, 1)
    count = inside.sum(2)  # own frames in each window
    average = (windows * inside).sum(2) / count.clamp_min(1)
    largest = (windows * inside).amax(2)
    used = (count > 0).to(sequence.dtype)
    return ((average + largest) * used).sum(1) / used.sum(1)
