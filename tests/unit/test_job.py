"""Sizes, prompts and jobs: what is wrong is named, what is written comes back."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from glmimg.errors import SizeError, UsageError
from glmimg.job import Job, Painting, SourceRef, parse_size
from glmimg.prompts import check_prompt
from glmimg.request import check_values
from tests.jobs import make_job


def test_sizes_are_width_by_height() -> None:
    assert parse_size("768x1152") == (1152, 768)
    assert parse_size("64X32") == (32, 64)
    assert parse_size("64×32") == (32, 64)
    assert str(parse_size("64x32")) == "64x32"
    assert str(parse_size("64")) == "64x64"
    assert str(parse_size("16:9")) == "1376x768"
    assert str(parse_size("1 : 1")) == "1024x1024"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "64:",
        "6:5:4",
        "0:1",
        "64x",
        "x64",
        "64x64x64",
        "6.4x64",
        "-64x64",
        "axb",
        "９６x64",
        "1" * 5000 + "x32",
    ],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(SizeError) as caught:
        parse_size(text)
    assert len(caught.value.message) < 6000


@pytest.mark.parametrize(
    ("knobs", "option"),
    [
        ({"steps": 0}, "--steps 0"),
        ({"guidance": 0.5}, "--guidance 0.5"),
        ({"cache": 1.5}, "--cache 1.5"),
        ({"cache": "much"}, "--cache much"),
        ({"dit_seed": -1}, "--dit-seed -1"),
        ({"dit_seed": 1 << 63}, "--dit-seed"),
        ({"scheduler": "ddim"}, "--scheduler ddim"),
        ({"guidance_window": "0.9,0.1"}, "--guidance-window"),
        ({"guidance": float("nan")}, "--guidance nan"),
    ],
)
def test_values_out_of_range_name_their_option(knobs: dict[str, float], option: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_values(knobs, Painting)
    assert caught.value.message.startswith(option)


@pytest.mark.parametrize("prompt", ["", "  \n\t", "x" * 30_000, "a\0b", "\udcff"])
def test_prompts_that_say_nothing_are_refused(prompt: str) -> None:
    with pytest.raises(UsageError):
        check_prompt(prompt)


FIRST_EDITION = (
    '{"prompt":"a","height":64,"width":96,"seed":4,"dit_seed":9,"steps":6,"guidance":2.5,"guidance_window":[0.1,0.8],'
    '"scheduler":"heun","cache":null,"guidance_batch":true,"sampling":{"temperature":0.9,"top_p":0.75,"top_k":80,'
    '"method":"jacobi","window":4},"sources":[{"path":"x.png","sha256":"' + "0" * 64 + '","height":64,"width":64,'
    '"fit":"pad","background":"#ffffff"}]}'
)
"""A job as the first edition wrote it into pictures and hashed it in ledgers."""


def test_a_job_is_written_as_the_first_edition_wrote_it() -> None:
    job = Job.model_validate_json(FIRST_EDITION)
    assert job.model_dump_json() == FIRST_EDITION
    assert job.sampling.ar_window == 4
    assert job.painting.guidance_window == (0.1, 0.8)
    assert isinstance(job.scene.sources[0], SourceRef)
    assert Job.model_validate(job.model_dump()) == job


@pytest.mark.parametrize(
    "change", [{"height": 65}, {"steps": 0}, {"seed": -1}, {"colour": 1}, {"sampling": 3}, {"height": "x"}]
)
def test_a_job_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Job.model_validate(json.loads(FIRST_EDITION) | change)


def test_another_seed_takes_the_second_one_along_unless_it_was_said() -> None:
    job = make_job(seed=1)
    assert job.again(seed=5).painting.dit_seed == 5
    assert job.again(seed=5, dit_seed=7).painting.dit_seed == 7
