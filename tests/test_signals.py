"""SIGTERM, as schedulers, containers and shutdowns send it, ends what Ctrl-C ends, and with the same care.

That it leaves no Java is tested beside Ctrl-C, in test_java.py.
"""

import os
import signal
import time

import numpy as np
import pytest
import soundfile
from fakes import FakeCaptioner
from huggingface_hub import constants
from loopback import Fault, Repo, serving
from typer.testing import CliRunner

from aaccli import console
from aaccli.captioning import captioner as captioning
from aaccli.cli import app
from aaccli.commands import session

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def started(said, *arguments):
    """`aac` in a process of its own, without the time that importing torch takes; what it says goes to a file."""
    child = os.fork()
    if child == 0:
        done = CliRunner().invoke(app, [*map(str, arguments)])
        said.write_text(done.stderr)
        os._exit(done.exit_code)
    return child


def terminated(child, ready, seconds=20.0):
    """The exit code of a process that gets SIGTERM when it is ready."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "it ended before"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(child, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    if ended == (0, 0):
        os.kill(child, signal.SIGKILL)
        ended = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(ended[1])


def test_captions_are_kept_and_the_same_command_goes_on(tmp_path, monkeypatch):
    fake, whole = FakeCaptioner(), FakeCaptioner.caption_waveforms
    monkeypatch.setattr(captioning.Captioner, "from_pretrained", classmethod(lambda cls, *_, **__: fake))
    monkeypatch.setattr(FakeCaptioner, "caption_waveforms", lambda *a: time.sleep(0.1) or whole(*a))
    (tmp_path / "in").mkdir()
    for i in range(20):
        soundfile.write(tmp_path / "in" / f"{i}.wav", np.full(4000, i / 20), 16000)
    out = tmp_path / "out.csv"
    child = started(tmp_path / "said", "caption", tmp_path / "in", "--out", out)
    assert terminated(child, lambda: out.exists() and out.read_bytes().count(b"\n") >= 3) == 143
    assert "the same command goes on" in (tmp_path / "said").read_text()
    assert 3 <= out.read_bytes().count(b"\n") < 21
    monkeypatch.undo()
    monkeypatch.setattr(captioning.Captioner, "from_pretrained", classmethod(lambda cls, *_, **__: fake))
    assert "were done before" in CliRunner().invoke(app, ["caption", str(tmp_path / "in"), "--out", str(out)]).stderr
    assert out.read_bytes().count(b"\n") == 21


def test_a_download_from_the_hub_ends_at_once(tmp_path, monkeypatch):
    """Not when its file is there, as what the Hub's library fetches in threads would."""
    with serving() as server:
        files = dict.fromkeys(("vocabulary.json", "model.safetensors"), b"{}")
        server.repos["someone/tiny"] = Repo({**files, "config.json": b'{"format": "aac-captioner"}'})
        path = "/someone/tiny/resolve/c0ffee0000000000000000000000000000000000/model.safetensors"
        server.faults[path] = [Fault(), Fault(pause=60.0)]  # its head, then its body
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        child = started(tmp_path / "said", "download", "someone/tiny")
        assert (
            terminated(child, lambda: [how for how, asked, _ in server.requests if asked == path] == ["HEAD", "GET"])
            == 143
        )
    assert "terminated" in (tmp_path / "said").read_text()
    assert not list(tmp_path.rglob("*.incomplete"))


@pytest.fixture
def spared():
    """Were SIGTERM not taken, it would end the tests."""
    former = signal.signal(signal.SIGTERM, lambda *_: None)
    yield
    signal.signal(signal.SIGTERM, former)


def test_training_notes_it_once_and_stops_at_the_second(spared, capsys):
    asked = []
    with pytest.raises(console.Terminated), session._interrupts(asked):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert asked == [signal.SIGTERM]
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
    assert "finishing the step" in capsys.readouterr().err


def test_who_ignores_it_is_left_alone(monkeypatch):
    """As a program that embeds aac may, and a launcher that ends all its processes itself."""
    former = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with console.terminable():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        monkeypatch.setenv("WORLD_SIZE", "2")
        with console.terminable():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, former)
