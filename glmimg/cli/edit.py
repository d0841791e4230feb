"""`glmimg edit`: both stages, from source pictures and a prompt to a picture."""

from __future__ import annotations

from glmimg.choice import Ideas, Keeping, ModelChoice
from glmimg.cli import arguments as a
from glmimg.cli.options import Request, takes
from glmimg.errors import UsageError
from glmimg.job import Painting, Sampling, Scene


@takes(a.NEW_SOURCES, Scene, Sampling, Painting, Ideas, ModelChoice, Keeping, a.BOTH)
def edit(request: Request, prompts: a.Prompts = None, prompt_file: a.PromptFile = None, count: a.Count = 1) -> None:
    """Draw a picture from one or more source pictures and a prompt.

    The picture has the size of the first source unless --size says otherwise.

    \b
    Examples:
      glmimg edit "Replace the snow forest with an underground station" -i cond.jpg -o out.png
      glmimg edit "The man and the dog sit in a boat" -i man.jpg -i dog.png -p together -o out.png
    """
    from glmimg.cli.drawing import draw_jobs
    from glmimg.cli.prompts import read_prompts
    from glmimg.cli.run import Run
    from glmimg.cli.sourcing import gather_sources

    if not request.flags.get("image"):
        raise UsageError("there is no source picture", "Name one with -i PATH. To draw without one, use glmimg t2i.")
    texts = read_prompts(prompts or [], prompt_file)
    run = Run.open(request, texts)
    draw_jobs(run, run.jobs(texts, count, gather_sources(run)))
