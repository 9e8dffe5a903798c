"""The commands as their user types them."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import forked
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from aaccli import __version__
from aaccli.checkpoints import CaptionerInfo, load_captioner, load_tagger, save_captioner
from aaccli.cli import VERBS, app
from aaccli.model.beam import DecodingConfig
from aaccli.model.captioner import CaptionerNet
from aaccli.vocabulary import Vocabulary

runner = CliRunner()


def aac(*arguments):
    return runner.invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_model_config):
    torch.manual_seed(3)
    vocabulary = Vocabulary(("a", "dog", "barks", "rain", "falls"))
    folder = tmp_path_factory.mktemp("model") / "tiny"
    info = CaptionerInfo(tiny_model_config, DecodingConfig(max_words=6), {})
    save_captioner(folder, CaptionerNet(tiny_model_config, len(vocabulary)), vocabulary, info)
    return folder


@pytest.fixture
def folder(tmp_path):
    import soundfile

    (tmp_path / "in").mkdir()
    for i in range(3):
        tone = np.sin(np.arange(4000) * 0.1 * (i + 1))
        soundfile.write(tmp_path / "in" / f"clip {i}.wav", 0.2 * tone, 16000)
    return tmp_path / "in"


def python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env={**os.environ, **environment}
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
@pytest.mark.parametrize(
    "arguments", [["--version"], ["caption", "--help"], ["train", "--csv", "x.csv", "--show-config"]]
)
def test_a_stdout_that_takes_no_more_is_an_error(arguments):
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "aaccli", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: stdout: cannot be written (No space left on device)\n"


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"], []])
def test_what_needs_no_verb_imports_nothing_heavy(arguments):
    done = python("-X", "importtime", "-m", "aaccli", *arguments)
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "aaccli.cli" in modules
    heavy = {"torch", "numpy", "rich", "pygments", "pydantic", "aaccli.console"}
    assert not modules & {*heavy, *(f"aaccli.commands.{module}" for module, _ in VERBS.values())}


def test_help_lists_the_verbs_each_on_a_line():
    done = python("-m", "aaccli", "--help", COLUMNS="80")
    lines = done.stdout.splitlines()
    assert "    aac caption recordings/ --out captions.csv" in lines
    for verb, (_, summary) in VERBS.items():
        assert f"  {verb:8}  {summary}" in lines
    assert python("-m", "aaccli", COLUMNS="80").stdout == done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_tells_of_itself_in_full(verb):
    done = aac(verb, "--help")
    assert done.exit_code == 0
    assert f"aac {verb} " in done.stdout
    assert "--quiet" in done.stdout


def test_nothing_or_a_misspelt_verb_is_a_usage_error():
    assert aac().exit_code == 2
    done = aac("captoin", "a.wav")
    assert done.exit_code == 2
    assert "Did you mean 'caption'?" in done.stderr


def test_the_shell_completes_verbs_and_their_options():
    told = {"_AAC_COMPLETE": "complete_bash", "COMP_CWORD": "1"}
    code = "from aaccli.cli import app; app(prog_name='aac')"
    assert python("-c", code, **told, COMP_WORDS="aac tr").stdout.split() == ["train"]
    told["COMP_CWORD"] = "2"
    assert python("-c", code, **told, COMP_WORDS="aac train --reci").stdout.split() == ["--recipe"]


def test_module_and_version():
    assert python("-m", "aaccli", "--version").stdout == f"aac {__version__}\n"


def test_one_file_prints_its_bare_caption(model, folder):
    done = aac("caption", folder / "clip 0.wav", "--model", model)
    assert done.exit_code == 0
    assert set(done.stdout.split()) <= {"a", "dog", "barks", "rain", "falls"}
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_several_files_and_folders_print_path_tab_caption(model, folder):
    one = aac("caption", folder / "clip 1.wav", "--model", model).stdout
    done = aac("caption", folder, "--model", model)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [path for path, _ in lines] == [str(folder / f"clip {i}.wav") for i in range(3)]
    assert lines[1][1] + "\n" == one
    assert "3 captioned, 0 failed" in done.stderr


def test_out_writes_file_caption_score(model, folder, tmp_path):
    out = tmp_path / "captions.csv"
    done = aac("caption", folder, "--out", out, "--model", model)
    assert (done.exit_code, done.stdout) == (0, "")
    with out.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [str(folder / f"clip {i}.wav") for i in range(3)]
    assert list(rows[0]) == ["file", "start", "end", "caption", "score", "error"]
    assert all(row["caption"] and float(row["score"]) < 0 for row in rows)
    assert not list(tmp_path.glob(".*part"))


def test_out_is_not_overwritten_unasked(model, folder, tmp_path):
    out = tmp_path / "captions.csv"
    out.write_text("precious")
    refused = aac("caption", folder, "--out", out, "--model", model)
    assert refused.exit_code == 2
    assert "--overwrite" in refused.stderr
    assert out.read_text() == "precious"
    assert aac("caption", folder, "--out", out, "--overwrite", "--model", model).exit_code == 0
    assert out.read_text("utf-8-sig").startswith("file,start,end,caption,score")


@pytest.mark.parametrize("name", ["captions.xlsx", "nowhere/captions.csv"])
def test_out_that_cannot_be_written_is_a_usage_error(model, folder, tmp_path, name):
    assert aac("caption", folder, "--out", tmp_path / name, "--model", model).exit_code == 2


def test_a_broken_file_is_reported_and_the_rest_is_done(model, folder):
    (folder / "broken.wav").write_bytes(b"RIFF nonsense")
    done = aac("caption", folder, "--model", model)
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == 3
    assert "broken.wav" in done.stderr
    assert "3 captioned, 1 failed" in done.stderr


def test_errors_are_one_clear_line(model, folder, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no such file" in aac("caption", tmp_path / "no.wav", "--model", model).stderr
    assert "no sound files" in aac("caption", tmp_path / "empty", "--model", model).stderr
    done = aac("caption", folder, "--model", tmp_path / "no-model")
    assert done.exit_code == 1
    assert "no-model" in done.stderr
    assert "Traceback" not in done.stderr


def test_decoding_options_reach_the_search(model, folder):
    done = aac("caption", folder / "clip 0.wav", "--model", model, "--max-words", 1, "--beam-size", 1)
    assert len(done.stdout.split()) == 1
    bad = aac("caption", folder / "clip 0.wav", "--model", model, "--beam-size", 2, "--alternatives", 2)
    assert bad.exit_code == 2


@pytest.mark.parametrize(
    "arguments", [(), ("--clotho", "a", "--sounds", "b"), ("--csv", "a.csv"), ("--sounds", "b", "--audio", "c")]
)
def test_train_wants_one_source_of_data(arguments, tmp_path):
    assert aac("train", *arguments, "--out", tmp_path / "run").exit_code == 2


def test_train_on_a_csv_then_caption_with_what_it_made(folder, tmp_path):
    rows = "".join(f"clip {i}.wav,a dog barks {i},rain falls\n" for i in range(3))
    (tmp_path / "captions.csv").write_text("file_name,caption_1,caption_2\n" + rows)
    run = tmp_path / "run"
    done = aac(
        *("train", "--csv", tmp_path / "captions.csv", "--audio", folder, "--out", run),
        *("--init", "none", "--epochs", 1, "--batch-size", 2, "--rlssr", "huber", "--store", "float16"),
    )
    assert done.exit_code == 0, done.stderr
    _, vocabulary, info = load_captioner(run / "last")
    assert set(vocabulary.words) <= {"a", "dog", "barks", "rain", "falls", "0", "1", "2"}
    assert info.model.rlssr.distance == "huber"
    best, last = ((run / which / "model.safetensors").stat().st_size for which in ("best", "last"))
    assert 0.45 < best / last < 0.55
    assert json.loads((run / "best" / "config.json").read_text())["trained"]["config"]["epochs"] == 1
    assert aac("caption", folder / "clip 0.wav", "--model", run / "best").stdout.strip()


def test_train_on_labelled_sounds_trains_a_tagger_first(folder, tmp_path):
    import soundfile

    random = np.random.default_rng(0)
    for label in ("dog", "steam_valve"):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        for i in range(12):  # by their names they fall into several folds
            soundfile.write(tmp_path / "sounds" / label / f"{i}.wav", 0.1 * random.standard_normal(2000), 8000)
    run, coarse = tmp_path / "run", tmp_path / "coarse.toml"
    coarse.write_text("[model.front_end]\nsample_rate = 16000\nfmax = 7900\nhop = 512\nmels = 32\n")
    done = aac(
        *("train", "--sounds", tmp_path / "sounds", "--out", run, "--config", coarse, "--fmax", 7000),
        *("--tagger-epochs", 1, "--epochs", 1, "--soundscapes", 4),
    )
    assert done.exit_code == 0, done.stderr
    tagger, about = load_tagger(run / "tagger")
    assert about.labels == ("dog", "silence", "steam_valve")
    net, vocabulary, info = load_captioner(run / "best")
    assert (info.model.front_end.mels, info.model.front_end.fmax) == (32, 7000)
    assert {"dog", "steam", "valve", "silence", "while"} <= set(vocabulary.words)
    for key, value in tagger.cnn10.state_dict().items():
        assert torch.equal(value, net.cnn10.state_dict()[key]), key

    again = aac(
        *("train", "--sounds", tmp_path / "sounds", "--out", tmp_path / "run2", "--init", run / "tagger"),
        *("--epochs", 1, "--soundscapes", 4),
    )
    assert again.exit_code == 0, again.stderr
    assert not (tmp_path / "run2" / "tagger").exists()
    assert load_captioner(tmp_path / "run2" / "best")[2].model.front_end == info.model.front_end


def test_init_that_is_no_cnn10_is_refused(folder, tmp_path):
    (tmp_path / "captions.csv").write_text("file_name,caption\nclip 0.wav,a dog\nclip 1.wav,rain\n")
    torch.save({"model": {"fc.weight": torch.zeros(2)}}, tmp_path / "other.pth")
    done = aac(
        *("train", "--csv", tmp_path / "captions.csv", "--audio", folder, "--out", tmp_path / "run"),
        *("--init", tmp_path / "other.pth"),
    )
    assert done.exit_code == 1
    assert "unknown: fc.weight" in done.stderr
    assert "missing: bn0.weight" in done.stderr


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["caption"], 2), (["nonsense"], 2)])
def test_the_end_comes_at_once_and_still_in_order(arguments, code):
    script = "import atexit, torch; from aaccli import cli; "
    script += "atexit.register(print, 'at exit'); print('before'); cli.main()"
    done = forked.run(script, *arguments)
    assert done.returncode == code
    assert done.stdout.splitlines()[0] == "before"
    assert done.stdout.splitlines()[-1] == "at exit"
    assert done.stderr or code == 0


def test_all_that_an_issue_needs():
    done = forked.run(forked.AAC, "--version", "-v", environment={"AAC_CACHE": "/nowhere/aac"})
    told = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    assert done.returncode == 0
    assert told["aac"].strip() == __version__
    assert told["torch"].strip() == torch.__version__.partition("+")[0]
    assert told["device"].strip().startswith(("cpu", "cuda", "mps"))
    assert told["cache"].strip() == "/nowhere/aac"
    assert re.fullmatch(r" *default \([0-9a-f]{12}\)", told["model"])
    assert {"Python", "libsndfile", "Java", "ffmpeg", "cache of the Hub"} <= told.keys()


def test_what_is_not_here_is_told_and_raises_nothing(monkeypatch):
    from aaccli import environment
    from aaccli.errors import CheckpointError, NotInstalledError

    def fail(error):
        def failing(*_, **__):
            raise error

        return failing

    monkeypatch.setattr("aaccli.metrics.java.find_java", fail(NotInstalledError("no Java here")))
    monkeypatch.setattr("aaccli.captioning.captioner.Captioner.from_pretrained", fail(CheckpointError("damaged")))
    monkeypatch.setattr(environment, "version", fail(environment.PackageNotFoundError()))
    monkeypatch.setattr(environment.shutil, "which", lambda _: None)
    told = environment.describe()
    assert told["Java"] == "no Java here"
    assert told["model"] == "does not load: damaged"
    assert told["torch"] == told["ffmpeg"] == environment.MISSING


@pytest.mark.parametrize(
    ("module", "line"), [("soundfile", "libsndfile"), ("huggingface_hub", "cache of the Hub"), ("torch", "device")]
)
def test_what_does_not_import_is_told(monkeypatch, module, line):
    from aaccli import environment

    absent = {"torch": "aaccli.precision"}.get(module, module)  # torch itself is here already
    monkeypatch.setitem(sys.modules, absent, None)
    assert "not load: import of" in environment.describe()[line]


def test_the_device_is_told_by_what_computes_on_it(monkeypatch):
    from aaccli import environment, precision
    from aaccli.model import winograd

    monkeypatch.setattr(precision, "pick_inference_precision", lambda *_: torch.float32)
    monkeypatch.setattr("aaccli.devices.pick_device", lambda *_: torch.device("cpu"))
    for why, said in (("", "fp32, Winograd convolutions"), ("no AVX2", "fp32, PyTorch's convolutions (no AVX2)")):
        monkeypatch.setattr(winograd, "why_not", lambda why=why: why)
        assert environment.describe()["device"].endswith(f", 1 threads, {said}")
    monkeypatch.setattr("aaccli.devices.pick_device", lambda *_: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "H100")
    assert environment.describe()["device"] == "cuda (H100), 1 threads, fp32"


def test_version_beside_a_verb_is_the_version():
    done = aac("--version", "caption")
    assert (done.exit_code, done.stdout) == (0, f"aac {__version__}\n")


def test_verbose_goes_with_version_or_a_command():
    done = aac("-v")
    assert done.exit_code == 2
    assert "--version" in done.stderr
