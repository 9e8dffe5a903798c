"""Two hundred damaged sound files, and whether the tool that reads twenty thousand of them would notice.

The tool is benchmarks/fuzz_audio.py; it is run by hand.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).with_name("benchmarks")))
import mutants
from fuzz_audio import FINE, Outcome, Reader, fuzz, reader, table
from mutants import KINDS, SHARES, mutant, original, seal_flac, seal_ogg

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
COUNT = 200


@linux
def test_two_hundred_damaged_files():
    found = [(damaged.number, outcome) for damaged, outcome in fuzz(range(COUNT), reader(ffmpeg=False))]
    assert [(number, outcome) for number, outcome in found if outcome.verdict not in FINE] == []
    times = Counter(outcome.verdict for _, outcome in found)
    assert min(times[verdict] for verdict in FINE) > COUNT / 50, "damage of all degrees"


def test_a_number_is_a_file():
    before = [mutant(number).content for number in range(40)]
    original.cache_clear()
    assert [mutant(number).content for number in range(40)] == before
    assert len(set(before)) == 40


def test_every_format_is_damaged():
    drawn = Counter(mutant(number).kind.name for number in range(150))
    assert set(drawn) == set(SHARES) == {kind.name for kind in KINDS}


@pytest.mark.parametrize(
    "kind", [k for k in KINDS if k.format == "OGG" or (k.format, k.channels) == ("FLAC", 1)], ids=lambda k: k.subtype
)
def test_checksums_are_as_encoders_write_them(kind):
    content = bytearray(original(kind))
    seal_ogg(content)
    seal_flac(content)
    assert content == original(kind)
    content[-1] ^= 1  # of the last frame's own checksum, or of the last page
    damaged = bytes(content)
    seal_ogg(content)
    seal_flac(content)
    assert content != damaged


def reading(script: str, give_up: float) -> Reader:
    """A process that behaves as the script has it."""
    return Reader([sys.executable, "-c", f"print('ready', flush=True)\n{script}"], give_up)


ANSWER = """
import sys
for line in sys.stdin:
    print('{{"verdict": "whole", "seconds": {seconds}, "megabytes": {megabytes}}}', flush=True)
"""


@linux
@pytest.mark.parametrize(
    ("script", "verdict"),
    [
        ("import os, signal; input(); os.kill(os.getpid(), signal.SIGSEGV)", "crash"),
        ("import sys; sys.exit(3)", "crash"),
        ("import time; input(); time.sleep(60)", "hang"),
        (ANSWER.format(seconds=2.5, megabytes=1), "hang"),
        (ANSWER.format(seconds=0.1, megabytes=501), "memory"),
        (ANSWER.format(seconds=1.9, megabytes=499), "whole"),
    ],
)
def test_what_is_noticed(tmp_path, script, verdict):
    process = reading(script, 0.5 if verdict == "hang" else 20.0)  # who hangs is waited for
    assert [process.read(tmp_path / "a.wav").verdict for _ in range(2)] == [verdict] * 2, "and again, after it died"
    process.close()


@linux
def test_untyped_errors_and_prints_are_noticed(tmp_path):
    script = f"""
import sys
sys.path.append({str(Path(mutants.__file__).parent)!r})
import fuzz_audio
def hear(path):
    if path.endswith("b.wav"):
        1 / 0
    if path.endswith("c.wav"):
        print("!", flush=True)
    return "whole", ""
fuzz_audio.hear = hear
fuzz_audio.work()
"""
    process = Reader([sys.executable, "-c", script])
    found = [process.read(tmp_path / f"{name}.wav") for name in "abca"]
    process.close()
    assert [outcome.verdict for outcome in found] == ["whole", "untyped", "wrong", "whole"]
    assert found[1].detail == "ZeroDivisionError: division by zero"


def test_the_table_counts_by_format():
    outcomes = [("wav", Outcome("whole", 0.5, 7)), ("wav", Outcome("crash")), ("ogg", Outcome("refused", 1.25))]
    head, wav, ogg, together = (line.split() for line in table(outcomes).splitlines())
    assert wav == ["wav", "2", "1", "0", "0", "0", "0", "1", "0", "0", "0.50", "7"]
    assert ogg == ["ogg", "1", "0", "0", "1", "0", "0", "0", "0", "0", "1.25", "0"]
    assert together[:2] == ["all", "3"]
    assert head[:2] == ["files", "whole"]
