"""`glmimg replay`: reproduce a picture from its own metadata."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.choice import Ideas, Keeping, ModelChoice
from glmimg.cli import arguments as a
from glmimg.cli.options import Request, takes
from glmimg.errors import BadDump, UsageError
from glmimg.job import Painting, Sampling, Scene
from glmimg.knob import knobs

if TYPE_CHECKING:
    from glmimg.image_io import Provenance


@takes(Scene, Sampling, Painting, Ideas, a.AGAIN, ModelChoice, Keeping, a.BOTH)
def replay(request: Request, picture: a.PictureFile, prompts: a.Prompts = None, count: a.Count = 1) -> None:
    """Reproduce a glmimg picture from its own metadata.

    Options, or another prompt, override what the picture says.

    \b
    Examples:
      glmimg replay out.png -o again.png
      glmimg replay @3 -o again.png     (of glmimg history)
      glmimg replay out.png --steps 80 -n 4 -o "more-{seed}.png"
    """
    from glmimg.cli.drawing import draw_jobs
    from glmimg.cli.prompts import read_prompts
    from glmimg.cli.run import Run
    from glmimg.cli.sourcing import gather_again
    from glmimg.history import find_picture
    from glmimg.image_io import read_provenance
    from glmimg.request import layer_of

    if str(picture).startswith("@") and not picture.exists():
        picture = find_picture(str(picture))
    made = read_provenance(picture)
    if made.beyond:
        paint_again(request, picture, made, is_changed=bool(prompts) or count > 1)
        return
    texts = read_prompts(prompts or [], None)
    run = Run.open(request, model=made.model, loaded=made.choice)
    if run.checkpoint.fingerprint() != made.model.fingerprint:
        run.console.note(f"{picture} was not made with the weights of {run.checkpoint.id}: the new picture will differ")
    if left := [change for change in made.changes if change not in run.choice.changes]:
        run.console.note(f"{picture} was made with {', '.join(left)}; the new picture is made without")
    if made.grid == "preview":
        run.console.note(f"{picture} is a draft: drawing the full picture instead")
    job = made.job
    sources = gather_again(run, picture, job.scene.sources)
    said = layer_of(job.scene, job.sampling, job.painting)
    draw_jobs(run, run.jobs(texts, count, sources, said), said)


def paint_again(request: Request, picture: Path, made: Provenance, *, is_changed: bool) -> None:
    """Paint a picture from the tokens it carries, if no job would draw them again.

    is_changed: whether another prompt or more pictures were asked for
    raises: UsageError (exit 2) for changes that need stage 1, and for a picture without tokens
    """
    from glmimg.cli.decode import paint_dumps
    from glmimg.cli.run import Run
    from glmimg.tokens.dump_file import check_fits_model, read_dump

    beyond = f"this picture cannot be drawn again from its metadata alone: {made.beyond}"
    if is_changed or request.flags.keys() & {each.name for model in (Scene, Sampling) for each in knobs(model)}:
        raise UsageError(beyond, "Repaint it with --dit-seed, --steps or --guidance, or change it with glmimg redraw.")
    try:
        dump = read_dump(picture)
    except BadDump as error:
        raise UsageError(beyond, "Paint its token dump instead: glmimg decode X.tokens.json.") from error
    run = Run.open(request, model=made.model, loaded=made.choice)
    check_fits_model(dump, picture, codebook_size=run.checkpoint.decoder_codebook_size)
    if run.output.out is None:
        run = replace(run, output=run.output.model_copy(update={"out": "{prompt}-{seed}.png"}))
    paint_dumps(run, [(picture, dump)])
