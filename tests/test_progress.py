"""Progress of what is fetched: a bar on a terminal, now and then a line in a log, nothing where none is wanted."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from aaccli import console
from aaccli.commands import progress
from aaccli.commands.progress import fetch_progress
from aaccli.watching import Progress

FETCHED = Progress("weights.pth", 4_000_000, 25_000_000)
WAITING = Progress("weights.pth", 4_000_000, 25_000_000, "the server is busy, again in 3 s")


@pytest.fixture
def shown(monkeypatch):
    """What a log gets, or a terminal with ``force_terminal``."""

    def put(**settings) -> io.StringIO:
        text = io.StringIO()
        monkeypatch.setattr(console, "stderr", Console(file=text, width=100, highlight=False, **settings))
        return text

    return put


def test_a_log_gets_a_line_now_and_then(shown, monkeypatch):
    clock = iter([0.0, 0.0, 0.0, 10.0, 29.0, 30.0, 30.0, 59.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    text = shown()
    with fetch_progress() as watch:
        for _ in range(4):
            watch(FETCHED)
        watch(Progress("weights.pth", 5_000_000, None))
    assert text.getvalue() == "fetching weights.pth: 4 MB of 25 MB\n"


def test_where_no_size_is_told_none_is_said(shown, monkeypatch):
    monkeypatch.setattr(console, "PLAIN_SECONDS", 0.0)
    text = shown()
    with fetch_progress() as watch:
        watch(FETCHED)
        watch(Progress("clotho.7z", 7_500, None, "unpacking"))
    assert text.getvalue() == "unpacking clotho.7z: 7.5 kB\n"


def test_what_is_waited_for_is_said_once(shown):
    text = shown()
    with fetch_progress() as watch:
        watch(WAITING)
        watch(WAITING)
    assert text.getvalue() == "weights.pth: the server is busy, again in 3 s\n"


def test_quiet_says_nothing(shown, monkeypatch):
    monkeypatch.setattr(console, "PLAIN_SECONDS", 0.0)
    for settings in ({}, {"force_terminal": True}):
        text = shown(**settings)
        with fetch_progress(quiet=True) as watch:
            for _ in range(3):
                watch(FETCHED)
                watch(WAITING)
        assert text.getvalue() == ""


def test_a_terminal_gets_a_bar_of_each_file_once_it_takes_long(shown, monkeypatch):
    monkeypatch.setattr(progress, "SHOWN_AFTER", 0.0)
    text = shown(force_terminal=True, force_interactive=True)
    with fetch_progress() as watch:
        watch(FETCHED)
        watch(Progress("[1].csv", 500, 1000, "checking"))
    before, title, after = text.getvalue().rpartition("checking [1].csv")
    assert title and "weights.pth" in before and "0.5/1.0 kB" in after
    assert before.endswith("\x1b[2K"), "one bar at a time"
    monkeypatch.setattr(progress, "SHOWN_AFTER", 60.0)
    text = shown(force_terminal=True, force_interactive=True)
    with fetch_progress() as watch:
        watch(FETCHED)
    assert text.getvalue() == ""
