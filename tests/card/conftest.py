"""What tests on the pretended card share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

OnTheCard = Callable[..., Any]


@pytest.fixture
def libraries() -> None:
    """What has to be imported before the card is there."""
    import diffusers  # noqa: F401
    from diffusers import AutoencoderKL, GlmImageTransformer2DModel  # noqa: F401
    from transformers import (  # noqa: F401
        ByT5Tokenizer,
        GlmImageForConditionalGeneration,
        GlmImageProcessor,
        T5EncoderModel,
    )

    import glmimg.ar.stage
    import glmimg.dit.stage  # noqa: F401


@pytest.fixture(scope="session")
def full(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the real size, without numbers."""
    from tests.card.full import build_full_size

    return build_full_size(tmp_path_factory.mktemp("full") / "model", tiny)


@pytest.fixture(scope="session")
def shallow(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One as wide as the real one, of three layers and three blocks."""
    from tests.card.full import build_full_size

    return build_full_size(tmp_path_factory.mktemp("shallow") / "model", tiny, depth=3)


@pytest.fixture
def on_card(monkeypatch: pytest.MonkeyPatch, libraries: None) -> OnTheCard:
    """Run the program on a pretended card; returns the card."""
    from glmimg.cli.main import main
    from tests.card.card import Card

    def run(*arguments: str | Path, status: int = 0) -> Card:
        monkeypatch.setattr(sys, "argv", ["glmimg", *map(str, arguments), "--device", "cuda", "-q", "-f"])
        with Card() as card, pytest.raises(SystemExit) as leaving:
            main()
        assert leaving.value.code == status
        return card

    return run
