"""The real program on stages without weights: `python -m tests.cli.on_stubs t2i x -m FOLDER`."""

from __future__ import annotations

from glmimg.cli.main import main
from glmimg.cli.run import Run
from tests.batch.stubs import StubStages

if __name__ == "__main__":
    Run.stages = property(lambda run: StubStages())  # type: ignore[assignment]
    main()
