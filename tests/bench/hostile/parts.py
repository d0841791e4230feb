"""Mutated files of unfinished work, gone on with and looked at."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from tests.bench.hostile.case import Case
from tests.bench.hostile.mutate import altered, as_json, spoiled

WAYS: dict[str, dict[str, Any]] = {
    "a": {},
    "b": {"ar_method": "jacobi", "scheduler": "unipc"},
    "c": {"scheduler": "heun"},
}


def leave_some(shared: Path) -> Path:
    """A folder of work of each stage and some ways, left unfinished once."""
    folder = shared / "parts"
    if folder.exists():
        return folder
    from glmimg.choice import ModelChoice
    from glmimg.engine.complete import complete
    from glmimg.engine.engine import Engine
    from glmimg.engine.scope import Scope
    from glmimg.engine.stages import CheckpointStages
    from glmimg.events import StepDone, TokensWritten
    from glmimg.job import Size
    from glmimg.runtime.resolve import resolve
    from glmimg.tokens.change import TokenWork

    def stop(event: object) -> None:
        far = isinstance(event, TokensWritten) and event.count > 10
        if far or (isinstance(event, StepDone) and event.number > 2):
            raise KeyboardInterrupt

    folder.mkdir()
    stages = CheckpointStages(
        resolve(str(shared / "tiny"), None), ModelChoice(model=str(shared / "tiny"), device="cpu")
    )
    with Engine(stages, Scope(64, 64), keep_both=True) as engine:
        for name, said in WAYS.items():
            job = complete({"prompt": "x", "size": Size(64, 64), "seed": 1, "steps": 4, **said}, stages.checkpoint)
            (dump,) = engine.write([TokenWork(job)])
            engine.watch = stop
            with suppress(KeyboardInterrupt):
                list(engine.write([TokenWork(job, part=stages.model.part(folder / f"{name}.tokens.json", job))]))
            with suppress(KeyboardInterrupt):
                engine.paint(dump, job.painting, part=stages.model.part(folder / f"{name}.png", job, dump=dump))
            engine.watch = lambda event: None
    return folder


def make(random: Random, shared: Path) -> Case:
    """Bytes spoiled, or what the header says of the work, of its state or of its tensors."""
    file = random.choice(sorted(leave_some(shared).iterdir()))
    raw, chance = file.read_bytes(), random.random()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    work = json.loads(header["__metadata__"]["glmimg.unfinished"])
    if chance < 0.2:
        raw = spoiled(random, raw)
    else:
        if chance < 0.6:
            work["state"] = altered(random, work["state"])
        elif chance < 0.85:
            work = altered(random, work, 1)
        else:
            name = random.choice([name for name in header if name != "__metadata__"])
            header[name] = altered(random, header[name])
        header["__metadata__"]["glmimg.unfinished"] = as_json(work).decode(errors="replace")
        text = as_json(header)
        raw = struct.pack("<Q", len(text)) + text + raw[8 + length :]
    command = ["inspect", file.name] if random.random() < 0.2 else ["resume", file.name, "-m", str(shared / "tiny")]
    return Case({file.name: raw}, [command], excused="not finite")
