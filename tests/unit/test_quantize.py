"""--quantize: what may be said, what is missing, and what int8 does to a layer."""

from __future__ import annotations

import pytest

from glmimg.errors import UsageError
from glmimg.runtime import quantize
from glmimg.runtime.device import Placement


@pytest.mark.parametrize(
    ("text", "ar", "dit"),
    [
        ("none", "none", "none"),
        ("int8", "int8", "int8"),
        ("ar=int8", "int8", "none"),
        ("ar=nf4,dit=fp8", "nf4", "fp8"),
        ("int8,dit=none", "int8", "none"),
        ("ar=int4,dit=int8", "int4", "int8"),
    ],
)
def test_ways_by_half(text: str, ar: str, dit: str) -> None:
    assert quantize.parse_quantize(text) == {"ar": ar, "dit": dit}


@pytest.mark.parametrize("text", ["int7", "", "vae=int8", "ar=", "ar=int8,dit=what"])
def test_what_cannot_be(text: str) -> None:
    with pytest.raises(UsageError, match="--quantize"):
        quantize.parse_quantize(text)


@pytest.mark.parametrize("way", ["int8", "int4"])
def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setattr(quantize, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs torchao") as missing:
        quantize.check_installed(f"ar={way}")
    assert "'.[torchao]'" in missing.value.hint


@pytest.mark.parametrize(
    ("device", "dtype", "said"),
    [
        ("mps", "bfloat16", "no kernel for mps"),
        ("cuda", "float16", "works in bf16 on cuda"),
        ("cuda", "bfloat16", "older"),
    ],
)
def test_int4_is_refused_where_nothing_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, device: str, dtype: str, said: str
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    placement = Placement(torch.device(device), getattr(torch, dtype))
    with pytest.raises(UsageError, match=said):
        quantize.check_device("dit=int4", placement)
    quantize.check_device("int8", placement)


@pytest.mark.parametrize(("inputs", "group"), [(4096, 128), (192, 64), (160, 32), (24, None)])
def test_the_widest_group_that_parts_a_row(inputs: int, group: int | None) -> None:
    assert quantize.widest(inputs) == group


def test_int4_keeps_half_a_byte_a_weight_and_leaves_alone_what_it_cannot_pack() -> None:
    pytest.importorskip("torchao", reason="torchao is not installed: nothing was compressed")
    import torch

    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.Linear(512, 160), torch.nn.Linear(160, 50))
    data = torch.randn(1, 4, 256)
    with torch.inference_mode():
        exact = layer(data)
        quantize.compress(layer, "int4", Placement(torch.device("cpu"), torch.float32))
        close = layer(data)
    assert layer[0].weight.qdata.nbytes == 256 * 512 // 2
    assert layer[2].weight.dtype == torch.float32
    assert (close - exact).abs().max() < 0.2 * exact.abs().max()
    assert not torch.equal(close, exact)


def test_int8_keeps_a_quarter_of_the_bytes_and_most_of_the_values() -> None:
    pytest.importorskip("torchao", reason="torchao is not installed: nothing was compressed")
    import torch

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


def test_nf4_leaves_alone_a_layer_whose_blocks_would_span_rows() -> None:
    """On a CPU with AVX-512, bitsandbytes 0.50 mixed up the scales of such blocks."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: nothing was compressed")
    import torch

    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Linear(160, 256), torch.nn.Linear(256, 512), torch.nn.Linear(512, 96))
    data = torch.randn(1, 4, 160)
    with torch.inference_mode():
        exact = layer(data)
        quantize.compress(layer, "nf4", Placement(torch.device("cpu"), torch.float32))
        close = layer(data)
    assert layer[0].weight.dtype == torch.float32
    assert layer[1].weight.nbytes == 256 * 512 // 2
    assert (close - exact).abs().max() < 0.2 * exact.abs().max()
    assert not torch.equal(close, exact)
