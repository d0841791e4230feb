"""`models pull` against a hub of our own on the loopback: fetches, resumes, says what is wrong."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.conftest import run_program

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """As much of the model hub's HTTP interface as a download touches."""

    folder: ClassVar[Path]
    breaks_off: ClassVar[bool] = False
    requests: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean."""

    def _answer(self, *, body: bool) -> None:
        self.requests.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/some/model"):
            self._send(json.dumps(self._info(path)).encode(), {"Content-Type": "application/json"}, body)
        elif path.startswith("/some/model/resolve/"):
            self._send_file(path.removeprefix("/some/model/resolve/").partition("/")[2], body)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _info(self, path: str) -> Any:
        files = sorted(file for file in self.folder.rglob("*") if file.is_file())
        names = [str(file.relative_to(self.folder)) for file in files]
        if "/tree/" in path:
            return [
                {"type": "file", "path": name, "size": file.stat().st_size, "oid": self._etag(file)}
                for name, file in zip(names, files, strict=True)
            ]
        return {"id": "some/model", "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}

    def _send_file(self, name: str, body: bool) -> None:
        file = self.folder / name
        self._send(file.read_bytes(), {"ETag": f'"{self._etag(file)}"', "X-Repo-Commit": COMMIT}, body)

    @staticmethod
    def _etag(file: Path) -> str:
        return hashlib.sha1(file.read_bytes()).hexdigest()

    def _send(self, data: bytes, headers: dict[str, str], body: bool) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if not body:
            return
        if self.breaks_off and len(data) > 50_000:
            self.wfile.write(data[start : start + len(data) // 2])
            self.close_connection = True
            return
        self.wfile.write(data[start:])


@pytest.fixture
def hub(tiny: Path) -> Iterator[str]:
    Hub.folder, Hub.breaks_off, Hub.requests = tiny, False, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def environment(hub: str, home: Path) -> dict[str, str]:
    return {"HF_ENDPOINT": hub, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "PATH": "", "HF_HUB_OFFLINE": "0"}


def test_pull_then_use_offline(hub: str, tmp_path: Path) -> None:
    env = environment(hub, tmp_path / "home")
    pulled = run_program("models", "pull", "some/model", env=env)
    assert pulled.returncode == 0, pulled.stderr
    assert pulled.stdout.strip().endswith(COMMIT)
    offline = env | {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    listed = [json.loads(line) for line in run_program("models", "--json", env=offline).stdout.splitlines()]
    assert ("some/model", COMMIT, True) in [(each["model"], each["revision"], each["whole"]) for each in listed]
    drawn = run_program("tokens", "x", "-m", "some/model", "-o", tmp_path / "x.json", "-q", env=offline)
    assert drawn.returncode == 0, drawn.stderr
    assert json.loads((tmp_path / "x.json").read_text())["model"]["revision"] == COMMIT


def test_a_fetch_that_breaks_off_is_named_and_finished_later(hub: str, tmp_path: Path) -> None:
    env = environment(hub, tmp_path / "home") | {"HF_HUB_DOWNLOAD_TIMEOUT": "2"}
    Hub.breaks_off = True
    broken = run_program("models", "pull", "some/model", env=env)
    assert broken.returncode == 4
    assert "Traceback" not in broken.stderr
    assert "Run the same command again" in broken.stderr
    half = run_program("tokens", "x", "-m", "some/model", "-o", tmp_path / "x.json", env=env | {"HF_HUB_OFFLINE": "1"})
    assert half.returncode == 4
    Hub.breaks_off, Hub.requests = False, []
    assert run_program("models", "pull", "some/model", env=env).returncode == 0


def test_what_the_hub_does_not_have(hub: str, tmp_path: Path) -> None:
    done = run_program("models", "pull", "some/other", env=environment(hub, tmp_path))
    assert done.returncode == 4
    assert "some/other" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_network(tmp_path: Path) -> None:
    done = run_program("models", "pull", "some/model", env=environment("http://127.0.0.1:9", tmp_path))
    assert done.returncode == 4
    assert "could not be fetched" in done.stderr
