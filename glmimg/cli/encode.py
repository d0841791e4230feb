"""`glmimg encode`: turn a picture into tokens."""

from __future__ import annotations

from glmimg.choice import Keeping, Sources
from glmimg.cli import arguments as a
from glmimg.cli.options import Request, only, takes, without
from glmimg.errors import UsageError
from glmimg.grid import CELL_PX, nearest_side, preview_shape, target_shape
from glmimg.job import Painting, Sampling, Scene, Size


@takes(Scene, only(Sampling, "seed"), a.ONE_AT_A_TIME, Keeping, a.FILES, without(Painting, rare=True))
def encode(request: Request, picture: a.AnyPicture, prompt: a.NewPrompt = None) -> None:
    """Encode a picture into tokens with the model's vision encoder.

    Nothing is painted; `glmimg decode` does that. A prompt is stored in the dump, where the
    decoder reads its quoted words.

    \b
    Examples:
      glmimg encode photo.jpg -o photo.tokens.json
    """
    from glmimg.cli.drawing import place_dumps, report_dump
    from glmimg.cli.outputs import NameFields, dump_path_beside
    from glmimg.cli.run import Run
    from glmimg.engine.complete import complete_painting
    from glmimg.engine.scope import Scope
    from glmimg.sources.colour import read_rgb
    from glmimg.sources.web import is_address, source_file
    from glmimg.tokens import change

    run, given = Run.open(request, only="ar"), request.job()
    if is_address(picture) and run.output.out is None:
        raise UsageError(f"{picture} lies in no folder that the dump could go into", "Say where it goes: -o PATH")
    path = source_file(picture, may_fetch=request.settings(Sources).fetch)
    image = read_rgb(path)
    height, width = given.get("size") or (image.height, image.width)
    size = Size(nearest_side(height), nearest_side(width))
    preview_shape(target_shape(*size))
    if image.size != (size.width, size.height):
        run.console.note(f"{picture}: scaled from {image.width}x{image.height} to {size}")
    seed = given.get("seed") or 0
    parent = change.parent("picture", path, size.height * size.width // CELL_PX**2)
    painting = complete_painting(given, seed, size)
    reading = change.Reading(image, *size, prompt or "", seed, painting, parent)
    out = run.output if run.output.out else run.output.model_copy(update={"out": str(dump_path_beside(path))})
    (place,) = place_dumps([NameFields(reading.prompt, seed, 1)], out)
    with run.desk(Scope(*size, sources=(size,))) as desk:
        report_dump(desk.encode(reading, place), place, run.console)
