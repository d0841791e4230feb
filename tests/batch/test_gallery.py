"""The gallery page, looked at by a real browser."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

from glmimg.engine.batch.folder import FolderStore
from glmimg.engine.batch.gallery import write_gallery
from tests.batch.conftest import Run
from tests.conftest import Outcome

Glmimg = Callable[..., Outcome]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
LIST = """{"prompt": "a red circle <script>alert(1)</script>", "name": "100% #1 circle?"}
{"prompt": "a blue square", "name": "square"}
{"prompt": "raise picture", "name": "broken"}
"""


FIRST_EDITION = """<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy"
content="default-src 'none'; img-src data: 'self' file:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">"""


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


def red(path: Path, side: int = 64) -> Path:
    Image.new("RGB", (side, side), (250, 1, 2)).save(path)
    return path


def test_a_hostile_ledger_brings_nothing_in_and_leads_nowhere(page: Path, tmp_path: Path) -> None:
    out = page.parent
    secret = red(tmp_path / "secret.png")
    (out / "link.png").symlink_to(secret)
    record = json.loads((out / "results.jsonl").read_text().splitlines()[0])
    hostile = ["../secret.png", str(secret), "link.png", "//evil.example/x.png", "https://evil.example/x.png",
               "javascript:alert(1)", "..", ".", "a\\..\\b.png", "/dev/zero", "x" * 5000, "\0"]  # fmt: skip
    with (out / "results.jsonl").open("a") as results:
        for number, name in enumerate(hostile):
            results.write(json.dumps(record | {"name": f"h{number}", "picture": name, "tokens": name}) + "\n")
        results.write('{"name": 1}\n[]\n\xff\n')
    before = page.read_text().count("data:image")
    write_gallery(FolderStore.open(str(out)), "x")
    html = page.read_text()
    assert html.count("data:image") == before
    assert html.count("the picture is not here") == len(hostile)
    links = {unquote(link) for link in re.findall(r'href="([^"]*)"', html)}
    assert not links & {*hostile}


def test_a_broken_picture_never_stops_it(tmp_path: Path) -> None:
    red(tmp_path / "good.png")
    whole = (tmp_path / "good.png").read_bytes()
    for name, data in (("cut.png", whole[:60]), ("empty.png", b""), ("text.jpg", b"no picture"), ("ps.png", b"%!PS")):
        (tmp_path / name).write_bytes(data)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    html = Path(write_gallery(FolderStore(tmp_path), "x")).read_text()
    assert html.count("data:image") == 1
    assert html.count("the picture is damaged") == 4
    assert not (tmp_path / ".glmimg").exists(), "looking leaves nothing but the page"


def test_edits_show_their_sources_and_their_scheduler(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    here, away = red(tmp_path / "here.png", 96), red(tmp_path / "away.png", 64)
    away.rename(tmp_path.parent / "away.png")
    common = ("-m", tiny, "-s", "64x64", "--steps", "2", "--scheduler", "heun")
    drawn = glmimg("edit", "x", "-i", here, "-i", tmp_path.parent / "away.png", "-o", tmp_path / "x.png", *common)
    assert drawn.status == 0, drawn.err
    made = glmimg("gallery", tmp_path)
    assert (made.status, made.out.strip()) == (0, str(tmp_path / "index.html")), made.err
    html = (tmp_path / "index.html").read_text()
    assert "<dt>scheduler</dt><dd>heun</dd>" in html
    assert html.count("data:image") == 3, "the picture, its source here, and that as a picture of the folder"
    assert re.search(r'<a href="here.png" title="here.png"><img', html)
    assert f"<span>{tmp_path.parent / 'away.png'}</span>" in html


def test_a_page_that_is_not_ours_stays(glmimg: Glmimg, tiny: Path, tmp_path: Path) -> None:
    red(tmp_path / "x.png")
    (tmp_path / "index.html").write_text("<title>mine</title>")
    (tmp_path / "jobs.txt").write_text("a\n")
    batch = ("batch", tmp_path / "jobs.txt", "-m", tiny, "-o", tmp_path, "--gallery")
    for command in (("gallery", tmp_path), batch):
        refused = glmimg(*command)
        assert (refused.status, "is not a gallery of glmimg" in refused.err) == (2, True), refused.err
    assert (tmp_path / "index.html").read_text() == "<title>mine</title>"
    assert not list(tmp_path.glob("*.tokens.json")), "refused before anything is drawn"
    for force in (["--force"], []):
        assert glmimg("gallery", tmp_path, *force).status == 0
    (tmp_path / "index.html").write_text(FIRST_EDITION)
    assert glmimg("gallery", tmp_path).status == 0, "a page of the first edition is ours"


def test_a_folder_without_pictures_has_no_page(glmimg: Glmimg, tmp_path: Path) -> None:
    assert glmimg("gallery", tmp_path).status == 3
    assert glmimg("gallery", tmp_path / "none").status == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: the page was not opened in a browser")
def test_pictures_fill_narrow_windows_and_stand_on_no_tint(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        Image.new("RGB", (192, 64), (250, 1, 2)).save(tmp_path / name)
    page, shot = Path(write_gallery(FolderStore(tmp_path), "x")), tmp_path / "shot"
    browse(page, "", f"--screenshot={shot}.png", "--window-size=500,600")
    seen = Image.open(f"{shot}.png").convert("RGB")
    spots = [(x, y) for x in range(seen.width) for y in range(seen.height) if is_red(seen.getpixel((x, y)))]
    width, height = (max(each) - min(each) + 1 for each in zip(*spots, strict=True))
    assert width > 0.95 * seen.width, "side by side they are as wide as the window"
    assert abs(height - width / 6) < 6, "and as high as they are then"
    assert len(spots) > 0.9 * width * height, "with nothing but a gap between them"


def is_red(colour: tuple[int, ...]) -> bool:
    return colour[0] > 230 and colour[1] < 25
