"""The server under load and under nonsense: `python -m tests.bench.http [--requests 200] [--fuzz 10000]`.

200 requests of 16 clients over HTTP, against `glmimg batch` of the same jobs (the demo, steps as given), and requests
made of mutated parts thrown at stages without weights. Prints JSON, and writes it to --out.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image

from tests.http.serving import serve_stubs
from tests.tiny import build_checkpoint

PATHS = (
    *["/v1/images/generations"] * 4,
    *["/v1/images/edits"] * 2,
    "/tokens",
    "/decode",
    "/v1/models",
    "/images/x",
    "/nowhere",
)
KINDS = ("application/json", "multipart/form-data", "multipart/form-data; boundary=x", "text/plain", "\u00ff", "")
NAMES = (
    *("prompt", "n", "size", "seed", "steps", "guidance", "scheduler", "drop", "image", "image[]", "images", "mask"),
    *(
        "response_format",
        "output_format",
        "output_compression",
        "stream",
        "partial_images",
        "model",
        "preset",
        "source",
    ),
)
WORDS = ("", "a", "0", "-1", "1e9", "NaN", "64x64", "999999x1", "../../etc/passwd", "/dev/zero", "file:///etc/passwd")
ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    10**30,
    1.5,
    [],
    {},
    [[]],
    "\0",
    "\ud800",
    "x" * 30_000,
    {"image_url": 1},
)
TRACES = re.compile(r'Traceback|File "|\.py|site-packages')
EXPECTED = {200, 400, 403, 404, 405, 408, 413, 429, 499, 503}


def load(requests: int, clients: int, steps: int) -> dict[str, Any]:
    """What came of many requests at once, and how fast, against a batch of the same jobs."""
    with tempfile.TemporaryDirectory() as folder:
        jobs = Path(folder, "jobs.jsonl")
        lines = [{"prompt": f"a red circle {seed % 7}", "seed": seed, "steps": steps} for seed in range(requests)]
        jobs.write_text("".join(json.dumps(line) + "\n" for line in lines))
        out = Path(folder, "out")
        command = [sys.executable, "-m", "glmimg", "batch", str(jobs), "-m", "demo", "-o", str(out), "-q"]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        batch = time.perf_counter() - started
        records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
        own = sum(sum(record.get("seconds", {}).values()) for record in records)
        wanted = {pixels(path.read_bytes()) for path in out.rglob("*.png")}

    def draw(line: dict[str, Any]) -> tuple[int, int, str]:
        answer = client.post(f"{address}/v1/images/generations", json=line).json()
        datum = answer["data"][0]
        return line["seed"], datum["seed"], pixels(base64.b64decode(datum["b64_json"]))

    limits = httpx.Limits(max_connections=clients)
    with (
        program_served() as (address, _),
        httpx.Client(timeout=None, limits=limits) as client,
        ThreadPoolExecutor(clients) as threads,
    ):
        draw(lines[0])  # the batch's time holds its loading too, which is left out here
        before, started = stage_seconds(address), time.perf_counter()
        drawn = list(threads.map(draw, lines))
        served = time.perf_counter() - started
        stages = stage_seconds(address) - before
    return {
        "requests": requests,
        "clients": clients,
        "lost": requests - len(drawn),
        "mixed up": sum(asked != answered or pixel not in wanted for asked, answered, pixel in drawn),
        "seconds over http": round(served, 2),
        "seconds of batch, loading included": round(batch, 2),
        "of these its stages' own": round(stages, 2),
        "seconds of batch's stages": round(own, 2),
        "throughput, of batch's stages": round(own / served, 3),
    }


@contextmanager
def program_served(model: str = "demo") -> Iterator[tuple[str, int]]:
    """The address of `glmimg serve` in a process of its own, and that process's id."""
    command = [sys.executable, "-m", "glmimg", "serve", "-m", model, "--http", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process.pid
        finally:
            process.terminate()


def memory(pictures: int) -> dict[str, Any]:
    """Megabytes a server of a tiny random checkpoint holds after each fifth of the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        tiny = build_checkpoint(Path(folder))
        with program_served(str(tiny)) as (address, pid), httpx.Client(base_url=address, timeout=None) as client:
            held = []
            for number in range(pictures):
                line = {"prompt": f"a {number}", "size": "64x64", "steps": 1, "response_format": "b64_json"}
                client.post("/v1/images/generations", json=line).raise_for_status()
                if (number + 1) % (pictures // 5) == 0:
                    held.append(round(psutil.Process(pid).memory_info().rss / 1e6, 1))
    return {"pictures": pictures, "MB after each fifth": held, "grown since the first": round(held[-1] - held[0], 1)}


def stage_seconds(address: str) -> float:
    """What both stages have taken by now."""
    found = re.findall(r"^glmimg_stage_seconds_total.* ([0-9.]+)$", httpx.get(f"{address}/metrics").text, re.MULTILINE)
    return sum(map(float, found))


def pixels(data: bytes) -> str:
    """A hash of a picture's pixels."""
    return hashlib.sha256(Image.open(io.BytesIO(data)).convert("RGB").tobytes()).hexdigest()


def fuzz(count: int, seed: int = 0) -> dict[str, Any]:
    """What hostile requests were answered with. faults: statuses nobody expects, and tracebacks."""
    chance, statuses, faults, bugs = random.Random(seed), Counter[int](), list[str](), list[BaseException]()
    with (
        serve_stubs(None, report=bugs.append, max_body=1) as address,
        httpx.Client(base_url=address, timeout=30) as client,
    ):
        for number in range(count):
            request = client.build_request(**made(chance))
            answer = client.send(request)
            statuses[answer.status_code] += 1
            if answer.status_code not in EXPECTED or TRACES.search(answer.text):
                faults.append(f"{number}: {request.method} {request.url} {answer.status_code} {answer.text[:200]}")
        alive = client.get("/health").json()
    return {
        "requests": count,
        "statuses": {str(status): statuses[status] for status in sorted(statuses)},
        "faults": faults[:20],
        "bugs": [repr(bug) for bug in bugs[:20]],
        "still waiting": alive["waiting"],
    }


def made(chance: random.Random) -> dict[str, Any]:
    """A request of parts that may make sense."""
    fields = {name: value(chance) for name in chance.sample(NAMES, chance.randrange(1, 7))}
    if chance.random() < 0.7:
        fields |= {"prompt": "a", "size": "64x64"}
    request: dict[str, Any] = {
        "method": chance.choice((*["POST"] * 9, "GET")),
        "url": chance.choice(PATHS),
    }
    way = chance.randrange(4)
    if way == 0:
        request["data"] = {name: str(each).encode(errors="replace")[:30_000] for name, each in fields.items()}
    elif way == 1:
        texts = {name: str(each).encode(errors="replace").decode()[:1000] for name, each in fields.items()}
        request |= {
            "data": texts,
            "files": [(chance.choice(("image", "image[]", "x")), (chance.choice(WORDS) or "a", bytes_of(chance)))],
        }
    else:
        raw = json.dumps(fields).encode()
        if way == 3:
            raw = spoiled(raw, chance)
        request |= {"content": raw, "headers": {"content-type": chance.choice(KINDS).encode("latin-1")}}
    return request


def value(chance: random.Random) -> Any:
    """Something to put into a field."""
    return chance.choice(WORDS) if chance.random() < 0.5 else chance.choice(ODD)


def bytes_of(chance: random.Random) -> bytes:
    """A picture, a spoiled one, or noise."""
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(buffer, format="PNG")
    return chance.choice((buffer.getvalue(), spoiled(buffer.getvalue(), chance), chance.randbytes(50), b""))


def spoiled(raw: bytes, chance: random.Random) -> bytes:
    """Bytes cut, changed or doubled somewhere."""
    at = chance.randrange(len(raw) + 1)
    return chance.choice((raw[:at], raw[:at] + chance.randbytes(3) + raw[at:], raw + raw, raw[:at] + b"[" * 5000))


def main() -> None:
    """Run both, print and keep what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--fuzz", type=int, default=10_000)
    parser.add_argument("--pictures", type=int, default=500, help="for memory")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found: dict[str, Any] = {}
    if given.fuzz:
        found["fuzz"] = fuzz(given.fuzz)
    if given.requests:
        found["load"] = load(given.requests, given.clients, given.steps)
    if given.pictures:
        found["memory, tiny random checkpoint"] = memory(given.pictures)
    found["load of the machine"] = round(os.getloadavg()[1], 1)
    text = json.dumps(found, indent=1) + "\n"
    sys.stdout.write(text)
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
