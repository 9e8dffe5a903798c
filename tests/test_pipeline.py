"""Windows shared out to threads: in order, bounded, and the same however they are shared out."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from aaccli.captioning.pipeline import AHEAD, Plan, batches, heard_in_order, one_thread, plan_for_processor
from aaccli.captioning.reading import FIRST, Ending, Stretch, parts, read_ahead
from aaccli.captioning.windows import Windowing

ONE_BY_ONE = Plan(workers=3, threads=1, batch=1, seconds=60)


def stretch(file: str, start: float, seconds: float = 30.0) -> Stretch:
    return Stretch(file, None, start, start + seconds, np.zeros(1, np.float32), 8000)


def recording(file: str, windows: int) -> list[Stretch | Ending]:
    return [*(stretch(file, 30.0 * i) for i in range(windows)), Ending(file, None)]


def tell(stretches):
    time.sleep(0.002 * (5 - stretches[0].start % 5))  # the first ones are the last to be done
    return [(s.file, s.start) for s in stretches]


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("workers", [1, 3])
def test_what_is_heard_comes_in_the_order_in_which_it_was_read(workers, batch):
    read = [part for i in range(7) for part in recording(f"{i}", i % 4)]
    heard = list(heard_in_order(iter(read), tell, Plan(workers, 1, batch, 300)))
    assert [h if isinstance(h, Ending) else h[0] for h in heard] == read
    assert all(h[1] == (h[0].file, h[0].start) for h in heard if not isinstance(h, Ending))


def test_one_batch_alone_is_heard_in_this_thread_with_all_of_them():
    heard_by = []
    list(heard_in_order(recording("a", 1), lambda s: heard_by.append(threading.current_thread()) or [0], ONE_BY_ONE))
    assert heard_by == [threading.main_thread()]


def test_many_are_heard_by_workers_with_their_share_of_the_threads():
    heard_by = []
    torch.set_num_threads(2)

    def hear(stretches):
        heard_by.append((threading.current_thread().name[:8], torch.get_num_threads()))
        return [0]

    list(heard_in_order(recording("a", 5), hear, ONE_BY_ONE))
    assert heard_by == [("aac-hear", 1)] * 5


def test_reading_is_never_far_ahead():
    read, done = [], []

    def reading():
        for part in recording("a", 40):
            read.append(part)
            yield part

    for heard in heard_in_order(reading(), lambda stretches: [0], ONE_BY_ONE):
        done.append(heard)
        # What waits, what is being gathered, and the batch that was read to see whether it is the only one.
        assert len(read) - len(done) <= ONE_BY_ONE.workers + AHEAD + 3
    assert len(done) == 41


def test_an_error_in_a_worker_is_raised_and_nothing_goes_on():
    heard = []

    def hear(stretches):
        heard.append(stretches)
        if len(heard) == 3:
            raise ZeroDivisionError
        return [0]

    with pytest.raises(ZeroDivisionError):
        list(heard_in_order(recording("a", 100), hear, ONE_BY_ONE))
    assert len(heard) < 20
    assert not any(thread.name.startswith("aac-hear") for thread in threading.enumerate())


def test_whoever_has_had_enough_leaves_no_threads():
    heard = heard_in_order(recording("a", 100), tell, ONE_BY_ONE)
    next(heard)
    heard.close()
    assert not any(thread.name.startswith("aac-hear") for thread in threading.enumerate())


def test_a_file_that_is_done_does_not_wait_for_another():
    gathered = batches(recording("a", 1) + recording("b", 0) + recording("c", 2), Plan(1, 1, 1, 60))
    assert [[type(part).__name__ for part in batch] for batch in gathered] == [
        ["Stretch", "Ending"],
        ["Ending"],
        ["Stretch"],
        ["Stretch", "Ending"],
    ]


def test_batches_go_across_files_up_to_so_many_seconds():
    read = [*recording("a", 1), *recording("b", 1), stretch("c", 0, 45), Ending("c", None)]
    gathered = list(batches(read, Plan(1, 1, 8, 60)))
    assert [sum(isinstance(part, Stretch) for part in batch) for batch in gathered] == [2, 1]


@pytest.mark.parametrize(("threads", "expected"), [(1, (1, 1)), (2, (2, 1)), (4, (4, 1)), (6, (4, 1)), (16, (4, 4))])
def test_threads_are_shared_out(threads, expected):
    plan = plan_for_processor(threads, 1, 60)
    assert (plan.workers, plan.threads) == expected


def test_one_thread_and_then_as_many_as_before():
    torch.set_num_threads(2)
    with pytest.raises(KeyError), one_thread():
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == 2


# --- reading ahead ---


def test_recordings_come_in_order_and_their_first_parts_are_read_ahead():
    begun = []

    def counted(name):
        begun.append(name)
        yield from recording(name, 4)

    names = [str(i) for i in range(10)]
    with ThreadPoolExecutor(2) as pool:
        ahead = read_ahead(((name, counted(name)) for name in names), pool, 3)
        first = next(ahead)
        deadline = time.monotonic() + 5
        while len(begun) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert sorted(begun) == names[:4]
        rest = list(ahead)
    assert [first, *rest] == [part for name in names for part in recording(name, 4)]


def test_no_more_than_the_first_parts_are_read_ahead():
    read = []

    def slow(name):
        for part in recording(name, 9):
            read.append(name)
            yield part

    with ThreadPoolExecutor(2) as pool:
        ahead = read_ahead(((name, slow(name)) for name in "ab"), pool, 1)
        next(ahead)
        time.sleep(0.1)
        assert read.count("b") <= FIRST
        ahead.close()


def test_nobody_waits_for_stdin_ahead_of_its_turn():
    begun = []

    def counted(name):
        begun.append(name)
        yield Ending(name, None)

    with ThreadPoolExecutor(2) as pool:
        ahead = read_ahead(((name, counted(name)) for name in ("a", "-", "b")), pool, 3)
        assert next(ahead).file == "a"
        assert "-" not in begun
        assert [part.file for part in ahead] == ["-", "b"]


def test_what_cannot_be_opened_is_an_ending(tmp_path):
    from aaccli import audio

    missing = str(tmp_path / "missing.wav")
    (ending,) = parts(missing, audio.opened(missing), Windowing())
    assert ending.file == missing
    assert "missing.wav" in str(ending.error)
