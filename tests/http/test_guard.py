"""What is refused before anything is drawn, and clients that vanish or take too long."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from glmimg.engine.http import guard
from tests.http.serving import get, post, serve_stubs

ASKED = {"prompt": "a", "size": "64x64", "steps": 1}
DRAW = "/v1/images/generations"


def waiting(address: str) -> int:
    return int(get(f"{address}/health").json()["waiting"])


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_key_is_asked_for(tmp_path: Path) -> None:
    with serve_stubs(tmp_path, key="secret") as address:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret"}):
            refused = post(address + DRAW, json=ASKED, headers=headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        assert post(address + DRAW, json=ASKED, headers={"Authorization": "Bearer secret"}).status_code == 200
        assert {path: get(address + path).status_code for path in ("/metrics", "/events", "/v1/models")} == {
            "/metrics": 401,
            "/events": 401,
            "/v1/models": 401,
        }
        assert get(f"{address}/health").status_code == get(address).status_code == 200


def test_pages_from_elsewhere_do_not_reach_a_server_without_key(tmp_path: Path) -> None:
    with serve_stubs(tmp_path) as address:
        for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
            assert post(address + DRAW, json=ASKED, headers=headers).status_code == 403
        for headers in ({"Origin": address}, {"Host": "localhost:1"}, {"Host": "[::1]:1"}):
            assert post(address + DRAW, json=ASKED, headers=headers).status_code == 200


def test_bodies_are_bounded(tmp_path: Path) -> None:
    with serve_stubs(tmp_path, max_body=1) as address:
        large = b"x" * 1_100_000
        assert post(address + DRAW, content=large).status_code == 413
        pieces = (large[start : start + 100_000] for start in range(0, len(large), 100_000))
        assert post(address + DRAW, content=pieces).status_code == 413
        assert post(address + DRAW, files=[("image", large)], data={"prompt": "a"}).status_code == 413


def test_a_slow_body_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.2)
    with serve_stubs(tmp_path) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=5) as line:
            line.sendall(f"POST {DRAW} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\n{{".encode())
            assert line.recv(100).startswith(b"HTTP/1.1 408")


def test_a_client_that_is_gone_frees_its_place(tmp_path: Path) -> None:
    with serve_stubs(tmp_path, seconds=0.3) as address:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(address + DRAW, json={**ASKED, "n": 10}, timeout=0.1)
        assert waiting(address) > 1
        until(lambda: waiting(address) == 0)
        done = get(f"{address}/metrics").text
        assert 'glmimg_done_total{stage="picture"} 10' not in done
        assert post(address + DRAW, json=ASKED).status_code == 200


def test_too_many_and_too_long(tmp_path: Path) -> None:
    with serve_stubs(tmp_path, max_waiting=2) as address:
        refused = post(address + DRAW, json={**ASKED, "n": 3})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
    with serve_stubs(tmp_path, seconds=2, max_seconds=0.3) as address:
        assert post(address + DRAW, json=ASKED).status_code == 504


@pytest.mark.parametrize(("prompt", "status"), [("raise", 500), ("oom", 503), ("full", 500)])
def test_a_failure_is_said_without_its_insides(tmp_path: Path, prompt: str, status: int) -> None:
    seen: list[BaseException] = []
    with serve_stubs(tmp_path, report=seen.append) as address:
        answer = post(address + DRAW, json={**ASKED, "prompt": prompt})
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, "server_error")
        assert answer.headers["x-should-retry"] == "false"
        assert "stub" not in answer.text
        assert [type(each) for each in seen] == ([RuntimeError] if prompt == "raise" else [])
        assert post(address + DRAW, json=ASKED).status_code == 200


def test_a_failure_in_a_batch_is_that_of_one(tmp_path: Path) -> None:
    with serve_stubs(tmp_path, seconds=0.2) as address:
        from concurrent.futures import ThreadPoolExecutor

        def draw(prompt: str) -> int:
            return httpx.post(address + DRAW, json={**ASKED, "prompt": prompt, "seed": 1}, timeout=30).status_code

        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(draw, ["a", "b", "raise tokens", "c"])) == [200, 200, 500, 200]


def test_a_stream_says_what_failed(tmp_path: Path) -> None:
    with serve_stubs(tmp_path) as address:
        text = post(address + DRAW, json={**ASKED, "prompt": "raise picture", "stream": True}).text
        assert text.startswith("event: error\ndata: ")
        error: dict[str, Any] = json.loads(text.split("data: ")[1])["error"]
        assert error["type"] == "server_error"
