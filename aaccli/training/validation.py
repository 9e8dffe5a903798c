"""How good a network is on validation clips: its losses, its captions, their scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..captioning.repetition import families
from ..data.clips import Batch, Examples
from ..metrics import coco
from ..model.beam import DecodingConfig, beam_search
from ..model.captioner import CaptionerNet
from ..vocabulary import Vocabulary, words_of
from .batching import Indices, Loader
from .config import Sample
from .distributed import Team

SHOWN = 5  # captions shown beside their references


class Lesson(nn.Module):
    """The losses of a batch as a module's forward, which is what DistributedDataParallel wraps."""

    def __init__(self, net: CaptionerNet, heard: bool) -> None:
        super().__init__()
        self.net = net
        self.heard = heard  # batches hold CNN10's sequences, not log-mel frames

    def forward(self, frames: Tensor, lengths: Tensor, captions: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D), (B,), (B * C, L) to cross entropy (nats a word) and RLSSR, scalars."""
        memory = (self.net.remember if self.heard else self.net.encode)(frames, lengths)
        losses = self.net.losses(memory.repeat(len(captions) // len(lengths)), captions)
        return losses.cross_entropy, losses.rlssr


def share_of(plan: Sequence[Indices], team: Team) -> list[Indices]:
    """The batches of a plan that this rank takes."""
    return list(team.share(plan))


@torch.no_grad()
def mean_losses(
    lesson: Lesson, examples: Examples, plan: Sequence[Indices], loader: Loader, autocast: torch.autocast, team: Team
) -> tuple[float, float]:
    """Cross entropy (nats a word) and RLSSR over examples and all ranks, batches weighed by their clips."""
    lesson.eval()
    sums = torch.zeros(3, dtype=torch.float64)
    for batch in loader.batches(examples, share_of(plan, team)):
        with autocast:
            losses = lesson(*_tensors(batch, lesson.net.device))
        clips = len(batch.lengths)
        sums += torch.tensor([*(loss.item() * clips for loss in losses), clips], dtype=torch.float64)
    words, rlssr, clips_of_all = team.sum(sums).tolist()
    return words / clips_of_all, rlssr / clips_of_all


def _tensors(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    batch = batch.to(device)
    return batch.frames, batch.lengths, batch.captions


@torch.no_grad()
def captions_of(
    lesson: Lesson,
    examples: Examples,
    plan: Sequence[Indices],
    vocabulary: Vocabulary,
    decoding: DecodingConfig,
    loader: Loader,
    team: Team,
) -> list[str]:
    """The best caption of each example, by beam search as captioning does it; all ranks get all of them."""
    lesson.eval()
    # One row of ids an example; those of the other ranks are zeros (padding), so that a sum puts all together.
    said = torch.zeros(len(examples), decoding.max_words, dtype=torch.int64)
    mine, once = share_of(plan, team), families(vocabulary)
    for indices, batch in zip(mine, loader.batches(examples, mine), strict=True):
        frames, lengths, _ = _tensors(batch, lesson.net.device)
        memory = (lesson.net.remember if lesson.heard else lesson.net.encode)(frames, lengths)
        found = beam_search(lesson.net, memory, decoding, once)
        for index, hypotheses in zip(indices, found, strict=True):
            words = hypotheses[0].words
            said[index, : len(words)] = torch.tensor(words)
    return [vocabulary.decode(ids) for ids in team.sum(said).tolist()]


def scores_of(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """BLEU-1 to 4, ROUGE-L and CIDEr-D over aac's own words.

    Close to those of ``aac evaluate``, which takes the words of the COCO evaluation's tokenizer, in Java.
    """
    said = [" ".join(words_of(caption)) for caption in captions]
    those = [[" ".join(words_of(reference)) for reference in some] for some in references]
    scores = {**coco.bleu(said, those), "rouge_l": coco.rouge_l(said, those), "cider_d": coco.cider_d(said, those)}
    return {name: score.corpus for name, score in scores.items()}


def samples(captions: Sequence[str], references: Sequence[tuple[str, ...]]) -> tuple[Sample, ...]:
    """Some captions beside their references, always of the same clips."""
    count = min(SHOWN, len(captions))
    chosen = [i * len(captions) // count for i in range(count)]
    return tuple(Sample(captions[i], references[i]) for i in chosen)
