"""What all of it comes to, in plain words: whether pictures are right here, what is slow and why, and how to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from glmimg.engine.doctor.checks import Check
from glmimg.engine.doctor.timings import Timing, Work

PLAIN = ("host", "device", "plain")
STAGES = {"ar": "stage 1", "dit": "stage 2"}
SLOW = 0.5
"""Share of what the device reaches under which a stage is said to be slow."""

NOTICED = 10.0
"""Seconds a stage may take, however slow for what it does."""

LONG = 1 / 12
"""Hours a picture of 1024x1024 may take before a machine is said to be slow."""

RESIDENT = tuple(f"--memory {mode}" for mode in ("resident", "stage", "offload"))
"""Settings under which a stage's layers are all there while it works."""

PASSES = ("graph", "static", "compiled")


@dataclass(frozen=True)
class Verdict:
    """word: works, slow or wrong; text: the same in a sentence or two"""

    word: str
    text: str


def judge(checks: Sequence[Check], timings: Sequence[Timing], plan: dict[str, Any]) -> Verdict:
    """The verdict on what was found."""
    bad = [check for check in checks if check.is_bad]
    if plain := [check for check in bad if check.way in PLAIN]:
        what = "; ".join(f"{STAGES[each.half]}, {each.way}: {told(each)}" for each in plain)
        return Verdict("wrong", f"wrong: pictures drawn here cannot be trusted. {what}")
    off = "".join(f" {STAGES[each.half]} goes without {each.way}, which is {told(each)}." for each in bad)
    if passes := [each.way for each in bad if each.way in PASSES]:
        off += f" For the {', '.join(dict.fromkeys(passes))} way, --no-compile says the same."
    if slow := reasons(timings, plan):
        return Verdict("slow", f"works, but slowly, because {' and '.join(slow)}.{off}")
    return Verdict("works", f"works.{off}")


def reasons(timings: Sequence[Timing], plan: dict[str, Any]) -> list[str]:
    """Why pictures take long here; empty where they do not."""
    if not plan.get("setting"):
        return ["no setting fits its memory at 1024x1024"]
    found, spent = [], {"ar": plan["tokens_s"], "dit": plan["picture_s"]}
    for each in timings:
        if each.way == "default" and each.seconds is not None and each.share < SLOW and spent[each.half] > NOTICED:
            of = "copying memory" if each.half == "ar" else "multiplying matrices"
            found.append(f"{STAGES[each.half]} reaches {each.share:.0%} of the speed this device has in {of}")
    hours = (plan["tokens_s"] + plan["picture_s"]) / 3600
    if hours > LONG:
        length = f"{hours:.0f} hours" if hours > 2 else f"{60 * hours:.0f} minutes"
        found.append(f"a picture of 1024x1024 takes about {length} ({plan['why']})")
    return found


def told(check: Check) -> str:
    """How a check ended, in words."""
    if check.distance is None:
        return f"{check.state}: {check.note}" if check.note else check.state
    return f"{check.state}: {check.distance:.2g} away, {check.bound:.2g} is the bound"


def failed_ways(checks: Sequence[Check]) -> tuple[dict[str, str], set[str]]:
    """Which ways to distrust from now on, each with why; and which were checked."""
    fast = {f"{each.half} {each.way}": each for each in checks if each.way not in PLAIN and each.state != "skipped"}
    return {name: told(each) for name, each in fast.items() if each.is_bad}, set(fast)


def with_measured(plan: dict[str, Any], timings: Sequence[Timing], whole: Work, steps: int) -> dict[str, Any]:
    """The plan with the times of a whole model, from what the ways of commands reached."""
    default = {each.half: each for each in timings if each.way == "default" and each.reached}
    if len(default) < 2 or not plan.get("setting"):
        return plan
    tokens_s = whole.tokens * whole.token_bytes / default["ar"].reached
    picture_s = steps * whole.step_flops / default["dit"].reached
    if plan["setting"] not in RESIDENT:  # what comes from files at every pass was not timed
        tokens_s, picture_s = max(tokens_s, plan["tokens_s"]), max(picture_s, plan["picture_s"])
    return plan | {"tokens_s": tokens_s, "picture_s": picture_s, "from": "timed here"}
