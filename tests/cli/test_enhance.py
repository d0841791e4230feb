"""`--enhance` and `glmimg enhance`, against a chat endpoint on this machine that answers well, badly or not at all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from glmimg import enhance
from glmimg.image_io import read_provenance
from glmimg.tokens.dump_file import read_dump
from tests.conftest import Outcome
from tests.pictures import gradient

Run = Callable[..., Outcome]
Answer = Callable[["Handler"], None]
KEY = "sk-very-secret-0123456789"


class Handler(BaseHTTPRequestHandler):
    """Answers in turn as the test said."""

    def do_POST(self) -> None:
        server: Any = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.asked.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
        answer = server.answers[min(len(server.asked), len(server.answers)) - 1]
        answer(self)

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def says(text: object) -> Answer:
    message = {"choices": [{"message": {"role": "assistant", "content": text}}]}
    return lambda handler: handler.send(200, json.dumps(message).encode())


def sends(status: int, body: bytes, **headers: str) -> Answer:
    return lambda handler: handler.send(status, body, **headers)


def trickles(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(40):
        handler.wfile.write(b" ")
        time.sleep(0.05)


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The server: `answers`, one after the other and the last again; `asked`, what came."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answers, server.asked = [], []
    server.handle_error = lambda *_: None  # clients that were kept waiting leave
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("GLMIMG_ENHANCE_URL", f"http://127.0.0.1:{server.server_port}/v1/")
    monkeypatch.setenv("GLMIMG_ENHANCE_MODEL", "writer")
    monkeypatch.setenv("GLMIMG_ENHANCE_KEY", KEY)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_command_asks_once_and_remembers(glmimg: Run, chat: Any, own_home: Path) -> None:
    chat.answers = [says("<think>hm, 'x'</think>\n```\nA poster,\n it's “OPEN” in red.\n```")]
    for _ in range(2):
        done = glmimg("enhance", "a poster “OPEN”")
        assert (done.status, done.err) == (0, "")
        assert done.out == "A poster, it’s “OPEN” in red.\n"
    (asked,) = chat.asked
    assert (asked["path"], asked["key"], asked["model"]) == ("/v1/chat/completions", f"Bearer {KEY}", "writer")
    assert asked["messages"][0]["content"] == enhance.DRAWING
    assert asked["messages"][1]["content"] == "a poster “OPEN”"
    told = glmimg("enhance", "make it winter", "--edit", "--json")
    assert told.status == 1, "the answer quotes what the prompt does not"
    assert chat.asked[-1]["messages"][0]["content"] == enhance.EDITING
    kept = "".join(path.read_text() for path in own_home.rglob("*") if path.is_file())
    assert KEY not in kept


def test_a_picture_keeps_every_form_and_replays_without_asking(
    glmimg: Run, tiny: Path, chat: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chat.answers = [says("A red fox in snow."), says("A blue fox in rain.")]
    Path("mine.yaml").write_text('template: "{prompt} As a woodcut."\n')
    drawn = glmimg("t2i", "a {red|blue} fox", "--enhance", "-p", "./mine.yaml", "-m", tiny, "-s", "64x64", "--steps",
                   "1", "--seed", "1", "-o", "{index}.png")  # fmt: skip
    assert drawn.status == 0, drawn.err
    assert "enhanced: A red fox in snow." in drawn.err
    scene = read_provenance(Path("1.png")).job.scene
    assert scene.prompt == "A red fox in snow. As a woodcut."
    assert scene.forms == ("a {red|blue} fox", "a red fox", "A red fox in snow.")
    assert tuple(read_dump(Path("2.tokens.json")).forms) == ("a {red|blue} fox", "a blue fox", "A blue fox in rain.")
    monkeypatch.setenv("GLMIMG_ENHANCE", "1")  # even where it is one's default
    assert glmimg("replay", "1.png", "-o", "again.png").status == 0
    assert Path("again.png").read_bytes() == Path("1.png").read_bytes()
    assert len(chat.asked) == 2
    assert KEY.encode() not in b"".join(path.read_bytes() for path in Path().rglob("*") if path.is_file())


def test_edits_and_job_lines(
    glmimg: Run, tiny: Path, chat: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    gradient(64, 64).save("a.png")
    chat.answers = [says("Change the ground to snow.")]
    edited = glmimg("tokens", "winter", "-i", "a.png", "--enhance", "-m", tiny, "--seed", "1", "-o", "x.tokens.json")
    assert edited.status == 0, edited.err
    assert chat.asked[0]["messages"][0]["content"] == enhance.EDITING
    assert read_dump(Path("x.tokens.json")).prompt == "Change the ground to snow."
    lines = [{"prompt": "a fox", "enhance": True, "size": "64x64"}, {"prompt": "a fox", "size": "64x64"}]
    Path("jobs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    chat.answers = [says("A fox in a wood.")]
    for _ in range(2):
        done = glmimg("batch", "jobs.jsonl", "-o", "out", "-m", tiny, "--steps", "1")
        assert done.status == 0, done.err
        assert "line 1: enhanced: A fox in a wood." in done.err
    assert len(chat.asked) == 2, "what a line became is remembered when the batch is gone on with"
    jobs = [read_provenance(path).job.scene for path in sorted(Path("out").glob("*.png"))]
    assert sorted((scene.prompt, scene.forms) for scene in jobs) == [("A fox in a wood.", ("a fox",)), ("a fox", ())]
    assert all(path.name.startswith("a-fox-") for path in Path("out").glob("*.png")), "named by what was said"


def test_nothing_is_kept_where_a_picture_tells_nothing(glmimg: Run, chat: Any, tmp_path: Path, own_home: Path) -> None:
    chat.answers = [says("A fox in a wood.")]
    (tmp_path / "jobs.jsonl").write_text('{"prompt": "a fox", "enhance": true, "size": "64x64"}')
    private = ("-m", "demo", "--no-metadata", "--dry-run", "-o")
    assert glmimg("t2i", "a fox", "--enhance", *private, tmp_path / "x.png").status == 0
    assert glmimg("batch", tmp_path / "jobs.jsonl", *private, tmp_path / "out").status == 0
    assert len(chat.asked) == 2
    assert not list(own_home.rglob("*.json"))


def test_changed_quotes_are_asked_about_once_more(glmimg: Run, chat: Any) -> None:
    chat.answers = [says('A sign "CLOSED".'), says('A wooden sign "OPEN".')]
    done = glmimg("enhance", 'a sign "OPEN"')
    assert done.out == 'A wooden sign "OPEN".\n'
    assert '"OPEN"' in chat.asked[1]["messages"][-1]["content"]
    chat.answers = [says("A sign, and “more”.")]
    refused = glmimg("enhance", "a sign that says '开门'")
    assert (refused.status, refused.out) == (1, "")
    assert "writer changed the quoted words twice: ['开门'] became ['more']" in refused.err
    assert len(chat.asked) == 4


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (sends(401, f"Incorrect API key provided: {KEY}".encode()), "does not take the key (401)"),
        (sends(404, f"no model 'writer' for {KEY}".encode()), "answered 404: no model 'writer' for ***"),
        (sends(500, b"\x1b[31mboom\n\nbang"), "answered 500: \\x1b[31mboom bang"),
        (sends(302, b"", Location="http://example.org/"), "redirects (302)"),
        (sends(200, b"<html>"), "did not answer with a chat completion"),
        (sends(200, b"[" * 100_000), "did not answer with a chat completion"),
        (sends(200, b'{"choices": []}'), "did not answer with a chat completion"),
        (sends(200, b" " * (2 << 20)), "answered with over 1 MiB"),
        (says(""), "gave an empty answer"),
        (says(None), "gave an empty answer"),
        (says("<think>only this</think>"), "gave an empty answer"),
        (says("word " * 2000), "wrote 9999 characters"),
        (says("a\x00b"), "no prompt"),
        (lambda handler: handler.wfile.write(b"no http\r\n\r\n"), "cannot be reached"),
        (trickles, "did not answer within 0.3 s"),
        (lambda handler: time.sleep(0.8), "did not answer within 0.3 s"),
    ],
)
def test_bad_answers(glmimg: Run, chat: Any, monkeypatch: pytest.MonkeyPatch, answer: Answer, reason: str) -> None:
    if "within" in reason:
        monkeypatch.setattr(enhance, "TIMEOUT_S", 0.3)
    chat.answers = [answer]
    refused = glmimg("enhance", "a fox")
    assert (refused.status, refused.out) == (1, "")
    assert reason in refused.err
    assert "127.0.0.1" in refused.err
    assert KEY not in refused.err
    assert "Traceback" not in refused.err


def test_what_is_not_set_is_named(glmimg: Run, chat: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chat.answers = [sends(401, b"")]
    monkeypatch.delenv("GLMIMG_ENHANCE_KEY")
    assert "wants a key (401)" in glmimg("enhance", "a fox").err
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert "does not take the key" in glmimg("enhance", "a fox", "--enhance-key-file", tmp_path / "key").err
    assert chat.asked[-1]["key"] == f"Bearer {KEY}"
    assert glmimg("enhance", "a fox", "--enhance-key-file", tmp_path / "none").status == 3
    monkeypatch.delenv("GLMIMG_ENHANCE_MODEL")
    missing = glmimg("t2i", "a fox", "--enhance", "-m", "demo", "-o", tmp_path / "x.png")
    assert missing.status == 2
    assert "glmimg config set enhance_model" in missing.err
    monkeypatch.setenv("GLMIMG_ENHANCE_URL", "ftp://x")
    assert "not an http(s) address" in glmimg("enhance", "a fox", "--enhance-model", "m").err
    for url in (f"http://me:{KEY}@127.0.0.1:1/v1", f"http://127.0.0.1:1/v1?key={KEY}"):
        secret = glmimg("enhance", "a fox", "--enhance-model", "m", "--enhance-url", url)
        assert secret.status == 2
        assert KEY not in secret.err
    nobody = glmimg("enhance", "a fox", "--enhance-model", "m", "--enhance-url", "http://127.0.0.1:1/v1")
    assert nobody.status == 1
    assert "http://127.0.0.1:1/v1 cannot be reached" in nobody.err
