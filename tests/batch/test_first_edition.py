"""Folders the first edition began: names, seeds and keys it gave to lines, so that a batch goes on there."""

from __future__ import annotations

import io

import pytest

from glmimg.engine.batch.joblist import Defaults, read_jobs
from glmimg.engine.batch.ledger import job_key
from glmimg.engine.stages import ModelId
from glmimg.runtime.resolve import resolve

DEMO = ModelId("demo", "5338a199b2338f0b-f93c61b6265c1cba")
TABLE = "prompt,size,seed,steps,preset\na red circle,256x192,,4,\na white star,,7,,fast\n"
WINDOW = (
    '{"prompt": "a pink square", "steps": 4, "guidance_window": "0.1,0.8", "scheduler": "unipc", "temperature": 1.1}'
)


@pytest.mark.parametrize(
    ("text", "flags", "given"),
    [
        ('{"prompt": "a red circle", "steps": 4}', {}, [("a-red-circle-fa22c877", 832436261, "24ae3bac49f990ba")]),
        (
            '{"prompt": "a green star", "size": "256x192", "seed": 5, "steps": 4, "guidance": 2.5}',
            {},
            [("a-green-star-6f17ce01", 5, "71d04d54242b8d63")],
        ),
        (WINDOW, {}, [("a-pink-square-2d7b47a9", 1543006521, "2a61a09ae573349f")]),
        (
            '{"prompt": "a blue circle", "name": "own", "ar_method": "jacobi", "steps": 4, "preset": "fast"}',
            {},
            [("own", 1519530096, "3cf4fefecfe25b35")],
        ),
        (
            TABLE,
            {},
            [
                ("a-red-circle-3ab5e0b4", 1973286181, "143f06f1a95aa1fb"),
                ("a-white-star-0ce60825", 7, "450848be8526ef11"),
            ],
        ),
        ("a yellow star\n", {"steps": 4}, [("a-yellow-star-679f0155", 1305984655, "1eb369b7a2bdff94")]),
    ],
)
def test_a_line_keeps_its_name_its_seed_and_its_key(
    text: str, flags: dict[str, object], given: list[tuple[str, int, str]]
) -> None:
    jobs = read_jobs(io.BytesIO(text.encode()), "-", resolve("demo"), Defaults(flags=flags)).jobs
    assert [(job.name, job.job.sampling.seed, job_key(DEMO, job.job)) for job in jobs] == given
