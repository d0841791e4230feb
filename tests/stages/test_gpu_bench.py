"""The GPU benchmark runs from end to end at toy size, so that the day there is a GPU it does not break."""

from __future__ import annotations

from tests.bench import gpu


def test_every_part_runs() -> None:
    report = gpu.main(["--smoke", "--window", "4", "--accept", "2.5"])
    failed = {name: value for name, value in report.items() if isinstance(value, str) and "failed" in value}
    assert not failed
    assert report["graph_batch_8"]["rows"] == 8
    assert 24 / 2.5 <= report["jacobi_forced"]["passes"] <= 24 / 2.5 + 4
