"""Job lists: three forms, every bad line named, names and seeds that stay where they are."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest

from glmimg.engine.batch.joblist import Defaults, JobList, read_jobs
from glmimg.errors import BadJobs
from glmimg.runtime.resolve import resolve
from tests.batch.stubs import stub_checkpoint
from tests.pictures import gradient


@pytest.fixture
def read(tmp_path: Path):  # type: ignore[no-untyped-def]
    checkpoint = stub_checkpoint(tmp_path)

    def run(text: str | bytes, source: str = "-", **defaults: object) -> JobList:
        raw = text if isinstance(text, bytes) else text.encode()
        return read_jobs(io.BytesIO(raw), source, checkpoint, Defaults(**defaults))  # type: ignore[arg-type]

    run.checkpoint = checkpoint  # type: ignore[attr-defined]
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


def test_a_line_takes_a_cache_by_name_or_number(read) -> None:  # type: ignore[no-untyped-def]
    said = ['"light"', '"deep"', "0.12", '"much"']
    found = read("".join(f'{{"prompt": "x", "cache": {each}}}\n' for each in said), "-")
    assert [each.job.painting.cache for each in found.jobs] == ["light", "deep", 0.12]
    assert [bad.line for bad in found.bad] == [4]
    assert read("prompt,cache\nx,deep\ny,0.12\n", "x.csv").jobs[1].job.painting.cache == 0.12


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
        ('{"size": "64x64"}', "no prompt given"),
        ('{"prompt": "  "}', "the prompt is empty"),
        ('{"prompt": "x", "sized": 1}', "sized: no such field; the fields are size, seed"),
        ('{"prompt": "x", "seed": -1}', "seed: it should be greater than or equal to 0"),
        ('{"prompt": "x", "seed": "7"}', "seed: Input should be a valid integer"),
        ('{"prompt": "x", "size": "100x100"}', "multiples of 32"),
        ('{"prompt": "x", "size": "32x131072"}', "size"),
        ('{"prompt": "x", "preset": "nope"}', "there is no such preset"),
        ('{"prompt": "x", "name": "../x"}', "name: must not contain"),
        ('{"prompt": "x", "name": "a/b"}', "name: must not contain"),
        ('{"prompt": "x", "name": "a\\u0000b"}', "name: contains a control character"),
        ('{"prompt": "x", "name": ".hidden"}', "name: must not begin with a dot"),
        ('{"prompt": "x", "name": ""}', "name:"),
        ('{"prompt": "x", "name": "' + "n" * 201 + '"}', "name: is longer than 200 bytes"),
        ('{"prompt": "a\\u0000b"}', "NUL"),
        ('{"prompt": "\\ud800"}', "broken UTF-8"),
        ('{"prompt": "x", "name": "GOOD"}', "the name 'GOOD' is already used by line 1"),
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
        with pytest.raises(BadJobs, match="contains no jobs"):
            read(text).check()


@pytest.mark.parametrize("source", ["-", "jobs.tsv", "jobs.csv", "jobs"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_tables_are_known_by_their_header(read, source: str, delimiter: str) -> None:  # type: ignore[no-untyped-def]
    """In whatever case and by whatever separator other programs write it."""
    rows = ["Prompt", " SEED "], ["a cat", "3"], ['"two\n\nlines\r\nand one"', ""]
    found = read("\r\n".join(delimiter.join(row) for row in rows), source)
    assert found.bad == []
    assert [job.job.scene.prompt for job in found.jobs] == ["a cat", "two\n\nlines\nand one"]
    assert found.jobs[0].job.sampling.seed == 3


@pytest.mark.parametrize(
    ("text", "source", "reason"),
    [
        ('[\n {"prompt": "x"}\n]\n', "-", "starts a JSON array"),
        ('[{"prompt": "x"}, {"prompt": "y"}]', "jobs.txt", "starts a JSON array"),
        ('["x", "y"]', "prompts", "starts a JSON array"),
        ('{"prompt": "x"}\n{"prompt": "y"}\n', "jobs.txt", "is a JSON object in a list of prompts"),
        ("prompt\tsed\nx\t1\n", "-", "unknown column 'sed'"),
        ("ein Kreis\n".encode("utf-16"), "jobs.txt", "is UTF-16 text"),
        ("prompt,seed\nx,1\n".encode("utf-16-be"), "jobs.csv", "is UTF-16 text"),
        (f'{{"prompt": "x", "seed": {1 << 63}}}', "-", "seed: it should be less than or equal to"),
        (f"prompt,seed\nx,{1 << 63}\n", "-", "seed: it should be less than or equal to"),
        ('{"prompt": "x", "guidance_window": "0.9,0.1"}', "-", "--guidance-window '0.9,0.1'"),
        ('{"prompt": "x", "cache": 0.1, "guidance_batch": true}', "-", "cannot be combined"),
    ],
)
def test_what_is_no_list_is_never_drawn(read, text: str | bytes, source: str, reason: str) -> None:  # type: ignore[no-untyped-def]
    found = read(text, source)
    assert found.jobs == []
    assert reason in found.bad[0].reason
    assert found.bad[0].line in (1, 2)


def test_a_seed_that_is_counted_too_far_is_its_lines_fault(read) -> None:  # type: ignore[no-untyped-def]
    found = read(f'{{"prompt": "x"}}\n{{"prompt": "x", "seed": {(1 << 63) - 1}}}', count=2)
    assert (len(found.jobs), [bad.line for bad in found.bad]) == (2, [2])
    assert f"seed {1 << 63} is larger than" in found.bad[0].reason


def test_lines_end_where_lines_end(read) -> None:  # type: ignore[no-untyped-def]
    jobs = read("a\u2028b\n# c\r\nd\x0ce\rf\u0085g".encode("utf-8-sig"), "jobs.txt").jobs
    assert [(job.line, job.job.scene.prompt) for job in jobs] == [(1, "a\u2028b"), (2, "# c"), (3, "d\x0ce"),
                                                                  (4, "f\u0085g")]  # fmt: skip


def test_names_that_meet_get_more_digits(read, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    text = "\n".join(f'{{"prompt": "x", "seed": {seed}}}' for seed in range(40))
    plain = [job.name for job in read(text).jobs]
    monkeypatch.setattr("glmimg.engine.batch.joblist.NAME_DIGITS", (1, 8, 64))
    found = read(text)
    assert found.bad == []
    names = [job.name for job in found.jobs]
    assert len({*names}) == 40
    assert any(len(name) == len("x-0") for name in names)
    assert all(name in (long, long[:3]) for name, long in zip(names, plain, strict=True))


def test_a_line_that_never_ends_is_not_read_for_ever(read, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("glmimg.engine.batch.lines.MAX_LONG", 2)

    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
            buffer[:] = b"x" * len(buffer)
            return len(buffer)

    found = read_jobs(io.BufferedReader(Endless()), "-", read.checkpoint)
    assert [bad.reason for bad in found.bad] == ["is longer than 1 MiB"]


def test_paths_of_a_list_are_meant_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But a list whose pictures lie in the current folder goes on, and with the very paths it had."""
    lists, demo = tmp_path / "lists", resolve("demo")
    lists.mkdir()
    monkeypatch.chdir(tmp_path)

    def paths(*names: str) -> list[str]:
        table = f'prompt,sources\nx,"{";".join(names)}"\n'
        (job,) = read_jobs(io.BytesIO(table.encode()), "lists/jobs.csv", demo).jobs
        return [source.path for source in job.job.scene.sources]

    gradient(64, 64).save(tmp_path / "here.png")
    assert paths("here.png") == ["here.png"]
    shutil.copy("here.png", "lists/here.png")
    assert paths("here.png") == ["here.png"], "the same picture"
    gradient(64, 96).save(lists / "there.png")
    gradient(96, 64).save(tmp_path / "there.png")
    assert paths("there.png", str(tmp_path / "here.png")) == ["lists/there.png", str(tmp_path / "here.png")]
    (lists / "mine.yaml").write_text("steps: 7\n")
    line = b'{"prompt": "x", "preset": "mine.yaml"}'
    (job,) = read_jobs(io.BytesIO(line), "lists/jobs.jsonl", demo).jobs
    assert job.job.painting.steps == 7
