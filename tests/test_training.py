"""The training loop on sounds made here."""

import contextlib
import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from aaccli.captioning.captioner import Captioner
from aaccli.checkpoints import CaptionerInfo, save_captioner
from aaccli.data.clips import Clip
from aaccli.errors import CheckpointError, TrainingError
from aaccli.model.captioner import ModelConfig
from aaccli.model.cnn10 import Cnn10, Cnn10Config
from aaccli.model.features import FrontEndConfig, SpecAugmentConfig
from aaccli.model.rlssr import RlssrConfig
from aaccli.model.transformer import TransformerConfig
from aaccli.training import trainer
from aaccli.training.batching import loading
from aaccli.training.config import Epoch, TrainingConfig
from aaccli.training.runs import Run, read_init, run_on_clips
from aaccli.training.trainer import Trainer

CAPTIONS = {
    "low": "a low tone hums steadily",
    "high": "a shrill whistle sounds",
    "noise": "static hisses from a radio",
    "beeps": "something beeps again and again",
}
FRONT_END = FrontEndConfig(mels=32)  # half of the work of the 64 that are usual
PLAIN = ModelConfig(
    front_end=FRONT_END,
    cnn10=Cnn10Config(dropout=0.0, spec_augment=SpecAugmentConfig(time_masks=0, mel_masks=0)),
    transformer=TransformerConfig(width=64, heads=2, feed_forward=128, dropout=0.0),
)
ONE_BATCH = TrainingConfig(batch_size=4, accumulate=1, epochs=1, decode_epochs=0)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    import soundfile

    folder, rate = tmp_path_factory.mktemp("four"), 22050
    time = np.arange(int(0.4 * rate)) / rate
    sounds = {
        "low": 0.3 * np.sin(2 * np.pi * 200 * time),
        "high": 0.3 * np.sin(2 * np.pi * 3000 * time),
        "noise": 0.1 * np.random.default_rng(0).standard_normal(len(time)),
        "beeps": np.where(time * 10 % 1 < 0.4, 0.4 * np.sin(2 * np.pi * 900 * time), 0),
    }
    for name, waveform in sounds.items():
        soundfile.write(folder / f"{name}.wav", waveform, rate)
    return [Clip(folder / f"{name}.wav", (caption,)) for name, caption in CAPTIONS.items()]


def set_up(clips, config: TrainingConfig, model: ModelConfig = PLAIN) -> Run:
    return run_on_clips(clips, clips, model, config, read_init(None), torch.device("cpu"))


def train(it: Run, **watchers):
    with loading(1) as loader:
        return Trainer(it, loader, **watchers).train()


def run(clips, config: TrainingConfig, model: ModelConfig = PLAIN):
    """Train; gives the run, its steps and its epochs."""
    it, steps, epochs = set_up(clips, config, model), [], []
    return it, steps, epochs, train(it, on_step=steps.append, on_epoch=epochs.append)


def test_four_clips_are_learned_without_an_error(clips):
    config = replace(ONE_BATCH, epochs=150, patience=150)
    coarse = FrontEndConfig(mels=16, hop=1024)
    it = set_up(clips, config, replace(PLAIN, front_end=coarse, transformer=TransformerConfig(dropout=0.0)))
    captioner = Captioner(it.net, it.vocabulary, CaptionerInfo(it.net.config, it.decoding, {}))

    class LearnedError(Exception):
        pass

    def stop_when_learned(epoch):
        if epoch.validation_cross_entropy < 0.04:
            raise LearnedError

    with pytest.raises(LearnedError):
        train(it, on_epoch=stop_when_learned)
    captioner.net.eval()
    said = [result.caption for result in captioner.stream([clip.path for clip in clips])]
    assert said == [clip.captions[0] for clip in clips]


def test_accumulated_batches_step_as_one_large_batch(clips):
    whole = run(clips, replace(ONE_BATCH, freeze_cnn=True))
    halves = run(clips, replace(ONE_BATCH, freeze_cnn=True, batch_size=2, accumulate=2))
    assert len(whole[1]) == len(halves[1]) == 1
    # RLSSR is a mean over clips and all captions but one have five words: nearly the same loss and gradient.
    assert whole[1][0].loss == pytest.approx(halves[1][0].loss, rel=0.02)
    for a, b in zip(whole[0].net.parameters(), halves[0].net.parameters(), strict=True):
        assert (a - b).abs().mean() < 3e-5


def test_an_epoch_takes_every_clip_once_even_in_a_last_smaller_step(clips):
    _, steps, _, _ = run(clips[:3], replace(ONE_BATCH, batch_size=1, accumulate=2, freeze_cnn=True))
    assert [step.step for step in steps] == [1, 2]
    assert {step.steps for step in steps} == {2}


def test_stops_when_the_validation_loss_no_longer_falls(clips):
    config = replace(ONE_BATCH, epochs=9, patience=3, learning_rate=0.0, freeze_cnn=True)
    _, _, epochs, result = run(clips, config)
    assert [epoch.best for epoch in epochs] == [True, False, False, False]
    assert result.stopped_early
    assert result.best.epoch == 1


def test_the_same_seed_trains_the_same_way(clips):
    config, model = replace(ONE_BATCH, epochs=2, batch_size=2), ModelConfig(FRONT_END, transformer=PLAIN.transformer)
    first, again = (run(clips, config, model)[1] for _ in range(2))
    other = run(clips, replace(config, seed=1), model)[1]
    assert [s.loss for s in first] == [s.loss for s in again] != [s.loss for s in other]


def test_a_loss_that_is_not_finite_stops_with_an_explanation(clips):
    it = set_up(clips, ONE_BATCH)
    with torch.no_grad():
        it.net.decoder.bias.fill_(torch.nan)
    with pytest.raises(TrainingError, match=r"loss is nan.*--lr"):
        train(it)


def test_a_frozen_cnn10_stays_as_it_was(clips):
    it = set_up(clips, replace(ONE_BATCH, freeze_cnn=True))
    before = {k: v.clone() for k, v in it.net.state_dict().items()}
    train(it)
    after = it.net.state_dict()
    changed = {k for k in after if not torch.equal(before[k], after[k])}
    assert changed
    assert not any(k.startswith("cnn10.") for k in changed)


def test_cnn10_learns_by_default(clips):
    it = set_up(clips, ONE_BATCH)
    before = it.net.cnn10.conv_block1.conv1.weight.detach().clone()
    train(it)
    assert not torch.equal(before, it.net.cnn10.conv_block1.conv1.weight)


@pytest.mark.parametrize("distance", ["l1", "l2", "cosine", "huber"])
def test_loss_is_alpha_words_plus_beta_rlssr(clips, distance):
    config = replace(ONE_BATCH, alpha=0.5, beta=3.0, freeze_cnn=True)
    (step,) = run(clips, config, replace(PLAIN, rlssr=RlssrConfig(distance=distance)))[1]
    assert step.rlssr > 0
    assert step.loss == pytest.approx(0.5 * step.cross_entropy + 3.0 * step.rlssr)


def test_without_rlssr_only_words_count(clips):
    (step,) = run(clips, replace(ONE_BATCH, freeze_cnn=True), replace(PLAIN, rlssr=RlssrConfig(distance="none")))[1]
    assert step.rlssr == 0
    assert step.loss == pytest.approx(step.cross_entropy)


def test_the_defaults_are_the_papers():
    config, model = TrainingConfig(), ModelConfig()
    assert (config.batch_size, config.accumulate, config.epochs, config.learning_rate) == (64, 4, 200, 3e-4)
    assert config.alpha == config.beta
    assert (model.front_end.sample_rate, model.front_end.window, model.front_end.hop) == (44100, 1024, 512)
    assert model.front_end.mels == 64
    assert (model.transformer.width, model.transformer.encoder_layers, model.transformer.decoder_layers) == (192, 2, 2)
    assert model.rlssr.distance == "l1"


# --- taken up again ---

RESUMED = TrainingConfig(
    batch_size=2, accumulate=1, epochs=2, decode_epochs=1, warmup_steps=3, schedule="cosine", freeze_cnn=False
)
WITH_DRAWS = ModelConfig(
    FRONT_END, transformer=replace(PLAIN.transformer, dropout=0.3)
)  # dropout and SpecAugment everywhere


class KilledError(Exception):
    pass


def killed_after(count: int, clips, config: TrainingConfig, states: list):
    """Train a fresh network until its ``count``-th step; gives the losses of its steps and its epochs."""
    told = []
    it = set_up(clips, config, WITH_DRAWS)

    def on_step(step):
        told.append((step.loss, step.gradient_norm))
        if len(told) == count:
            raise KilledError

    with loading(1) as loader:
        trainer = Trainer(it, loader, on_step=on_step, on_epoch=told.append)
        trainer.save = lambda: states.append(copy.deepcopy(trainer.state()))
        if states:
            trainer.restore(states[-1])
        with contextlib.suppress(KilledError):
            trainer.train()
    return told, it.net.state_dict()


def comparable(told: list) -> list:
    return [replace(x, seconds=0, seconds_per_step=0) if isinstance(x, Epoch) else x for x in told]


@pytest.mark.parametrize(
    "config", [RESUMED, replace(RESUMED, freeze_cnn=True), replace(RESUMED, freeze_cnn=True, precision="fp16")]
)
def test_a_run_that_is_taken_up_again_takes_the_same_steps_bit_by_bit(clips, config):
    config = replace(config, save_minutes=0.0)
    whole, weights = killed_after(99, clips, config, [])
    assert len(whole) == 2 * 2 + 2
    states: list = []
    first, _ = killed_after(2, clips, config, states)  # in the last step of an epoch: the one before was saved
    assert first == whole[:2] and len(states) == 1
    rest, again = killed_after(99, clips, config, states)
    assert comparable(rest) == comparable(whole[1:])
    assert all(torch.equal(value, again[key]) for key, value in weights.items())


def test_told_to_stop_it_ends_the_step_and_saves(clips):
    saved, steps = [], []
    it = set_up(clips, replace(ONE_BATCH, batch_size=1, freeze_cnn=True))
    with loading(1) as loader:
        trainer = Trainer(it, loader, on_step=steps.append, should_stop=lambda: len(steps) == 1)
        trainer.save = lambda: saved.append(trainer.at)
        result = trainer.train()
    assert result.interrupted and result.best is None
    assert len(steps) == 2
    assert [(at.epoch, at.step) for at in saved] == [(0, 2)]


# --- what goes wrong, and how numbers are computed ---


def test_an_exploding_loss_stops_with_an_explanation(clips):
    config = replace(ONE_BATCH, epochs=20, learning_rate=30.0, explosion=2.0, freeze_cnn=True)
    with pytest.raises(TrainingError, match=r"loss explodes: .* in the first step.*--resume and a smaller --lr"):
        run(clips, config)


@pytest.mark.parametrize("distance", ["l1", "l2", "cosine", "huber"])
def test_half_precision_computes_nearly_the_same(clips, distance):
    model = replace(PLAIN, rlssr=RlssrConfig(distance=distance))
    config = replace(
        ONE_BATCH, freeze_cnn=True
    )  # half-precision convolutions are slow on processors without units for them
    steps = {p: run(clips, replace(config, precision=p), model)[1][0] for p in ("fp32", "bf16", "fp16")}
    for name in ("bf16", "fp16"):
        assert steps[name].loss != steps["fp32"].loss
        assert steps[name].loss == pytest.approx(steps["fp32"].loss, rel=0.02)


def test_the_learning_rate_rises_and_falls(clips):
    _, steps, _, _ = run(clips, replace(RESUMED, epochs=3, decode_epochs=0, freeze_cnn=True))
    rates = [step.learning_rate / RESUMED.learning_rate for step in steps]
    assert rates == pytest.approx([1 / 3, 2 / 3, 1, 1, 0.75, 0.25])


def test_captions_are_scored_and_shown_beside_references(clips):
    _, _, epochs, _ = run(clips, replace(ONE_BATCH, epochs=2, decode_epochs=2, freeze_cnn=True))
    assert [sorted(epoch.scores) for epoch in epochs] == [
        [],
        ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "cider_d", "rouge_l"],
    ]
    assert [example.references for example in epochs[1].examples] == [clip.captions for clip in clips]
    assert all(set(x.caption.split()) <= {w for c in CAPTIONS.values() for w in c.split()} for x in epochs[1].examples)


def test_cider_may_select(clips, monkeypatch):
    scores = iter([0.2, 0.1, 0.3, 0.2, 0.2])
    monkeypatch.setattr(trainer, "scores_of", lambda *_: {"cider_d": next(scores)})
    config = replace(ONE_BATCH, epochs=5, patience=2, select="cider", decode_epochs=1, freeze_cnn=True)
    _, _, epochs, result = run(clips, config)
    assert [epoch.best for epoch in epochs] == [True, False, True, False, False]
    assert result.best.epoch == 3 and result.stopped_early


# --- what it starts from ---


def saved_captioner(tmp_path, clips, model=PLAIN):
    it = set_up(clips, ONE_BATCH, model)
    with torch.no_grad():
        it.net.decoder.bias.copy_(torch.arange(len(it.vocabulary)))
    save_captioner(tmp_path / "old", it.net, it.vocabulary, CaptionerInfo(it.net.config, it.decoding, {}))
    return it, read_init(tmp_path / "old")


def test_a_captioner_keeps_its_words_and_learns_new_ones(clips, tmp_path):
    old, init = saved_captioner(tmp_path, clips)
    more = [*clips[:3], Clip(clips[3].path, ("something barks twice",))]
    it = run_on_clips(more, clips, init.model, ONE_BATCH, init, torch.device("cpu"))
    assert it.vocabulary.words == (*old.vocabulary.words, "barks", "twice")
    for key in ("decoder.embedding.weight", "decoder.bias"):
        assert torch.equal(it.net.state_dict()[key][: len(old.vocabulary)], old.net.state_dict()[key]), key
        assert len(it.net.state_dict()[key]) == len(old.vocabulary) + 2
    assert torch.equal(it.net.cnn10.conv_block1.conv1.weight, old.net.cnn10.conv_block1.conv1.weight)
    assert torch.equal(it.net.rlssr.rebuild.weight, old.net.rlssr.rebuild.weight)
    assert not [line for line in it.start if "missing" in line or "unknown" in line]


def test_what_a_captioner_lacks_is_listed_and_other_shapes_refuse(clips, tmp_path):
    _, init = saved_captioner(tmp_path, clips)
    without = replace(PLAIN, transformer=replace(PLAIN.transformer, encoder_layers=1, decoder_layers=3))
    it = run_on_clips(clips, clips, without, ONE_BATCH, init, torch.device("cpu"))
    unknown, missing = it.start[1:]
    assert "unknown" in unknown and "encoder.layers.1.norm1.weight" in unknown
    assert "missing" in missing and "decoder.layers.2.norm1.weight" in missing
    wider = replace(PLAIN, transformer=replace(PLAIN.transformer, width=128))
    with pytest.raises(CheckpointError, match=r"old: .*shape of encoder\.project\.weight: \(64, 512\), wanted \(128"):
        run_on_clips(clips, clips, wider, ONE_BATCH, init, torch.device("cpu"))


def test_a_panns_file_that_lacks_keys_or_has_more_is_listed(clips, tmp_path):
    state = Cnn10(Cnn10Config()).state_dict()
    state["bn0.bias"] = torch.full_like(state["bn0.bias"], 7.0)
    del state["bn0.weight"]
    torch.save({"model": {**state, "conv_block5.conv1.weight": torch.zeros(2)}}, tmp_path / "cnn.pth")
    panns, init = replace(PLAIN, front_end=FrontEndConfig()), read_init(tmp_path / "cnn.pth")
    heard = init.heard
    assert (heard.sample_rate, heard.window, heard.hop, heard.mels, heard.fmax) == (32000, 1024, 320, 64, 14000)
    it = run_on_clips(clips, clips, panns, ONE_BATCH, init, torch.device("cpu"))
    assert it.net.cnn10.bn0.bias[0] == 7
    assert [line.split(":")[0] for line in it.start[:3]] == [
        "CNN10 of cnn.pth",
        "unknown, left aside",
        "missing, learned from scratch",
    ]
    assert "conv_block5.conv1.weight" in it.start[1] and "bn0.weight" in it.start[2]
