"""A model hub on the loopback, for huggingface_hub's own client: repositories, revisions, commits, trees, files.

source: the hub's HTTP interface as huggingface_hub's `HfApi` and `hf_hub_download` use it
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

DEFAULT_BRANCH = "main"
LARGE_BYTES = 50_000


@dataclass
class Repository:
    """commits: the folder of each, by its hash; branches: the newest commit of each"""

    commits: dict[str, Path] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, revision: str) -> str | None:
        """The commit meant by a branch or a hash."""
        return self.branches.get(revision) or (revision if revision in self.commits else None)


class Hub(ThreadingHTTPServer):
    """Serves what was published until it is closed.

    breaks_off: whether large files end in the middle
    refusal:    status, error code and message every request is refused with; None answers
    ranges:     where the client went on within files
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.repositories: dict[str, Repository] = {}
        self.breaks_off = False
        self.refusal: tuple[int, str, str] | None = None
        self.ranges: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def publish(self, name: str, folder: Path, branch: str = DEFAULT_BRANCH) -> str:
        """Make a folder the newest commit of a branch. Returns the commit's hash, which follows from the files."""
        digest = hashlib.sha1(branch.encode())
        for entry in _tree(folder):
            digest.update(f"{entry['path']} {entry['oid']}\n".encode())
        repository = self.repositories.setdefault(name, Repository())
        repository.branches[branch] = digest.hexdigest()
        repository.commits[digest.hexdigest()] = folder
        return digest.hexdigest()

    def environment(self, home: Path, *, offline: bool = False) -> dict[str, str]:
        """For a program that is to ask this hub, and nobody else, with its cache in `home`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": str(int(offline)),
            "HF_HUB_DISABLE_XET": "1",
            "OMP_NUM_THREADS": "1",
            "PATH": "",
        }


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub with nothing on it, stopped at the end."""
    with Hub() as hub:
        threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield hub
        finally:
            hub.shutdown()


class _Request(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output clean."""

    def _answer(self) -> None:
        if self.server.refusal is not None:
            status, code, message = self.server.refusal
            return self._refuse(status, code, **{"X-Error-Message": message} if message else {})
        parts = self.path.partition("?")[0].removeprefix("/api/models").strip("/").split("/")
        owner, name, kind, revision, *rest = [*map(unquote, parts), "", "", ""][: max(len(parts), 4)]
        repository = self.server.repositories.get(f"{owner}/{name}")
        if repository is None:
            return self._refuse(401, "RepoNotFound")  # so that nobody learns what is private
        commit = repository.commit(revision or DEFAULT_BRANCH)
        if commit is None:
            return self._refuse(404, "RevisionNotFound")
        folder = repository.commits[commit]
        if kind == "resolve":
            return self._send_file(folder / "/".join(rest), commit)
        tree = _tree(folder)
        siblings = [{"rfilename": entry["path"]} for entry in tree]
        answer = tree if kind == "tree" else {"id": f"{owner}/{name}", "sha": commit, "siblings": siblings}
        return self._send(json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"X-Error-Code": code, "Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_file(self, file: Path, commit: str) -> None:
        if not file.is_file():
            return self._refuse(404, "EntryNotFound", **{"X-Repo-Commit": commit})
        data = file.read_bytes()
        return self._send(data, {"ETag": f'"{_object_id(data)}"', "X-Repo-Commit": commit})

    def _send(self, data: bytes, headers: dict[str, str]) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if start:
            self.server.ranges.append(self.path)
        self.send_response(206 if start else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.server.breaks_off and len(data) > LARGE_BYTES:
            self.wfile.write(data[start : start + len(data) // 2])
            self.close_connection = True
            return
        self.wfile.write(data[start:])


def _tree(folder: Path) -> list[dict[str, Any]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        {
            "type": "file",
            "path": file.relative_to(folder).as_posix(),
            "size": file.stat().st_size,
            "oid": _object_id(file.read_bytes()),
        }
        for file in files
    ]


def _object_id(data: bytes) -> str:
    """As git names a blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
