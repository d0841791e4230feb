"""`glmimg t2i`: both stages, from a prompt to a picture."""

from __future__ import annotations

from glmimg.choice import Ideas, Keeping, ModelChoice, Output
from glmimg.cli import arguments as a
from glmimg.cli.options import Request, takes, without
from glmimg.job import Sampling, Scene


@takes(Scene, Sampling, a.UNMASKED, Ideas, ModelChoice, Keeping, without(Output, "embed_sources"))
def t2i(request: Request, prompts: a.Prompts = None, prompt_file: a.PromptFile = None, count: a.Count = 1) -> None:
    """Draw a picture from a prompt.

    Writes the picture and, beside it, its token dump (out.png and out.tokens.json).

    \b
    Examples:
      glmimg t2i "a red circle on a blue background" --model demo -o out.png
      glmimg t2i "a poster that says 'OPEN'" -p poster -n 4 -o "poster-{seed}.png"
    """
    from glmimg.cli.coprocess import draw_as_they_come
    from glmimg.cli.drawing import draw_jobs
    from glmimg.cli.prompts import note_single_words, read_prompts
    from glmimg.cli.run import Run
    from glmimg.cli.streams import DASH

    as_they_come = prompt_file == DASH
    texts = read_prompts(prompts or [], None if as_they_come else prompt_file)
    run = Run.open(request, texts if not as_they_come else None)
    if as_they_come:
        draw_as_they_come(run, texts, count)
    else:
        note_single_words(texts, run.console)
        draw_jobs(run, run.jobs(texts, count))
