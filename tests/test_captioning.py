"""Files in, captions out."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from fakes import FakeCaptioner

from aaccli.captioning.captioner import Caption, Captioner, Window
from aaccli.captioning.windows import Windowing
from aaccli.checkpoints import CaptionerInfo, save_captioner
from aaccli.errors import AudioError, CheckpointError, ConfigError
from aaccli.model.beam import DecodingConfig
from aaccli.model.captioner import CaptionerNet
from aaccli.model.features import FrontEndConfig
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
    random = np.random.default_rng(0)
    for i, (seconds, rate) in enumerate([(0.4, 8000), (1.3, 44100), (0.1, 16000), (0.9, 48000)]):
        shape = np.sin(np.arange(int(seconds * rate)) * 0.05 * (i + 1)) + 0.3 * random.standard_normal(
            int(seconds * rate)
        )
        soundfile.write(tmp_path / f"{i}.wav", 0.3 * shape, rate)
    return [tmp_path / f"{i}.wav" for i in range(4)]


def test_captions_come_in_order_and_name_the_file_as_given(captioner, sounds):
    results = list(captioner.stream(sounds[::-1]))
    assert [r.file for r in results] == [str(path) for path in sounds[::-1]]
    assert all(r.caption and r.error is None and r.score < 0 for r in results)


def test_a_file_has_the_same_caption_alone_and_in_a_batch(captioner, sounds):
    together = list(captioner.stream(sounds, batch_size=4))
    alone = [next(captioner.stream([path], batch_size=1)) for path in sounds]
    assert [r.caption for r in together] == [r.caption for r in alone]
    assert [r.score for r in together] == pytest.approx([r.score for r in alone], abs=1e-4)
    assert len({r.caption for r in alone}) > 1, "a captioner that does not listen would pass too"


def test_two_threads_and_two_workers_say_what_one_says(captioner, sounds):
    one = [(r.caption, r.score) for r in captioner.stream(sounds)]
    torch.set_num_threads(2)
    assert captioner.engine.plan(None, 1.0).workers == 2
    assert [(r.caption, r.score) for r in captioner.stream(sounds)] == one


def test_a_bad_file_gives_its_error_and_the_others_their_captions(captioner, sounds, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_text("no sound at all")
    results = list(captioner.stream([sounds[0], broken, tmp_path / "missing.wav", sounds[1]], batch_size=3))
    assert [r.error is None for r in results] == [True, False, False, True]
    assert {r.not_finite for r in results} == {0}
    assert isinstance(results[1].error, AudioError)
    assert "broken.wav" in str(results[1].error)
    assert results[3].caption == next(captioner.stream([sounds[1]])).caption


def test_long_sound_is_heard_window_by_window(captioner, tmp_path):
    noise = 0.1 * np.random.default_rng(1).standard_normal(int(2.5 * 8000))
    noise[8000:16000] = np.sin(np.arange(8000))
    soundfile.write(tmp_path / "long.wav", noise, 8000, subtype="FLOAT")
    result = captioner.caption(tmp_path / "long.wav", windowing=Windowing(1))
    assert [(w.start, w.end) for w in result.windows] == [(0, 1), (1, 2), (2, 2.5)]
    for window in result.windows:
        part = noise[int(window.start * 8000) : int(window.end * 8000)].astype(np.float32)
        alone = captioner.caption(part, sample_rate=8000)
        assert alone.caption == window.caption
        assert alone.score == pytest.approx(window.score, abs=1e-4)
    assert len({w.caption for w in result.windows}) > 1
    assert result.end == 2.5


def whole(*said):
    return Caption("a", tuple(Window(i, i + 1, caption, score) for i, (caption, score) in enumerate(said)))


def test_the_whole_is_what_most_windows_say_and_then_the_best_scored():
    result = whole(("rain", -2), ("dog", -0.1), ("rain", -1), ("cat", -3))
    assert (result.caption, result.score) == ("rain", -1)
    result = whole(("rain", -2), ("dog", -0.1), ("cat", -3))
    assert (result.caption, result.score) == ("dog", -0.1)
    assert (whole().caption, str(whole().score), whole().end, whole().not_finite) == ("", "nan", 0.0, 0)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16, np.int32, np.uint8, torch.float32, torch.bfloat16])
def test_arrays_of_any_type_are_as_loud_as_the_file(tmp_path, kind):
    fake = FakeCaptioner()
    sound = (np.linspace(-1, 1, 10000)[:, None] * [0.5, 0.3]).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", sound, 44100, subtype="FLOAT")
    if isinstance(kind, torch.dtype):
        array = torch.from_numpy(sound).to(kind).requires_grad_()
    elif np.issubdtype(kind, np.integer):
        half = 2.0 ** (8 * np.dtype(kind).itemsize - 1)
        array = np.round(sound * half + (half if kind is np.uint8 else 0)).astype(kind)
    else:
        array = sound.astype(kind)
    score = fake.caption(array, sample_rate=44100.0).score
    assert score == pytest.approx(fake.caption(tmp_path / "a.wav").score, abs=1e-3)
    assert score < -0.34, "a captioner that hears nothing would pass too"


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 1000)), np.zeros((1000, 0)), np.zeros((5, 5, 5)), np.zeros(10, complex), np.zeros(10, str)],
)
def test_arrays_that_are_no_sound(array):
    with pytest.raises(AudioError, match="array"):
        FakeCaptioner().caption(array, sample_rate=44100)


def test_a_rate_goes_with_an_array_and_only_with_one(sounds):
    for sound, rate in [(np.zeros(1000), None), (sounds[0], 8000), ([0.0] * 1000, 8000)]:
        with pytest.raises(ConfigError, match=rf"^{type(sound).__name__}, sample_rate {rate}: .*array.* needs one"):
            FakeCaptioner().caption(sound, sample_rate=rate)
    for rate in (3, 22050.5, float("nan"), "8000"):
        with pytest.raises(AudioError, match=f"sample rate of {rate!r}"):
            FakeCaptioner().caption(np.zeros(1000), sample_rate=rate)


def test_a_stream_of_one_path(sounds):
    for path in (sounds[0], str(sounds[0])):
        assert [result.file for result in FakeCaptioner().stream(path)] == [str(sounds[0])]


def test_one_file_that_cannot_be_heard_raises(tmp_path):
    with pytest.raises(AudioError, match=r"nowhere\.wav"):
        FakeCaptioner().caption(tmp_path / "nowhere.wav")


@pytest.mark.parametrize(("samples", "said"), [(0, "no samples"), (1, "too short"), (440, "too short")])
def test_hardly_any_sound_is_not_captioned(tmp_path, samples, said):
    soundfile.write(tmp_path / "a.wav", np.ones(samples), 44100)
    (result,) = FakeCaptioner().stream([tmp_path / "a.wav"])
    assert said in str(result.error)
    assert not result.windows


def test_of_a_file_that_breaks_off_what_is_there_is_captioned_and_the_error_told(tmp_path):
    whole = tmp_path / "whole.wav"
    soundfile.write(whole, np.full(22050, 0.1), 44100)
    (tmp_path / "half.wav").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    result = FakeCaptioner().caption(tmp_path / "half.wav")
    assert isinstance(result.error, AudioError)
    assert result.caption
    assert result.end == pytest.approx(0.25, abs=0.001)


def test_a_hundredth_of_a_second_is_captioned(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.ones(441), 44100)
    (result,) = FakeCaptioner().stream([tmp_path / "a.wav"])
    assert (result.error, result.end) == (None, 0.01)


def test_an_array_is_called_so_and_heard_to_its_end():
    result = FakeCaptioner().caption(np.zeros(22050), sample_rate=44100)
    assert (result.file, result.end, result.error, result.not_finite) == ("array", 0.5, None, 0)


def test_the_log_probability_of_a_window_counts_its_end():
    assert Window(0, 1, "a dog barks", -0.5).log_probability == -2.0


@pytest.mark.parametrize(("probability", "is_doubtful"), [(None, False), (0.49, True), (0.5, False), (0.9, False)])
def test_a_caption_is_doubtful_where_it_is_more_likely_wrong(probability, is_doubtful):
    assert Window(0, 1, "a dog barks", -0.5, probability=probability).is_doubtful is is_doubtful


def test_samples_that_are_no_numbers_are_counted():
    sound = np.full((1000, 2), 0.5, np.float32)
    sound[10:20, 0], sound[15:30, 1], sound[40] = np.nan, np.inf, 1e30
    result = FakeCaptioner().caption(sound, sample_rate=44100)
    assert result.not_finite == 21
    sound[10:20, 0] = sound[15:30, 1] = sound[40] = 0
    assert result.score == FakeCaptioner().caption(sound, sample_rate=44100).score


def test_windows_are_told_of_as_they_come_and_batched(tmp_path):
    fake, told = FakeCaptioner(), []
    soundfile.write(tmp_path / "a.wav", np.full(44100 * 10, 0.1), 44100)
    (result,) = fake.stream([tmp_path / "a.wav"], batch_size=3, windowing=Windowing(1), on_window=told.append)
    assert [heard.window for heard in told] == list(result.windows)
    assert {(heard.file, heard.seconds) for heard in told} == {(str(tmp_path / "a.wav"), 10.0)}
    assert fake.batches == [3, 3, 3, 1]
    fake.batches.clear()
    fake.caption(np.zeros(44100 * 180, np.int16), batch_size=4, sample_rate=44100, windowing=Windowing(20))
    assert fake.batches == [3, 3, 3], "no more than a minute at once"


def test_alternatives_are_the_rest_of_the_beam(captioner, sounds):
    result = captioner.caption(sounds[1], alternatives=2)
    others = result.windows[0].alternatives
    assert len(others) == 2
    assert len({result.caption, *(o.caption for o in others)}) == 3
    assert not captioner.caption(sounds[1]).windows[0].alternatives
    assert not next(captioner.stream(sounds)).windows[0].alternatives
    with pytest.raises(ConfigError, match="2 were asked for, a beam of 2 has 1; widen it with --beam-size"):
        captioner.stream(sounds, DecodingConfig(beam_size=2), alternatives=2)
    with pytest.raises(ConfigError, match="-1 were asked for"):
        captioner.stream(sounds, alternatives=-1)


def test_the_fingerprint_tells_models_apart(captioner):
    same = Captioner(captioner.net, captioner.vocabulary, captioner.info)
    assert same.fingerprint == captioner.fingerprint
    with torch.no_grad():
        captioner.net.decoder.bias[0] += 1
    changed = Captioner(captioner.net, captioner.vocabulary, captioner.info).fingerprint
    with torch.no_grad():
        captioner.net.decoder.bias[0] -= 1
    assert len(changed) == 12
    assert changed != same.fingerprint


def test_the_fingerprint_depends_on_words_and_front_end(captioner):
    words = Vocabulary((*captioner.vocabulary.words[:-1], "snow"))
    quiet = replace(captioner.info.model, front_end=FrontEndConfig(floor=1e-9))
    others = (
        Captioner(captioner.net, words, captioner.info),
        Captioner(captioner.net, captioner.vocabulary, replace(captioner.info, model=quiet)),
    )
    assert len({captioner.fingerprint, *(other.fingerprint for other in others)}) == 3


def test_a_captioner_from_a_folder_is_the_one_that_was_saved(captioner, sounds, tmp_path):
    save_captioner(tmp_path / "m", captioner.net, captioner.vocabulary, captioner.info)
    loaded = Captioner.from_pretrained(tmp_path / "m", precision="bf16")
    assert (loaded.name, loaded.engine.precision) == (str(tmp_path / "m"), "bf16")
    assert loaded.fingerprint == captioner.fingerprint
    assert Captioner.from_pretrained(str(tmp_path / "m")).caption(sounds[0]) == captioner.caption(sounds[0])


def test_decoding_options_hold(captioner, sounds):
    short = list(captioner.stream(sounds, DecodingConfig(max_words=2)))
    assert all(1 <= len(r.caption.split()) <= 2 for r in short)


def test_no_model_folder_is_an_error_that_names_it(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        Captioner.from_pretrained(tmp_path / "nowhere")
