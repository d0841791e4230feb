"""The page at / in a real browser: a prompt becomes a picture, with progress on the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.http.serving import serve_model

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """A page in headless Chromium, driven over the pipe of its debugging protocol."""

    def __init__(self, down: int, up: int) -> None:
        self.down, self.up, self.number, self.session = down, up, 0, ""
        self.rest = b""

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.down, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                self.rest += os.read(self.up, 1 << 16)
            raw, _, self.rest = self.rest.partition(b"\0")
            answer = json.loads(raw)
            if answer.get("id") == self.number:
                return dict(answer["result"])

    def open(self, address: str) -> None:
        target = self.call("Target.createTarget", url=address)["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.until("document.readyState === 'complete' && document.getElementById('ask') !== null")

    def run(self, script: str) -> Any:
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def until(self, script: str) -> None:
        deadline = time.monotonic() + 30
        while not self.run(script):
            assert time.monotonic() < deadline, self.run("document.body.innerText")
            time.sleep(0.05)


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    assert BROWSER is not None
    (theirs, down), (up, answers) = os.pipe(), os.pipe()
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
    command += ["--no-first-run", f"--user-data-dir={profile}", "about:blank"]
    pipes = f'exec 3<&{theirs} 4>&{answers}; exec "$@"'
    command = ["bash", "-c", pipes, "bash", *command]
    process = subprocess.Popen(command, pass_fds=(theirs, answers), stderr=subprocess.DEVNULL)
    os.close(theirs)
    os.close(answers)
    try:
        yield Browser(down, up)
    finally:
        os.close(down)
        os.close(up)
        process.kill()
        process.wait()


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_the_page_draws(tiny: Path, tmp_path: Path) -> None:
    with serve_model(tiny) as address, browser(tmp_path) as page:
        page.open(address)
        page.run(
            "document.getElementById('prompt').value = '<b>a red circle</b>';"
            "document.getElementById('size').value = '64x64'; document.getElementById('seed').value = '3';"
            "document.getElementById('ask').requestSubmit(); 1"
        )
        page.until("document.getElementById('said').textContent === 'done'")
        figures = "Array.from(document.querySelectorAll('#pictures figure'))"
        shown = page.run(f"{figures}.map(f => [f.querySelector('img').naturalWidth, f.innerText])")
        assert shown == [[64, "<b>a red circle</b> (seed 3, 64x64)"]]
        page.run("document.getElementById('size').value = '9x'")
        page.run("document.getElementById('ask').requestSubmit()")
        page.until("document.getElementById('said').className === 'wrong'")
        assert "WIDTHxHEIGHT" in page.run("document.getElementById('said').textContent")
