"""Sources from https addresses: what is fetched, what is refused, what travels."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image

import glmimg as package
from glmimg.errors import BadImage
from glmimg.image_io import read_provenance
from glmimg.sources import web
from glmimg.tokens.dump_file import read_dump
from tests.conftest import Outcome
from tests.pictures import gradient

Run = Callable[..., Outcome]
HOST = "pictures.example"


def png() -> bytes:
    buffer = io.BytesIO()
    gradient(128, 96).save(buffer, format="PNG")
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Serves a picture, and things that are none."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        name, _, rest = self.path[1:].partition("?")[0].partition("/")
        if name == "to":
            self.answer(302, b"", Location=rest)
        elif name == "loop":
            self.answer(301, b"", Location="/loop")
        elif name == "huge":
            self.answer(200, b"x" * 200_000)
        elif name == "cut":
            self.answer(200, b"abc", length=100)
        elif name == "slow":
            with contextlib.suppress(OSError):
                for byte in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100:
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.05)
        elif name == "page":
            self.answer(200, b"<html>no picture</html>", **{"Content-Type": "image/png"})
        elif name == "a.png":
            self.answer(200, png())
        else:
            self.answer(404, b"")

    def answer(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body) if length is None else length), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def site() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    server.handle_error = lambda *_: None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def reached(site: Any) -> web.Connect:
    """A way to the site that takes no account of where it is: the program itself has none."""
    return lambda host, port: http.client.HTTPConnection("127.0.0.1", site.server_port)


@pytest.fixture
def public(site: Any, reached: web.Connect, monkeypatch: pytest.MonkeyPatch) -> Any:
    """As if the site were on the public internet. Returns it."""
    monkeypatch.setattr(web, "public_connection", reached)
    monkeypatch.setattr(web, "_files", {})
    return site


def test_what_is_asked_for_comes_also_over_redirects(site: Any, reached: web.Connect) -> None:
    assert web.download(f"https://{HOST}/a.png?size=ä b", reached) == png()
    assert site.asked == ["/a.png?size=%C3%A4%20b"]
    assert web.download(f"https://{HOST}/to//to/https://else.example/a.png", reached) == png()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://pictures.example/a.png", "is not an https address"),
        ("https://", "is not an https address"),
        ("https://me:secret@pictures.example/a.png", "holds a name or a password"),
        ("https://pictures.example:99999/a.png", "Port out of range"),
        ("https://pictures.example/to/http://pictures.example/a.png", "is not an https address (redirected to"),
        ("https://pictures.example/to/file:///etc/passwd", "is not an https address (redirected to"),
        ("https://pictures.example/loop", "redirects more than 5 times"),
        ("https://pictures.example/none", "was answered with 404"),
        ("https://pictures.example/huge", "is over 0 MiB"),
        ("https://pictures.example/cut", "broke off"),
        ("https://pictures.example/slow", "did not answer in time"),
    ],
)
def test_what_is_refused(reached: web.Connect, monkeypatch: pytest.MonkeyPatch, address: str, reason: str) -> None:
    monkeypatch.setattr(web, "MAX_BYTES", 100_000)
    monkeypatch.setattr(web, "TIMEOUT_S", 0.5 if "slow" in address else 60)
    with pytest.raises(BadImage) as refused:
        web.download(address, reached)
    assert reason in refused.value.message


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "127.8.9.1",
            "10.0.0.1",
            "172.16.3.4",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
        ),
        *("224.0.0.1", "255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not web.is_public(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "1.1.1.1", "2606:4700::1111", "64:ff9b::101:101"])
def test_addresses_that_are(address: str) -> None:
    assert web.is_public(address)


def test_a_name_is_resolved_once_and_its_address_is_what_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that means a private host the second time is not asked a second time."""
    answers = [["1.1.1.1"], ["127.0.0.1"], ["1.1.1.1", "10.0.0.1"]]
    resolved, connected = list[str](), list[Any]()

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        resolved.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in answers[len(resolved) - 1]]

    def connect(_: socket.socket, address: Any) -> None:
        connected.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket.socket, "connect", connect)
    reasons = ["Connection refused", f"{HOST} is 127.0.0.1", f"{HOST} is 10.0.0.1"]
    for reason in reasons:
        with pytest.raises(BadImage) as refused:
            web.download(f"https://{HOST}/a.png")
        assert reason in refused.value.message
    assert (len(resolved), connected) == (3, [("1.1.1.1", 443)])


def certificate(folder: Path, name: str) -> ssl.SSLContext:
    """A server's side of TLS, for a name; what makes it trusted lies in `folder`."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder(subject, subject, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "trusted.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(pem))
    (folder / "both.pem").write_bytes(private + (folder / "trusted.pem").read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    return context


def test_the_other_end_has_to_be_who_it_says(site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's own way in, over TLS, to a server here that passes for a public one."""
    site.socket = certificate(tmp_path, HOST).wrap_socket(site.socket, server_side=True)
    here = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", site.server_port))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [here])
    monkeypatch.setattr(web, "is_public", lambda _: True)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))
    assert web.download(f"https://{HOST}/a.png") == png()
    with pytest.raises(BadImage, match="CERTIFICATE_VERIFY_FAILED"):
        web.download("https://another.example/a.png")
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(BadImage, match="CERTIFICATE_VERIFY_FAILED"):
        web.download(f"https://{HOST}/a.png")
    assert site.asked == ["/a.png"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "2130706433", "0x7f.1", "127.1"])
def test_this_machine_is_not_fetched_from(glmimg: Run, tiny: Path, site: Any, tmp_path: Path, host: str) -> None:
    address = f"https://{host}:{site.server_port}/a.png"
    refused = glmimg("edit", "x", "-i", address, "-m", tiny, "-o", tmp_path / "x.png")
    assert (refused.status, refused.out) == (3, "")
    assert f"{address}: is not on the public internet" in refused.err
    assert site.asked == []


def test_an_edit_of_a_picture_on_the_web(
    glmimg: Run, tiny: Path, public: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    address = f"https://{HOST}/a.png"
    Path("a.png").write_bytes(png())
    same = ("-m", tiny, "--seed", "5", "--steps", "1")
    assert glmimg("edit", "a hat", "-i", "a.png", *same, "-o", "file.png").status == 0
    drawn = glmimg("edit", "a hat", "-i", address, *same, "-o", "web.png")
    assert drawn.status == 0, drawn.err
    pixels = np.asarray(Image.open("file.png"))
    assert np.array_equal(np.asarray(Image.open("web.png")), pixels)
    (source,) = read_provenance(Path("web.png")).job.scene.sources
    assert source.path == address
    line = {"prompt": "a hat", "sources": [address], "seed": 5, "steps": 1, "name": "x"}
    Path("jobs.jsonl").write_text(json.dumps(line))
    assert glmimg("batch", "jobs.jsonl", "-o", "out", "-m", tiny).status == 0
    assert np.array_equal(np.asarray(Image.open("out/x.png")), pixels)
    with package.load(str(tiny)) as model:
        from_python = model.draw("a hat", sources=address, seed=5, steps=1)
    assert np.array_equal(np.asarray(from_python.image), pixels)
    assert glmimg("encode", address, "-m", tiny, "-o", "e.tokens.json").status == 0
    assert read_dump(Path("e.tokens.json")).parents[0].path == address
    assert public.asked == ["/a.png"], "once in a process"
    monkeypatch.setattr(web, "_files", {})
    assert read_dump(Path("web.tokens.json")).sources[0].embedded, "a dump of it travels alone"
    assert glmimg("decode", "web.tokens.json", "-o", "again.png").status == 0
    assert np.array_equal(np.asarray(Image.open("again.png")), pixels)
    asks = glmimg("replay", "web.png", "-o", "y.png")
    assert asks.status == 3
    assert "no file makes glmimg fetch" in asks.err
    assert f"glmimg replay web.png --source {address}" in asks.err
    assert len(public.asked) == 1
    assert glmimg("replay", "web.png", "--source", address, "-o", "y.png").status == 0
    assert Path("y.png").read_bytes() == Path("web.png").read_bytes()
    assert glmimg("replay", "web.png", "--source", "a.png", "-o", "z.png").status == 0


def test_off_by_a_line_and_none_of_a_page(
    glmimg: Run, tiny: Path, public: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit = ("edit", "x", "-m", tiny, "-o", tmp_path / "x.png", "-i")
    page = glmimg(*edit, f"https://{HOST}/page")
    assert page.status == 3
    assert f"https://{HOST}/page: is not a picture" in page.err
    assert glmimg("config", "set", "fetch", "no").status == 0
    asked = len(public.asked)
    off = glmimg(*edit, f"https://{HOST}/a.png")
    assert off.status == 3
    assert "is not fetched: fetch is off" in off.err
    (tmp_path / "jobs.jsonl").write_text(json.dumps({"prompt": "x", "sources": [f"https://{HOST}/a.png"]}))
    listed = glmimg("batch", tmp_path / "jobs.jsonl", "-o", tmp_path / "out", "-m", tiny)
    assert listed.status == 3
    assert "line 1: " in listed.err
    assert len(public.asked) == asked
