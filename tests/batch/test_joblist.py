"""Job lists: three forms, every bad line named, names and seeds that stay where they are."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from glmimg.engine.batch.joblist import Defaults, JobList, read_jobs
from glmimg.errors import BadJobs
from tests.batch.stubs import stub_checkpoint


@pytest.fixture
def read(tmp_path: Path):  # type: ignore[no-untyped-def]
    checkpoint = stub_checkpoint(tmp_path)

    def run(text: str | bytes, source: str = "-", **defaults: object) -> JobList:
        raw = text if isinstance(text, bytes) else text.encode()
        return read_jobs(io.BytesIO(raw), source, checkpoint, Defaults(**defaults))  # type: ignore[arg-type]

    return run


def test_the_three_forms_say_the_same(read) -> None:  # type: ignore[no-untyped-def]
    jsonl = '{"prompt": "a cat, \\"big\\"", "seed": 3}\n\n{"prompt": "b"}\n'
    table = 'prompt,seed\n"a cat, ""big""",3\nb,\n'
    text = 'a cat, "big"\nb\n'
    first, second, third = read(jsonl), read(table), read(text)
    assert [job.job for job in first.jobs] == [job.job for job in second.jobs]
    assert [job.name for job in first.jobs] == [job.name for job in second.jobs]
    assert [job.job.scene.prompt for job in third.jobs] == ['a cat, "big"', "b"]
    assert [job.line for job in first.jobs] == [1, 3]
    assert read("\ufeffa cat\r\nb\r\n").jobs[0].job.scene.prompt == "a cat"
    assert read("prompt,seed\nb,\n", "jobs.txt").jobs[0].job.scene.prompt == "prompt,seed"
    assert read('prompt\n"two\nlines"\n').jobs[0].job.scene.prompt == "two\nlines"


def test_names_and_seeds_do_not_move_with_the_lines(read) -> None:  # type: ignore[no-untyped-def]
    once = {job.job.scene.prompt: (job.name, job.job.sampling.seed) for job in read("a\nb\nc").jobs}
    again = {job.job.scene.prompt: (job.name, job.job.sampling.seed) for job in read("new\nc\nb\na").jobs}
    assert {key: again[key] for key in once} == once
    twice = read("a\na\na").jobs
    assert len({job.name for job in twice}) == len({job.job.sampling.seed for job in twice}) == 3
    assert twice[0].name == once["a"][0]


def test_flags_win_over_lines_and_lines_over_presets(read) -> None:  # type: ignore[no-untyped-def]
    line = '{"prompt": "x", "steps": 7, "preset": "draft"}'
    assert read(line).jobs[0].job.painting.steps == 7
    assert read(line, flags={"steps": 9}).jobs[0].job.painting.steps == 9
    draft = read('{"prompt": "x", "preset": "draft"}').jobs[0].job
    assert draft.painting.steps != read('{"prompt": "x"}').jobs[0].job.painting.steps


def test_count_gives_each_its_own_seed_and_name(read) -> None:  # type: ignore[no-untyped-def]
    jobs = read('{"prompt": "x", "name": "x", "seed": 5}', count=3).jobs
    seeds = [(job.name, job.job.sampling.seed, job.job.painting.dit_seed) for job in jobs]
    assert seeds == [("x-1", 5, 5), ("x-2", 6, 6), ("x-3", 7, 7)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("not json", "is not JSON"),
        ("[1]", "is not a JSON object"),
        ('{"prompt": "x", "prompt": "y"}', "a field is given twice"),
        ('{"size": "64x64"}', "there is no prompt"),
        ('{"prompt": "  "}', "the prompt is empty"),
        ('{"prompt": "x", "sized": 1}', "sized: no such field; there are size, seed"),
        ('{"prompt": "x", "seed": -1}', "seed: it should be greater than or equal to 0"),
        ('{"prompt": "x", "seed": "7"}', "seed: Input should be a valid integer"),
        ('{"prompt": "x", "size": "100x100"}', "multiples of 32"),
        ('{"prompt": "x", "size": "32x131072"}', "size"),
        ('{"prompt": "x", "preset": "nope"}', "there is no such preset"),
        ('{"prompt": "x", "name": "../x"}', "name: must not hold"),
        ('{"prompt": "x", "name": "a/b"}', "name: must not hold"),
        ('{"prompt": "x", "name": "a\\u0000b"}', "name: has a control character"),
        ('{"prompt": "x", "name": ".hidden"}', "name: must not begin with a dot"),
        ('{"prompt": "x", "name": ""}', "name:"),
        ('{"prompt": "x", "name": "' + "n" * 201 + '"}', "name: is longer than 200 bytes"),
        ('{"prompt": "a\\u0000b"}', "NUL"),
        ('{"prompt": "\\ud800"}', "broken UTF-8"),
        ('{"prompt": "x", "name": "GOOD"}', "the name 'GOOD' is taken by line 1"),
        ("[" * 100_000, "is not JSON"),
        (b'{"prompt": "\xff"}', "is not UTF-8 text (byte 13)"),
        (b'{"prompt": "' + b"x" * 10_000_000 + b'"}', "is longer than 1 MiB"),
    ],
)
def test_bad_lines_are_all_named(read, line: str | bytes, reason: str) -> None:  # type: ignore[no-untyped-def]
    bad = line if isinstance(line, bytes) else line.encode()
    found = read(b'{"prompt": "x", "name": "good"}\n' + bad + b'\n{"prompt": "y"}\nnonsense\n')
    assert [job.line for job in found.jobs] == [1, 3]
    assert [each.line for each in found.bad] == [2, 4]
    assert reason in found.bad[0].reason
    with pytest.raises(BadJobs) as refused:
        found.check()
    assert "line 2: " in refused.value.message
    assert "line 4: " in refused.value.message


def test_bad_csv_is_named_too(read) -> None:  # type: ignore[no-untyped-def]
    assert "unknown column 'sed'" in read("prompt,sed\nx,1\n", "jobs.csv").bad[0].reason
    found = read(b"prompt,seed\nx,1,2\nx,one\ny,2\n\xff,3\n", "jobs.csv")
    assert [job.job.scene.prompt for job in found.jobs] == ["y"]
    assert sorted(bad.line for bad in found.bad) == [2, 3, 5]


def test_an_empty_list_is_refused(read) -> None:  # type: ignore[no-untyped-def]
    for text in ("", "\n\n"):
        with pytest.raises(BadJobs, match="holds no jobs"):
            read(text).check()
