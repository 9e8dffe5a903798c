"""CNN10 of PANNs (Kong et al., 2020, "PANNs: Large-Scale Pretrained Audio Neural Networks").

Key names are PANNs' own, so that its published checkpoints load as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .features import SpecAugment, SpecAugmentConfig

CHANNELS = (64, 128, 256, 512)
WIDTH = CHANNELS[-1]
TIME_REDUCTION = 2 ** len(CHANNELS)

# In a PANNs checkpoint but not learned: its front end, which LogMel replaces.
FRONT_END_PREFIXES = ("spectrogram_extractor.", "logmel_extractor.")
HEAD_PREFIXES = ("fc1.", "fc_audioset.")


@dataclass(frozen=True)
class Cnn10Config:
    """What PANNs leaves to the user of CNN10."""

    dropout: float = 0.2  # after each block, PANNs' value
    spec_augment: SpecAugmentConfig = field(default_factory=SpecAugmentConfig)


def frames_mask(lengths: Tensor, frames: int) -> Tensor:
    """Boolean mask (B, frames), true where a frame belongs to the clip."""
    return torch.arange(frames, device=lengths.device)[None, :] < lengths[:, None]


def blank_padding(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Zero the frames of (B, C, frames, mels) beyond each clip, as a clip alone has zeros there."""
    if lengths is None:
        return x
    return x * frames_mask(lengths, x.shape[2])[:, None, :, None]


class ConvBlock(nn.Module):
    """(3x3 convolution, batch norm, ReLU) twice, then 2x2 average pooling."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        nn.init.xavier_uniform_(self.conv1.weight)
        nn.init.xavier_uniform_(self.conv2.weight)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, inputs, frames, mels) to (B, outputs, frames // 2, mels // 2)."""
        x = blank_padding(F.relu_(self.bn1(self.conv1(x))), lengths)
        x = F.relu_(self.bn2(self.conv2(x)))
        # Padding need not be blanked before pooling. A clip with an odd number of frames loses its last one
        # here; in a batch the window over that frame and the first padded one is outside lengths // 2, and
        # Cnn10 blanks it with the rest.
        return F.avg_pool2d(x, 2)


class Cnn10(nn.Module):
    """The convolutional encoder: log-mel frames to a sequence of 512 channels, 16 times slower."""

    def __init__(self, config: Cnn10Config, mels: int = 64) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.spec_augment = SpecAugment(config.spec_augment)
        self.bn0 = nn.BatchNorm2d(mels)
        inputs = (1, *CHANNELS[:-1])
        for i, (a, b) in enumerate(zip(inputs, CHANNELS, strict=True), start=1):
            self.add_module(f"conv_block{i}", ConvBlock(a, b))
        self.to(memory_format=torch.channels_last)  # the layout that convolutions are fastest in

    @property
    def blocks(self) -> list[ConvBlock]:
        return [self.get_submodule(f"conv_block{i}") for i in range(1, len(CHANNELS) + 1)]  # type: ignore[misc]

    def forward(self, logmel: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Encode log-mel frames.

        Parameters
        ----------
        logmel : Tensor, shape (B, frames, mels)
            dB; what lies beyond ``lengths`` is ignored, whatever it holds.
        lengths : Tensor, shape (B,), optional
            Frames of each clip, at least 16; None where no clip is padded.

        Returns
        -------
        sequence : Tensor, shape (B, frames // 16, 512)
            Mean over frequency; zeros beyond each clip's end.
        lengths : Tensor, shape (B,), or None
            ``lengths // 16``.
        """
        x = self.spec_augment(self._normalise(logmel, lengths), lengths)  # (B, 1, frames, mels)
        x = x.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x, lengths)
            if lengths is not None:
                lengths = lengths // 2
            x = F.dropout(x, self.dropout, self.training)
            x = blank_padding(x, lengths)
        return x.mean(dim=3).transpose(1, 2), lengths

    def _normalise(self, logmel: Tensor, lengths: Tensor | None) -> Tensor:
        """Batch norm of each mel band over the clips' own frames, padding as zeros: (B, 1, frames, mels).

        While training, the batch statistics of the later layers do count padded frames, as zeros: batches of
        like lengths keep that small.
        """
        # PANNs normalises each mel band: the bands stand where BatchNorm2d looks for channels.
        if lengths is None:
            return self.bn0(logmel[:, None].transpose(1, 3)).transpose(1, 3)
        inside = frames_mask(lengths, logmel.shape[1])
        x = logmel.new_zeros(logmel.shape)
        x[inside] = self.bn0(logmel[inside][:, :, None, None])[:, :, 0, 0].to(x.dtype)
        return x[:, None]


class Tagger(nn.Module):
    """CNN10 with PANNs' tagging head: which of these labels are in the clip."""

    def __init__(self, config: Cnn10Config, labels: int, mels: int = 64, dropout: float = 0.5) -> None:
        super().__init__()
        self.cnn10 = Cnn10(config, mels)
        self.dropout = dropout  # on both sides of fc1; 0.5 is PANNs' value
        self.fc1 = nn.Linear(WIDTH, WIDTH)
        self.fc_audioset = nn.Linear(WIDTH, labels)

    def forward(self, logmel: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, frames, mels) to (B, labels) logits."""
        sequence, lengths = self.cnn10(logmel, lengths)
        return self.head(mean_max(sequence, lengths))

    def head(self, pooled: Tensor) -> Tensor:
        """(B, 512) to (B, labels) logits."""
        x = F.dropout(pooled, self.dropout, self.training)
        x = F.dropout(F.relu_(self.fc1(x)), self.dropout, self.training)
        return self.fc_audioset(x)


def mean_max(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """Max over time plus mean over time of (B, T, D), each clip's own frames only."""
    if lengths is None:
        return sequence.amax(dim=1) + sequence.mean(dim=1)
    inside = frames_mask(lengths, sequence.shape[1])[:, :, None]
    mean = (sequence * inside).sum(dim=1) / lengths[:, None]
    return sequence.masked_fill(~inside, -torch.inf).amax(dim=1) + mean


@dataclass(frozen=True)
class LoadedKeys:
    """What became of every key of a checkpoint, and of the network."""

    used: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()  # known, and of no use here
    unknown: tuple[str, ...] = ()  # in the checkpoint, not in the network
    missing: tuple[str, ...] = ()  # in the network, not in the checkpoint: these keep their first values


def load_matching(module: nn.Module, state: dict[str, Tensor], skip: tuple[str, ...] = ()) -> LoadedKeys:
    """Fill a network with what it shares with a checkpoint, and say what became of every key.

    Parameters
    ----------
    module : nn.Module
    state : dict of str to Tensor
    skip : tuple of str
        Beginnings of keys to leave out.

    Raises
    ------
    ValueError
        A tensor has another shape, or no key is shared; the message lists all that does not fit.
    """
    skipped = tuple(k for k in state if skip and k.startswith(skip))
    wanted = module.state_dict()
    offered = {k: v for k, v in state.items() if k not in skipped}
    missing = tuple(k for k in wanted if k not in offered)
    unknown = tuple(k for k in offered if k not in wanted)
    shared = {k: v for k, v in offered.items() if k in wanted}
    shapes = [
        f"shape of {k}: {tuple(v.shape)}, wanted {tuple(wanted[k].shape)}"
        for k, v in shared.items()
        if v.shape != wanted[k].shape
    ]
    if shapes or not shared:
        problems = [*(f"missing: {k}" for k in missing), *(f"unknown: {k}" for k in unknown), *shapes]
        raise ValueError("; ".join(problems))
    module.load_state_dict(shared, strict=False)
    return LoadedKeys(tuple(shared), skipped, unknown, missing)


def load_panns(cnn10: Cnn10, state: dict[str, Tensor]) -> LoadedKeys:
    """Fill CNN10 from the 'model' dict of a PANNs checkpoint.

    The front end (``spectrogram_extractor.*``, ``logmel_extractor.*``) and the tagging head are
    skipped: the first is computed here, the second names AudioSet's classes.

    Raises
    ------
    ValueError
        A tensor has another shape, or none is CNN10's; the message lists all that does not fit.
    """
    try:
        return load_matching(cnn10, state, FRONT_END_PREFIXES + HEAD_PREFIXES)
    except ValueError as error:
        raise ValueError(f"not a CNN10: {error}") from error
