"""From `-i` and `--source` to prepared source pictures, which are all checked before anything loads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from glmimg.choice import Sources
from glmimg.cli.run import Run
from glmimg.cli.streams import DASH, spool_input
from glmimg.errors import UsageError
from glmimg.files import MAX_BYTES
from glmimg.job import SourceRef
from glmimg.sources import PreparedSource
from glmimg.sources.colour import WHITE
from glmimg.sources.web import local_file, source_file
from glmimg.text import shell_words


def gather_sources(run: Run) -> list[SourceRef]:
    """Prepare every source named with -i, and report what was changed in them.

    raises: UsageError (exit 2), BadImage (exit 3), ModelUnfit (exit 4)
    """
    settings = run.request.settings(Sources)
    background = check_background(settings.background) or WHITE
    bounds = run.checkpoint.source_bounds if settings.image else None
    paths = [
        spool_input(MAX_BYTES) if path == DASH else source_file(path, may_fetch=settings.fetch)
        for path in settings.image
    ]
    prepared = [run.shelf.take(path, bounds, settings.fit or "pad", background) for path in paths if bounds]
    return _noted(run, prepared)


def gather_again(run: Run, picture: Path, refs: Sequence[SourceRef]) -> list[SourceRef]:
    """Prepare the sources of a picture to reproduce. Raises as `gather_sources`."""
    return _noted(run, [_take_again(run, picture, ref) for ref in refs])


def _take_again(run: Run, picture: Path, ref: SourceRef) -> PreparedSource:
    """A source as it was prepared before, unless flags or another model say otherwise."""
    settings, bounds = run.request.settings(Sources), run.checkpoint.source_bounds
    background = check_background(settings.background)
    found = run.shelf.find(ref, picture, f"Give its new path: glmimg replay {shell_words(picture)} --source PATH")
    if bounds.admit(ref.height, ref.width) and settings.fit is None and background is None:
        return found
    return run.shelf.take(
        local_file(found.ref.path), bounds, settings.fit or ref.fit or "pad", background or ref.background
    )


def _noted(run: Run, prepared: Sequence[PreparedSource]) -> list[SourceRef]:
    for source in prepared:
        for note in source.notes:
            run.console.note(f"{source.ref.path}: {note}")
    return [source.ref for source in prepared]


def check_background(colour: str | None) -> str | None:
    """A colour as Pillow knows it (white, #fff, rgb(0, 90%, 0)) to `#rrggbb`. Raises UsageError (exit 2)."""
    if colour is None:
        return None
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(colour)[:3]
    except ValueError as error:
        raise UsageError(f"--background {colour}: no such colour", "For example white, or #ff8800.") from error
    return f"#{red:02x}{green:02x}{blue:02x}"
