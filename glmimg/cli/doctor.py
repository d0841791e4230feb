"""`glmimg doctor`: whether this machine draws right, and how fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from glmimg.choice import ModelChoice, Output
from glmimg.cli.console import Console
from glmimg.cli.options import Request, only, takes
from glmimg.errors import GlmimgError, UsageError
from glmimg.knob import MODEL
from glmimg.text import counted

if TYPE_CHECKING:
    from glmimg.engine.doctor.checks import Check
    from glmimg.engine.doctor.timings import Timing
    from glmimg.engine.doctor.visit import Report

FullSize = Annotated[
    bool, typer.Option("--full-size", help="Time the real model's shapes, filled with noise.", rich_help_panel=MODEL)
]
Compiled = Annotated[bool, typer.Option("--compile", help="Also the compiled ways.", rich_help_panel=MODEL)]
Forget = Annotated[bool, typer.Option("--forget", help="Trust again what failed before, and leave.")]

MARKS = {"right": ("✓", "green"), "wrong": ("✗", "bold red"), "failed": ("✗", "bold red"), "skipped": ("-", "dim")}


@takes(
    only(ModelChoice, "model", "revision", "device", "dtype"),
    only(Output, "as_json", "quiet", "verbose"),
)
def doctor(request: Request, full_size: FullSize = False, compiled: Compiled = False, forget: Forget = False) -> None:
    """Say whether this machine draws right, and how fast.

    The demo is drawn on the device and beside it on the processor, and every fast way beside the plain one. What
    fails is not taken again on this machine. With --full-size, or a model named, both stages are timed.

    \b
    Examples:
      glmimg doctor
      glmimg doctor --full-size --json > report.json
    """
    from glmimg.runtime.device import check_names, place
    from glmimg.runtime.distrust import forget as trust_again
    from glmimg.runtime.resolve import resolve

    choice, console = request.settings(ModelChoice), request.console
    named = "model" in request.flags
    if named and full_size:
        raise UsageError("--full-size and --model do not go together", "Time one of them.")
    check_names(choice.model_copy(update={"compile": compiled}))
    checkpoint = resolve(choice.model, choice.revision) if named else None
    if forget:
        gone = trust_again(place(choice).device)
        text = "\n".join(f"trusted again: {way}" for way in gone) or "nothing was distrusted"
        console.result(text, {"forgotten": gone})
        return
    console.note("glmimg doctor: a minute or so, and two more with --compile")
    from glmimg.engine.doctor.visit import Visit

    report = Visit(choice, checkpoint, full_size, compiled).run(Teller(console))
    if console.json:
        console.result("", report)
    if report["verdict"] == "wrong":
        raise GlmimgError(report["text"], "Update the driver and torch, or draw with --device cpu.")


class Teller:
    """Prints findings as they come: on standard output, or, where that is for JSON, as notes."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __call__(self, kind: str, finding: Any) -> None:
        getattr(self, f"_{kind}")(finding)

    def _line(self, text: str, style: str = "") -> None:
        from rich.text import Text

        if self.console.json or self.console.quiet:
            self.console.note(text)
        else:
            self.console.show(Text(text, style))

    def _facts(self, facts: dict[str, Any]) -> None:
        from rich.filesize import decimal

        disk, lacking = facts["disk"], {name: what for name, what in facts["extras"].items() if what != "installed"}
        there = [name for name, what in facts["extras"].items() if what == "installed"]
        card = f", compute capability {facts['capability']}" if facts["capability"] else ""
        driver = f", driver {facts['driver']}" if facts["driver"] else ""
        speed = f"{decimal(disk['bytes_a_second'])}/s from {disk['of']}" if "of" in disk else disk["note"]
        for name, text in {
            "versions": ", ".join(f"{name} {version}" for name, version in facts["versions"].items()),
            "system": facts["system"],
            "device": f"{facts['device']}: {facts['name']}{card}{driver}, draws in {facts['precision']}",
            "memory": f"{decimal(facts['free_bytes'])} free there, {decimal(facts['free_host_bytes'])} on the host",
            "speed": f"copies {decimal(int(facts['copy_bytes_a_second']))}/s, "
            f"multiplies {facts['product_flops'] / 1e12:.2f} TFLOP/s",
            "disk": speed,
            "hub": facts["hub"],
            "extras": ", ".join(there) + "".join(f"; {name}: {what}" for name, what in lacking.items()),
        }.items():
            self._line(f"{name:9} {text}")

    def _check(self, check: Check) -> None:
        from glmimg.engine.doctor.verdict import STAGES, told

        mark, style = MARKS[check.state]
        self._line(f"{mark} {STAGES[check.half]:8} {check.way:16} {told(check)}", style)

    def _timing(self, timing: Timing) -> None:
        from glmimg.engine.doctor.verdict import STAGES

        if timing.seconds is None:
            text = f"not timed: {timing.note}"
        elif timing.half == "ar":
            text = f"{1 / timing.seconds:.4g} tokens/s, {timing.reached / 1e9:.4g} GB/s, {timing.share:.0%} of a copy"
        else:
            text = f"{timing.seconds:.4g} s/step, {timing.reached / 1e12:.4g} TFLOP/s, {timing.share:.0%} of a product"
        self._line(f"  {STAGES[timing.half]:8} {timing.way:16} {text}")

    def _verdict(self, report: Report) -> None:
        from glmimg.cli.progress import duration
        from glmimg.engine.doctor.verdict import STAGES

        plan = report["plan"]
        for half, layers in report["layers_timed"].items():
            self._line(f"  {STAGES[half]:8} timed with {counted(layers, 'layer')} of its stack")
        if plan["setting"]:
            times = f"tokens {duration(plan['tokens_s'])}, picture {duration(plan['picture_s'])}"
            self._line(f"{'plan':9} {plan['model']} at 1024x1024: {plan['setting']}; {times} ({plan['from']})")
        for way, why in report["distrusted"].items():
            self._line(f"{'off':9} {way}: {why}; glmimg doctor --forget trusts it again")
        if report["note"]:
            self.console.note(report["note"])
        if not self.console.json and report["verdict"] != "wrong":
            self.console.result(report["text"], {})
