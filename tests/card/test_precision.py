"""Precision on the pretended card: what `auto` takes, and what is said of it."""

from __future__ import annotations

from pathlib import Path

from glmimg.choice import ModelChoice
from glmimg.engine.stages import CheckpointStages, Scope
from glmimg.events import Event, Noted
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import place
from glmimg.runtime.layout import Layout

TURING, HOPPER = (7, 5), (9, 0)


def test_auto_is_bf16_only_where_the_card_computes_in_it(libraries: None) -> None:
    from tests.card.card import Card

    with Card(capability=HOPPER):
        assert place(ModelChoice()).precision == "bf16"
    with Card(capability=TURING):
        assert place(ModelChoice()).precision == "fp32"
        assert place(ModelChoice(dtype="bf16")).precision == "bf16", "asked for, it is emulated"


def test_that_bf16_is_lacking_is_said_once(libraries: None, tiny: Path) -> None:
    from tests.card.card import Card

    heard: list[Event] = []
    with Card(capability=TURING):
        stages = CheckpointStages(Checkpoint("tiny", tiny), ModelChoice(device="cuda"))
        for load in (stages.load_tokens, stages.load_painter, stages.load_painter):
            load(Layout(), Scope(64, 64), heard.append).close()
    assert [event.text for event in heard if isinstance(event, Noted)] == [
        "cuda does not compute in bf16: fp32 is used, which takes twice the memory"
    ]
