"""A batch on a local Ray over two cores: the same files as here, a killed worker costs nothing."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glmimg.engine.batch.folder import open_store
from glmimg.engine.batch.ledger import Ledger
from glmimg.engine.batch.on_ray import Cluster, RayEngine, _check_answers, connect
from glmimg.engine.batch.survey import survey
from glmimg.engine.batch.workbench import BatchOptions
from glmimg.errors import ClusterUnavailable, UsageError
from tests.batch.conftest import Run, make_jobs
from tests.batch.stubs import StubStages
from tests.conftest import Outcome

Draw = Callable[..., Run]
TEXT = "\n".join(f"p{n}" for n in range(10)) + "\nraise picture\ndie once\n"


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="ray is not installed: nothing was drawn on a cluster")
    pytest.importorskip("ray.data")
    connect(Cluster())
    yield
    ray.shutdown()


def test_the_same_files_as_here_and_a_worker_that_dies_costs_nothing(
    local_ray: None, draw: Draw, tmp_path: Path
) -> None:
    here = draw(TEXT, StubStages(tmp_path / "log-here"), out=str(tmp_path / "here"))
    stages = StubStages(tmp_path / "log-ray", deaths=tmp_path / "died")
    store = open_store(str(tmp_path / "out"))
    ledger = Ledger(store, stages.model)
    work = survey(make_jobs(tmp_path, TEXT), ledger)
    engine = RayEngine(stages, ledger, BatchOptions(rows=4), lambda event: None, Cluster())
    records = list(engine.run(work))
    assert (tmp_path / "died").exists()
    assert Counter(record.status for record in records) == {"done": 11, "failed": 1}
    assert Counter(record.status for record in here.records) == {"done": 11, "failed": 1}
    for path in (tmp_path / "here").glob("*.png"):
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert Counter(line["name"] for line in lines) == Counter(record.name for record in records)
    assert (engine.count.done, engine.count.failed) == (11, 1)


def test_real_stages_draw_the_same_pixels_and_a_second_run_draws_none(
    local_ray: None, glmimg: Callable[..., Outcome], tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "jobs.txt").write_text("a red circle\na blue square\n")
    command = ("batch", tmp_path / "jobs.txt", "-m", tiny, "-s", "64x64", "--steps", "2")
    on_ray = (*command, "-o", tmp_path / "ray", "--engine", "ray", "--dit-workers", "1")
    here, there = glmimg(*command, "-o", tmp_path / "here"), glmimg(*on_ray)
    assert (here.status, there.status) == (0, 0), here.err + there.err
    pictures = sorted(path.name for path in (tmp_path / "here").glob("*.png"))
    assert len(pictures) == 2
    for name in pictures:
        pixels = [np.asarray(Image.open(tmp_path / place / name)) for place in ("here", "ray")]
        assert np.array_equal(*pixels)
    again = glmimg(*on_ray)
    assert (again.status, again.out) == (0, "")
    assert "2 done already" in again.err


@pytest.mark.parametrize("address", ["nonsense", "ray://host", "host:99999"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(UsageError):
        connect(Cluster(address=address))


@contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
    """An address where somebody takes calls, and says `answer` or, with None, nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        if answer is not None:
            threading.Thread(target=lambda: server.accept()[0].sendall(answer), daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("scheme", ["", "ray://"])
@pytest.mark.parametrize("answer", [None, b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["mute", "no Ray"])
def test_a_cluster_that_listens_but_does_not_answer_is_named_soon(scheme: str, answer: bytes | None) -> None:
    started = time.monotonic()
    with listening(answer) as place, pytest.raises(ClusterUnavailable, match="does not answer"):
        connect(Cluster(address=scheme + place))
    assert time.monotonic() - started < 10


def test_a_cluster_nobody_listens_for_is_named_soon() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(ClusterUnavailable, match="does not answer"):
        connect(Cluster(address=f"127.0.0.1:{port}"))
    assert time.monotonic() - started < 10


def test_a_running_cluster_is_reached_by_its_address(local_ray: None) -> None:
    import ray

    _check_answers(ray.get_runtime_context().gcs_address)


def test_the_cluster_file_of_the_readme_is_one_to_ray() -> None:
    pytest.importorskip("ray", reason="ray is not installed: the cluster file was not checked")
    import jsonschema
    import ray
    import yaml

    config = yaml.safe_load((Path(__file__).parent / "cluster.yaml").read_text())
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    jsonschema.validate(config, json.loads(schema.read_text()))
    assert config["head_node_type"] in config["available_node_types"]
