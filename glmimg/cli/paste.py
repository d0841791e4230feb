"""`glmimg paste`: copy part of another dump's tokens into a dump."""

from __future__ import annotations

from glmimg.choice import Output
from glmimg.cli import arguments as a
from glmimg.cli.options import Request, takes


@takes(a.FILES)
def paste(
    request: Request,
    dump: a.DumpFile,
    source: a.DumpFrom,
    box: a.PasteBox = None,
    at: a.PasteAt = None,
) -> None:
    """Copy part of another dump's tokens into a dump.

    \b
    Examples:
      glmimg paste x.tokens.json a.tokens.json --box 0,0,64,64 --at 128,0 -o y.tokens.json
    """
    from glmimg.cli.drawing import place_dumps, report_dump
    from glmimg.cli.outputs import NameFields
    from glmimg.cli.streams import read_given
    from glmimg.tokens import change
    from glmimg.tokens.dump_file import check_has_grid, write_dump
    from glmimg.tokens.region import Box, parse_box, parse_point

    base, given = read_given(dump), read_given(source)
    check_has_grid(base, dump, "target")
    check_has_grid(given, source, "target")
    change.check_same_codes(base, given, source)
    part = Box(0, 0, given.width, given.height) if box is None else parse_box(box, given.size)
    place = (part.left, part.top) if at is None else parse_point(at)
    pasted = change.paste(base, given, part, place)
    cells = part.shape.cells
    parents = [
        change.parent("base", dump, base.target.shape.cells - cells),
        change.parent("pasted", source, cells, f"{part} at {place[0]},{place[1]}"),
    ]
    result = pasted.model_copy(update={"parents": parents})
    output = request.settings(Output)
    (path,) = place_dumps([NameFields(result.prompt, result.seed, 1)], output)
    if path is not None:
        write_dump(result, path, replace=output.force)
    report_dump(result, path, request.console)
