"""`aac caption` as its user meets it: pipes, terminals, interruptions, options, bad files."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import forked
import numpy as np
import pytest
import soundfile
from fakes import FakeCaptioner
from typer.testing import CliRunner

from aaccli.captioning import captioner
from aaccli.cli import app

RATE = 44100
# A process of its own whose model is the fake one.
START = "from fakes import FakeCaptioner; from aaccli import cli; from aaccli.captioning import captioner\n"
START += "captioner.Captioner.from_pretrained = classmethod(lambda cls, *_, **__: FakeCaptioner())\n"
SLOW = "import time, os\nwhole = FakeCaptioner.caption_waveforms\n"
SLOW += "FakeCaptioner.caption_waveforms = lambda *a: time.sleep(0.2) or whole(*a)\n"
RUN = "cli.main()"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(4):
        soundfile.write(tmp_path / "in" / f"{i}.wav", np.full(4000, i / 10), RATE)
    return tmp_path / "in"


@pytest.fixture
def aac(monkeypatch):
    monkeypatch.setattr(captioner.Captioner, "from_pretrained", classmethod(lambda cls, *_, **__: FakeCaptioner()))
    return lambda *arguments, **more: CliRunner().invoke(app, ["caption", *map(str, arguments)], **more)


def process(code, *arguments, stdin=None, stdout=None, stderr=None):
    environment = {"TERM": "xterm", "COLUMNS": "100"}
    return forked.start(code, "caption", *arguments, environment=environment, streams=(stdin, stdout, stderr))


def ended(run):
    """The exit code."""
    run.join(60)
    return run.exitcode


def test_help_fits_one_screen_with_examples_first():
    done = subprocess.run(
        [sys.executable, "-m", "aaccli", "caption", "--help"],
        env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) <= 42
    assert done.stdout.index("aac caption clip.wav") < done.stdout.index("Say in a sentence")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("a.wav", "--overwrite"),
        ("a.wav", "--retry-failed", "--out", "-"),
        ("a.wav", "--out", "a.csv", "--overwrite", "--retry-failed"),
        ("a.wav", "--quiet", "--verbose"),
        ("-", "--files-from", "-"),
        ("a.wav", "--out", "captions/"),
        ("a.wav", "--out", "captions.xyz"),
        ("a.wav", "b.wav", "--format", "srt"),
        ("a.wav", "b.wav", "--out", "a.vtt"),
        ("a.wav", "--alternatives", "2"),
        ("a.wav", "--format", "json", "--alternatives", "4"),
        ("a.wav", "--window", "10", "--overlap", "6"),
        ("a.wav", "--format", "xml"),
        ("a.wav", "--beam-size", "101"),
        ("a.wav", "--max-words", "1001"),
        ("a.wav", "--length-penalty", "nan"),
        ("a.wav", "--length-penalty", "-1e9"),
    ],
)
def test_options_that_make_no_sense(aac, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = aac(*arguments)
    assert done.exit_code == 2, done.output
    assert done.stderr
    assert list(tmp_path.rglob("*.csv")) == []


def test_sound_on_stdin_and_a_list_on_stdin(aac, folder):
    content = (folder / "2.wav").read_bytes()
    alone = aac(folder / "2.wav").stdout
    assert aac("-", input=content).stdout == alone
    names = "".join(f"{folder / name}\n" for name in ("2.wav", "0.wav"))
    done = aac("--files-from", "-", input=names)
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == names.split()
    assert aac(folder / "2.wav", folder / "1.wav", "-", input=content).stdout.splitlines()[2] == f"-\t{alone.strip()}"


def test_stdin_into_a_file_is_not_lost_to_other_sound(aac, folder, tmp_path):
    out = tmp_path / "out.csv"
    assert aac("-", "--out", out, input=(folder / "2.wav").read_bytes()).exit_code == 0
    again = aac("-", "--out", out, input=(folder / "1.wav").read_bytes())
    assert again.exit_code == 2
    assert "stdin" in again.stderr


@pytest.mark.parametrize("kind", ["txt", "json", "jsonl", "csv", "tsv", "srt", "vtt"])
def test_stdout_holds_what_out_holds(aac, folder, tmp_path, kind):
    out = tmp_path / f"a.{kind}"
    arguments = (folder / "3.wav", "--window", 1)
    assert aac(*arguments, "--out", out).exit_code == 0
    assert aac(*arguments, "--format", kind).stdout_bytes == out.read_bytes()


def test_json_says_how_it_was_made(aac, folder):
    done = aac(folder, "--format", "json", "--alternatives", 2, "--beam-size", 3, "--window", 20)
    data = json.loads(done.stdout)
    assert data["model"] == {"name": "fake", "fingerprint": "fake"}
    assert (data["options"]["beam_size"], data["options"]["window"]) == (3, 20.0)
    assert [len(result["windows"][0]["alternatives"]) for result in data["results"]] == [2] * 4


@pytest.mark.parametrize("order", [("bad", "0", "1"), ("0", "bad", "1"), ("0", "1", "bad")])
def test_json_on_stdout_is_json_wherever_a_file_fails(aac, folder, order):
    (folder / "bad.wav").write_text("no sound")
    done = aac(*(folder / f"{name}.wav" for name in order), "--format", "json")
    assert [Path(result["file"]).stem for result in json.loads(done.stdout)["results"]] == list(order)


def test_every_kind_of_bad_file_is_a_row_a_line_and_a_count(aac, folder, tmp_path):
    good = (folder / "1.wav").read_bytes()
    (folder / "empty.wav").touch()
    (folder / "header.wav").write_bytes(good[:44])
    (folder / "truncated.wav").write_bytes(good[:4000])
    (folder / "text.wav").write_text("no sound at all")
    (folder / "folder.wav").mkdir()
    (folder / "broken.wav").symlink_to("nowhere.wav")
    (folder / "loop.wav").symlink_to("loop.wav")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "fifo.wav")
    soundfile.write(folder / "one.wav", np.ones(1), RATE)
    soundfile.write(folder / "nan.wav", np.full(4000, np.nan), RATE, subtype="FLOAT")
    out = tmp_path / "out.jsonl"
    done = aac(folder, tmp_path / "vanished.wav", "--out", out)
    assert done.exit_code == 1
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    errors = {Path(row["file"]).name: row["error"] for row in rows if row["error"]}
    assert set(errors) == {
        *("empty.wav", "header.wav", "truncated.wav", "text.wav", "folder.wav", "broken.wav", "loop.wav", "loop"),
        *("fifo.wav", "one.wav", "vanished.wav"),
    }
    assert all(str(row["file"]) in row["error"] for row in rows if row["error"])
    for error in errors.values():
        assert f"error: {error}" in done.stderr
    assert "5 captioned, 11 failed, see" in done.stderr
    assert re.search(r"nan\.wav: 4000 samples are NaN", done.stderr)
    assert next(row for row in rows if "truncated" in row["file"])["caption"], "what is there is heard"


def test_quiet_and_verbose(aac, folder):
    assert aac(folder, "--quiet").stderr == ""
    told = aac(folder, "--verbose", "--format", "csv")
    for word in ("model fake", "beam_size", f"{folder / '1.wav'}  "):
        assert word in told.stderr
    assert told.stdout_bytes == aac(folder, "--format", "csv").stdout_bytes


def test_a_name_cannot_play_with_the_terminal(aac, tmp_path):
    done = aac(tmp_path / "evil\x1b[2J\n.wav")
    assert "\x1b" not in done.stderr
    assert "evil\\x1b[2J\\n.wav" in done.stderr


def test_a_closed_pipe_ends_quietly(folder):
    for i in range(300):
        (folder / f"{i} {'long' * 40}.wav").symlink_to(folder / "1.wav")
    (out, to_out), (errors, to_errors) = os.pipe(), os.pipe()
    run = process(START + RUN, folder, "--quiet", stdout=to_out, stderr=to_errors)
    os.close(to_out)
    os.close(to_errors)
    with os.fdopen(out) as lines:
        assert lines.readline().startswith(str(folder))
    with os.fdopen(errors) as said:
        assert said.read() == ""
    assert ended(run) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_a_stdout_that_takes_no_more_is_an_error(folder):
    with Path("/dev/full").open("wb") as full, tempfile.TemporaryFile() as errors:
        assert ended(process(START + RUN, folder, "--quiet", stdout=full.fileno(), stderr=errors.fileno())) == 1
        errors.seek(0)
        said = errors.read().decode()
    assert said.startswith("error: stdout: cannot be written") and said.endswith("make room, then give --out FILE\n")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("closed", "expected"),
    [
        ("sys.stdout.close(); sys.stdout = None\n", forked.Done(2, "", "error: stdout is closed; give --out FILE\n")),
        ("sys.stderr.close(); sys.stderr = None\n", forked.Done(0, "rain birds\n", "")),
    ],
)
def test_closed_streams(folder, closed, expected):
    assert forked.run("import sys\n" + closed + START + RUN, "caption", folder / "0.wav") == expected


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(folder, tmp_path):
    out = tmp_path / "out.csv"
    with (tmp_path / "said").open("wb") as errors:
        run = process(START + SLOW + RUN, folder, "--out", out, stderr=errors.fileno())
    while not out.exists() or out.read_bytes().count(b"\n") < 2:
        assert run.exitcode is None
    os.kill(run.pid, signal.SIGINT)
    assert ended(run) == 130
    said = (tmp_path / "said").read_text()
    assert "the same command goes on" in said
    assert "Traceback" not in said
    assert 2 <= out.read_bytes().count(b"\n") < 5


def on_a_terminal(*arguments, out=None):
    """What a terminal shows: of stderr, and of stdout unless ``out`` takes it."""
    primary, secondary = pty.openpty()
    run = process(START + SLOW + RUN, *arguments, stdout=out or secondary, stderr=secondary, stdin=secondary)
    os.close(secondary)
    shown = b""
    try:
        while chunk := os.read(primary, 65536):
            shown += chunk
    except OSError:  # Linux's way to say that the other end is closed
        pass
    os.close(primary)
    assert ended(run) == 0
    return shown.decode()


def test_a_terminal_shows_captions_and_windows_above_the_progress(folder):
    soundfile.write(folder / "long.wav", np.zeros(RATE * 5), RATE)
    shown = on_a_terminal(folder, "--window", 2)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    for name in ("0", "1", "2", "3", "long"):
        assert re.search(rf"{name}\.wav\s+\S+ \S+", plain)
    for span in ("0:00:00-0:00:02", "0:00:02-0:00:04", "0:00:04-0:00:05"):
        assert plain.count(span) == 1
    assert "h of sound an hour" in plain
    assert re.search(r"[1-4]/5 files", plain)
    assert "5 captioned, 0 failed" in plain


def test_a_pipe_gets_nothing_but_data_while_the_terminal_shows_progress(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    with (tmp_path / "out.txt").open("wb") as out:
        shown = on_a_terminal(folder, out=out.fileno())
    lines = (tmp_path / "out.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == [str(folder / f"{i}.wav") for i in range(4)]
    assert "4/4 files" in shown
    assert not re.search(r"\x1b\[[0-9;]*[39][0-7]m", shown), "a colour in spite of NO_COLOR"


def test_importing_the_command_costs_nothing_heavy():
    code = "import sys, aaccli.commands.caption; print({'torch', 'numpy', 'soundfile'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
