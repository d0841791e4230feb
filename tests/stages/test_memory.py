"""Memory settings change where weights are, never a token or a pixel; and running out is not the end."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glmimg.ar.stage import ARStage
from glmimg.choice import ModelChoice
from glmimg.dit.stage import DiTStage
from glmimg.engine.orders import Order, Painted
from glmimg.errors import OutOfMemory
from glmimg.events import Event, Noted
from glmimg.job import Job
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement
from glmimg.runtime.layout import Layout
from glmimg.runtime.readahead import ReadAhead
from tests.jobs import make_desk, make_job, make_sampling
from tests.tiny import store_as

HOST = Placement(torch.device("cpu"), torch.float32)


def job(seed: int = 3) -> Job:
    return make_job(
        prompt="a sign that says 'OPEN'",
        height=64,
        width=96,
        seed=seed,
        dit_seed=seed,
        steps=2,
        guidance=1.5,
        sampling=make_sampling(temperature=0.9, top_p=0.75, top_k=80),
    )


def draw(folder: Path, memory: str, jobs: list[Job], events: list[Event] | None = None) -> list[Painted]:
    watch = (lambda event: None) if events is None else events.append
    engine = make_desk(Checkpoint("tiny", folder), ModelChoice(memory=memory), watch=watch)
    try:
        return list(engine.draw([Order(each) for each in jobs]))
    finally:
        engine.engine.close()


def test_every_setting_draws_the_same_picture(tiny: Path) -> None:
    plain = draw(tiny, "stage", [job()])[0]
    for memory in ("resident", "offload", "stream"):
        other = draw(tiny, memory, [job()])[0]
        assert other.order.dump.target == plain.order.dump.target, memory
        assert np.array_equal(np.asarray(other.picture.image), np.asarray(plain.picture.image)), memory


def test_some_layers_may_stay_while_others_come(tiny: Path) -> None:
    """One of two blocks streamed: the window moves over the end of the stack and back to its start."""
    checkpoint, dump = Checkpoint("tiny", tiny), draw(tiny, "stage", [job()])[0].order.dump
    pictures = []
    for resident in (None, 1, 0):
        stage = DiTStage.load(checkpoint, HOST, lambda event: None, layout=Layout(resident=resident))
        pictures.append(np.asarray(stage.paint(dump, job().painting, lambda event: None)))
        stage.close()
    assert np.array_equal(pictures[0], pictures[1])
    assert np.array_equal(pictures[0], pictures[2])


def test_converted_layers_take_turns_in_the_same_memory(tiny: Path, tmp_path: Path) -> None:
    """Fresh memory for each of thousands of converted layers made the heap grow by several of them."""
    folder = Path(shutil.copytree(tiny, tmp_path / "bf16"))
    store_as(folder, "bfloat16")
    plain, streamed = (draw(folder, memory, [job()])[0].picture.image for memory in ("stage", "stream"))
    assert np.array_equal(np.asarray(plain), np.asarray(streamed))
    stage = ARStage(Checkpoint("bf16", folder), HOST, lambda event: None, layout=Layout(resident=0))
    layers: Any = stage.model.streamed_layers
    places = set()
    for index in (0, 1, 0, 1, 1, 0):
        layers.bring(index)
        places.add(layers.layers[index].mlp.down_proj.weight.data_ptr())
    stage.close()
    assert len(places) == 2


def test_only_what_a_prompt_needs_is_loaded(tiny: Path) -> None:
    checkpoint = Checkpoint("tiny", tiny)
    ar = ARStage(checkpoint, HOST, lambda event: None, with_vision=False)
    assert not hasattr(ar.model.model, "visual")
    assert not hasattr(ar.model.model, "vqmodel")
    rows = ar.model.model.language_model.embed_tokens.visual
    assert rows.shape[0] == checkpoint.config("vision_language_encoder")["text_config"]["vision_vocab_size"]
    dit = DiTStage.load(checkpoint, HOST, lambda event: None, with_encoder=False)
    assert not hasattr(dit.parts.vae, "encoder")


def test_weights_of_the_same_precision_take_no_memory_of_their_own(tiny: Path) -> None:
    """They are views of their files, which is what keeps the peak low on the CPU."""
    from diffusers import GlmImageTransformer2DModel

    from glmimg.runtime.load import load_module

    module: Any = load_module(GlmImageTransformer2DModel, Checkpoint("tiny", tiny), "transformer", HOST)
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(tiny / "transformer") in line]
    assert mapped
    assert module.proj_out.weight.device.type == "cpu"


def test_with_auto_the_rest_is_painted_in_a_smaller_layout(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, paint = [], DiTStage.paint

    def fails_at_the_second(self: DiTStage, *arguments: Any) -> Any:
        calls.append(self.parts.layout)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return paint(self, *arguments)

    monkeypatch.setattr(DiTStage, "paint", fails_at_the_second)
    events: list[Event] = []
    pictures = draw(tiny, "auto", [job(1), job(2)], events)
    assert [painted.picture.provenance.job.sampling.seed for painted in pictures] == [1, 2]
    assert [layout.taking_turns for layout in calls] == [False, False, True]
    notes = [event.text for event in events if isinstance(event, Noted)]
    assert len(notes) == 1
    assert "trying once more" in notes[0]


def test_out_of_memory_says_by_how_much_and_what_would_do(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: DiTStage, *arguments: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(DiTStage, "paint", fails)
    engine = make_desk(Checkpoint("tiny", tiny), ModelChoice(memory="stage"))
    with pytest.raises(OutOfMemory, match=r"stage 2 needs about 0\.\d GB, but \d+\.\d GB are free") as failure:
        list(engine.draw([Order(job(), dump_path=tmp_path / "x.tokens.json")]))
    assert "--memory offload" in failure.value.hint
    assert f"glmimg decode {tmp_path / 'x.tokens.json'}" in failure.value.hint
    assert (tmp_path / "x.tokens.json").exists()


def test_reading_ahead_stops_at_its_limit(tmp_path: Path) -> None:
    files = [tmp_path / "a", tmp_path / "b", tmp_path / "gone"]
    for file in files[:2]:
        file.write_bytes(bytes(20 * 2**20))
    everything = ReadAhead(files, limit_bytes=2**30)
    everything.join()
    assert everything.read_bytes == 40 * 2**20
    little = ReadAhead(files, limit_bytes=2**20)
    little.close()
    assert little.read_bytes <= 8 * 2**20


def test_a_device_for_each_stage_draws_the_same_and_keeps_both_loaded(tiny: Path) -> None:
    """Two names for one CPU stand in for two cards."""
    plain = draw(tiny, "stage", [job()])[0]
    engine = make_desk(Checkpoint("tiny", tiny), ModelChoice(device="cpu,cpu"))
    other = next(engine.draw([Order(job())]))
    assert sorted(engine.engine._loaded) == ["ar", "dit"]
    engine.engine.close()
    assert other.order.dump.target == plain.order.dump.target
    assert np.array_equal(np.asarray(other.picture.image), np.asarray(plain.picture.image))
