"""The command: where it listens, its key, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Outcome
from tests.http.serving import get

Glmimg = Callable[..., Outcome]


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_and_leaves_when_told(tiny: Path, way: signal.Signals) -> None:
    command = [sys.executable, "-m", "glmimg", "serve", "-m", str(tiny), "--http", "127.0.0.1:0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = json.loads(process.stdout.readline())["url"]
            assert get(f"{url}/health").json()["status"] == "ok"
            process.send_signal(way)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()  # else a failure waits for ever
    assert process.returncode in (130 if way is signal.SIGINT else -way, 130)
    assert "Traceback" not in err


def test_other_machines_need_a_key(glmimg: Glmimg, tiny: Path) -> None:
    for address in ("0.0.0.0:0", ":0", "[::]:0"):
        refused = glmimg("serve", "-m", tiny, "--http", address)
        assert refused.status == 2
        assert "--api-key-file" in refused.err


@pytest.mark.parametrize("content", [None, b"", b"two words", b"\xff\n", b"x" * 5000])
def test_a_key_file_without_a_key(glmimg: Glmimg, tiny: Path, tmp_path: Path, content: bytes | None) -> None:
    key = tmp_path / "key.txt"
    if content is not None:
        key.write_bytes(content)
    refused = glmimg("serve", "-m", tiny, "--api-key-file", key)
    assert refused.status == 3
    assert str(key) in refused.err


@pytest.mark.parametrize("address", ["", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", "nowhere.invalid:80"])
def test_an_address_that_cannot_be(glmimg: Glmimg, tiny: Path, tmp_path: Path, address: str) -> None:
    key = tmp_path / "key.txt"
    key.write_text("secret\n")
    assert glmimg("serve", "-m", tiny, "--http", address, "--api-key-file", key).status == 2


def test_tools_are_served_on_no_address(glmimg: Glmimg, tiny: Path) -> None:
    pytest.importorskip("mcp", reason="the extra mcp is not installed")
    for more in (["--http", ":8000"], ["--max-pictures", "3"]):
        refused = glmimg("serve", "--mcp", "-m", tiny, *more)
        assert (refused.status, "cannot be combined" in refused.err) == (2, True)


def test_an_address_that_is_taken(glmimg: Glmimg, tiny: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = glmimg("serve", "-m", tiny, "--http", f"127.0.0.1:{taken.getsockname()[1]}")
    assert refused.status == 2
    assert os.strerror(98) in refused.err
