"""Fetching from a real server that fails in every way, and what is left on the disk after each."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from full_disk import filling_up
from loopback import Fault, Server, serving

from aaccli.errors import FetchError
from aaccli.fetching import download
from aaccli.fetching.assets import Asset, Item
from aaccli.fetching.download import Progress, adopt, fetch

CONTENT = random.Random(5).randbytes(300_000)


@pytest.fixture(scope="module")
def one_server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def server(one_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(download, "FIRST_WAIT", 0.01)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    one_server.files = {"/a file": CONTENT}
    one_server.faults.clear()
    one_server.requests.clear()
    return one_server


def asset_at(server: Server, content: bytes = CONTENT, exact: bool = True) -> Asset:
    sums = hashlib.md5(content).hexdigest(), hashlib.sha256(content).hexdigest()
    return Asset("weights.pth", f"{server.url}/a%20file", len(content), exact, *sums)


def fetched(server: Server, target: Path, asset: Asset | None = None, watch=download.nobody) -> Path:
    asset = asset or asset_at(server)
    return fetch(Item("cnn10", "", "", (asset,)), asset, target, watch)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "weights.pth"


def assert_whole(target: Path) -> None:
    assert target.read_bytes() == CONTENT
    assert names_in(target.parent) == ["weights.pth"]


def assert_given_up(server: Server, target: Path, *said: str, asset: Asset | None = None) -> str:
    """The error says what and what next; nothing that a later run would trust is left."""
    with pytest.raises(FetchError) as error:
        fetched(server, target, asset)
    message = str(error.value)
    for part in ("weights.pth", *said):
        assert part in message
    assert not target.exists()
    server.faults.clear()
    if server.files["/a file"] == CONTENT:
        assert_whole(fetched(server, target))  # the next run succeeds, whatever was left
    return message


def test_a_file_comes_whole_and_only_once(server, target):
    seen: list[Progress] = []
    assert fetched(server, target, watch=seen.append) == target
    assert_whole(target)
    assert (seen[-1].done, seen[-1].total) == (len(CONTENT), len(CONTENT))
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    fetched(server, target)
    assert len(server.requests) == 1
    assert server.requests[0][2]["accept-encoding"] == "identity"


def test_a_damaged_file_in_place_is_fetched_anew(server, target):
    target.parent.mkdir()
    target.write_bytes(b"x" + CONTENT[1:])
    fetched(server, target)
    assert_whole(target)


def test_cut_in_the_middle_goes_on_where_it_broke(server, target):
    server.faults["/a file"] = [Fault(cut=100_000), Fault(cut=50_000)]
    seen: list[Progress] = []
    fetched(server, target, watch=seen.append)
    assert_whole(target)
    assert server.ranges("/a file")[0] is None
    starts = [int(r.removeprefix("bytes=").removesuffix("-")) for r in server.ranges("/a file")[1:]]
    assert len(starts) == 2
    assert 0 < starts[0] < starts[1] < len(CONTENT)
    assert any("try 2 of" in p.note for p in seen)


def test_cut_again_and_again_keeps_what_came_for_the_next_run(server, target, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 3)
    server.faults["/a file"] = [Fault(cut=10_000)] * 3
    with pytest.raises(FetchError, match="goes on from there"):
        fetched(server, target)
    assert names_in(target.parent) == ["weights.pth.part"]
    server.requests.clear()
    fetched(server, target)
    assert_whole(target)
    assert server.ranges("/a file")[0] is not None


def test_a_server_that_sends_no_parts(server, target):
    server.faults["/a file"] = [Fault(cut=100_000), Fault(ignore_range=True)]
    fetched(server, target)
    assert_whole(target)


def test_what_was_kept_of_another_file_is_thrown_away(server, target):
    target.parent.mkdir()
    target.with_name("weights.pth.part").write_bytes(b"of last year" * 100)
    fetched(server, target)
    assert_whole(target)
    assert server.ranges("/a file") == ["bytes=1200-", None]


@pytest.mark.parametrize("extra", [b"", b"and more"])
def test_all_of_it_was_there_but_for_the_name(server, target, extra):
    target.parent.mkdir()
    target.with_name("weights.pth.part").write_bytes(CONTENT + extra)
    fetched(server, target)
    assert_whole(target)
    assert len(server.requests) == (2 if extra else 0)


def test_wrong_checksum_leaves_nothing(server, target):
    server.files["/a file"] = CONTENT[:-1] + b"?"
    message = assert_given_up(server, target, "md5", hashlib.md5(CONTENT).hexdigest(), "aac download cnn10 --from FILE")
    assert "was expected" in message
    assert target.with_name("weights.pth.part").stat().st_size == 0


def test_another_size_is_refused_before_it_is_fetched(server, target):
    server.files["/a file"] = b"<html>please log in</html>"
    server.faults["/a file"] = [Fault(headers={"Content-Type": "text/html"})]
    assert_given_up(server, target, "offers 26 bytes (text/html)")


@pytest.mark.parametrize("status", [404, 403, 410])
def test_not_there_is_not_tried_again(server, target, status):
    server.faults["/a file"] = [Fault(status)] * 9
    before = len(server.requests)
    with pytest.raises(FetchError, match=f"{status}.*aac download cnn10 --from FILE"):
        fetched(server, target)
    assert len(server.requests) == before + 1
    server.faults.clear()
    fetched(server, target)
    assert_whole(target)


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_a_server_in_trouble_is_asked_again(server, target, status):
    server.faults["/a file"] = [Fault(status, headers={"Retry-After": "0"})] * 2
    fetched(server, target)
    assert_whole(target)
    assert len(server.requests) == 3


def test_waits_as_long_as_the_server_asks(server, target):
    server.faults["/a file"] = [Fault(429, headers={"Retry-After": "1"})]
    began = time.monotonic()
    fetched(server, target)
    assert 0.9 < time.monotonic() - began < 5


def test_a_server_in_trouble_for_good(server, target):
    server.faults["/a file"] = [Fault(500)] * 99
    assert_given_up(server, target, "tried 5 times", "answered 500")


def test_a_trickle_is_cut_and_given_up(server, target, monkeypatch):
    monkeypatch.setattr(download, "SLOW_SECONDS", 0.1)
    monkeypatch.setattr(download, "TRIES", 2)
    server.faults["/a file"] = [Fault(trickle=0.02)] * 2
    began = time.monotonic()
    assert_given_up(server, target, "only", "bytes in")
    assert time.monotonic() - began < 5


def test_a_silent_server_is_given_up(server, target, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.1)
    monkeypatch.setattr(download, "TRIES", 2)
    server.faults["/a file"] = [Fault(trickle=1.0)] * 2
    assert_given_up(server, target, "tried 2 times")


def test_redirects_without_end(server, target):
    server.faults["/a file"] = [Fault(302, headers={"Location": "/a%20file"})] * 99
    assert_given_up(server, target, "redirect")


def test_a_redirect_is_followed(server, target):
    server.files["/elsewhere"] = CONTENT
    server.faults["/a file"] = [Fault(302, headers={"Location": "/elsewhere"})]
    fetched(server, target)
    assert_whole(target)


@pytest.mark.parametrize("hops", [["https", "http"], ["https", "http", "https"]])
def test_no_way_from_an_encrypted_address_to_a_plain_one(tmp_path, hops):
    """Not in between either."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        hop = int(request.url.path.strip("/"))
        if hop + 1 == len(hops):
            return httpx2.Response(200, content=CONTENT)
        return httpx2.Response(302, headers={"Location": f"{hops[hop + 1]}://there/{hop + 1}"})

    asset = Asset("weights.pth", "https://there/0", len(CONTENT))
    client = httpx2.Client(transport=httpx2.MockTransport(answer), follow_redirects=True)
    with download._Part(tmp_path / "part", asset, download.nobody) as part:
        with pytest.raises(download._GivenUpError, match="leads to http://there/1, which is not encrypted"):
            download._one_try(client, asset, part)
        assert part.size == 0


def test_nobody_listens(target, monkeypatch):
    monkeypatch.setattr(download, "FIRST_WAIT", 0.01)
    with serving() as gone:
        asset = asset_at(gone)
    with pytest.raises(FetchError, match=r"tried 3 times.*aac download cnn10 --from FILE"):
        fetched(gone, target, asset)
    assert not target.exists()


@pytest.mark.parametrize("told", [0, 1])
def test_more_than_was_promised_is_cut_off(server, target, told):
    asset = Asset("weights.pth", f"{server.url}/a%20file", 1000, exact=False)
    server.faults["/a file"] = [Fault(headers={"Content-Length": "", "Connection": "close"})] * told
    with pytest.raises(FetchError, match=r"2,000|1,000"):
        fetched(server, target, asset)
    assert not target.exists()


def test_offline_asks_nobody(server, target, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FetchError, match="HF_HUB_OFFLINE"):
        fetched(server, target)
    assert server.requests == []
    monkeypatch.delenv("HF_HUB_OFFLINE")
    fetched(server, target)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetched(server, target) == target


def test_a_proxy_is_used(server, target, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    asset = Asset(**{**vars(asset_at(server)), "url": "http://weights.invalid/a%20file"})
    fetched(server, target, asset)
    assert_whole(target)


def test_no_room_is_said_before_anything_is_written(server, target, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(FetchError, match="1,000 bytes free, 300,000 are needed"):
        fetched(server, target)
    assert not target.exists()


@pytest.fixture
def small_disk() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        folder.rmdir()
        pytest.skip(f"no small disk can be made here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)
    folder.rmdir()


def test_the_disk_fills_up(server, small_disk, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage)  # another program takes the room meanwhile
    target = small_disk / "weights.pth"
    with pytest.raises(FetchError, match="No space left on device; make room, or choose another place: AAC_CACHE"):
        fetched(server, target)
    assert not target.exists()
    assert sum(path.stat().st_size for path in small_disk.iterdir()) == 0, "what was written is given back"


def test_a_disk_that_fills_up_wherever_it_is(server, target, monkeypatch):
    def full(self: object, chunk: bytes, total: int | None) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(download._Part, "write", full)
        with pytest.raises(FetchError, match="No space left on device"):
            fetched(server, target)
    assert not target.exists()
    fetched(server, target)
    assert_whole(target)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that fails where it is read")
def test_a_brought_file_that_cannot_be_read_is_the_one_that_is_named(server, tmp_path):
    (tmp_path / "brought.pth").symlink_to("/proc/self/mem")
    asset = asset_at(server)
    with pytest.raises(FetchError, match=r"brought\.pth: Input/output error$"):
        adopt(Item("cnn10", "", "", (asset,)), asset, tmp_path / "brought.pth", tmp_path / "cache" / "weights.pth")


@pytest.mark.parametrize("how", ["fetched", "brought"])
def test_a_disk_that_fills_up_at_every_write(server, tmp_path, how):
    (tmp_path / "brought.pth").write_bytes(CONTENT)
    target, asset = tmp_path / "cache" / "weights.pth", asset_at(server)

    def run():
        if how == "fetched":
            return fetched(server, target)
        return adopt(Item("cnn10", "", "", (asset,)), asset, tmp_path / "brought.pth", target)

    at = 1
    while True:
        shutil.rmtree(target.parent, ignore_errors=True)
        with filling_up(target.parent, at), contextlib.suppress(FetchError):
            run()
            break
        assert not target.exists()
        run()
        assert_whole(target)
        at += 1
    assert at > 5


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder that this process may not write to, also where the tests run as root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    parents = [p for p in folder.parents if not os.access(p, os.X_OK)]
    assert not parents
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_read_only_cache(server, read_only):
    with pytest.raises(FetchError, match="Permission denied; make it writable, or choose another place: AAC_CACHE"):
        fetched(server, read_only / "cnn10" / "weights.pth")
    with pytest.raises(FetchError, match="Permission denied"):
        fetched(server, read_only / "weights.pth")


def test_a_read_only_cache_that_holds_the_file_will_do(server, read_only):
    root = os.getuid() == 0
    if root:
        os.seteuid(0)
    read_only.chmod(0o755)
    (read_only / "weights.pth").write_bytes(CONTENT)
    read_only.chmod(0o555)
    if root:
        os.seteuid(65534)
    assert fetched(server, read_only / "weights.pth").read_bytes() == CONTENT
    assert server.requests == []


FETCH = """
import sys
from pathlib import Path
from aaccli.fetching.assets import Asset, Item
from aaccli.fetching.download import fetch
url, size, md5, target = sys.argv[1:]
asset = Asset("weights.pth", url, int(size), True, md5)
print(fetch(Item("cnn10", "", "", (asset,)), asset, Path(target), lambda p: p.note and print(p.note, flush=True)))
"""


def start_fetch(server: Server, target: Path) -> subprocess.Popen:
    asset = asset_at(server)
    command = [sys.executable, "-c", FETCH, asset.url, str(asset.size), asset.md5, str(target)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_for(condition, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_two_processes_fetch_the_same_once(server, target):
    server.faults["/a file"] = [Fault(pause=1.5)]
    both = [start_fetch(server, target) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all(str(target) in text for text in said)
    assert len(server.requests) == 1
    assert_whole(target)


def test_killed_while_writing(server, target):
    server.faults["/a file"] = [Fault(trickle=0.0005)]
    part = target.with_name("weights.pth.part")
    process = start_fetch(server, target)
    wait_for(lambda: any(path == "/a file" for _, path, _ in server.requests))
    wait_for(part.exists)
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists()
    fetched(server, target)  # the lock of the dead is no hindrance
    assert_whole(target)


def test_threads_too_wait_for_each_other(server, target):
    results = []
    threads = [threading.Thread(target=lambda: results.append(fetched(server, target))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [target] * 4
    assert len(server.requests) == 1


def adopted(asset: Asset, source: Path, target: Path) -> Path:
    return adopt(Item("cnn10", "", "", (asset,)), asset, source, target)


def test_a_file_that_the_user_brought(server, target, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    brought = tmp_path / "from a stick.pth"
    brought.write_bytes(CONTENT)
    adopted(asset_at(server), brought, target)
    assert_whole(target)
    assert brought.read_bytes() == CONTENT
    assert server.requests == []


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT[:-1] + b"?"])
def test_the_wrong_file_brought(server, target, tmp_path, content):
    brought = tmp_path / "wrong.pth"
    brought.write_bytes(content)
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    with pytest.raises(FetchError, match=r"wrong\.pth is not weights\.pth: .*expected"):
        adopted(asset_at(server), brought, target)
    assert_whole(target)
    with pytest.raises(FetchError, match=r"nowhere\.pth: No such file"):
        adopted(asset_at(server), tmp_path / "nowhere.pth", target)
