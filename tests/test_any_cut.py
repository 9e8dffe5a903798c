"""Runs that end anywhere, between any two bytes: going on gives what a run that was never interrupted gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaccli.captioning.captioner import Caption, Window
from aaccli.errors import AudioError, ConfigError, OutputError
from aaccli.inputs import Source
from aaccli.training.config import Epoch, Sample, Step
from aaccli.training.journal import METRICS
from aaccli.training.journal import Journal as TrainingJournal
from aaccli.training.trainer import Position
from aaccli.writing.outputs import FileOutput, FolderOutput
from aaccli.writing.writers import About, make_writer

NAMES = ["a.wav", "two\nlines.wav", "caf\udce9 犬.wav", '=1+1, "q".wav', "sub/b.wav"]
SOURCES = [Source(name, ".") for name in NAMES]
SETTINGS = {"model": "fake", "windows": [30, 0]}
HEARD = {
    name: Caption(name, (Window(0, 30, "a dog\u2028barks", -0.5), Window(30, 47.25, f"rain {i}", -1.25)))
    for i, name in enumerate(NAMES)
}
HEARD[NAMES[1]] = Caption(NAMES[1], error=AudioError(f"{NAMES[1]}: no sound\nat all"))
HEARD[NAMES[2]] = replace(HEARD[NAMES[2]], error=AudioError("cut short"), not_finite=3)
KINDS = ("csv", "tsv", "json", "jsonl", "txt")


def run(output: FileOutput | FolderOutput, stop: int | None = None) -> int:
    """Caption what is left, or some of it and then fall dead; gives how many were left."""
    try:
        jobs = output.begin(SOURCES)
        for job in jobs[:stop]:
            output.write(job, job.source.identity(), HEARD[job.source.name])
        if stop is None:
            output.finish()
        return len(jobs)
    finally:
        output.close()


def file_output(path: Path, overwrite: bool = False) -> FileOutput:
    return FileOutput(path, make_writer(path.suffix[1:], About()), SETTINGS, overwrite, False)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory) -> Callable[[str], tuple[Path, bytes, bytes, list[bytes]]]:
    """A file that is whole, its journal's content and head, and what the file holds after each recording."""
    made: dict[str, tuple[Path, bytes, bytes, list[bytes]]] = {}

    def of(kind: str) -> tuple[Path, bytes, bytes, list[bytes]]:
        if kind not in made:
            path = tmp_path_factory.mktemp("cut") / f"out.{kind}"
            run(file_output(path))
            writer = make_writer(kind, About())
            rows = [writer.rows(HEARD[name], first=i == 0) for i, name in enumerate(NAMES)]
            stages = [b"".join([writer.head(), *rows[:n], writer.foot()]) for n in range(len(rows) + 1)]
            assert stages[-1] == path.read_bytes()
            journal = path.with_name(f".{path.name}.aac")
            made[kind] = (journal, journal.read_bytes(), journal.read_bytes().split(b"\n")[0], stages)
        return made[kind]

    return of


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(data=st.data())
def test_a_run_that_ended_anywhere_goes_on(interrupted, kind, data):
    """A record is written before the rows that show it: of these there may be fewer, and half of one."""
    journal, records, head, stages = interrupted(kind)
    path = journal.with_name(f"out.{kind}")
    cut = records[: data.draw(st.integers(len(head) + 1, len(records)))]
    done = cut.count(b"\n") - 1
    drawn = stages[data.draw(st.integers(0, done))]
    journal.write_bytes(cut)
    path.write_bytes(drawn[: data.draw(st.integers(0, len(drawn)))])
    stop = data.draw(st.none() | st.integers(0, len(NAMES)))
    left = run(file_output(path), stop)
    # A last record that lacks nothing but the end of its line is a record.
    assert len(NAMES) - left in (done, done + 1)
    run(file_output(path))
    assert path.read_bytes() == stages[-1]
    assert journal.read_bytes() == records


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(data=st.data())
def test_what_no_crash_leaves_is_refused_and_not_touched(interrupted, kind, data):
    """A journal that lacks what the file shows, or is none: the file may be somebody's work."""
    journal, records, _, stages = interrupted(kind)
    path = journal.with_name(f"out.{kind}")
    cut = records[: data.draw(st.integers(0, len(records)))]
    shown = data.draw(st.integers(0, len(NAMES)))
    journal.write_bytes(cut)
    path.write_bytes(stages[shown])
    try:
        run(file_output(path))
    except (ConfigError, OutputError) as error:
        assert "--overwrite" in str(error)
        assert path.read_bytes() == stages[shown]
        # What is refused has rows that the journal lacks.
        assert shown > max(0, cut.count(b"\n") - 1)
        run(file_output(path, overwrite=True))
    assert path.read_bytes() == stages[-1]


@settings(max_examples=15)
@given(data=st.data())
def test_a_folder_that_was_cut_off_anywhere_goes_on(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cut")

    def output() -> FolderOutput:
        return FolderOutput(folder / "out", "vtt", About(), SETTINGS, False, False)

    def targets() -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in (folder / "out").rglob("*.vtt")}

    run(output())
    whole, journal = targets(), folder / "out" / ".aac"
    assert len(whole) == len(NAMES) - 1
    records = journal.read_bytes()
    cut = records[: data.draw(st.integers(0, len(records)))]
    journal.write_bytes(cut)
    kept = [HEARD[name] for name in NAMES[: max(0, cut.count(b"\n") - 1)]]
    for place, path in zip(NAMES, (folder / "out" / name for name in map(target_of, NAMES)), strict=True):
        if HEARD[place] not in kept or data.draw(st.booleans()):
            path.unlink(missing_ok=True)
    run(output(), data.draw(st.integers(0, len(NAMES))))
    run(output())
    assert targets() == whole


@pytest.mark.parametrize("kept", [0, 5, 10, 30, -1])
def test_a_journal_that_was_cut_within_its_first_line(interrupted, kept):
    """Nothing was done yet; its settings may have been others. A part of another rank may end there too."""
    journal, records, head, stages = interrupted("csv")
    path = journal.with_name("out.csv")
    journal.write_bytes(head[:kept])
    journal.with_name(f"{journal.name}.1").write_bytes(head[:kept])
    path.write_bytes(stages[0])
    assert run(file_output(path)) == len(NAMES)
    assert (path.read_bytes(), journal.read_bytes()) == (stages[-1], records)


@pytest.mark.parametrize("foreign", [b"notes", b'{"aac": 10', b'{"aac": 1, "settings": {}}\nnotes', b"notes\n"])
def test_what_is_no_journal_is_not_taken_for_one_that_was_cut(interrupted, foreign):
    journal, _, _, stages = interrupted("csv")
    journal.write_bytes(foreign)
    journal.with_name("out.csv").write_bytes(stages[0])
    with pytest.raises((ConfigError, OutputError), match="--overwrite"):
        run(file_output(journal.with_name("out.csv")))
    assert journal.read_bytes() == foreign


def target_of(name: str) -> str:
    return name.removesuffix("wav") + "vtt"


STEPS = [Step(e, s, 2, 3.0, 2.0, 1.0, 3e-4, 0.5, 10.0) for e in (1, 2) for s in (1, 2)]
EPOCHS = [Epoch(e, 2.5, 2.25, 2.0, True, 9.0, 0.1, {}, (Sample("a\u2028dog", ("b\x85c",)),)) for e in (1, 2)]
STORY = [*STEPS[:2], EPOCHS[0], *STEPS[2:], EPOCHS[1]]
POSITIONS = [Position(0, 0), Position(0, 1), Position(0, 2), Position(1, 0), Position(1, 1), Position(1, 2)]


def tell(folder: Path, at: Position, story: list[Step | Epoch]) -> bytes:
    journal = TrainingJournal(folder, "a run", at, False, pytest.fail)
    for entry in story:
        (journal.step if isinstance(entry, Step) else journal.epoch)(entry)
    return (folder / METRICS).read_bytes()


@settings(max_examples=15)
@given(st.sampled_from(range(len(POSITIONS))), st.data())
def test_metrics_of_a_run_that_ended_anywhere(tmp_path_factory, told, data):
    """A checkpoint is of what was told before it; what came after may be there in part, and is told again."""
    folder = tmp_path_factory.mktemp("cut")
    whole = tell(folder, Position(), STORY)
    lines = whole.splitlines(keepends=True)
    before = len(b"".join(lines[:told]))
    (folder / METRICS).write_bytes(whole[: data.draw(st.integers(before, len(whole)))])
    assert tell(folder, POSITIONS[told], STORY[told:]) == whole
