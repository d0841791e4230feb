"""What stands before every request: the key, who may come from where, how much may be sent and how slowly."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glmimg.engine.http.refusal import Refusal

BODY_SECONDS = 60.0
"""A body has to be here by then."""

OPEN = ("/", "/page.js", "/health", "/images/")
"""What needs no key. A picture's own address holds a random name that only who drew it was told."""


def is_loopback(host: str) -> bool:
    """Whether an address or a name is this machine's own, seen from itself alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


@dataclass(frozen=True)
class Guard:
    """Lets through to `app` what may pass.

    key:        what clients have to send; without one, requests must mean this machine by a name of its own, so that
                no page from elsewhere reaches it through somebody's browser
    body_bytes: a request may send
    """

    app: ASGIApp
    key: str | None
    body_bytes: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        try:
            self._check(scope["path"], headers)
            size = headers.get("content-length", "0")
            if not size.isdecimal() or int(size[:20]) > self.body_bytes:
                raise self._too_large()
        except Refusal as refusal:
            await refusal.answer()(scope, receive, send)
            return
        await self.app(scope, self._limited(receive), send)

    def _check(self, path: str, headers: Headers) -> None:
        if self.key is None:
            self._check_origin(headers)
        elif path not in OPEN and not path.startswith("/images/"):
            kind, _, sent = headers.get("authorization", "").partition(" ")
            sent = sent.strip() if kind.lower() == "bearer" else ""
            if not hmac.compare_digest(sent.encode(), self.key.encode()):
                raise Refusal(401, "the key is missing or wrong: Authorization: Bearer KEY", code="invalid_api_key")

    @staticmethod
    def _check_origin(headers: Headers) -> None:
        for name, of in (("host", "//" + headers.get("host", "localhost")), ("origin", headers.get("origin"))):
            try:
                host = urlsplit(of).hostname if of else "localhost"
            except ValueError:
                host = None
            if host is None or not is_loopback(host):
                raise Refusal(403, f"{name} is none of this machine's own; other machines need a key", code="forbidden")

    def _limited(self, receive: Receive) -> Receive:
        taken, is_whole = 0, False
        deadline = asyncio.get_running_loop().time() + BODY_SECONDS

        async def limited() -> Message:
            nonlocal taken, is_whole
            if is_whole:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise Refusal(408, f"the body was not here after {BODY_SECONDS:.0f} seconds") from None
            taken += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if taken > self.body_bytes:
                raise self._too_large()
            return message

        return limited

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the body is larger than {self.body_bytes // 1_000_000} MB", code="body_too_large")
