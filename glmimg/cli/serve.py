"""`glmimg serve`: the two stages for other programs, over HTTP or MCP."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmimg.choice import ModelChoice, Output
from glmimg.cli.options import Request, only, takes
from glmimg.engine.http.settings import Serving
from glmimg.errors import BadInput, GlmimgError, UsageError
from glmimg.files import open_regular
from glmimg.knob import knobs
from glmimg.text import how_to_install

if TYPE_CHECKING:
    from glmimg.cli.console import Console
    from glmimg.cli.run import Run

KEY_BYTES = 4096


@takes(Serving, ModelChoice, only(Output, "as_json", "quiet", "verbose"))
def serve(request: Request) -> None:
    """Draw for other programs, over HTTP or MCP.

    Serves the image endpoints of OpenAI's API, and a page at / to try them.
    With --mcp, serves tools for language models over standard input and output.

    \b
    Examples:
      glmimg serve --model demo
      glmimg serve --http 0.0.0.0:8000 --api-key-file key.txt
      glmimg serve --model demo --mcp
    """
    from glmimg.cli.run import Run
    from glmimg.engine.worker.start import check_extra

    serving = request.settings(Serving)
    if serving.mcp:
        check_mcp(request.flags)
        run = Run.open(request)
        run.own_stages.check("ar", "dit")
        from glmimg.cli.mcp_server import serve_mcp

        serve_mcp(run)
        return
    check_extra("glmimg serve")
    host, port = read_address(serving.http)
    key = read_key(serving.api_key_file)
    check_open(host, key)
    run = Run.open(request)
    run.stages.check("ar", "dit")
    with listen(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host or "0.0.0.0"
        address = f"http://{shown}:{listener.getsockname()[1]}"
        run.console.result(address, {"url": address, "model": run.checkpoint.id})
        serve_on(listener, run, serving, key)


def serve_on(listener: socket.socket, run: Run, serving: Serving, key: str | None) -> None:
    """Serve requests until the process is told to stop."""
    import uvicorn

    from glmimg.engine.http.opening import opened_server

    rows, console = run.choice.rows, run.console
    with opened_server(
        run.own_stages, run.checkpoint, serving, key, rows, lambda error: _report(console, error)
    ) as app:
        config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off", timeout_graceful_shutdown=2)
        uvicorn.Server(config).run(sockets=[listener])


def check_mcp(flags: Mapping[str, Any]) -> None:
    """Raises UsageError (exit 2) without the SDK, or for a flag that is about HTTP."""
    from importlib.util import find_spec

    for each in knobs(Serving):
        if each.name in flags and each.name != "mcp":
            raise UsageError(f"--mcp and {each.flag} cannot be combined: MCP speaks no HTTP", "Leave one of them out.")
    if find_spec("mcp") is None:
        raise UsageError("glmimg serve --mcp needs the extra mcp, which is not installed", how_to_install("mcp"))


def read_address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, `[HOST]:PORT` or `:PORT`. Raises UsageError (exit 2)."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal() or int(port[:6]) > 65535:
        raise UsageError(f"--http {text}: not of the form HOST:PORT", "For example --http 127.0.0.1:8000.")
    return host.strip("[]"), int(port)


def read_key(name: str | None) -> str | None:
    """Read the key from a file. Raises BadInput (exit 3)."""
    if name is None:
        return None
    with open_regular(Path(name), BadInput, "key file") as file:
        raw = file.read(KEY_BYTES + 1).strip()
    key = raw.decode("ascii", errors="replace")
    if not key or len(raw) > KEY_BYTES or not all("!" <= char <= "~" for char in key):
        raise BadInput(name, "contains no key", "Write the key into it: one line of printable ASCII.")
    return key


def check_open(host: str, key: str | None) -> None:
    """Refuse to listen for other machines without a key. Raises UsageError (exit 2)."""
    from glmimg.engine.http.guard import is_loopback

    if key is None and not is_loopback(host):
        hint = "Name a file that contains one: --api-key-file key.txt"
        raise UsageError(f"--http {host or '0.0.0.0'}: other machines can reach this address, so it needs a key", hint)


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket. Raises UsageError (exit 2) if the address cannot be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each answer waits 40 ms for an ACK
        return listener
    except OSError as error:
        raise UsageError(f"--http {host}:{port}: {error.strerror or error}", "Choose another port.") from error


def _report(console: Console, error: BaseException) -> None:
    """Report a bug of ours as the other commands do: in one line, in full with -v."""
    import traceback

    console.error(GlmimgError(f"{type(error).__name__}: {error}", "This is a bug in glmimg; -v shows where."))
    if console.verbose:
        console.note("".join(traceback.format_exception(error)))
