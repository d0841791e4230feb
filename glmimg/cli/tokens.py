"""`glmimg tokens`: stage 1 alone, from a prompt to a token dump."""

from __future__ import annotations

from glmimg.choice import Ideas, Keeping, ModelChoice
from glmimg.cli import arguments as a
from glmimg.cli.options import Request, takes, without
from glmimg.errors import UsageError
from glmimg.job import Painting, Sampling, Scene


@takes(
    Scene, Sampling, without(Ideas, "sheet"), a.NEW_SOURCES, ModelChoice, Keeping, a.DUMPS, without(Painting, rare=True)
)
def tokens(
    request: Request,
    prompts: a.Prompts = None,
    prompt_file: a.PromptFile = None,
    count: a.Count = 1,
    until: a.Until = "target",
) -> None:
    """Draw token grids from a prompt (stage 1 alone).

    With -i, the source pictures are edited. The dump also records how it is to be painted;
    --help-all lists the options for that.

    \b
    Examples:
      glmimg tokens "a red circle on a blue background" --model demo -o x.tokens.json
      glmimg tokens "make the background green" -i x.png --model demo -o y.tokens.json
      glmimg tokens "a red circle" --model demo --until preview -o x.tokens.json
    """
    from glmimg.cli.drawing import check_grid_name, write_orders
    from glmimg.cli.prompts import read_prompts
    from glmimg.cli.run import Run
    from glmimg.cli.sourcing import gather_sources
    from glmimg.engine.orders import Order

    last = check_grid_name("--until", until)
    texts = read_prompts(prompts or [], prompt_file)
    run = Run.open(request, texts, only="ar")
    sources = gather_sources(run)
    if sources and last == "preview":
        raise UsageError("an edit has no preview", "Leave out --until.")
    write_orders(run, [Order(job, until=last) for job in run.jobs(texts, count, sources)])
