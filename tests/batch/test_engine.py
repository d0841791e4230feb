"""The batch engine over stub stages: order, failures, resuming, two processes, several devices."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from glmimg.engine.batch.folder import FolderStore
from glmimg.engine.batch.progress import JobMoved
from glmimg.engine.batch.workbench import BatchOptions
from glmimg.errors import Interrupted, OutputError, WriteError
from glmimg.events import Noted
from glmimg.image_io import read_provenance
from glmimg.tokens.dump_file import parse_dump, read_dump
from tests.batch.conftest import Run
from tests.batch.stubs import StubStages

Draw = Callable[..., Run]


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_writes_two_files_and_a_line_for_each_job(draw: Draw, tmp_path: Path) -> None:
    run = draw('{"prompt": "a", "name": "one", "seed": 5}\n{"prompt": "b", "name": "two", "size": "96x64"}\n')
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir() if path.name != ".glmimg") == [
        "one.png", "one.tokens.json", "results.jsonl", "two.png", "two.tokens.json",
    ]  # fmt: skip
    first, second = lines(out)
    assert (first["name"], first["status"], first["seed"], first["dit_seed"]) == ("one", "done", 5, 5)
    assert second["size"] == "96x64"
    assert first["sizes"] == {name: (out / str(first[name])).stat().st_size for name in ("picture", "tokens")}
    assert read_provenance(out / "one.png").job.scene.prompt == "a"
    assert [record.name for record in run.records] == ["one", "two"]
    assert not list((out / ".glmimg").glob("*.tried"))


def test_a_second_run_does_nothing_again(draw: Draw, tmp_path: Path) -> None:
    text = "\n".join(f"prompt {number}" for number in range(20))
    assert len(draw(text).records) == 20
    before = (tmp_path / "log").read_text()
    again = draw(text)
    assert again.records == []
    assert len(again.work.done) == 20
    assert (tmp_path / "log").read_text() == before


def test_dumps_that_are_there_go_straight_to_the_decoder(draw: Draw, tmp_path: Path) -> None:
    draw("a\nb\nc")
    out = tmp_path / "out"
    kept = {path.name: path.read_bytes() for path in out.glob("*.png")}
    for path in out.glob("*.png"):
        path.unlink()
    run = draw("a\nb\nc")
    assert Counter(line.split()[0] for line in (tmp_path / "log").read_text().splitlines()) == {
        "tokens": 3,
        "picture": 6,
    }
    assert len(run.work.paint) == 3
    assert {path.name: path.read_bytes() for path in out.glob("*.png")} == kept


def test_a_picture_whose_record_was_lost_is_recorded_and_not_drawn_again(draw: Draw, tmp_path: Path) -> None:
    draw("a\nb")
    results = tmp_path / "out" / "results.jsonl"
    first, second = results.read_bytes().splitlines(keepends=True)
    results.write_bytes(first + second[:40])
    run = draw("a\nb")
    assert [record.status for record in run.records] == ["done"]
    assert (tmp_path / "log").read_text().count("picture") == 2
    good = [json.loads(line) for line in results.read_bytes().splitlines() if line.endswith(b"}")]
    assert len(good) == 2
    assert draw("a\nb").records == []


def test_a_failing_job_is_recorded_and_the_rest_go_on(draw: Draw, tmp_path: Path) -> None:
    run = draw("a\nraise tokens\nraise picture\noom tokens\noom picture\nb")
    states = {record.prompt: (record.status, record.error) for record in run.records}
    assert states == {
        "a": ("done", None),
        "b": ("done", None),
        "raise tokens": ("failed", "RuntimeError: the stub was told to"),
        "raise picture": ("failed", "RuntimeError: the stub was told to"),
        "oom tokens": ("failed", "out of memory"),
        "oom picture": ("failed", "out of memory"),
    }
    assert {record.prompt for record in run.records if record.tokens} == {"a", "b", "raise picture", "oom picture"}
    progress = [event.progress for event in run.events if isinstance(event, JobMoved) and event.record][-1]
    assert (progress.total, progress.done, progress.failed) == (6, 2, 4)
    assert len(draw("a\nraise tokens\nb").records) == 1


def test_a_batch_out_of_memory_is_halved_until_it_fits(draw: Draw, tmp_path: Path) -> None:
    run = draw("\n".join("abcdefgh"), StubStages(tmp_path / "log", fits=2))
    assert [record.status for record in run.records] == ["done"] * 8
    notes = [event.text for event in run.events if isinstance(event, Noted)]
    assert notes == ["8 jobs at once do not fit in memory: continuing with fewer at a time"]


def test_a_full_disk_stops_the_batch_and_fails_no_job(draw: Draw, tmp_path: Path) -> None:
    with pytest.raises(WriteError):
        draw("a\nfull picture\nb")
    assert [line["status"] for line in lines(tmp_path / "out")] == ["done"]
    assert not list((tmp_path / "out" / ".glmimg").glob("*.tried"))


@pytest.mark.parametrize(
    ("both", "round_size", "loads"),
    [(True, None, 2), (False, None, 2), (False, 10, 4), (True, 10, 2)],
    ids=["both-fit", "one-at-a-time", "one-at-a-time-in-rounds", "both-fit-in-rounds"],
)
def test_a_stage_is_loaded_as_seldom_as_can_be(
    draw: Draw, tmp_path: Path, both: bool, round_size: int | None, loads: int
) -> None:
    stages = StubStages(tmp_path / "log", both=both)
    run = draw("\n".join(f"p{n}" for n in range(20)), stages, BatchOptions(rows=4, round_size=round_size))
    assert len(run.records) == 20
    assert len(stages.loads) == loads


def test_batches_hold_jobs_of_one_shape(draw: Draw, tmp_path: Path) -> None:
    seen: list[set[str]] = []

    class Spy(StubStages):
        def load_tokens(self, *arguments):  # type: ignore[no-untyped-def]
            stage = super().load_tokens(*arguments)
            original = stage.write

            def write(works, watch):  # type: ignore[no-untyped-def]
                seen.append({str(work.job.scene.size) for work in works})
                return original(works, watch)

            stage.write = write
            return stage

    text = "\n".join(json.dumps({"prompt": f"p{n}", "size": ("64x64", "96x96")[n % 2]}) for n in range(8))
    draw(text, Spy(tmp_path / "log"), BatchOptions(rows=4))
    assert seen == [{"64x64"}, {"96x96"}]


def test_files_of_another_job_are_not_overwritten(draw: Draw, tmp_path: Path) -> None:
    draw('{"prompt": "a", "name": "x"}')
    with pytest.raises(OutputError) as refused:
        draw('{"prompt": "b", "name": "x"}')
    assert "x.tokens.json belongs to another job ('a'" in refused.value.message
    (tmp_path / "out" / "y.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"y\.png exists and was not made by this batch"):
        draw('{"prompt": "b", "name": "y"}')
    assert (tmp_path / "out" / "y.png").read_bytes() == b"mine"
    run = draw('{"prompt": "b", "name": "x"}', options=BatchOptions(force=True))
    assert run.records[0].prompt == "b"


@pytest.mark.parametrize("what", ["{}", "mine", "newer"])
@pytest.mark.parametrize("with_picture", [False, True])
def test_a_dump_the_batch_did_not_write_is_not_overwritten(
    draw: Draw, tmp_path: Path, what: str, with_picture: bool
) -> None:
    """A foreign file under a dump's name, and a dump of a version to come."""
    line = '{"prompt": "a", "name": "x"}'
    if what == "newer":
        draw(line, out=str(tmp_path / "other"))
        newer = json.loads((tmp_path / "other" / "x.tokens.json").read_text()) | {"version": 99}
        what = json.dumps(newer)
    out = tmp_path / "out"
    out.mkdir()
    (out / "x.tokens.json").write_text(what)
    if with_picture:
        (out / "x.png").write_bytes(b"mine too")
    with pytest.raises(OutputError, match=r"x\.(png|tokens\.json) exists and was not made by this batch"):
        draw(line)
    assert (out / "x.tokens.json").read_text() == what
    assert draw(line, options=BatchOptions(force=True)).records[0].status == "done"
    assert read_dump(out / "x.tokens.json").prompt == "a"


@pytest.mark.parametrize("name", ["x.png", "x.tokens.json"])
def test_a_file_damaged_without_changing_its_size_is_drawn_anew(draw: Draw, tmp_path: Path, name: str) -> None:
    line, out = '{"prompt": "a", "name": "x", "seed": 1}', tmp_path / "out"
    draw(line)
    whole = {path.name: path.read_bytes() for path in out.glob("x.*")}
    (out / name).write_bytes(whole[name])
    assert draw(line).records == [], "touched, and what it was"
    damaged = bytearray(whole[name])
    damaged[len(damaged) // 2] ^= 0x55
    (out / name).write_bytes(damaged)
    assert draw(line).work.to_do == 1
    assert (out / "x.png").read_bytes() == whole["x.png"]
    assert read_dump(out / "x.tokens.json").target == parse_dump(whole["x.tokens.json"], "x").target
    assert draw(line).records == []


def test_records_without_hashes_stay_done_by_size_and_none_is_read_that_nobody_touched(
    draw: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, out = '{"prompt": "a", "name": "x"}', tmp_path / "out"
    draw(line)
    monkeypatch.setattr(FolderStore, "hashes", lambda *_: pytest.fail("it was read"))
    assert len(draw(line).work.done) == 1
    record = {key: value for key, value in lines(out)[0].items() if key not in ("sha256", "changed")}
    (out / "results.jsonl").write_text(json.dumps(record) + "\n")
    assert len(draw(line).work.done) == 1
    (out / "x.png").write_bytes(b"short")
    monkeypatch.undo()
    assert len(draw(line).work.paint) == 1


def test_a_file_that_came_meanwhile_is_not_overwritten(draw: Draw, tmp_path: Path) -> None:
    out = tmp_path / "out"

    class Intruded(StubStages):
        def load_painter(self, *arguments):  # type: ignore[no-untyped-def]
            (out / "x.png").write_bytes(b"mine")
            return super().load_painter(*arguments)

    run = draw('{"prompt": "a", "name": "x"}\n{"prompt": "b", "name": "y"}', Intruded(tmp_path / "log"))
    assert {record.name: record.status for record in run.records} == {"x": "failed", "y": "done"}
    assert "x.png" in str(run.records[0].error)
    assert (out / "x.png").read_bytes() == b"mine"


def test_other_weights_are_another_batch(draw: Draw, tmp_path: Path) -> None:
    from glmimg.engine.batch.ledger import ModelId

    draw("a")
    with pytest.raises(OutputError, match="was written with other weights"):
        draw("a", StubStages(tmp_path / "log", model=ModelId("stub2", "f" * 33)))


def test_side_by_side_gives_the_same_files(draw: Draw, tmp_path: Path) -> None:
    text = "\n".join(f"p{n}" for n in range(12)) + "\nraise picture"
    draw(text)
    stages = StubStages(tmp_path / "log2", devices=("cuda:1", "cuda:2"))
    run = draw(text, stages, out=str(tmp_path / "out2"))
    assert Counter(record.status for record in run.records) == {"done": 12, "failed": 1}
    assert sorted(stages.loads) == ["painter cuda:1", "painter cuda:2", "tokens"]
    for path in (tmp_path / "out").glob("*.png"):
        assert path.read_bytes() == (tmp_path / "out2" / path.name).read_bytes()


def test_side_by_side_stops_when_one_side_cannot_go_on(draw: Draw, tmp_path: Path) -> None:
    with pytest.raises(WriteError):
        draw("a\nfull picture\nb\nc\nd", StubStages(tmp_path / "log", devices=("cuda:1",)), BatchOptions(rows=1))


def test_the_stages_really_overlap_side_by_side(draw: Draw, tmp_path: Path) -> None:
    """Stage 1 writes its last dump only once the first picture is being painted."""
    painting, overlapped = threading.Event(), []

    class Tied(StubStages):
        def load_tokens(self, *arguments):  # type: ignore[no-untyped-def]
            stage = super().load_tokens(*arguments)
            original = stage.write

            def write(works, watch):  # type: ignore[no-untyped-def]
                if works[0].job.scene.prompt == "last":
                    overlapped.append(painting.wait(20))
                return original(works, watch)

            stage.write = write
            return stage

        def load_painter(self, *arguments):  # type: ignore[no-untyped-def]
            painting.set()
            return super().load_painter(*arguments)

    run = draw("a\nb\nlast", Tied(devices=("cuda:1",)), BatchOptions(rows=1))
    assert len(run.records) == 3
    assert overlapped == [True]


def test_a_stop_leaves_after_the_work_at_hand(draw: Draw, tmp_path: Path) -> None:
    from glmimg.engine.batch.engine import BatchEngine
    from glmimg.engine.batch.ledger import Ledger
    from glmimg.engine.batch.survey import survey
    from tests.batch.conftest import make_jobs

    stages, store = StubStages(tmp_path / "log"), FolderStore.open(str(tmp_path / "out"))
    ledger = Ledger(store, stages.model)
    engine = BatchEngine(stages, ledger, BatchOptions(rows=2), lambda event: None)
    records = []

    def run_and_stop() -> None:
        for record in engine.run(survey(make_jobs(tmp_path, "a\nb\nc\nd"), ledger)):
            records.append(record)
            engine.stop()

    with pytest.raises(Interrupted):
        run_and_stop()
    assert len(records) == 1
    assert not list((tmp_path / "out" / ".glmimg").glob("*.tried"))
    assert len(draw("a\nb\nc\nd").records) == 3


def test_a_full_disk_while_recording_leaves_no_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    store = FolderStore.open(str(tmp_path / "out"))
    store.add_result(b'{"a": 1}')
    real = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) < 4:
            raise OSError(28, "No space left on device")
        return real(descriptor, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(WriteError):
        store.add_result(b'{"b": 2, "long": "enough to be cut"}')
    monkeypatch.undo()
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == b'{"a": 1}\n'


def test_jobs_that_differ_in_their_painting_have_their_tokens_drawn_once(
    draw: Callable[..., Run], tmp_path: Path
) -> None:
    lines = [{"prompt": "a cat", "sweep": "guidance=1,2,3", "seed": 4}, {"prompt": "a dog", "seed": 5}]
    run = draw("".join(json.dumps(line) + "\n" for line in lines))
    assert [record.status for record in run.records] == ["done"] * 4
    assert sorted((tmp_path / "log").read_text().split()) == sorted(
        ["tokens", "4", "tokens", "5", *["picture", "4"] * 3, "picture", "5"]
    )
