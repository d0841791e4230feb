"""The memory plan: it fits what it says it fits, and says what does not."""

from __future__ import annotations

import pytest

from glmimg.errors import OutOfMemory, UsageError
from glmimg.runtime.compression import FAR_SLOWER, WAYS, Way, compare, compressed, worth_taking
from glmimg.runtime.estimate import Request, ar_need, dit_need
from glmimg.runtime.known import known_checkpoint
from glmimg.runtime.layout import PLANS, Layout
from glmimg.runtime.machine import parse_bytes
from glmimg.runtime.plan import MARGIN, Planner, smaller
from glmimg.runtime.speed import assume_speeds, estimate_times
from glmimg.runtime.stream import choose_streamed


def planner(side: int = 1024, quantize: str = "none") -> Planner:
    known = known_checkpoint("zai-org/GLM-Image")
    assert known is not None
    return Planner.of(known, Request(side, side, "bf16", on_host=False, quantize=(quantize, quantize)))


@pytest.mark.parametrize("side", [1024, 2048])
@pytest.mark.parametrize("card", [80, 48, 24, 16, 12, 8])
def test_every_usual_card_gets_a_plan_that_fits(card: int, side: int) -> None:
    plan = planner(side).choose(card * 1e9)
    assert max(need.peak for need in planner(side).needs(plan)) <= card * 1e9


def test_more_memory_never_gives_a_slower_plan() -> None:
    speeds = assume_speeds(24e9)
    times = [estimate_times(planner(), planner().choose(card * 1e9), speeds, 50) for card in (8, 12, 16, 24, 48, 80)]
    totals = [each.tokens + each.picture for each in times]
    assert totals == sorted(totals, reverse=True)


def test_plans_by_card() -> None:
    assert planner().choose(24e9).mode == "stage"
    assert planner().choose(80e9).mode == "stage"
    assert planner(2048).choose(24e9).mode == "offload"
    assert planner().choose(12e9).mode == "stream"


def test_a_card_that_is_too_small_learns_the_least_that_would_do() -> None:
    with pytest.raises(OutOfMemory, match=r"1\.0 GB are not enough for stage \d: its smallest plan needs \d\.\d GB"):
        planner().choose(1e9)
    least = max(need.peak for need in planner().needs(PLANS["stream"])) / (1 - MARGIN)
    planner().choose(least * 1.001)


def test_int8_makes_room_for_both_halves_on_a_small_card() -> None:
    plan = planner(quantize="int8").choose(12e9)
    assert plan.ar.resident is None
    assert plan.dit.resident is None


def test_each_step_down_takes_less() -> None:
    ready = planner()
    layout: Layout | None = Layout()
    peaks = []
    while layout is not None:
        peaks.append(dit_need(ready.dit, ready.request, layout).peak)
        layout = smaller("dit", layout)
    assert len(peaks) == 3
    assert peaks == sorted(peaks, reverse=True)
    assert smaller("ar", Layout()) == PLANS["stream"].ar
    assert smaller("ar", PLANS["stream"].ar) is None


def test_the_kv_cache_is_the_one_of_the_real_model() -> None:
    """40 layers x 2 x 2 heads x 128 x 2 bytes: 41 kB a token, 1280 tokens and the prompt."""
    ready = planner()
    assert ar_need(ready.ar, ready.request).kv_cache == 40 * 2 * 2 * 128 * 2 * (1280 + 128)


@pytest.mark.parametrize(
    ("text", "amount"), [("12GB", 12e9), ("12 gb", 12e9), ("8GiB", 8 * 2**30), ("1.5g", 1.5e9), ("16000000000", 16e9)]
)
def test_amounts_of_memory(text: str, amount: float) -> None:
    assert parse_bytes(text, "--vram") == amount


@pytest.mark.parametrize("text", ["", "x", "-1GB", "12XB", "0GB", "9e99", "1000000TB"])
def test_no_amounts_of_memory(text: str) -> None:
    with pytest.raises(UsageError, match="--vram"):
        parse_bytes(text, "--vram")


@pytest.mark.parametrize(
    ("layers", "resident", "streamed"), [(6, 6, []), (6, 0, [0, 1, 2, 3, 4, 5]), (6, 4, [0, 3]), (5, 2, [0, 1, 3])]
)
def test_streamed_layers_are_spread(layers: int, resident: int, streamed: list[int]) -> None:
    assert choose_streamed(layers, resident) == streamed


def test_sources_take_what_they_take() -> None:
    known = known_checkpoint("zai-org/GLM-Image")
    assert known is not None
    stream, sources = PLANS["stream"].dit, ((1024, 1024),) * 2
    plain, edit = (Request(1024, 1024, "bf16", on_host=False, sources=each) for each in ((), sources))
    need = dit_need(planner().dit, edit, stream)
    assert need.kv_cache == 2 * 30 * 2 * 4096 * 4096 * 2
    times = [estimate_times(Planner.of(known, each), PLANS["stage"], assume_speeds(24e9), 50) for each in (plain, edit)]
    assert times[1].picture > times[0].picture


def compared(gigabytes: float) -> list[Way]:
    known = known_checkpoint("zai-org/GLM-Image")
    assert known is not None
    return compare(known, planner().request, gigabytes * 1e9, assume_speeds(gigabytes * 1e9), 50)


def test_compressing_is_worth_it_where_exact_weights_would_be_streamed() -> None:
    assert worth_taking(compared(80)) is None
    assert worth_taking(compared(24)) is None
    small = worth_taking(compared(12))
    assert small is not None
    assert (small.quantize, small.changes) == ("ar=int4", "tokens")
    smallest = worth_taking(compared(8))
    assert smallest is not None
    assert compared(8)[0].tokens_s > FAR_SLOWER * smallest.tokens_s


def test_a_way_says_what_it_takes_and_changes() -> None:
    ways = {way.quantize: way for way in compared(24)}
    assert list(ways) == list(WAYS)
    assert ways["none"].changes == "nothing"
    assert ways["ar=int4,dit=int8"].changes == "tokens and pixels"
    assert ways["ar=int4"].ar_peak < 0.4 * ways["none"].ar_peak
    assert ways["ar=int4"].dit_peak == ways["none"].dit_peak
    assert not any(way.fits for way in compared(2)), "a card of 2 GB holds nothing"


def test_the_comparison_is_the_same_whatever_is_asked_for() -> None:
    known = known_checkpoint("zai-org/GLM-Image")
    assert known is not None
    request, speeds = planner().request, assume_speeds(16e9)
    plain, asked = (compare(known, each, 16e9, speeds, 50) for each in (request, compressed(request, known, "int8")))
    assert asked == plain


def test_what_torchao_widens_at_every_token_is_slower_than_exact_weights() -> None:
    """Counted on the pretended card: 2.5 and 10.5 times the bytes of bf16. See tests/card/test_compressed.py."""
    ways = {way.quantize: way.tokens_s for way in compared(80)}
    assert ways["none"] < ways["ar=int8"] < ways["fp8"]
    assert ways["ar=int4"] <= ways["none"]
    assert ways["ar=nf4"] > ways["ar=int4"], "it is no graph"
