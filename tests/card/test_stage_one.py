"""Stage 1 on the pretended card: what is replayed, what is not, and which attention each stage is given."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from glmimg.runtime.graph import capture
from glmimg.runtime.machine import is_out_of_memory
from tests.card.conftest import OnTheCard

SIZE = ("-s", "64x64", "--seed", "3")
PREVIEW, TARGET = 256, 4
TOKENS = PREVIEW + TARGET


def grids(path: Path) -> list[Any]:
    return [grid["tokens"] for grid in json.loads(path.read_text())["grids"]]


def test_the_default_replays_once_a_token(on_card: OnTheCard, tiny: Path, tmp_path: Path) -> None:
    """The first token comes out of the prompt; every other one is a replay of the captured pass."""
    card = on_card("tokens", "x", "-m", tiny, *SIZE, "-o", tmp_path / "x.tokens.json")
    assert card.events["graph replay"] == TOKENS - 1
    assert [len(each) for each in grids(tmp_path / "x.tokens.json")] == [16, 2]


def test_nothing_waits_for_a_token(on_card: OnTheCard, tiny: Path, tmp_path: Path) -> None:
    """Reads by the host: as many for a picture of twice the tokens."""
    short = on_card("tokens", "x", "-m", tiny, *SIZE, "-o", tmp_path / "a.tokens.json").events
    long = on_card("tokens", "x", "-m", tiny, "-s", "256x256", "--seed", "3", "-o", tmp_path / "b.tokens.json").events
    assert long["graph replay"] == PREVIEW + 64 - 1
    waits = [{name: count for name, count in events.items() if name != "graph replay"} for events in (short, long)]
    assert waits[0] == waits[1]


def test_without_graphs_nothing_is_replayed(on_card: OnTheCard, tiny: Path, tmp_path: Path) -> None:
    card = on_card("tokens", "x", "-m", tiny, *SIZE, "--no-compile", "-o", tmp_path / "x.tokens.json")
    assert card.events["graph replay"] == 0


def test_fp32_takes_the_plain_pass_and_the_host_s_tokens(
    on_card: OnTheCard, glmimg: Callable[..., Any], tiny: Path, tmp_path: Path
) -> None:
    here, there = tmp_path / "here.tokens.json", tmp_path / "there.tokens.json"
    assert glmimg("tokens", "x", "-m", tiny, *SIZE, "-o", here).status == 0
    card = on_card("tokens", "x", "-m", tiny, *SIZE, "--dtype", "fp32", "-o", there)
    assert card.events["graph replay"] == 0
    assert grids(here) == grids(there)


def test_cudnn_stays_out_of_stage_1_and_in_stage_2(on_card: OnTheCard, tiny: Path, tmp_path: Path) -> None:
    dump = tmp_path / "x.tokens.json"
    plain = ("-m", tiny, *SIZE, "--no-compile")
    for command in (
        ("tokens", "x", *plain, "-o", dump),
        ("tokens", "x", *plain, "--ar-method", "jacobi", "-o", tmp_path / "j.tokens.json"),
        ("redraw", dump, "--box", "32,0,64,64", "-m", tiny, "--no-compile", "-o", tmp_path / "r.tokens.json"),
        ("score", dump, "-m", tiny, "-o", tmp_path / "s.tokens.json"),
    ):
        attention = on_card(*command).attention
        assert attention["ar", False] > 0, command
        assert attention["ar", True] == 0, command
    painted = on_card("decode", dump, "-m", tiny, "--steps", "1", "-o", tmp_path / "x.png").attention
    assert painted["dit", True] > 0
    assert painted["dit", False] == 0


def test_drafts_are_looked_up_on_the_card(
    on_card: OnTheCard, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table of all words lies on the host; only the prompt is read from it."""
    from glmimg.ar.layers import EmbeddingRows

    read, look_up = [], EmbeddingRows.forward
    monkeypatch.setattr(EmbeddingRows, "forward", lambda self, ids: read.append(ids.shape) or look_up(self, ids))
    on_card("tokens", "x", "-m", tiny, *SIZE, "--ar-method", "jacobi", "-o", tmp_path / "x.tokens.json")
    assert len(read) == 1


def test_a_capture_bears_another_thread_at_work() -> None:
    """Drafts are painted by a thread of their own while stage 1 captures."""
    import glmimg.ar.static_decoder  # noqa: F401
    from tests.card.card import Card

    with Card():
        values = torch.ones(4, device="cuda")
        begun, go = threading.Event(), threading.Event()
        heard: list[float] = []

        def paint() -> None:
            begun.wait(10)
            heard.append(float(values.sum().item()))
            go.set()

        thread = threading.Thread(target=paint)
        thread.start()

        def work() -> torch.Tensor:
            doubled = values * 2
            begun.set()
            go.wait(10)
            return doubled

        replay = capture(work, torch.device("cuda:0"), warm_ups=0)
        thread.join()
        assert heard == [4.0]
        assert replay().tolist() == [2.0] * 4


def test_an_edit_of_two_tokens_prepares_its_pass_within_the_tables(
    on_card: OnTheCard, tiny: Path, tmp_path: Path
) -> None:
    """Warm-ups are more passes than there are tokens; on a real card a look past the end would end the process."""
    Image.new("RGB", (64, 64), "red").save(tmp_path / "source.png")
    card = on_card(
        "edit", "x", "-i", tmp_path / "source.png", "-m", tiny, "-s", "32x64", "--steps", "1", "-o", tmp_path / "x.png"
    )
    assert card.events["graph replay"] == 1


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_what_cuda_says_beside_the_allocator_is_out_of_memory(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))
