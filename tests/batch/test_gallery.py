"""The gallery page, looked at by a real browser."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from glmimg.engine.batch.folder import FolderStore
from glmimg.engine.batch.gallery import write_gallery
from tests.batch.conftest import Run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
LIST = """{"prompt": "a red circle <script>alert(1)</script>", "name": "100% #1 circle?"}
{"prompt": "a blue square", "name": "square"}
{"prompt": "raise picture", "name": "broken"}
"""


@pytest.fixture
def page(draw: Callable[..., Run], tmp_path: Path) -> Path:
    draw(LIST)
    return Path(write_gallery(FolderStore.open(str(tmp_path / "out")), "My <batch>"))


def test_the_page_is_self_contained_and_escapes_what_it_shows(page: Path) -> None:
    html = page.read_text()
    assert "<script>alert" not in html
    assert "<title>My &lt;batch&gt;</title>" in html
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", html)
    links = re.findall(r'href="([^"#]+)"', html)
    assert "100%25%20%231%20circle%3F.png" in links
    assert "broken.tokens.json" in links
    assert "RuntimeError: the stub was told to" in html


def browse(page: Path, hash_: str, *flags: str) -> str:
    profile = page.parent / "profile"
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", *flags, f"{page.as_uri()}{hash_}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: the page was not opened in a browser")
def test_a_browser_filters_and_shows_the_pictures(page: Path, tmp_path: Path) -> None:
    dom = browse(page, "#red%20circle", "--dump-dom")
    articles = re.findall(r"<article[^>]*>", dom)
    assert len(articles) == 3
    assert [" hidden" in article for article in articles].count(False) == 1
    assert "1 of 3" in dom
    shot = tmp_path / "gallery.png"
    browse(page, "", f"--screenshot={shot}", "--window-size=900,700")
    seen = Image.open(shot).convert("RGB")
    colours = {colour for _, colour in seen.getcolors(1 << 20) or []}
    for name in ("square.png", "100% #1 circle?.png"):
        wanted = Image.open(io.BytesIO((page.parent / name).read_bytes())).getpixel((5, 5))
        near = min(sum(abs(a - b) for a, b in zip(colour, wanted, strict=True)) for colour in colours)
        assert near < 24, f"{name} is not to be seen"
