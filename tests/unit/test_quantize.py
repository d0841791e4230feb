"""--quantize: what may be said, what is missing, and what int8 does to a layer."""

from __future__ import annotations

import pytest

from glmimg.errors import UsageError
from glmimg.runtime import quantize


@pytest.fixture
def everything_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize, "find_spec", lambda name: object())


@pytest.mark.parametrize(
    ("text", "ar", "dit"),
    [
        ("none", "none", "none"),
        ("int8", "int8", "int8"),
        ("ar=int8", "int8", "none"),
        ("ar=nf4,dit=fp8", "nf4", "fp8"),
        ("int8,dit=none", "int8", "none"),
    ],
)
@pytest.mark.usefixtures("everything_installed")
def test_ways_by_half(text: str, ar: str, dit: str) -> None:
    assert quantize.parse_quantize(text) == {"ar": ar, "dit": dit}


@pytest.mark.parametrize("text", ["int7", "", "vae=int8", "ar=", "ar=int8,dit=what"])
@pytest.mark.usefixtures("everything_installed")
def test_what_cannot_be(text: str) -> None:
    with pytest.raises(UsageError, match="--quantize"):
        quantize.parse_quantize(text)


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs torchao") as missing:
        quantize.parse_quantize("ar=int8")
    assert "pip install 'glmimg[torchao]'" in missing.value.hint


def test_int8_keeps_a_quarter_of_the_bytes_and_most_of_the_values() -> None:
    pytest.importorskip("torchao")
    import torch

    from glmimg.runtime.device import Placement

    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.Linear(512, 256))
    data = torch.randn(1, 4, 256)
    with torch.inference_mode():
        exact = layer(data)
        quantize.compress(layer, "int8", Placement(torch.device("cpu"), torch.float32))
        close = layer(data)
        weight = layer[0].weight
    assert weight.qdata.dtype == torch.int8
    assert (close - exact).abs().max() < 0.02 * exact.abs().max()
    assert not torch.equal(close, exact)
