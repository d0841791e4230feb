"""Stages without weights: a dump and a picture in a millisecond, and every way to fail on demand.

What a job does is said in its prompt: `raise`, `oom`, `die`, `full disk`, `slow 0.2`; a batch of
more than `fits` jobs is out of memory.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from glmimg.engine.scope import Scope
from glmimg.engine.stages import ModelId
from glmimg.errors import OutOfMemory, WriteError
from glmimg.events import Watch
from glmimg.grid import Role, preview_shape, target_shape
from glmimg.image_io import Provenance
from glmimg.job import Job, Painting
from glmimg.runtime.checkpoint import Checkpoint, Half
from glmimg.runtime.layout import Layout
from glmimg.tokens.change import Reading, Redraw, TokenWork
from glmimg.tokens.dump import Grid, ModelRef, SamplingRecord, Stats, TokenDump
from glmimg.unfinished import Part

MODEL = ModelId("stub", "0" * 16 + "-" + "1" * 16)


@dataclass(frozen=True)
class StubStages:
    """Stages that load in no time.

    log:     a file that gets a line a job drawn, `tokens SEED` or `picture SEED`, for counting what is done twice
    seconds: a job takes in each stage
    fits:    jobs a batch of stage 1 may hold
    deaths:  a file that is made when the prompt `die once` kills a painter, which it does once
    """

    log: Path | None = None
    seconds: float = 0.0
    fits: int = 1 << 30
    both: bool = True
    devices: tuple[str, ...] = ()
    deaths: Path | None = None
    model: ModelId = MODEL
    loads: list[str] = field(default_factory=list)

    device: str | None = None

    @property
    def stays(self) -> bool:
        return False

    def check(self, *halves: Half) -> None:
        pass

    def layout(self, half: Half, scope: Scope) -> Layout:
        return Layout()

    def smaller(self, half: Half, layout: Layout) -> Layout | None:
        return None

    def explain(self, half: Half, layout: Layout, scope: Scope) -> OutOfMemory:
        return OutOfMemory("out of memory")

    def load_tokens(self, layout: Layout, scope: Scope, watch: Watch) -> StubTokens:
        self.loads.append("tokens")
        return StubTokens(self)

    def load_painter(self, layout: Layout, scope: Scope, watch: Watch) -> StubPainter:
        self.loads.append(f"painter {self.device}" if self.device else "painter")
        return StubPainter(self)

    def provenance(self, dump: TokenDump, painting: Painting, grid: Role) -> Provenance:
        return Provenance(job=dump.job(painting), model=dump.model, device="cpu", dtype="float32", versions={})

    def both_fit(self, scope: Scope) -> bool:
        return self.both

    def painting_devices(self) -> list[str]:
        return list(self.devices)

    def on(self, device: str) -> StubStages:
        return replace(self, device=device)

    def did(self, what: str, seed: int) -> None:
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"{what} {seed}\n")


@dataclass
class StubTokens:
    """Stage 1: codes from a hash of the job."""

    stages: StubStages

    def write(self, works: Sequence[TokenWork], watch: Watch) -> list[TokenDump]:
        if len(works) > self.stages.fits:
            raise MemoryError
        return [self.draw(work.job) for work in works]

    def rows_that_fit(self, work: TokenWork) -> int:
        return 1 << 30

    def redraw(self, redraw: Redraw, watch: Watch) -> TokenDump:
        raise NotImplementedError

    def score(self, dump: TokenDump) -> TokenDump:
        raise NotImplementedError

    def encode(self, reading: Reading) -> TokenDump:
        raise NotImplementedError

    def draw(self, job: Job) -> TokenDump:
        scene, sampling = job.scene, job.sampling
        misbehave(scene.prompt, "tokens")
        time.sleep(self.stages.seconds)
        self.stages.did("tokens", sampling.seed)
        target = target_shape(*scene.size)
        digest = hashlib.sha256(job.model_dump_json().encode()).digest()
        return TokenDump(
            prompt=scene.prompt,
            height=scene.size.height,
            width=scene.size.width,
            seed=sampling.seed,
            grids=[
                Grid.from_flat(role, shape, [digest[cell % 32] % 64 for cell in range(shape.cells)])
                for role, shape in (("preview", preview_shape(target)), ("target", target))
            ],
            model=ModelRef(id="stub", revision=None, codebook_size=64, fingerprint=self.stages.model.fingerprint),
            sampling=SamplingRecord(**sampling.model_dump(by_alias=True, exclude={"seed"})),
            stats=Stats(seconds=self.stages.seconds, tokens=1, forward_passes=1),
            painting=job.painting,
            glmimg="0",
        )

    def close(self) -> None:
        pass


@dataclass
class StubPainter:
    """Stage 2: a picture of one colour, the first code's."""

    stages: StubStages

    def paint(self, dump: TokenDump, painting: Painting, watch: Watch, part: Part | None = None) -> Image.Image:
        if dump.prompt == "die once" and self.stages.deaths is not None and not self.stages.deaths.exists():
            self.stages.deaths.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        misbehave(dump.prompt, "picture")
        time.sleep(self.stages.seconds)
        self.stages.did("picture", dump.seed)
        code = dump.target.tokens[0][0]
        return Image.new("RGB", (dump.width, dump.height), (code * 4, painting.dit_seed % 256, painting.steps % 256))

    def close(self) -> None:
        pass


def misbehave(prompt: str, stage: str) -> None:
    """Fail as the prompt says; `raise picture` fails in that stage only."""
    verb, _, where = prompt.partition(" ")
    if where.split() and where.split()[0] in ("tokens", "picture") and where.split()[0] != stage:
        return
    if verb == "raise":
        raise RuntimeError("the stub was told to")
    if verb == "oom":
        raise MemoryError
    if verb == "die" and where != "once":
        os.kill(os.getpid(), signal.SIGKILL)
    if verb == "full":
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise WriteError("x", "No space left on device") from error
    if verb == "slow":
        time.sleep(0.3)


def stub_checkpoint(folder: Path) -> Checkpoint:
    """What completes jobs: a checkpoint of configuration files alone."""
    vae = {"sample_size": 64, "block_out_channels": [32, 32], "latent_channels": 1}
    vae |= {"latents_mean": [0.0], "latents_std": [1.0]}
    (folder / "vae").mkdir(parents=True, exist_ok=True)
    (folder / "vae" / "config.json").write_text(json.dumps(vae))
    return Checkpoint("stub", folder)
