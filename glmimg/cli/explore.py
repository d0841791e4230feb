"""`glmimg explore`: many previews on one contact sheet, of which the chosen ones are finished."""

from __future__ import annotations

from glmimg.choice import Ideas, Keeping, ModelChoice
from glmimg.cli import arguments as a
from glmimg.cli.options import Request, only, takes
from glmimg.errors import UsageError
from glmimg.job import Sampling, Scene


@takes(Scene, Sampling, a.UNMASKED, only(Ideas, "literal"), a.NEW_SOURCES, ModelChoice, Keeping, a.BOTH)
def explore(request: Request, prompts: a.Prompts = None, count: a.Candidates = 16, pick: a.Pick = None) -> None:
    """Draw many previews of a prompt on one contact sheet, and finish the ones you pick.

    An edit has no preview: its candidates are drawn completely and painted in few steps.

    \b
    Examples:
      glmimg explore "a red circle" --model demo -n 16 -o circle.png
      glmimg explore "a red circle" --model demo -n 16 --seed 7 --pick 3,7 -o circle.png
    """
    from glmimg.cli.candidates import draw_candidates
    from glmimg.cli.prompts import read_prompts
    from glmimg.cli.run import Run
    from glmimg.cli.sourcing import gather_sources

    texts = read_prompts(prompts or [], None)
    run = Run.open(request, texts)
    if len(texts) != 1 or run.output.out == "-":
        raise UsageError("explore takes one prompt and a file for --out", "For example glmimg explore 'a cat' -n 16")
    draw_candidates(run, run.jobs(texts, count, gather_sources(run)), pick)
