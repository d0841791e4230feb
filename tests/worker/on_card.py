"""`python -m tests.worker.on_card ERRAND`: a worker on a pretended card."""

from __future__ import annotations

from glmimg.engine.worker.__main__ import main
from tests.card.card import Card

if __name__ == "__main__":
    import glmimg.ar.stage
    import glmimg.dit.stage  # noqa: F401

    with Card():
        main()
