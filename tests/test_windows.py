"""Long sound to windows."""

from itertools import pairwise

import numpy as np
import pytest

from aaccli.captioning.windows import MAX_WINDOW, Windowing, cut

RATE = 10


def spans(seconds, windowing, block=7):
    """Start and end in seconds of each window; checks that each holds the sound of its place."""
    sound = np.arange(round(seconds * RATE), dtype=np.float32)
    found = []
    for piece in cut((sound[i : i + block] for i in range(0, len(sound), block)), RATE, windowing):
        assert np.array_equal(piece.samples, sound[piece.start : piece.start + len(piece.samples)])
        found.append((piece.start / RATE, (piece.start + len(piece.samples)) / RATE))
    return found


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.1, [(0, 0.1)]),
        (30, [(0, 30)]),
        (31, [(0, 31)]),
        (44.9, [(0, 44.9)]),
        (45, [(0, 30), (30, 45)]),
        (60, [(0, 30), (30, 60)]),
        (74.9, [(0, 30), (30, 74.9)]),
        (75, [(0, 30), (30, 60), (60, 75)]),
    ],
)
def test_a_short_rest_joins_its_neighbour(seconds, expected):
    assert spans(seconds, Windowing()) == expected


@pytest.mark.parametrize("block", [1, 7, 299, 300, 1000, 5000])
@pytest.mark.parametrize("windowing", [Windowing(), Windowing(10, 2.5), Windowing(1, 0.5)])
def test_windows_do_not_depend_on_how_the_sound_comes(block, windowing):
    assert spans(123.4, windowing, block) == spans(123.4, windowing, 13)


def test_windows_overlap_as_asked_and_leave_nothing_out():
    assert spans(35, Windowing(10, 5)) == [(0, 10), (5, 15), (10, 20), (15, 25), (20, 30), (25, 35)]
    found = spans(100.3, Windowing(20, 3))
    assert found[0][0] == 0
    assert found[-1][1] == 100.3
    assert all(b[0] == pytest.approx(a[1] - 3) for a, b in pairwise(found))


def test_no_sound_is_no_window():
    assert spans(0, Windowing()) == []


def test_no_more_than_two_windows_are_held():
    pulled = 0

    def endless():
        nonlocal pulled
        while True:
            pulled += 5
            yield np.zeros(5, np.float32)

    windows = cut(endless(), RATE, Windowing(10))
    for done in range(1, 50):
        next(windows)
        assert pulled <= (done + 1) * 100


@pytest.mark.parametrize("bad", [(0.5, 0), (121, 0), (10, -1), (10, 6), (float("nan"), 0), (10, float("nan"))])
def test_what_makes_no_sense_is_refused(bad):
    with pytest.raises(ValueError, match="window"):
        Windowing(*bad)


@pytest.mark.parametrize(("window", "overlap"), [(1.0, 0.0), (1.0, 0.5), (MAX_WINDOW, MAX_WINDOW / 2)])
def test_the_widest_windows_and_the_shortest(window, overlap):
    assert Windowing(window, overlap).overlap == overlap
