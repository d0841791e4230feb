"""The shortcuts of the AR pass round as the modules they stand for."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from glmimg.ar.layers import SMALL, called_product, generated_product, projector, rms_norm, side_by_side


@pytest.mark.parametrize("width", [32, 192, 4096])
def test_the_short_norm_rounds_as_torch_does(width: int) -> None:
    draw = torch.Generator().manual_seed(width)
    weight = torch.randn(width, generator=draw)
    for exponent in range(-6, 6):
        hidden = torch.randn(3, 2, width, generator=draw) * 10.0**exponent
        expected = functional.rms_norm(hidden, (width,), weight, 1e-5)
        assert torch.equal(rms_norm(hidden, weight, torch.tensor(1e-5), torch.tensor(float(width))), expected)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 3])
@torch.inference_mode()
def test_joined_products_round_as_single_ones(rows: int, bias: bool) -> None:
    torch.manual_seed(0)
    modules = [nn.Linear(192, count, bias=bias) for count in (192, 64, 64)]
    product = partial(called_product, rows=rows)
    joined = side_by_side(modules, rows, product, fuse=True)
    for _ in range(20):
        hidden = torch.randn(rows, 1, 192)
        assert torch.equal(joined(hidden), torch.cat([projector(each, product)(hidden) for each in modules], dim=-1))


@torch.inference_mode()
def test_large_products_and_replaced_ones_are_left_as_they_are() -> None:
    class Odd(nn.Linear):
        pass

    hidden = torch.randn(1, 1, 64)
    odd = [nn.Linear(64, 64), Odd(64, 64)]
    assert torch.equal(
        side_by_side(odd, 1, partial(called_product, rows=1), fuse=True)(hidden),
        torch.cat([each(hidden) for each in odd], dim=-1),
    )
    large = nn.Linear(64, SMALL // 64)
    copies: list[int] = []
    cat = torch.cat
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "cat", lambda parts, dim=0: copies.append(dim) or cat(parts, dim))
        side_by_side([large, large], 1, partial(called_product, rows=1), fuse=True)
    assert not copies, "weights were copied"


@torch.inference_mode()
def test_what_the_compiler_multiplies_is_the_product() -> None:
    hidden = torch.randn(1, 64)
    for weight in (torch.randn(8, 64), torch.randn(8, 64).bfloat16().float()):
        made = generated_product(weight, torch.ones(8))
        assert torch.allclose(made(hidden), functional.linear(hidden, weight, torch.ones(8)), atol=1e-5)
        exact = torch.equal(weight.bfloat16().float(), weight)
        assert made.keywords["weight"].dtype == (torch.bfloat16 if exact else torch.float32)  # type: ignore[attr-defined]
