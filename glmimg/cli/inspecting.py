"""The work of `glmimg inspect`: read, show, compare, list, and draw into files."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.cli import inspect_view as view
from glmimg.cli.console import Console
from glmimg.cli.made import facts_table, made_fields, made_table
from glmimg.cli.streams import DASH, spool_input
from glmimg.errors import BadDump, BadImage, ModelError, UsageError
from glmimg.files import MAX_BYTES, open_regular
from glmimg.image_io import Provenance, read_provenance
from glmimg.pictures import is_picture
from glmimg.text import shell_words
from glmimg.tokens.checks import Check, check_dump
from glmimg.tokens.compare import compare_dumps
from glmimg.tokens.dump import TokenDump
from glmimg.tokens.dump_file import check_fits_model, check_has_grid, read_dump
from glmimg.tokens.statistics import describe
from glmimg.unfinished import Unfinished, is_unfinished, read_unfinished

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Drawing:
    """Which picture file was requested: the grid alone, or drawn over a decoded picture."""

    picture: Path | None = None
    over: Path | None = None
    force: bool = False

    def path(self) -> Path | None:
        """Where the picture goes, if there is one: beside what it is laid over. Raises OutputError (exit 2)."""
        from glmimg.cli.outputs import check_ending, check_outputs, split_suffix

        path = self.picture
        if path is None and self.over is not None:
            path = self.over.with_name(split_suffix(self.over)[0] + ".grid.png")
        if path is not None:
            check_ending(path, ".png")
            check_outputs([path], force=self.force)
        return path

    def save(self, image: Image, path: Path, console: Console) -> None:
        """Write the picture and report it. Raises WriteError (exit 1)."""
        from glmimg.tokens.picture import write_picture

        write_picture(image, path, replace=self.force)
        console.note(f"wrote {path}")


def expand(names: Sequence[str]) -> list[Path]:
    """Paths, with globs expanded, in order.

    raises: UsageError (exit 2) for none at all, BadDump (exit 3) for a glob that matches nothing
    """
    if not names:
        raise UsageError("no dump given", "Name one: glmimg inspect x.tokens.json.")
    paths: list[Path] = []
    for name in names:
        if name == DASH:
            paths.append(spool_input(MAX_BYTES))
            continue
        if Path(name).exists() or not glob.has_magic(name):
            paths.append(Path(name))
            continue
        found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 (the pattern may be absolute)
        if not found:
            raise BadDump(name, "matches no file")
        paths += map(Path, found)
    return paths


def look(path: Path, console: Console, drawing: Drawing, model: str | None) -> None:
    """Show what a dump is of, its checks and statistics; for a picture also how it was made.

    raises: BadDump (exit 3) if it cannot be read, and after it was shown if a check failed
    """
    from glmimg.cli.showing import of_tokens

    if is_unfinished(path):
        show_unfinished(read_unfinished(path), path, console)
        return
    made = provenance_in(path)
    try:
        dump = read_dump(path)
    except BadDump:
        if made is None or drawing.picture or drawing.over:
            raise
        show_made(made, path, console)  # a picture of before tokens were carried, or without them
        console.picture(path)
        return
    if drawing.over is not None:
        check_has_grid(dump, path, "target")
    picture_path = drawing.path()
    checks = [*check_dump(dump, path), check_model(dump, path, model)]
    if picture_path is not None:
        from glmimg.tokens.picture import draw_dump, draw_over

        image = draw_dump(dump) if drawing.over is None else draw_over(dump, drawing.over)
        drawing.save(image, picture_path, console)
    show(dump, path, checks, console, made)
    console.picture(of_tokens([dump]) if made is None else path)
    failed = [check for check in checks if check.state == "failed"]
    if failed:
        raise BadDump(path, f"is not sound: {failed[0].name}: {failed[0].detail}")


def show_unfinished(left: Unfinished, path: Path, console: Console) -> None:
    """Show what a file of unfinished work holds, as JSON or as text."""
    again = f"glmimg resume {shell_words(path)}"
    if console.json:
        facts = left.model_dump(mode="json", include={"job", "done", "total", "seconds", "where", "fingerprint"})
        console.result("", {"unfinished": str(path), "stage": left.stage, **facts, "again": again})
        return
    what = "tokens are written" if left.dump is None else "denoising steps are done"
    facts = {
        "unfinished": f"{left.done} of {left.total} {what}",
        "prompt": left.job.scene.prompt,
        "size": left.job.scene.size,
        "seed": left.job.sampling.seed,
        "model": ", ".join([left.choice.model, *left.choice.changes]),
        "device": left.where,
        "go on": again,
    }
    console.show(facts_table(facts))


def provenance_in(path: Path) -> Provenance | None:
    """How a picture was made, if it is one of ours."""
    try:
        with open_regular(path, BadDump, "token dump") as file:
            return read_provenance(path) if is_picture(file.read(16)) else None
    except BadImage:
        return None


def show_made(made: Provenance, path: Path, console: Console) -> None:
    """How a picture was made: as JSON, or for people."""
    if console.json:
        console.result("", made_fields(made, path))
    else:
        console.show(made_table(made, path))


def show(
    dump: TokenDump, path: Path, checks: Sequence[Check], console: Console, made: Provenance | None = None
) -> None:
    """Show a dump, its checks and statistics, and how the picture that carries it was made: as JSON or as text."""
    statistics = describe(dump)
    if console.json:
        picture = {} if made is None else {"made": made_fields(made, path)}
        console.result("", {"dump": str(path), **view.dump_fields(dump, checks, statistics), **picture})
    else:
        if made is not None:
            show_made(made, path, console)
        console.show(view.show_dump(dump, checks, statistics, console.out))


def compare(one_path: Path, other_path: Path, console: Console, drawing: Drawing) -> bool:
    """Show where two dumps differ. Returns whether their tokens are equal."""
    one, other = read_dump(one_path), read_dump(other_path)
    picture_path = drawing.path()
    comparison = compare_dumps(one, other)
    names = str(one_path), str(other_path)
    if picture_path is not None:
        from glmimg.tokens.picture import draw_comparison

        drawing.save(draw_comparison(one, other, comparison), picture_path, console)
    if console.json:
        console.result("", view.comparison_fields(names, comparison))
    else:
        console.show(view.show_comparison(one, other, names, comparison, console.out))
    return comparison.equal


def list_dumps(paths: Sequence[Path], console: Console) -> None:
    """Show a table of many dumps. Files that are not dumps are named, and the exit status is then 3."""
    rows, refused = [], []
    for path in paths:
        try:
            dump = read_dump(path)
        except BadDump as error:
            refused.append(error)
            continue
        statistics = describe(dump)
        if console.json:
            fields = view.dump_fields(dump, check_dump(dump, path), statistics)
            console.result("", {"dump": str(path), "digest": tokens_digest(dump), **fields})
        else:
            rows.append((str(path), dump, statistics, tokens_digest(dump)))
    if rows:
        console.show(view.show_table(rows, console.out))
    for refusal in refused[:-1]:
        console.error(refusal)
    if refused:
        raise refused[-1]


def tokens_digest(dump: TokenDump) -> str:
    """Hex digest of the last grid; dumps that would give equal pictures share it."""
    return hashlib.sha256(repr(dump.grids[-1].tokens).encode()).hexdigest()


def check_model(dump: TokenDump, path: Path, model: str | None) -> Check:
    """Whether the dump fits the model that is to decode it, if that model is known and on this machine."""
    if model is None:
        return Check("model", "unchecked", "use --model to check the codebook and the decoder's weights")
    from glmimg.engine.dumps import check_fingerprint
    from glmimg.runtime.resolve import resolve

    try:
        checkpoint = resolve(model)
        check_fits_model(dump, path, codebook_size=checkpoint.decoder_codebook_size)
        check_fingerprint(dump, str(path), checkpoint)
    except ModelError as error:
        return Check("model", "unchecked", error.message)
    except BadDump as error:
        return Check("model", "failed", error.reason)
    return Check("model", "ok", f"codebook and decoder weights are those of {checkpoint.id}")
