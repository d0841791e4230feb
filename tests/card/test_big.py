"""A large picture in the least memory, with numbers, on a checkpoint in the real model's proportions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from glmimg.choice import ModelChoice
from glmimg.engine.orders import Order
from glmimg.events import Event, JobStarted
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement
from glmimg.runtime.estimate import Request
from glmimg.runtime.layout import PLANS
from glmimg.runtime.plan import Planner
from tests.jobs import TINY_SAMPLING, make_desk, make_job
from tests.tiny import IN_PROPORTION, build_checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return Checkpoint("in proportion", build_checkpoint(tmp_path_factory.mktemp("model"), IN_PROPORTION))


def test_each_stage_of_the_largest_picture_takes_what_is_planned(model: Checkpoint, libraries: None) -> None:
    """Both stages run in full. No plan counts what Jacobi's drafts take, some MB; here they make the test quick."""
    from tests.card.card import Card

    side, peaks = 2048, list[int]()
    sampling = TINY_SAMPLING.model_copy(update={"ar_method": "jacobi"})
    with Card() as card:

        def watch(event: Event) -> None:
            if event == JobStarted("picture", 1, 1):
                peaks.append(card.counts.peak)
                card.counts.reset()

        desk = make_desk(model, ModelChoice(device="cuda", dtype="fp32", memory="stream"), watch=watch)
        job = make_job(height=side, width=side, sampling=sampling, steps=1, guidance=1.0)
        (painted,) = desk.draw([Order(job)])
        peaks.append(card.counts.peak)
        desk.engine.close()
    assert painted.picture.image.size == (side, side)
    assert painted.picture.provenance.dtype.endswith(", decoded in strips")
    planner = Planner.of(model, Request(side, side, "fp32", on_host=False, guided=False))
    planned = [need.peak - need.base for need in planner.needs(PLANS["stream"])]
    assert peaks[0] == pytest.approx(planned[0], abs=3e6)
    assert peaks[1] == pytest.approx(planned[1], rel=0.05)


@pytest.mark.parametrize(("name", "height", "width"), [("in proportion", 1024, 1024), ("demo", 544, 736)])
def test_strips_are_a_whole_picture_to_rounding(model: Checkpoint, name: str, height: int, width: int) -> None:
    """At most one level of 255, in less than one of 10,000 values: no seam can be seen."""
    from glmimg.demo import demo_path
    from glmimg.dit.parts import DecoderParts
    from glmimg.dit.vae import decode_latents

    checkpoint = model if name == "in proportion" else Checkpoint("demo", demo_path())
    parts = DecoderParts(checkpoint, Placement(torch.device("cpu"), torch.float32))
    latents = torch.randn(parts.latent_shape(height, width), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        whole, strips = (decode_latents(parts.vae, latents, in_strips=in_strips) for in_strips in (False, True))
    differences = abs(np.asarray(whole).astype(int) - np.asarray(strips))
    assert differences.max() <= 1
    assert np.count_nonzero(differences) / differences.size < 1e-4
    assert np.asarray(whole).std() > 10, "something is on it"
