"""`glmimg replay`: a picture again, from its own metadata."""

from __future__ import annotations

from glmimg.choice import ModelChoice
from glmimg.cli import arguments as a
from glmimg.cli.options import Request, takes
from glmimg.job import Painting, Sampling, Scene


@takes(Scene, Sampling, Painting, a.AGAIN, ModelChoice, a.BOTH)
def replay(request: Request, picture: a.PictureFile, prompts: a.Prompts = None, count: a.Count = 1) -> None:
    """Make a picture of glmimg again from its own metadata.

    Any option overrides what the picture says, and so does another prompt.

    \b
    Examples:
      glmimg replay out.png -o again.png
      glmimg replay out.png --steps 80 -n 4 -o "more-{seed}.png"
    """
    from glmimg.cli.drawing import draw_jobs
    from glmimg.cli.prompts import read_prompts
    from glmimg.cli.run import Run
    from glmimg.cli.sourcing import gather_again
    from glmimg.errors import UsageError
    from glmimg.image_io import read_provenance
    from glmimg.request import layer_of

    made = read_provenance(picture)
    if made.beyond:
        raise UsageError(
            f"this picture cannot be made again from its metadata alone: {made.beyond}",
            "Paint its token dump instead: glmimg decode X.tokens.json.",
        )
    texts = read_prompts(prompts or [], None)
    run = Run.open(request, model=made.model, loaded=made.choice)
    if run.checkpoint.fingerprint() != made.model.fingerprint:
        run.console.note(f"{picture} was made with other weights than {run.checkpoint.id}: the new picture will differ")
    if left := [change for change in made.changes if change not in run.choice.changes]:
        run.console.note(f"{picture} was made with {', '.join(left)}, and is made again without")
    if made.grid == "preview":
        run.console.note(f"{picture} is a draft: drawing the picture it is a preview of")
    job = made.job
    sources = gather_again(run, picture, job.scene.sources)
    draw_jobs(run, run.jobs(texts, count, sources, layer_of(job.scene, job.sampling, job.painting)))
