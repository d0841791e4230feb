"""`glmimg score`: how likely each token of a dump is to the model."""

from __future__ import annotations

from glmimg.choice import Keeping
from glmimg.cli import arguments as a
from glmimg.cli.options import Request, takes


@takes(a.MOVED_SOURCES, a.ONE_AT_A_TIME, Keeping, a.FILES)
def score(request: Request, dumps: a.DumpFiles) -> None:
    """Score how likely each token of a dump is to the model.

    With -o, log-probabilities and entropies are written into a new dump; otherwise they are shown.

    \b
    Examples:
      glmimg score x.tokens.json
      glmimg score x.tokens.json -o scored.tokens.json
    """
    from glmimg.cli.drawing import place_dumps, report_dump
    from glmimg.cli.inspecting import show
    from glmimg.cli.outputs import NameFields
    from glmimg.cli.run import Run
    from glmimg.cli.streams import read_given
    from glmimg.engine.dumps import check_same_ar_half
    from glmimg.engine.scope import Scope, largest_sources
    from glmimg.tokens.checks import check_dump
    from glmimg.tokens.dump_file import check_has_grid

    read = [read_given(path) for path in dumps]
    run = Run.open(request, model=read[0].model, only="ar")
    for path, dump in zip(dumps, read, strict=True):
        check_has_grid(dump, path, "target")
        check_same_ar_half(dump, path, run.checkpoint)
        run.shelf.find_all(dump, path)
    keeps = run.output.out is not None
    names = [NameFields(dump.prompt, dump.seed, index) for index, dump in enumerate(read, start=1)]
    places = place_dumps(names, run.output) if keeps else [None] * len(read)
    largest = max((dump.size for dump in read), key=lambda size: size.height * size.width)
    sources = largest_sources(dump.sources for dump in read)
    with run.desk(Scope(*largest, sources=sources)) as desk:
        for path, place, dump in zip(dumps, places, read, strict=True):
            scored = desk.score(dump, place)
            if keeps:
                report_dump(scored, place, run.console)
            else:
                show(scored, path, check_dump(scored, path), run.console)
