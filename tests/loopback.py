"""A real HTTP server on the loopback: files with ranges, faults on demand, and the Hub's API as far as aac calls it."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request."""

    status: int = 200
    cut: int | None = None  # bytes of the body that are sent before the connection is closed
    trickle: float = 0.0  # seconds between bytes
    pause: float = 0.0  # seconds before the body
    ignore_range: bool = False
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Repo:
    """A model on the Hub."""

    files: dict[str, bytes]
    token: str | None = None  # who does not show it sees no repository
    revisions: tuple[str, ...] = ("main", "v1", COMMIT)
    damage: str | None = None  # a file whose bytes are not those of its checksum


class Server:
    """Serves ``files`` by path and ``repos`` by name; each fault is used up by one request to its path."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.repos: dict[str, Repo] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.url = ""

    def ranges(self, path: str) -> list[str | None]:
        return [headers.get("range") for _, asked, headers in self.requests if asked == path]


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            server.requests.append((self.command, path, {k.lower(): v for k, v in self.headers.items()}))
            faults = server.faults.get(path, [])
            fault = faults.pop(0) if faults else Fault()
            if fault.status != 200:
                self.answer(fault.status, b"sorry", fault.headers)
            elif path in server.files:
                self.send_file(server.files[path], fault)
            else:
                self.hub(path, fault)

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def send_file(self, content: bytes, fault: Fault, headers: dict[str, str] | None = None) -> None:
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(asked[1]) if asked and not fault.ignore_range else 0
            headers = {**(headers or {}), **fault.headers}
            if start and start >= len(content):
                self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}", **headers})
                return
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            body = content[start:]
            self.send_response(206 if start else 200)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            time.sleep(fault.pause)
            try:
                if fault.trickle:
                    for byte in body:
                        self.wfile.write(bytes([byte]))
                        self.wfile.flush()
                        time.sleep(fault.trickle)
                elif fault.cut is not None:
                    self.wfile.write(body[: fault.cut])
                    self.wfile.flush()
                    self.connection.close()
                    self.close_connection = True
                else:
                    self.wfile.write(body)
            except OSError:  # the client has left
                self.close_connection = True

        def hub(self, path: str, fault: Fault) -> None:
            match = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path)
            file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
            name, revision = (match[1], match[3]) if match else (file[1], file[2]) if file else ("", None)
            repo = server.repos.get(name)
            if repo and repo.token and self.headers.get("Authorization") != f"Bearer {repo.token}":
                repo = None
            if not repo:
                self.answer(401, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository Not Found"})
            elif revision and revision not in repo.revisions:
                self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            elif match:
                self.answer(
                    200, json.dumps(_describe(name, repo, match[2])).encode(), {"Content-Type": "application/json"}
                )
            elif file and file[3] in repo.files:
                content = repo.files[file[3]]
                headers = {"ETag": f'"{_blob(file[3], content)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
                if repo.damage == file[3] and self.command == "GET":
                    content = bytes([content[0] ^ 1]) + content[1:]
                self.send_file(content, fault, headers)
            else:
                self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})

    return Handler


def _blob(name: str, content: bytes) -> str:
    if name.endswith(".safetensors"):  # large files are named by SHA-256, others as git does
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _describe(name: str, repo: Repo, what: str | None) -> object:
    def one(key: str, file: str, content: bytes) -> dict:
        entry: dict = {key: file, "size": len(content)}
        if file.endswith(".safetensors"):
            entry["lfs"] = {
                "sha256": _blob(file, content),
                "oid": _blob(file, content),
                "size": len(content),
                "pointerSize": 100,
            }
        return entry

    if what == "tree":
        return [{"type": "file", "oid": _blob(f, c), **one("path", f, c)} for f, c in repo.files.items()]
    siblings = [{**one("rfilename", f, c), "blobId": _blob(f, c)} for f, c in repo.files.items()]
    return {"id": name, "modelId": name, "sha": COMMIT, "private": bool(repo.token), "tags": [], "siblings": siblings}
