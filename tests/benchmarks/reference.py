"""What captioning is measured against: the network as it is trained, and a beam search without a cache.

Clip by clip, all threads of the processor, float32, batch norms apart, NCHW; at each word the decoder runs over the
whole caption so far. That is how the nearest public relatives do it.
"""

from __future__ import annotations

from pathlib import Path

import soundfile
import torch
from torch import Tensor
from torch.nn import functional as F

from aaccli.model.beam import DecodingConfig
from aaccli.model.captioner import END, PAD, START, UNKNOWN, CaptionerNet


def listen(net: CaptionerNet, logmel: Tensor) -> Tensor:
    """CNN10 over one clip (frames, mels): (1, frames // 16, 512)."""
    x = net.cnn10.bn0(logmel[None, None].transpose(1, 3)).transpose(1, 3)
    for block in net.cnn10.blocks:
        x = F.relu_(block.bn1(block.conv1(x)))
        x = F.relu_(block.bn2(block.conv2(x)))
        x = F.avg_pool2d(x, 2)
    return x.mean(dim=3).transpose(1, 2)


def search(net: CaptionerNet, heard: Tensor, config: DecodingConfig) -> list[int]:
    """The ids of the best caption that a plain beam search finds."""
    encoded = net.encoder(heard, None)
    live, done = [((START,), 0.0)], []
    for length in range(config.max_words + 1):
        words = torch.tensor([said for said, _ in live])
        memory = encoded.expand(len(live), -1, -1)
        said, _ = net.decoder(words, net.decoder.start(memory), None)
        logprobs = F.log_softmax(net.decoder.logits(said[:, -1]), dim=-1)
        logprobs[:, [PAD, START, UNKNOWN]] = -torch.inf
        if length < config.min_words:
            logprobs[:, END] = -torch.inf
        if length == config.max_words:
            logprobs[:, :END] = logprobs[:, END + 1 :] = -torch.inf
        totals = torch.tensor([total for _, total in live])[:, None] + logprobs
        best, places = totals.flatten().topk(2 * config.beam_size)
        beams, live = live, []
        for position, (total, place) in enumerate(zip(best.tolist(), places.tolist(), strict=True)):
            row, word = divmod(place, logprobs.shape[1])
            if word != END:
                live.append(((*beams[row][0], word), total))
            elif position < config.beam_size:
                done.append((total / len(beams[row][0]) ** config.length_penalty, beams[row][0][1:]))
        live = live[: config.beam_size]
        if len(done) >= config.beam_size:
            break
    return list(max(done, default=(0.0, live[0][0][1:]))[1])


class Reference:
    """A copy of a network, to caption with as described above."""

    def __init__(self, net: CaptionerNet, config: DecodingConfig) -> None:
        self.net = net
        self.config = config
        net.cnn10.to(memory_format=torch.contiguous_format)

    @torch.no_grad()
    def caption(self, file: Path) -> list[int]:
        samples, _ = soundfile.read(file, dtype="float32", always_2d=True)
        logmel = self.net.logmel(torch.from_numpy(samples.mean(axis=1)))
        return search(self.net, listen(self.net, logmel), self.config)
