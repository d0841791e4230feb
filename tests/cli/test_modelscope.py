"""Models from ModelScope: its own client against a server of ours on the loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.conftest import run_program

pytest.importorskip("modelscope_hub")


class ModelScope(ThreadingHTTPServer):
    """One model, `some/model`; `is_down` makes it answer 500."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.folder = folder
        self.is_down = False

    def environment(self, home: Path) -> dict[str, str]:
        url = f"http://127.0.0.1:{self.server_port}"
        return {"MODELSCOPE_ENDPOINT": url, "MODELSCOPE_CACHE": str(home), "MODELSCOPE_HOME": str(home / "own")}


class _Request(BaseHTTPRequestHandler):
    server: ModelScope

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        address, folder = urlsplit(self.path), self.server.folder
        asked = {name: values[0] for name, values in parse_qs(address.query).items()}
        if self.server.is_down:
            return self._send(500, b"{}")
        if address.path == "/api/v1/models/some/model/repo/files":
            paths = sorted(path for path in folder.rglob("*") if path.is_file())
            files = [
                {"Path": str(path.relative_to(folder)), "Type": "blob", "Size": path.stat().st_size} for path in paths
            ]
            return self._send(200, json.dumps({"Code": 200, "Success": True, "Data": {"Files": files}}).encode())
        if address.path == "/api/v1/models/some/model/repo" and (folder / asked["FilePath"]).is_file():
            return self._send(200, (folder / asked["FilePath"]).read_bytes())
        return self._send(404, b'{"Code": 404, "Success": false, "Message": "not found"}')

    def _send(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def modelscope(tiny: Path) -> Iterator[ModelScope]:
    with ModelScope(tiny) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def test_a_model_is_pulled_drawn_by_name_and_named_in_the_dump(modelscope: ModelScope, tmp_path: Path) -> None:
    name, env = "modelscope:some/model", modelscope.environment(tmp_path / "home")
    missing = run_program("tokens", "x", "-m", name, "-o", tmp_path / "x.json", env=env)
    assert (missing.returncode, f"glmimg models pull {name}" in missing.stderr) == (4, True), missing.stderr
    pulled = run_program("models", "pull", name, env=env)
    assert pulled.returncode == 0, pulled.stderr
    assert (Path(pulled.stdout.strip()) / "model_index.json").is_file()
    modelscope.is_down = True
    drawn = run_program("tokens", "x", "-m", name, "-o", tmp_path / "x.json", "-q", env=env)
    assert drawn.returncode == 0, drawn.stderr
    assert json.loads((tmp_path / "x.json").read_text())["model"]["id"] == name


@pytest.mark.parametrize("name", ["modelscope:some/other", "modelscope:no-name"])
def test_what_is_not_there_is_named(modelscope: ModelScope, tmp_path: Path, name: str) -> None:
    pulled = run_program("models", "pull", name, env=modelscope.environment(tmp_path))
    assert (pulled.returncode, "Traceback" in pulled.stderr) == (4 if "/" in name else 2, False)
    assert name.removeprefix("modelscope:") in pulled.stderr
