"""Runs that are cut off, taken up again, changed in between."""

import csv
import json
import os
import random
import shutil
import signal
import time

import numpy as np
import pytest
import soundfile
from fakes import FakeCaptioner
from typer.testing import CliRunner

from aaccli.captioning.captioner import Captioner
from aaccli.cli import app
from aaccli.inputs import find_sources
from aaccli.writing.outputs import FileOutput, FolderOutput
from aaccli.writing.resume import Journal
from aaccli.writing.writers import About, make_writer

RATE = 44100


def sound(path, level):
    soundfile.write(path, np.full(600 + level, level / 1000, np.float32), RATE, subtype="FLOAT")


@pytest.fixture
def fake(monkeypatch):
    captioner = FakeCaptioner()
    monkeypatch.setattr(Captioner, "from_pretrained", classmethod(lambda cls, *_, **__: captioner))
    return captioner


@pytest.fixture
def folder(tmp_path, fake):
    (tmp_path / "in").mkdir()
    for i in range(6):
        sound(tmp_path / "in" / f"{i}.wav", i)
    (tmp_path / "in" / "3.wav").write_text("no sound")
    return tmp_path / "in"


@pytest.fixture
def aac(fake, folder):
    """Run `aac caption`; gives the result and how many files were heard."""

    def run(*arguments, inputs=(folder,)):
        fake.batches.clear()
        done = CliRunner().invoke(app, ["caption", *map(str, (*inputs, *arguments))])
        return done, len(fake.batches)

    return run


def rows(path):
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_a_second_run_skips_what_is_done(aac, tmp_path):
    out = tmp_path / "out.csv"
    first, heard = aac("--out", out)
    content = out.read_bytes()
    assert (first.exit_code, heard, len(rows(out))) == (1, 5, 6)
    assert "5 captioned, 1 failed, see" in first.stderr
    again, heard = aac("--out", out)
    assert (again.exit_code, heard, out.read_bytes()) == (1, 0, content)
    assert "6 were done before" in again.stderr
    assert "--retry-failed" in again.stderr


def test_failures_are_redone_when_asked(aac, folder, tmp_path):
    out = tmp_path / "out.csv"
    aac("--out", out)
    stat = (folder / "3.wav").stat()
    done, heard = aac("--out", out, "--retry-failed")
    assert (done.exit_code, heard) == (1, 0)
    sound(folder / "3.wav", 3)
    os.utime(folder / "3.wav", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    done, heard = aac("--out", out, "--retry-failed")
    assert (done.exit_code, heard) == (0, 1)
    fresh = tmp_path / "fresh.csv"
    aac("--out", fresh)
    assert out.read_bytes() == fresh.read_bytes()


def test_files_that_changed_are_heard_again_in_their_place(aac, folder, tmp_path):
    out, fresh = tmp_path / "out.csv", tmp_path / "fresh.csv"
    aac("--out", out)
    sound(folder / "1.wav", 77)
    sound(folder / "2b.wav", 5)
    _, heard = aac("--out", out)
    assert heard == 2
    aac("--out", fresh)
    assert out.read_bytes() == fresh.read_bytes()


def test_rows_of_files_that_are_gone_stay(aac, folder, tmp_path):
    out = tmp_path / "out.csv"
    aac("--out", out)
    (folder / "4.wav").unlink()
    done, heard = aac("--out", out)
    assert heard == 0
    assert sorted(row["file"] for row in rows(out)) == [str(folder / f"{i}.wav") for i in range(6)]
    assert "4 captioned, 1 failed" in done.stderr


@pytest.mark.parametrize("option", [("--beam-size", 2), ("--window", 10), ("--format", "tsv")])
def test_other_settings_are_refused_by_name(aac, option, tmp_path):
    out = tmp_path / "out.csv"
    aac("--out", out)
    content = out.read_bytes()
    done, heard = aac("--out", out, *option)
    assert (done.exit_code, heard, out.read_bytes()) == (2, 0, content)
    assert option[0].strip("-").replace("-", "_") in done.stderr
    done, heard = aac("--out", out, *option, "--overwrite")
    assert heard == 5


def test_another_model_is_refused(aac, fake, tmp_path):
    aac("--out", tmp_path / "out.csv")
    fake.__dict__["fingerprint"] = "other"
    done, heard = aac("--out", tmp_path / "out.csv")
    assert heard == 0
    assert "model fake, now other" in done.stderr


def test_what_somebody_else_wrote_is_not_touched(aac, tmp_path):
    out = tmp_path / "out.csv"
    out.write_text("precious")
    assert aac("--out", out)[0].exit_code == 2
    assert out.read_text() == "precious"
    assert aac("--out", out, "--overwrite")[1] == 5
    edited = out.read_bytes().replace(b"rain", b"my own words")
    out.write_bytes(edited)
    done, _ = aac("--out", out)
    assert done.exit_code == 2
    assert "was changed" in done.stderr
    assert out.read_bytes() == edited


def test_without_the_output_everything_is_done_again(aac, tmp_path):
    aac("--out", tmp_path / "out.csv")
    (tmp_path / "out.csv").unlink()
    assert aac("--out", tmp_path / "out.csv")[1] == 5


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl", "txt"])
def test_a_torn_end_is_mended(aac, tmp_path, kind):
    out, journal = tmp_path / f"out.{kind}", tmp_path / f".out.{kind}.aac"
    aac("--out", out)
    whole, records = out.read_bytes(), journal.read_bytes()
    last_row = len(whole) // 5
    for cut, torn in [(1, 0), (3, 0), (len(whole) // 2, 0), (len(whole) - 5, 0), (last_row, 1), (last_row, 40)]:
        out.write_bytes(whole[:-cut])
        journal.write_bytes(records[: len(records) - torn])
        done, heard = aac("--out", out)
        assert out.read_bytes() == whole, done.stderr
        assert heard == (torn > 1)


def test_json_is_whole_after_every_file(aac, tmp_path, monkeypatch):
    """Looked at between two writes: who reads during one may see half of it."""
    out, write, counts = tmp_path / "out.json", FileOutput.write, []

    def written(self, *arguments):
        write(self, *arguments)
        counts.append(len(json.loads(out.read_text())["results"]))

    monkeypatch.setattr(FileOutput, "write", written)
    aac("--out", out)
    assert counts == [1, 2, 3, 4, 5, 6]


def test_two_runs_on_one_output(aac, fake, folder, tmp_path, monkeypatch):
    out = tmp_path / "out.csv"
    seen = []
    whole = fake.caption_waveforms

    def meanwhile(*arguments):
        monkeypatch.setattr(fake, "caption_waveforms", whole)
        seen.append(CliRunner().invoke(app, ["caption", str(folder), "--out", str(out)]))
        return whole(*arguments)

    monkeypatch.setattr(fake, "caption_waveforms", meanwhile)
    done, _ = aac("--out", out)
    assert seen[0].exit_code == 1
    assert "another aac" in seen[0].stderr
    assert "5 captioned" in done.stderr


def test_a_link_leads_to_the_output_and_to_its_journal(aac, folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link.csv").symlink_to("elsewhere/real.csv")
    assert aac("--out", tmp_path / "link.csv")[1] == 5
    assert (tmp_path / "link.csv").is_symlink()
    assert aac("--out", tmp_path / "elsewhere" / "real.csv")[1] == 0


def test_what_is_no_file_is_not_replaced_by_one(aac, tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    done, _ = aac("--out", tmp_path / "pipe.csv", "--overwrite")
    assert done.exit_code == 2 and "is not a file" in done.stderr
    assert (tmp_path / "pipe.csv").is_fifo()


def test_a_file_of_an_older_time_has_changed_too(aac, folder, tmp_path):
    """As where the clock was set back: only that the time is another counts."""
    out = tmp_path / "out.csv"
    aac("--out", out)
    os.utime(folder / "1.wav", (1, 1))
    assert aac("--out", out)[1] == 1
    assert aac("--out", out)[1] == 0


def test_a_tree_of_subtitles(aac, folder, tmp_path):
    (folder / "sub").mkdir()
    shutil.move(folder / "5.wav", folder / "sub" / "5.wav")
    sound(folder / "0.flac.wav", 1)
    soundfile.write(folder / "0.flac", np.zeros(4000), RATE)
    out = tmp_path / "out"
    done, heard = aac("--out", f"{out}/", "--format", "srt")
    assert done.exit_code == 1
    made = sorted(str(path.relative_to(out)) for path in out.rglob("*.srt"))
    assert made == ["0.flac.srt", "0.flac.wav.srt", "0.wav.srt", "1.srt", "2.srt", "4.srt", "sub/5.srt"]
    (out / "1.srt").unlink()
    (out / "2.srt").write_text("by hand")
    done, heard = aac("--out", out, "--format", "srt")
    assert heard == 0
    assert "-->" in (out / "1.srt").read_text()
    assert (out / "2.srt").read_text() == "by hand"
    sound(folder / "2.wav", 60)
    done, heard = aac("--out", out, "--format", "srt")
    assert (done.exit_code, heard) == (2, 0)
    assert "2.srt" in done.stderr
    assert aac("--out", out, "--format", "srt", "--overwrite")[1] == 7
    assert "-->" in (out / "2.srt").read_text()


@pytest.mark.parametrize("step", ["start", "_draw", "_append"])
@pytest.mark.parametrize("out", ["out.csv", "out/"])
def test_a_crash_while_it_is_taken_up_again_loses_nothing(aac, folder, tmp_path, monkeypatch, step, out):
    """A file was added, one changed, one failed before: the rows move, and just then it stops."""
    to = (*("--out", f"{tmp_path}/{out}"), *("--format", "csv"))
    aac(*to)
    sound(folder / "0b.wav", 20)
    sound(folder / "2.wav", 30)
    sound(folder / "3.wav", 3)
    place = Journal if step == "start" else FileOutput if out == "out.csv" else FolderOutput
    whole = getattr(place, step)

    def crash(self, *arguments):
        whole(self, *arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        monkeypatch.setattr(place, step, crash)
        aac(*to)
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    done, heard = aac(*to)
    assert done.exit_code == 0, done.stderr
    assert heard <= 3
    aac("--out", f"{tmp_path}/fresh-{out}", "--format", "csv")
    for path in [tmp_path / out] if out == "out.csv" else (tmp_path / out).glob("*.csv"):
        fresh = tmp_path / f"fresh-{path.relative_to(tmp_path)}"
        assert path.read_bytes() == fresh.read_bytes()


def test_a_row_is_there_as_soon_as_those_before_it_are(folder, tmp_path):
    sources, captioner = find_sources([str(folder)]), FakeCaptioner()
    output = FileOutput(tmp_path / "out.csv", make_writer("csv", About()), {"model": "fake"}, False, False)
    jobs, there = output.begin(sources), []
    for i in (1, 0, 2, 5, 4, 3):
        (caption,) = captioner.stream([jobs[i].source.name])
        output.write(jobs[i], jobs[i].source.identity(), caption)
        there.append(len(rows(tmp_path / "out.csv")))
    assert there == [0, 2, 3, 3, 3, 6]
    output.close()


def test_ranks_that_were_killed_leave_parts_that_any_number_takes_up(folder, tmp_path):
    """Three ranks, of which the last was killed after half a record, then one process."""
    sources = find_sources([str(folder)])
    captioner = FakeCaptioner()

    def output():
        return FileOutput(tmp_path / "out.csv", make_writer("csv", About()), {"model": "fake"}, False, False)

    def work(output, jobs):
        for job in jobs:
            (caption,) = captioner.stream([job.source.name])
            output.write(job, job.source.identity(), caption)

    ranks = [output() for _ in range(3)]
    jobs = ranks[0].begin(sources)
    for rank in (1, 2):
        ranks[rank].join(rank, sources)
    for rank in range(3):
        work(ranks[rank], jobs[rank::3])
        ranks[rank].close()
    assert sorted(path.name for path in tmp_path.glob(".out.csv.aac.[0-9]")) == [".out.csv.aac.1", ".out.csv.aac.2"]
    part = tmp_path / ".out.csv.aac.2"
    part.write_bytes(part.read_bytes()[:-10])
    alone = output()
    left = alone.begin(sources)
    assert [job.source.name for job in left] == [str(folder / "5.wav")]
    assert not part.exists()
    work(alone, left)
    tally = alone.finish()
    alone.close()
    assert (tally.captioned, tally.failed, tally.before) == (5, 1, 5)
    assert [row["file"] for row in rows(tmp_path / "out.csv")] == [source.name for source in sources]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_9_at_twenty_random_moments(fake, tmp_path):
    """The same csv as a run never interrupted, over 500 files of which some cannot be heard."""
    folder, out, fresh = tmp_path / "many", tmp_path / "out.csv", tmp_path / "fresh.csv"
    folder.mkdir()
    for i in range(500):
        if i % 50 == 7:
            (folder / f"{i:03}, =näme\n.wav").write_bytes(b"RIFF")
        else:
            sound(folder / f"{i:03}.wav", i)

    def run(path):
        child = os.fork()
        if child == 0:  # a process of its own, without the time that importing torch takes
            code = CliRunner().invoke(app, ["caption", str(folder), "--out", str(path)]).exit_code
            os._exit(code)
        return child

    def size():
        return out.stat().st_size if out.exists() else 0

    CliRunner().invoke(app, ["caption", str(folder), "--out", str(fresh)])  # here, so that none imports it all anew
    whole, moments = fresh.stat().st_size, random.Random(0)
    # Moments are sizes of the output, not times: how far a run gets in a time is the machine's affair.
    targets = [0, 0, *sorted(moments.randrange(whole) for _ in range(18))]
    killed, sizes = 0, []
    for target in targets:
        child, deadline = run(out), time.monotonic() + 120
        if target == 0:
            time.sleep(moments.uniform(0, 0.02))
        while size() < target and time.monotonic() < deadline:
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        sizes.append(size())
    assert killed >= 10, "most must have been cut off for this to prove anything"
    assert any(0 < size < whole for size in sizes)
    os.waitpid(run(out), 0)
    assert out.read_bytes() == fresh.read_bytes()
    assert len(rows(out)) == 500
