"""Source pictures from https addresses: bounded in size, time and redirects, and from public hosts alone.

A name is resolved once, the addresses are checked, and one of those very addresses is connected to; so a name that
means another host a moment later gains nothing. Proxies are not used: they would resolve the name again.
"""

from __future__ import annotations

import atexit
import http.client
import ipaddress
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from glmimg.errors import BadImage
from glmimg.pictures import open_picture
from glmimg.text import counted

MAX_BYTES = 64 << 20
MAX_REDIRECTS = 5
TIMEOUT_S = 60.0
"""For a whole picture, redirects included; a host that does not answer gets CONNECT_S."""

CONNECT_S = 10.0
NAT64 = ipaddress.ip_network("64:ff9b::/96")
MOVED = (301, 302, 303, 307, 308)
SAFE = "/%:@!$&'()*+,;=~"
"""Characters of a path that stay as they are; in a query so does a question mark."""

Connect = Callable[[str, int], http.client.HTTPConnection]

_files: dict[str, Path] = {}
_names: dict[Path, str] = {}


def is_address(text: str) -> bool:
    """Whether it names something on the web, be it by http."""
    return text.lower().startswith(("https://", "http://"))


def source_file(named: str, *, may_fetch: bool) -> Path:
    """A source as somebody named it, by path or by address, as a file here. Raises BadImage (exit 3)."""
    if not is_address(named):
        return Path(named)
    if not may_fetch:
        raise BadImage(named, "is not fetched: fetch is off", "glmimg config set fetch yes, or download it yourself.")
    return fetch(named)


def local_file(named: str) -> Path:
    """Where a source lies that was named: what was fetched in this process in its file, else the path itself."""
    return _files.get(named) or Path(named)


def name_of(path: Path) -> str:
    r"""What a file was named as: the address it was fetched from, or its path, with `\xff` for what is not UTF-8."""
    return _names.get(path) or os.fsencode(path).decode(errors="backslashreplace")


def fetch(address: str) -> Path:
    """A picture from an https address, in a file that exists until the program ends; fetched once.

    raises: BadImage (exit 3) for no https address, a host that is not public, no answer, or no picture
    """
    if address not in _files:
        data = download(address)
        path = _folder() / f"{len(_files)}"
        path.write_bytes(data)
        try:
            open_picture(path)
        except BadImage as error:
            raise BadImage(address, error.reason, error.hint) from error
        _files[address], _names[path] = path, address
    return _files[address]


def download(address: str, connect: Connect | None = None) -> bytes:
    """What an address answers with, wherever it redirects to. Raises BadImage (exit 3).

    connect: how a host and a port are reached; None checks that the host is public
    """
    until, asked = time.monotonic() + TIMEOUT_S, address
    try:
        for _ in range(MAX_REDIRECTS + 1):
            status, answer = _ask(asked, connect or public_connection, until)
            if status not in MOVED:
                return answer
            asked = urljoin(asked, answer.decode("latin-1"))
    except TimeoutError as error:
        raise BadImage(address, "did not answer in time") from error
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise BadImage(address, f"cannot be fetched: {getattr(error, 'strerror', None) or error}") from error
    except ValueError as error:  # of ours: what is wrong with where it leads
        via = f" (redirected to {asked})" if asked != address else ""
        raise BadImage(address, f"{error}{via}", "Download it yourself, and name the file.") from error
    raise BadImage(address, f"redirects more than {counted(MAX_REDIRECTS, 'time')}")


def _ask(address: str, connect: Connect, until: float) -> tuple[int, bytes]:
    """Status 200 and the body, or a redirect's status and where it leads."""
    parts = urlsplit(address)
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError("is not an https address")
    if parts.username or parts.password:
        raise ValueError("holds a name or a password, which would be kept in metadata")
    host = parts.hostname.encode("idna").decode() if not parts.hostname.isascii() else parts.hostname
    path = quote(parts.path or "/", safe=SAFE) + (f"?{quote(parts.query, safe=SAFE + '?')}" if parts.query else "")
    connection = connect(host, parts.port or 443)
    try:
        if connection.sock is None:
            connection.connect()
        with _bounded(connection.sock, until):
            connection.request("GET", path, headers={"User-Agent": "glmimg", "Accept-Encoding": "identity"})
            with connection.getresponse() as response:
                if response.status in MOVED:
                    return response.status, (response.getheader("Location") or "").encode("latin-1")
                if response.status != 200:
                    raise ValueError(f"was answered with {response.status} {response.reason[:100]}")
                return 200, _read(response)
    finally:
        connection.close()


def _read(response: http.client.HTTPResponse) -> bytes:
    data = b""
    while piece := response.read1(1 << 16):
        data += piece
        if len(data) > MAX_BYTES:
            raise ValueError(f"is over {MAX_BYTES >> 20} MiB")
    if response.length:
        raise ValueError("broke off")
    return data


@contextmanager
def _bounded(sock: socket.socket, until: float) -> Iterator[None]:
    """End a connection when time is up, however slowly its other end goes on. Raises TimeoutError."""

    def end() -> None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(until - time.monotonic(), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if time.monotonic() >= until:
            raise TimeoutError from error
        raise
    finally:
        timer.cancel()


def public_connection(host: str, port: int) -> http.client.HTTPConnection:
    """An encrypted connection to one of a host's public addresses. Raises ValueError if it has none, OSError."""
    last: OSError = OSError("no address answers")
    for family, kind, protocol, _, address in public_addresses(host, port):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(CONNECT_S)
            sock.connect(address)
            connection = http.client.HTTPSConnection(host, port)
            connection.sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
            return connection
        except OSError as error:
            sock.close()
            last = error
    raise last


def public_addresses(host: str, port: int) -> list[Any]:
    """What a host's name resolves to, each entry as of `socket.getaddrinfo`. Raises ValueError if one is not public."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, address in found:
        if not is_public(str(address[0])):
            raise ValueError(f"is not on the public internet: {host} is {address[0]}")
    return found


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also the IPv4 one that an IPv6 one stands for."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    inner: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = [ip]
    if isinstance(ip, ipaddress.IPv6Address):
        inner += filter(None, [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())])
        if ip in NAT64:
            inner = [ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)]
    return all(each.is_global and not each.is_multicast and not each.is_reserved for each in inner)


@cache
def _folder() -> Path:
    folder = TemporaryDirectory(prefix="glmimg-")
    atexit.register(folder.cleanup)
    return Path(folder.name)
