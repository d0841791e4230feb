"""Precision on the pretended card: what `auto` takes, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from glmimg.choice import ModelChoice
from glmimg.engine.scope import Scope
from glmimg.engine.stages import CheckpointStages
from glmimg.events import Event, Noted
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import place
from glmimg.runtime.layout import Layout
from tests.dumps import dump
from tests.jobs import make_painting

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


@pytest.mark.parametrize(
    ("capability", "dtype", "allowed", "recorded"),
    [
        (HOPPER, "fp32", True, "float32, convolutions in TF32"),
        (HOPPER, "fp32", False, "float32"),
        (HOPPER, "bf16", True, "bfloat16"),
        (TURING, "auto", True, "float32"),
    ],
)
def test_pictures_record_what_convolutions_are_rounded_to(
    capability: tuple[int, int], dtype: str, allowed: bool, recorded: str, libraries: None, tiny: Path
) -> None:
    from tests.card.card import Card

    with Card(capability=capability), torch.backends.cudnn.flags(enabled=True, allow_tf32=allowed):
        stages = CheckpointStages(Checkpoint("tiny", tiny), ModelChoice(device="cuda", dtype=dtype))
        assert stages.provenance(dump([[1, 2]]), make_painting(4, 1, 1.5), "target").dtype == recorded
