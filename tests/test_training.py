"""The training loop on sounds made here."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from aaccli.captioning import Captioner
from aaccli.checkpoints import CaptionerInfo
from aaccli.data import Clip
from aaccli.errors import TrainingError
from aaccli.model.captioner import ModelConfig
from aaccli.model.cnn10 import Cnn10Config
from aaccli.model.features import SpecAugmentConfig
from aaccli.model.rlssr import RlssrConfig
from aaccli.model.transformer import TransformerConfig
from aaccli.runs import Run, read_init, run_on_clips
from aaccli.training import TrainingConfig, train

CAPTIONS = {
    "low": "a low tone hums steadily",
    "high": "a shrill whistle sounds",
    "noise": "static hisses from a radio",
    "beeps": "something beeps again and again",
}
PLAIN = ModelConfig(
    cnn10=Cnn10Config(dropout=0.0, spec_augment=SpecAugmentConfig(time_masks=0, mel_masks=0)),
    transformer=TransformerConfig(width=64, heads=2, feed_forward=128, dropout=0.0),
)
ONE_BATCH = TrainingConfig(batch_size=4, accumulate=1, epochs=1)


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


def run(clips, config: TrainingConfig, model: ModelConfig = PLAIN):
    """Train; gives the run, its steps and its epochs."""
    it, steps, epochs = set_up(clips, config, model), [], []
    result = train(it.net, it.train, it.validation, it.config, steps.append, epochs.append)
    return it, steps, epochs, result


def test_four_clips_are_learned_without_an_error(clips):
    config = replace(ONE_BATCH, epochs=150, patience=150)
    it = set_up(clips, config, replace(PLAIN, transformer=TransformerConfig(dropout=0.0)))
    captioner = Captioner(it.net, it.vocabulary, CaptionerInfo(it.net.config, it.decoding, {}))

    class LearnedError(Exception):
        pass

    def stop_when_learned(epoch):
        if epoch.validation_cross_entropy < 0.02:
            raise LearnedError

    with pytest.raises(LearnedError):
        train(it.net, it.train, it.validation, config, on_epoch=stop_when_learned)
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
    config, model = replace(ONE_BATCH, epochs=2, batch_size=2), ModelConfig(transformer=PLAIN.transformer)
    first, again = (run(clips, config, model)[1] for _ in range(2))
    other = run(clips, replace(config, seed=1), model)[1]
    assert [s.loss for s in first] == [s.loss for s in again] != [s.loss for s in other]


def test_a_loss_that_is_not_finite_stops_with_an_explanation(clips):
    it = set_up(clips, ONE_BATCH)
    with torch.no_grad():
        it.net.decoder.bias.fill_(torch.nan)
    with pytest.raises(TrainingError, match=r"loss is nan.*--lr"):
        train(it.net, it.train, it.validation, it.config)


def test_a_frozen_cnn10_stays_as_it_was(clips):
    it = set_up(clips, replace(ONE_BATCH, freeze_cnn=True))
    before = {k: v.clone() for k, v in it.net.state_dict().items()}
    train(it.net, it.train, it.validation, it.config)
    after = it.net.state_dict()
    changed = {k for k in after if not torch.equal(before[k], after[k])}
    assert changed
    assert not any(k.startswith("cnn10.") for k in changed)


def test_cnn10_learns_by_default(clips):
    it = set_up(clips, ONE_BATCH)
    before = it.net.cnn10.conv_block1.conv1.weight.detach().clone()
    train(it.net, it.train, it.validation, it.config)
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
