"""--device and --dtype: which device each stage gets, and what a device lacks."""

from __future__ import annotations

import pytest
import torch

from glmimg.choice import ModelChoice
from glmimg.errors import UsageError
from glmimg.runtime import device
from glmimg.runtime.checkpoint import Half


@pytest.mark.parametrize(
    ("said", "half", "expected"),
    [
        ("auto", "ar", "auto"),
        ("auto", "dit", "auto"),
        ("cuda:1", "dit", "cuda:1"),
        ("cuda:0,cuda:1", "ar", "cuda:0"),
        ("cuda:0,cuda:1", "dit", "cuda:1"),
        ("cpu,cuda", "dit", "cuda"),
    ],
)
def test_each_stage_has_its_device(said: str, half: Half, expected: str) -> None:
    assert device.device_for(said, half) == expected


@pytest.mark.parametrize("said", ["gpu", "cuda:x", "cuda:0,gpu", "cuda:0,", "cuda:0,cuda:1,cuda:2", ""])
def test_no_such_device(said: str) -> None:
    with pytest.raises(UsageError, match="--device"):
        device.check_names(ModelChoice(device=said))


@pytest.mark.parametrize("said", ["cuda:7", "cpu:1"])
def test_a_device_that_is_not_here(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    with pytest.raises(UsageError, match="is not on this machine"):
        device.place(ModelChoice(device=said))


def test_a_precision_the_device_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*size: int, **options: object) -> None:
        raise TypeError("BFloat16 is not supported on this device")

    monkeypatch.setattr(torch, "ones", refuse)
    with pytest.raises(UsageError, match="--dtype bf16: cpu does not support it"):
        device.place(ModelChoice(device="cpu", dtype="bf16"))
