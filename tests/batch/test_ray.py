"""A batch on a local Ray over two cores: the same files as here, a killed worker costs nothing."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glmimg.engine.batch.engine import BatchOptions
from glmimg.engine.batch.ledger import Ledger
from glmimg.engine.batch.on_ray import Cluster, RayEngine, connect
from glmimg.engine.batch.store import open_store
from glmimg.engine.batch.survey import survey
from glmimg.errors import ClusterUnavailable, UsageError
from tests.batch.conftest import Run, make_jobs
from tests.batch.stubs import StubStages

Draw = Callable[..., Run]
TEXT = "\n".join(f"p{n}" for n in range(10)) + "\nraise picture\ndie once\n"


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="ray is not installed: nothing was drawn on a cluster")
    pytest.importorskip("ray.data")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
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
    work = survey(make_jobs(tmp_path, TEXT), store, ledger)
    engine = RayEngine(stages, store, ledger, BatchOptions(ar_batch=4), lambda event: None, Cluster())
    records = list(engine.run(work))
    assert (tmp_path / "died").exists()
    assert Counter(record.status for record in records) == {"done": 11, "failed": 1}
    assert Counter(record.status for record in here.records) == {"done": 11, "failed": 1}
    for path in (tmp_path / "here").glob("*.png"):
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert Counter(line["name"] for line in lines) == Counter(record.name for record in records)
    assert (engine.count.done, engine.count.failed) == (11, 1)


@pytest.mark.parametrize("address", ["nonsense", "ray://host", "host:99999"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(UsageError):
        connect(Cluster(address))


def test_a_cluster_that_does_not_answer_is_named_soon() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(ClusterUnavailable, match="does not answer"):
        connect(Cluster(f"127.0.0.1:{port}"))
    assert time.monotonic() - started < 10


def test_the_cluster_file_of_the_readme_is_one_to_ray() -> None:
    pytest.importorskip("ray", reason="ray is not installed: the cluster file was not checked")
    import jsonschema
    import ray
    import yaml

    config = yaml.safe_load((Path(__file__).parent / "cluster.yaml").read_text())
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    jsonschema.validate(config, json.loads(schema.read_text()))
    assert config["head_node_type"] in config["available_node_types"]
