"""Files in, captions out."""

import os

import numpy as np
import pytest
import torch

from aaccli.captioning import MAX_SECONDS, Captioner, find_sounds
from aaccli.checkpoints import CaptionerInfo
from aaccli.errors import AudioError, CheckpointError
from aaccli.model.beam import DecodingConfig
from aaccli.model.captioner import CaptionerNet
from aaccli.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def captioner(tiny_model_config):
    """Untrained, and talkative: its captions depend on the sound."""
    torch.manual_seed(3)
    vocabulary = Vocabulary(("a", "dog", "cat", "bird", "barks", "sings", "while", "rain", "falls"))
    net = CaptionerNet(tiny_model_config, len(vocabulary))
    with torch.no_grad():
        net.cnn10.bn0.running_mean.fill_(-50.0)
        net.cnn10.bn0.running_var.fill_(400.0)
        net.decoder.embedding.weight.normal_()
        for layer in net.decoder.layers:
            layer.cross_attention.out.weight.mul_(30)
    return Captioner(net, vocabulary, CaptionerInfo(tiny_model_config, DecodingConfig(max_words=8), {}))


@pytest.fixture
def sounds(tmp_path):
    import soundfile

    random = np.random.default_rng(0)
    for i, (seconds, rate) in enumerate([(0.4, 8000), (1.3, 44100), (0.1, 16000), (0.9, 48000)]):
        shape = np.sin(np.arange(int(seconds * rate)) * 0.05 * (i + 1)) + 0.3 * random.standard_normal(
            int(seconds * rate)
        )
        soundfile.write(tmp_path / f"{i}.wav", 0.3 * shape, rate)
    return [tmp_path / f"{i}.wav" for i in range(4)]


def test_captions_come_in_order_and_name_the_file_as_given(captioner, sounds):
    results = list(captioner.caption(sounds[::-1]))
    assert [r.file for r in results] == [str(path) for path in sounds[::-1]]
    assert all(r.caption and r.error is None and r.score < 0 for r in results)


def test_a_file_has_the_same_caption_alone_and_in_a_batch(captioner, sounds):
    together = list(captioner.caption(sounds, batch_size=4))
    alone = [next(captioner.caption([path], batch_size=1)) for path in sounds]
    assert [r.caption for r in together] == [r.caption for r in alone]
    assert [r.score for r in together] == pytest.approx([r.score for r in alone], abs=1e-4)
    assert len({r.caption for r in alone}) > 1, "a captioner that does not listen would pass too"


def test_a_bad_file_gives_its_error_and_the_others_their_captions(captioner, sounds, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_text("no sound at all")
    results = list(captioner.caption([sounds[0], broken, tmp_path / "missing.wav", sounds[1]], batch_size=3))
    assert [r.error is None for r in results] == [True, False, False, True]
    assert isinstance(results[1].error, AudioError)
    assert "broken.wav" in str(results[1].error)
    assert results[3].caption == next(captioner.caption([sounds[1]])).caption


def test_only_the_start_of_a_long_file_is_heard_and_it_says_so(captioner, tmp_path):
    import soundfile

    noise = 0.1 * np.random.default_rng(1).standard_normal(int((MAX_SECONDS + 1) * 8000))
    soundfile.write(tmp_path / "long.wav", noise, 8000)
    soundfile.write(tmp_path / "start.wav", noise[: int(MAX_SECONDS * 8000)], 8000)
    long, start = captioner.caption([tmp_path / "long.wav", tmp_path / "start.wav"], DecodingConfig(beam_size=1))
    assert (long.truncated, start.truncated) == (True, False)
    assert long.caption == start.caption


def test_decoding_options_hold(captioner, sounds):
    short = list(captioner.caption(sounds, DecodingConfig(max_words=2)))
    assert all(1 <= len(r.caption.split()) <= 2 for r in short)


def test_no_model_folder_is_an_error_that_names_it(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        Captioner.load(tmp_path / "nowhere")


def test_folders_give_their_sound_files_in_order_without_hidden_ones(tmp_path):
    for name in ["b.wav", "a.FLAC", "sub/c.mp3", ".hidden.wav", ".folder/d.wav", "notes.txt"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [os.path.relpath(f, tmp_path) for f in find_sounds([str(tmp_path)])]
    assert found == ["a.FLAC", "b.wav", os.path.join("sub", "c.mp3")]  # noqa: PTH118


def test_a_file_that_is_named_is_taken_whatever_its_suffix(tmp_path):
    assert list(find_sounds([str(tmp_path / "strange.xyz")])) == [str(tmp_path / "strange.xyz")]
