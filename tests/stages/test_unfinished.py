"""Killed in the middle of a stage: what was left is gone on with, and becomes what it would have become unbroken."""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from safetensors.torch import load_file, save_file

from glmimg.ar.static_decoder import StaticDecoder
from glmimg.choice import ModelChoice
from glmimg.engine.complete import complete
from glmimg.engine.engine import Engine
from glmimg.engine.orders import Desk, Order, Painted, PaintOrder, Written
from glmimg.engine.output_files import OutputFiles
from glmimg.engine.scope import Scope
from glmimg.engine.stages import CheckpointStages
from glmimg.errors import Interrupted, OutputError
from glmimg.events import StepDone, TokensWritten
from glmimg.job import Job
from glmimg.runtime.resolve import resolve
from glmimg.sources import SourceShelf
from glmimg.tokens.dump_file import read_dump
from glmimg.unfinished import HEADER, VARIABLE, Part, read_unfinished
from tests.conftest import Outcome

SIZE = "160x128"


@pytest.fixture(scope="module")
def desk(tiny: Path) -> Iterator[Desk]:
    """A desk whose stages stay loaded; forked processes work on copies of them."""
    stages = CheckpointStages(resolve(str(tiny), None), ModelChoice(model=str(tiny), device="cpu"), SourceShelf())
    with Engine(stages, Scope(128, 160, sources=((128, 160),)), keep_both=True) as engine:
        engine.tokens(), engine.painter()
        yield Desk(engine, stages.shelf or SourceShelf())


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Seconds between two writings: a token takes one of a thousand, a step as long as writing it."""
    monkeypatch.setenv(VARIABLE, "0" if "picture" in request.node.name else "0.005")


def jobs_of(desk: Desk, count: int = 1, **given: Any) -> list[Job]:
    checkpoint = desk.engine.stages.checkpoint  # type: ignore[attr-defined]
    sources = [desk.shelf.take(given.pop("source"), checkpoint.source_bounds).ref] if "source" in given else []
    wanted = {"size": complete({"prompt": "x", "size": None}, checkpoint).scene.size, "steps": 8, **given}
    return [complete({"prompt": f"tree {n}", "seed": n, **wanted}, checkpoint, sources) for n in range(count)]


def write(desk: Desk, orders: list[Order]) -> list[Written]:
    with OutputFiles() as files:
        return list(replace(desk, files=files).write(orders))


def paint(desk: Desk, orders: list[PaintOrder]) -> list[Painted]:
    with OutputFiles() as files:
        return list(replace(desk, files=files).paint(orders))


def kill(work: Callable[[], object], parts: list[Part], moment: int) -> None:
    """Do some work in a process of its own, which is killed as soon as `moment` is left in all parts."""
    leave = Part.leave

    def leave_for_good(part: Part, *state: Any, **how_far: Any) -> None:
        leave(part, *state, **how_far)
        if min(each.done or 0 for each in parts) >= moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def work_until_then() -> None:
        with mock.patch.object(Part, "leave", leave_for_good):
            work()

    process = multiprocessing.get_context("fork").Process(target=work_until_then)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert min(part.done or 0 for part in parts) >= moment


def drawn_anew(desk: Desk, work: Callable[[], object], event: type) -> list[Any]:
    """What a stage tells of its progress."""
    seen: list[Any] = []
    desk.engine.watch = seen.append
    work()
    return [each for each in seen if isinstance(each, event)]


@pytest.mark.parametrize(
    ("rows", "moments", "given"),
    [(1, (1, 40, 75), {}), (3, (30,), {}), (1, (20, 70), {"ar_method": "jacobi"}), (2, (30,), {"ar_method": "jacobi"})],
    ids=["one by one", "rows", "jacobi", "rows of jacobi"],
)
def test_tokens_go_on_from_where_a_process_was_killed(
    desk: Desk, tmp_path: Path, rows: int, moments: tuple[int, ...], given: dict[str, Any]
) -> None:
    jobs = jobs_of(desk, rows, **given)
    whole = [written.dump for written in write(desk, [Order(job) for job in jobs])]
    for moment in moments:
        orders = [Order(job, tmp_path / f"{moment}-{n}.tokens.json") for n, job in enumerate(jobs)]
        parts = [part for order in orders if (part := order.part(desk.engine.stages.model))]
        kill(lambda orders=orders: write(desk, orders), parts, moment)
        told = drawn_anew(desk, lambda orders=orders: write(desk, orders), TokensWritten)
        assert told[0].count > moment
        again = [read_dump(order.dump_path) for order in orders if order.dump_path]
        assert [dump.grids for dump in again] == [dump.grids for dump in whole]
        assert rows > 1 or again[0].stats.forward_passes == whole[0].stats.forward_passes
        assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*.part"))


def test_tokens_of_the_static_pass_go_on(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pass that is captured and compiled on a card, here as it is, with prompts of two lengths side by side."""
    stage = desk.engine.tokens()
    static = StaticDecoder(stage.model, compile=False)  # type: ignore[attr-defined]
    monkeypatch.setattr(stage, "_decoder", lambda prompts, count, read=(): static.start(prompts, count, read) or static)
    first, second = jobs_of(desk, 2)
    longer = second.model_copy(update={"scene": second.scene.model_copy(update={"prompt": "a tree in the rain"})})
    whole = write(desk, [Order(job) for job in (first, longer)])
    orders = [Order(job, tmp_path / f"{n}.tokens.json") for n, job in enumerate((first, longer))]
    parts = [part for order in orders if (part := order.part(desk.engine.stages.model))]
    kill(lambda: write(desk, orders), parts, 20)
    assert [each.dump.grids for each in write(desk, orders)] == [each.dump.grids for each in whole]


def test_an_edits_tokens_go_on(desk: Desk, tmp_path: Path) -> None:
    from PIL import Image

    Image.linear_gradient("L").convert("RGB").save(tmp_path / "source.png")
    (job,) = jobs_of(desk, source=tmp_path / "source.png")
    (whole,) = write(desk, [Order(job)])
    order = Order(job, tmp_path / "x.tokens.json")
    part = order.part(desk.engine.stages.model)
    assert part is not None
    kill(lambda: write(desk, [order]), [part], 7)
    (again,) = write(desk, [order])
    assert (again.dump.grids, again.dump.sources) == (whole.dump.grids, whole.dump.sources)


@pytest.mark.parametrize("scheduler", ["euler", "heun", "unipc", "dpm"])
def test_a_picture_goes_on_from_where_a_process_was_killed(desk: Desk, tmp_path: Path, scheduler: str) -> None:
    (job,) = jobs_of(desk, scheduler=scheduler, guidance_window=(0.1, 0.7))
    (written,) = write(desk, [Order(job)])
    (whole,) = paint(desk, [PaintOrder(written.dump, job.painting)])
    for moment in (1, 5, 8):
        order = PaintOrder(written.dump, job.painting, tmp_path / f"{moment}.png")
        part = order.part(desk.engine.stages.model)
        assert part is not None
        kill(lambda order=order: paint(desk, [order]), [part], moment)
        told = drawn_anew(desk, lambda order=order: paint(desk, [order]), StepDone)
        assert not told or told[0].number > moment
        assert order.picture_path is not None
        assert order.picture_path.read_bytes() == whole.picture.encode()
        assert not part.path.exists()


def left(desk: Desk, folder: Path, **given: Any) -> tuple[Order, Part]:
    """A dump left unfinished."""
    order = Order(*jobs_of(desk, **given), folder / "x.tokens.json")
    part = order.part(desk.engine.stages.model)
    assert part is not None
    kill(lambda: write(desk, [order]), [part], 10)
    return order, part


def test_what_is_damaged_or_of_another_machine_is_begun_again(desk: Desk, tmp_path: Path) -> None:
    order, part = left(desk, tmp_path)
    found = read_unfinished(part.path)
    tensors = load_file(part.path)
    (whole,) = write(desk, [Order(order.job)])
    impossible = {**found.state, "drafts": [10**6]}
    for changed, header in (
        ({}, found.model_copy(update={"state": impossible})),
        ({}, found.model_copy(update={"state": {}})),
        ({"tensor00": tensors["tensor00"] + 1}, found),
        ({}, found.model_copy(update={"where": "cuda bf16"})),
    ):
        save_file({**tensors, **changed}, part.path, {HEADER: header.model_dump_json()})
        told = drawn_anew(
            desk, lambda: desk.engine.tokens().write([order_work(order, part)], desk.engine.watch), TokensWritten
        )
        assert told[0].count < 20
        (again,) = desk.engine.write([order_work(order, part)])
        assert again.grids == whole.dump.grids


def order_work(order: Order, part: Part) -> Any:
    from glmimg.tokens.change import TokenWork

    return TokenWork(order.job, part=part)


def test_unfinished_work_of_another_kind_is_not_overwritten(desk: Desk, tmp_path: Path) -> None:
    order, part = left(desk, tmp_path)
    before = part.path.read_bytes()
    other = Order(order.job.again(seed=99), order.dump_path)
    with pytest.raises(OutputError, match="unfinished work of a different job"):
        write(desk, [other])
    assert part.path.read_bytes() == before


def test_ctrl_c_names_the_file_and_the_commands_to_paste(
    tiny: Path, tmp_path: Path, glmimg: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw = ("t2i", "a tree", "-m", tiny, "-s", SIZE, "--seed", "1", "--steps", "8")
    assert glmimg(*draw, "-o", "whole.png").status == 0
    for name, number, status in (("x.tokens.json.part", signal.SIGINT, 130), ("x.png.part", signal.SIGTERM, 143)):
        for path in tmp_path.glob("x*"):
            path.unlink()
        threading.Thread(target=send_once_there, args=(Path(name), number)).start()
        ended = glmimg(*draw, "-o", "x.png")
        assert ended.status == status, ended.err
        assert Path(name).exists()
        looked = json.loads(glmimg("inspect", name, "--json").out)
        assert 0 < looked["done"] <= looked["total"]
        assert f"of {looked['total']}" in glmimg("inspect", name).out
        commands = ended.err.strip().rpartition("continue with: ")[2]
        assert name in commands
        for command in commands.split(" && "):
            assert glmimg(*shlex.split(command)[1:]).status == 0
        assert Path("x.png").read_bytes() == Path("whole.png").read_bytes()
        assert not list(tmp_path.glob("*.part"))


def test_ctrl_c_says_where_nothing_can_be_left(desk: Desk, tmp_path: Path) -> None:
    """A picture behind a step cache, whose steps lean on each other by more than the latents."""
    (job,) = jobs_of(desk)
    (written,) = write(desk, [Order(job, tmp_path / "x.tokens.json")])
    cached = job.painting.model_copy(update={"cache": 0.1})
    order = PaintOrder(written.dump, cached, tmp_path / "x.png", str(tmp_path / "x.tokens.json"))

    def interrupt(event: object) -> None:
        if isinstance(event, StepDone):
            raise KeyboardInterrupt

    desk.engine.watch = interrupt
    with pytest.raises(Interrupted) as ended:
        paint(desk, [order])
    assert "--cache start over. Finished token dumps are kept" in ended.value.hint
    assert not list(tmp_path.glob("*.part"))


def send_once_there(path: Path, number: signal.Signals) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(os.getpid(), number)


def test_a_batch_goes_on_by_itself(
    tiny: Path, tmp_path: Path, glmimg: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("jobs.jsonl").write_text('{"prompt": "a", "name": "a", "seed": 1}\n{"prompt": "b", "name": "b", "seed": 2}\n')
    draw = ("batch", "jobs.jsonl", "-m", tiny, "-s", SIZE, "--steps", "8", "--json", "-o")
    assert glmimg(*draw, "whole").status == 0
    for name in ("a.tokens.json.part", "a.png.part"):
        run = multiprocessing.get_context("fork").Process(target=glmimg, args=(*draw, "out"))
        run.start()
        while not Path("out", name).exists() and run.is_alive():
            time.sleep(0.001)
        run.kill()
        run.join()
        assert run.exitcode == -signal.SIGKILL
        assert Path("out", name).exists()
    assert glmimg(*draw, "out").status == 0
    for name in ("a.png", "b.png"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()
    assert not list(Path("out").glob("*.part"))
