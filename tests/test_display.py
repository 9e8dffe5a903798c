"""What people see while captions are made, in a log; on terminals, see test_caption_command.py."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from aaccli import console
from aaccli.captioning.captioner import Caption, Heard, Window
from aaccli.inputs import Source
from aaccli.writing import display
from aaccli.writing.display import Display


@pytest.fixture
def log(monkeypatch) -> io.StringIO:
    text = io.StringIO()
    monkeypatch.setattr(console, "stderr", Console(file=text, width=100, highlight=False))
    return text


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(display, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def watching(**settings) -> Display:
    """Of three files."""
    shown = Display(**{"bar": True, "quiet": False, "verbose": False, **settings})
    shown.expect([Source(f"{name}.wav", ".") for name in "abc"])
    return shown


def minute(file: str) -> Caption:
    return Caption(file, (Window(0.0, 60.0, "rain", -0.5),))


def test_a_log_gets_a_line_every_half_minute(log, clock):
    shown = watching()
    for name, seconds in (("a", 29.0), ("b", 1.0), ("c", 29.0)):
        clock.now += seconds
        shown.done(minute(f"{name}.wav"))
    assert log.getvalue() == "captioning 2/3 files, 4 h of sound an hour\n"
    clock.now += 1.0
    shown.heard(Heard("d.wav", Window(0.0, 60.0, "rain", -0.5), 90.0))
    assert log.getvalue().splitlines()[1:] == ["captioning 3/3 files, 4 h of sound an hour"]


def test_speed_is_of_what_was_heard(log, clock):
    shown = watching()
    clock.now += 30.0
    shown.done(Caption("a.wav", (Window(0.0, 15.0, "rain", -0.5),)))
    assert log.getvalue() == "captioning 1/3 files, 0 h of sound an hour\n"  # a half, to the even


def test_quiet_is_no_line_at_all(log, clock):
    shown = watching(quiet=True)
    clock.now += 1000.0
    shown.done(minute("a.wav"))
    assert log.getvalue() == ""


def test_windows_are_told_of_what_has_several(log, clock):
    """A recording of a single window is told of once, as a file."""
    shown = watching(verbose=True)
    for start, end, seconds in ((0.0, 30.0, 30.0), (0.0, 30.0, None), (0.0, 30.0, 45.0), (30.0, 45.0, None)):
        shown.heard(Heard("a.wav", Window(start, end, f"rain of {seconds}", -0.5), seconds))
    assert log.getvalue().splitlines() == ["  0:00:00-0:00:30  rain of 45.0", "  0:00:30-0:00:45  rain of None"]


def test_an_unsure_caption_says_so(log, clock):
    shown = watching(verbose=True)
    for name, probability in (("a", 0.25), ("b", 0.5), ("c", None)):
        shown.done(Caption(f"{name}.wav", (Window(0.0, 1.0, "rain", -0.5, (), probability),)))
    assert log.getvalue().splitlines() == ["a.wav  rain  (unsure, 25%)", "b.wav  rain", "c.wav  rain"]
