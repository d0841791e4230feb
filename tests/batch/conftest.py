"""A batch over stub stages, in this process or in its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from glmimg.engine.batch.engine import BatchEngine
from glmimg.engine.batch.folder import open_store
from glmimg.engine.batch.joblist import BatchJob, Defaults, read_jobs
from glmimg.engine.batch.ledger import Ledger, Record
from glmimg.engine.batch.survey import Survey, survey
from glmimg.engine.batch.workbench import BatchOptions
from tests.batch.stubs import StubStages, stub_checkpoint


def make_jobs(folder: Path, text: str, defaults: Defaults = Defaults(), source: str = "jobs") -> list[BatchJob]:
    """The jobs of a list, all of which must be good."""
    import io

    found = read_jobs(io.BytesIO(text.encode()), source, stub_checkpoint(folder / "checkpoint"), defaults)
    found.check()
    return found.jobs


@dataclass
class Run:
    """One run of a batch."""

    records: list[Record]
    work: Survey
    events: list[Any] = field(default_factory=list)
    engine: BatchEngine | None = None


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., Run]:
    """Draw a list into `out` with stub stages."""

    def run(
        text: str,
        stages: StubStages | None = None,
        options: BatchOptions = BatchOptions(),
        defaults: Defaults = Defaults(),
        out: str | None = None,
    ) -> Run:
        stages = stages or StubStages(tmp_path / "log")
        store = open_store(out or str(tmp_path / "out"))
        ledger = Ledger(store, stages.model)
        work = survey(make_jobs(tmp_path, text, defaults), ledger, force=options.force)
        events: list[Any] = []
        engine = BatchEngine(stages, ledger, options, events.append)
        return Run(list(engine.run(work)), work, events, engine)

    return run
