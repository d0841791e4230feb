"""`glmimg history`: what was drawn here."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Annotated

from glmimg.choice import Output
from glmimg.cli.arguments import option
from glmimg.cli.options import Request, only, takes
from glmimg.knob import OUTPUT

LATEST, HOLDING = "The last N entries; 0 shows all.", "Only entries that contain this, ignoring case."
Latest = Annotated[int, option("--count", "-n", metavar="N", text=LATEST, panel=OUTPUT, min=0)]
Grep = Annotated[str | None, option("--grep", metavar="TEXT", text=HOLDING, panel=OUTPUT)]


@takes(only(Output, "as_json"))
def history(request: Request, count: Latest = 20, grep: Grep = None) -> None:
    """Show what was drawn here, newest last.

    Use an entry's number to reproduce its picture: glmimg replay @3.
    `glmimg config set history no` turns the history off.

    \b
    Examples:
      glmimg history -n 5
      glmimg history --grep poster --json
    """
    from glmimg.history import read_history

    wanted = (grep or "").casefold()
    found = (each for each in read_history() if wanted in " ".join([each[1].command, *each[1].files]).casefold())
    entries = deque(found, maxlen=count or None)
    if request.console.json:
        for number, entry in entries:
            request.console.result("", {"number": number, **entry.model_dump(mode="json")})
        return
    if not entries:
        request.console.note("no entry contains that" if grep else "nothing was drawn here yet")
        return
    from rich.table import Table

    table = Table("", "when", "took", "files", "command", box=None, pad_edge=False)
    for number, entry in entries:
        first, *others = entry.pictures or entry.files
        files = Path(first).name + (f" and {len(others)} more" if others else "")
        when = entry.time.astimezone().strftime("%Y-%m-%d %H:%M")
        table.add_row(f"@{number}", when, f"{entry.seconds:.0f} s", files, entry.command)
    request.console.show(table)
