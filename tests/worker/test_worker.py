"""A real worker on the tiny checkpoint: what is drawn through it is what is drawn without it, whatever befalls it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from glmimg.choice import Keeping, ModelChoice
from glmimg.engine.stages import CheckpointStages
from glmimg.engine.worker import link as link_module
from glmimg.engine.worker import place, start
from glmimg.engine.worker.link import Link
from glmimg.engine.worker.start import Errand, running
from glmimg.errors import WorkerUnavailable
from glmimg.runtime.resolve import resolve
from glmimg.unfinished import read_unfinished
from tests.card.conftest import libraries  # noqa: F401
from tests.conftest import Outcome, run_program

pytest.importorskip("uvicorn", reason="the extra serve is not installed: no worker was started")

Glmimg = Callable[..., Outcome]


@pytest.fixture(scope="module")
def runtime() -> Iterator[Path]:
    """A folder for sockets, whose workers end with the module."""
    folder = Path(tempfile.mkdtemp(prefix="glmimg-w-"))
    yield folder
    os.environ["XDG_RUNTIME_DIR"], before = str(folder), os.environ.get("XDG_RUNTIME_DIR", "")
    for link in running():
        link.stop()
    os.environ["XDG_RUNTIME_DIR"] = before
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def common(tiny: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> list[str | Path]:
    """Options of every command that draws; a worker holds the model."""
    monkeypatch.setattr(start, "ROOM_SECONDS", 60.0)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    return ["-m", tiny, "-q", "--force"]


@pytest.fixture
def worker(common: list[str | Path], glmimg: Glmimg, tiny: Path) -> Link:
    """A worker that holds the tiny checkpoint, the same for all tests unless one ends it."""
    started = glmimg("worker", "start", "-m", tiny, "--keep", "5m", "--json")
    assert started.status == 0, started.err
    return next(link for link in running() if link.hello.model == str(tiny))


COMMANDS = {
    "t2i": "t2i x --seed 1 -s 64x64 --steps 2 -o {out}/x.png",
    "several": "t2i x y -n 2 --seed 3 -s 64x64 --steps 1 -o {out}/x-{{index}}.png",
    "draft": "t2i x --seed 1 -s 64x64 --steps 1 --preview-out {out}/d.png -o {out}/x.png",
    "edit": "edit x -i {source} --seed 1 -s 64x64 --steps 2 -o {out}/x.png",
    "tokens": "tokens x --seed 1 -s 64x64 -o {out}/x.json",
    "decode": "decode {dump} --steps 2 -o {out}/x.png",
    "edit's dump": "decode {edited} --steps 2 -o {out}/x.png",
    "redraw": "redraw {dump} --seed 3 --box 0,0,32,32 -o {out}/x.json",
    "score": "score {dump} -o {out}/x.json",
    "encode": "encode {source} -o {out}/x.json",
    "explore": "explore x -n 2 --seed 1 -s 64x64 --steps 1 --pick 2 -o {out}/x.png",
}


@pytest.fixture(scope="module")
def inputs(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A picture, a dump of a prompt, and one of an edit that carries its source, whose file is gone."""
    folder = tmp_path_factory.mktemp("inputs")
    named = {name: folder / f"{name}.json" for name in ("dump", "edited")} | {"source": folder / "source.png"}
    moved = folder / "moved.png"
    Image.effect_noise((96, 64), 90).convert("RGB").save(named["source"])
    line = ["tokens", "x", "-m", tiny, "--seed", "2", "-s", "64x64", "-q", "--no-worker", "-o"]
    assert run_program(*line, named["dump"]).returncode == 0
    shutil.copy(named["source"], moved)
    assert run_program(*line, named["edited"], "-i", moved, "--embed-sources").returncode == 0
    moved.unlink()
    return named


@pytest.mark.parametrize("name", COMMANDS)
def test_the_same_files_as_without(
    worker: Link, common: list[str | Path], inputs: dict[str, Path], glmimg: Glmimg, tmp_path: Path, name: str
) -> None:
    files = []
    for way in ("with", "without"):
        out = tmp_path / way
        out.mkdir()
        line = [word.format(out=out, **inputs) for word in COMMANDS[name].split()]
        before = running()[0].hello.done
        done = glmimg(*line, *common, *(["--no-worker"] if way == "without" else []))
        assert done.status == 0, done.err
        assert (running()[0].hello.done > before) == (way == "with")
        files.append({path.name: _content(path) for path in sorted(out.iterdir())})
    assert files[0] == files[1]


def _content(path: Path) -> object:
    """A file without the time it took, nor the pass that goes on from what was left."""
    if path.suffix != ".json":
        return path.read_bytes()
    fields = json.loads(path.read_text())
    del fields["stats"]["seconds"], fields["stats"]["forward_passes"]
    return fields


@pytest.mark.parametrize("command", ["edit", "tokens", "explore"])
def test_a_source_is_named_from_the_folder_of_the_client(
    worker: Link, common: list[str | Path], tmp_path: Path, command: str
) -> None:
    """Which is not the worker's: it reads no file."""
    Image.effect_noise((64, 64), 90).convert("RGB").save(tmp_path / "a [1].png")
    line = [command, "x", "-i", "a [1].png", "-s", "64x64", *common]
    steps = [] if command == "tokens" else ["--steps", "1"]
    done = run_program(*line, *steps, cwd=tmp_path, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert running()[0].hello.done > worker.hello.done


def test_a_batch_and_python_draw_through_it(worker: Link, tiny: Path, common: list[str | Path], tmp_path: Path) -> None:
    import glmimg as python

    (tmp_path / "jobs.txt").write_text("x\ny\n")
    done = run_program("batch", tmp_path / "jobs.txt", "-o", tmp_path / "out", "-s", "64x64", "--steps", "1", *common)
    assert done.returncode == 0, done.stderr
    counted = running()[0].hello.done
    assert counted > worker.hello.done
    with python.load(str(tiny)) as model:
        model.draw("x", size="64x64", steps=1, seed=1)
    assert running()[0].hello.done > counted


def test_a_client_imports_no_torch(worker: Link, common: list[str | Path], tmp_path: Path) -> None:
    line = ["t2i", "x", "-s", "64x64", "--steps", "1", "-o", tmp_path / "x.png", *common]
    command = [sys.executable, "-X", "importtime", "-m", "glmimg", *map(str, line)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {name.rpartition("|")[2].strip() for name in done.stderr.splitlines()}
    assert not {"torch", "transformers", "diffusers", "numpy"} & imported
    assert (tmp_path / "x.png").is_file()


def test_ctrl_c_ends_the_job_and_not_the_worker(worker: Link, common: list[str | Path], tmp_path: Path) -> None:
    line = ["t2i", "x", "-s", "1024x1024", "-o", tmp_path / "x.png", *common]
    client = subprocess.Popen([sys.executable, "-m", "glmimg", *map(str, line)], stderr=subprocess.PIPE, text=True)
    _wait(lambda: running()[0].hello.waiting > 0)
    client.send_signal(signal.SIGINT)
    assert client.wait(300) == 130
    _wait(lambda: running()[0].hello.waiting == 0)
    assert running()[0].hello.pid == worker.hello.pid
    assert list(tmp_path.glob("*.png")) == []


UNDER_WAY = {
    "tokens": ("tokens x --seed 1 -s 256x256 --dtype bf16 -o", "x.json"),
    "picture": ("decode {dump} --steps 60 --dtype bf16 -o", "x.png"),
}


@pytest.mark.parametrize(("who", "how"), [("client", "SIGINT"), ("client", "SIGKILL"), ("worker", "SIGKILL")])
@pytest.mark.parametrize("stage", UNDER_WAY)
def test_unfinished_work_is_left_to_go_on_from(
    common: list[str | Path], inputs: dict[str, Path], glmimg: Glmimg, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path, stage: str, who: str, how: str,
) -> None:  # fmt: skip
    """Whoever ends: what there was by then lies beside the output, and the same result comes of it."""
    monkeypatch.setenv("GLMIMG_PART_SECONDS", "0")
    assert glmimg("worker", "start", "-m", common[1], "--dtype", "bf16", "--keep", "5m").status == 0
    holder = next(link for link in running() if link.hello.choice.dtype == "bf16")
    words, name = UNDER_WAY[stage]
    line, out = words.format(**inputs).split(), tmp_path / name
    part = out.with_name(out.name + ".part")
    client = subprocess.Popen([sys.executable, "-m", "glmimg", *line, str(out), *map(str, common)])
    _wait(lambda: part.exists() or client.poll() is not None)
    ended = signal.Signals[how]
    os.kill(client.pid if who == "client" else holder.hello.pid, ended)
    status = client.wait(300)
    if who == "worker":
        assert (status, part.exists()) == (0, False)
    else:
        assert (status, part.exists()) == (130 if how == "SIGINT" else -ended, True)
        _wait(lambda: not next(link for link in running() if link.hello.pid == holder.hello.pid).hello.waiting)
        assert 0 < read_unfinished(part).done < read_unfinished(part).total
        resumed = glmimg("resume", part, "-q")
        assert resumed.status == 0, resumed.err
        assert not part.exists()
    assert glmimg(*line, tmp_path / f"whole-{name}", *common, "--no-worker").status == 0
    assert _content(out) == _content(tmp_path / f"whole-{name}")


@pytest.mark.parametrize("moment", ["before", "at work"])
def test_a_killed_worker_costs_nothing(worker: Link, common: list[str | Path], tmp_path: Path, moment: str) -> None:
    """Its end is said once, the picture is drawn all the same, and the next command is not in its way."""
    size = "64x64" if moment == "before" else "256x256"
    line = ["t2i", "x", "--seed", "1", "-s", size, "--steps", "1", "-m", common[1], "-o"]
    if moment == "before":
        os.kill(worker.hello.pid, signal.SIGKILL)
        drawn = run_program(*line, tmp_path / "x.png")
        assert drawn.returncode == 0, drawn.stderr
    else:
        client = subprocess.Popen(
            [sys.executable, "-m", "glmimg", *map(str, line), str(tmp_path / "x.png")],
            stderr=subprocess.PIPE,
            text=True,
        )
        _wait(lambda: running()[0].hello.waiting > 0)
        os.kill(worker.hello.pid, signal.SIGKILL)
        said = client.communicate(timeout=300)[1]
        assert (client.returncode, said.count("died; going on without it")) == (0, 1), said
    assert run_program(*line, tmp_path / "again.png", "--no-worker").returncode == 0
    assert (tmp_path / "x.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    assert list(place.folder().glob("*.sock")) == []


def test_an_error_there_is_the_error_here(worker: Link, common: list[str | Path], tmp_path: Path) -> None:
    broken = shutil.copytree(common[1], tmp_path / "broken")
    weights = next(broken.glob("vision_language_encoder/*.safetensors"))
    lines = []
    for way in (["--keep", "1m"], ["--no-worker"]):
        if not lines:
            done = run_program("tokens", "x", "-m", broken, "-s", "64x64", "-o", tmp_path / "x.json", *way)
            assert done.returncode == 0, done.stderr
        weights.write_bytes(weights.read_bytes()[:-8])
        done = run_program("tokens", "x", "-m", broken, "-s", "64x64", "-o", tmp_path / "y.json", *way)
        lines.append((done.returncode, done.stderr.splitlines()[-2:]))
    assert lines[0] == lines[1]
    assert lines[0][0] == 4


def test_it_leaves_when_nothing_is_asked(common: list[str | Path], glmimg: Glmimg, tmp_path: Path) -> None:
    line = ["t2i", "x", "-s", "64x64", "--steps", "1", "--dtype", "bf16", "-o", tmp_path / "x.png"]
    drawn = glmimg(*line, *common, "--keep", "1s")
    assert drawn.status == 0, drawn.err
    assert "bf16" in [link.hello.choice.dtype for link in running()]
    _wait(lambda: "bf16" not in [link.hello.choice.dtype for link in running()])


def test_an_idle_worker_makes_room_for_another_choice(
    worker: Link, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = CheckpointStages(resolve(str(tiny), None), ModelChoice(model=str(tiny), dtype="bf16"))
    assert start.with_worker(other, Keeping()) is other
    assert worker.hello.pid in [link.hello.pid for link in running()]
    monkeypatch.setattr("glmimg.engine.stages.free_bytes", lambda device: 0.0)
    assert start.with_worker(other, Keeping()) is other
    assert worker.hello.pid not in [link.hello.pid for link in running()]


def test_an_idle_worker_leaves_a_card_that_another_choice_wants(
    worker: Link,
    common: list[str | Path],
    tiny: Path,
    libraries: None,  # noqa: F811
) -> None:
    """Only when its memory is wanted, and one on another device stays."""
    from tests.card.card import Card

    choice = ModelChoice(model=str(tiny), device="cuda", dtype="fp32")
    other = CheckpointStages(resolve(str(tiny), None), choice.model_copy(update={"dtype": "bf16"}))
    errand = Errand(socket=place.folder() / "card.sock", identity="card", choice=choice, keep=60)
    on_card = subprocess.Popen([sys.executable, "-m", "tests.worker.on_card", errand.model_dump_json()])
    try:
        _wait(lambda: "cuda" in [link.hello.device for link in running()])
        with Card(memory=79e9) as card:
            start.make_room(other)
            assert on_card.poll() is None
            card.memory = 1e6
            start.make_room(other)
        assert on_card.wait(100) == 0
    finally:
        on_card.kill()
        on_card.wait()
    assert worker.hello.pid in [link.hello.pid for link in running()]


def test_stop_and_status(worker: Link, common: list[str | Path], glmimg: Glmimg, tiny: Path) -> None:
    shown = [json.loads(line) for line in glmimg("worker", "--json").out.splitlines()]
    assert (worker.hello.pid, str(tiny)) in [(each["pid"], each["model"]) for each in shown]
    assert str(worker.hello.pid) in glmimg("worker", "status").out
    assert glmimg("worker", "stop", "-m", "demo").out == ""
    assert "stopped" in glmimg("worker", "stop").out
    _wait(lambda: running() == [])


def test_one_that_does_not_answer_is_said_and_let_go(
    common: list[str | Path], glmimg: Glmimg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "ANSWER_SECONDS", 0.5)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder := Path(tempfile.mkdtemp(prefix="glmimg-s-"))))
    monkeypatch.setattr(start, "ROOM_SECONDS", 0.5)
    assert "no worker is running" in glmimg("worker", "stop").err
    choice = ModelChoice(model=str(common[1]))
    path = place.socket_of(start._identity(CheckpointStages(resolve(choice.model), choice)))
    place.folder()
    with socket.socket(socket.AF_UNIX) as frozen:
        frozen.bind(str(path))
        frozen.listen()
        drawn = glmimg("tokens", "x", "-m", common[1], "-s", "64x64", "-o", tmp_path / "x.json")
        assert (drawn.status, "does not answer; going on without it" in drawn.err) == (0, True)
        assert "does not answer" in glmimg("worker", "status").err
        assert "does not answer" in glmimg("worker", "stop").err
    assert not path.exists()
    shutil.rmtree(folder)


def test_a_folder_that_others_may_enter_is_refused(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = runtime / "other"
    other.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(other))
    (other / "glmimg").mkdir(mode=0o755)
    with pytest.raises(WorkerUnavailable, match="only you may enter"):
        place.folder()
    (other / "glmimg").chmod(0o700)
    assert place.folder() == other / "glmimg"
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(WorkerUnavailable, match="only you may enter"):
        place.folder()


def test_a_long_runtime_folder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("long" * 30)))
    assert len(str(place.socket_of(place.identity_of(ModelChoice(), "x")))) <= place.MOST_BYTES


def test_what_changes_pixels_has_another_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other weights, adapters, and a number of threads by which the last bits round otherwise."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.safetensors").write_bytes(b"1")
    adapted, own = ModelChoice(lora=("a.safetensors:2",)), place.identity_of
    names = {own(ModelChoice(), "x"), own(ModelChoice(), "y"), own(adapted, "x")}
    (tmp_path / "a.safetensors").write_bytes(b"22")
    names.add(own(adapted, "x"))
    for variable in place.NUMBERS:
        monkeypatch.setenv(variable, "7")
        names.add(own(ModelChoice(), "x"))
    assert len(names) == 4 + len(place.NUMBERS)


def test_a_socket_is_dead_at_the_second_look(runtime: Path) -> None:
    """One who starts has bound its socket, and refuses for a moment."""
    path = runtime / "starting.sock"
    with socket.socket(socket.AF_UNIX) as starting:
        starting.bind(str(path))
        assert place.is_dead(path)
        listening = threading.Timer(place.SECOND_LOOK_SECONDS / 2, starting.listen)
        listening.start()
        place.clear_dead(path)
        listening.join()
        assert path.exists()
    assert Link.to(path) is None
    assert not path.exists()


def test_a_busy_worker_keeps_its_socket(
    runtime: Path, common: list[str | Path], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does not answer in time is no reason to start another in its place."""
    stages = CheckpointStages(resolve(str(tiny), None), ModelChoice(model=str(tiny), dtype="fp16"))
    path = place.folder() / f"{start._identity(stages)}.sock"
    monkeypatch.setattr("glmimg.engine.worker.link.ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(start, "START_SECONDS", 0.5)
    monkeypatch.setattr(start, "ROOM_SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen()
        inode = path.stat().st_ino
        assert start.with_worker(stages, Keeping()) is stages
        with pytest.raises(WorkerUnavailable, match="does not answer"):
            start.start_worker(stages, 60)
        assert path.stat().st_ino == inode
    path.unlink()


@pytest.mark.parametrize("line", ["t2i x --keep 1m", "worker start", "serve"])
def test_without_the_extra_that_is_said_first(glmimg: Glmimg, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setattr(start, "missing_extra", lambda: ["uvicorn"])
    refused = glmimg(*line.split(), "-m", "nowhere/nothing")
    assert refused.status == 2
    assert "uvicorn" in refused.err
    install = refused.err.partition("pip ")[2].split("'")[0].strip()
    assert f"pip {install}" in Path(__file__).parents[2].joinpath("README.md").read_text()


def test_a_full_disk_starts_no_worker(
    tiny: Path, common: list[str | Path], glmimg: Glmimg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "log_of", lambda socket: Path("/dev/full"))
    monkeypatch.setattr(start, "_started", lambda errand: start.log_of(errand.socket).write_bytes(b"x"))
    refused = glmimg("t2i", "x", "-m", tiny, "--dtype", "fp16", "--keep", "1m", "-o", tiny.parent / "x.png")
    assert (refused.status, "No space left on device" in refused.err) == (1, True), refused.err


def test_another_version_at_the_socket_is_not_asked(
    worker: Link, tiny: Path, common: list[str | Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = CheckpointStages(resolve(str(tiny), None), ModelChoice(model=str(tiny)))
    monkeypatch.setattr(start, "__version__", "0.0.1")
    assert start.with_worker(stages, Keeping()) is stages
    with pytest.raises(WorkerUnavailable, match="another glmimg"):
        start.start_worker(stages, 60)


def _wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
