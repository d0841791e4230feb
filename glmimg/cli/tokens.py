"""`glmimg tokens`: stage 1 alone, from a prompt to a token dump."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from glmimg.cli import options as o
from glmimg.cli.console import Console

if TYPE_CHECKING:
    from glmimg.engine.local import Written


def tokens(
    prompts: o.Prompts = None,
    images: o.Images = None,
    prompt_file: o.PromptFile = None,
    out: o.Out = None,
    model: o.Model = None,
    revision: o.Revision = None,
    preset: o.Presets = None,
    size: o.Size = None,
    fit: o.Fit = None,
    background: o.Background = None,
    count: o.Count = 1,
    seed: o.Seed = None,
    temperature: o.Temperature = None,
    top_p: o.TopP = None,
    logprobs: o.LogProbs = False,
    redraw: o.Redraw = None,
    mask: o.Mask = None,
    keep_from: o.KeepFrom = None,
    new_prompt: o.NewPrompt = None,
    paste: o.Paste = None,
    box: o.PasteBox = None,
    at: o.PasteAt = None,
    from_image: o.FromImage = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    embed_sources: o.EmbedSources = False,
    json: o.Json = False,
    force: o.Force = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Draw token grids (stage 1 alone) from a prompt and source pictures if there are any, or change part of a dump.

    With --redraw, --mask or --paste the argument is a token dump instead of a prompt.

    With --from-image it is the text that goes into the dump, if any.

    Examples:

    glmimg tokens "a red circle on a blue background" --model demo -o x.tokens.json

    glmimg tokens "make the background green" -i x.png --model demo -o y.tokens.json
    glmimg tokens --redraw 0,0,128,128 x.tokens.json --prompt "a green circle" -o y.tokens.json

    glmimg tokens --from-image a.png -o a.tokens.json

    glmimg tokens --paste a.tokens.json --box 0,0,64,64 --at 128,0 x.tokens.json -o y.tokens.json
    """
    from glmimg.cli.asking import ask, build_jobs, read_prompts
    from glmimg.cli.drawing import report_seeds
    from glmimg.cli.outputs import STANDARD_OUTPUT, NameFields, check_outputs, name_outputs
    from glmimg.cli.progress import ProgressLine
    from glmimg.cli.reworking import Drawing, Output, Rework, rework
    from glmimg.cli.sourcing import SourceWish, gather_sources
    from glmimg.engine.local import LocalEngine, Order
    from glmimg.errors import UsageError
    from glmimg.job import ModelChoice
    from glmimg.runtime.device import check_names
    from glmimg.runtime.resolve import resolve

    console = Console(json=json, quiet=quiet, verbose=verbose)
    asked = Rework(redraw, mask, keep_from, new_prompt, paste, box, at, from_image)
    asked.check(size=size)
    if asked.asked:
        said = dict(seed=seed, temperature=temperature, top_p=top_p)
        drawing = Drawing(said, preset or [], count, ModelChoice(model or "", revision, device, dtype), size)
        rework(prompts or [], asked, drawing, Output(out, force, logprobs), console)
        return
    texts = read_prompts(prompts or [], prompt_file)
    flags = dict(size=size, seed=seed, temperature=temperature, top_p=top_p)
    wishes = ask(texts, flags=flags, presets=preset or [])
    choice = ModelChoice(model or "", revision, device, dtype)
    check_names(choice)
    checkpoint = resolve(model, revision)
    sources, shelf = gather_sources(SourceWish(images or (), fit, background), checkpoint, console)
    jobs = build_jobs(wishes, checkpoint, count, sources)
    to_stdout = out == STANDARD_OUTPUT
    if to_stdout and json:
        raise UsageError("--out - already writes JSON to standard output", "Leave out --json.")
    paths = [None] * len(jobs) if to_stdout else name_outputs(out, NameFields.of(jobs), ".tokens.json")
    check_outputs([path for path in paths if path], force=force)
    report_seeds(jobs, console)
    orders = [Order(job, path, logprobs=logprobs) for job, path in zip(jobs, paths, strict=True)]
    with ProgressLine(console.err, shown=console.shows_progress) as progress:
        engine = LocalEngine(checkpoint, choice, watch=progress, shelf=shelf, embed=embed_sources)
        for written in engine.write(orders):
            if to_stdout:
                console.raw(written.dump.to_json().encode())
            else:
                console.result(str(written.order.dump_path), dump_fields(written))


def dump_fields(written: Written) -> dict[str, Any]:
    """A dump as `--json` reports it."""
    dump = written.dump
    return {
        "tokens": str(written.order.dump_path),
        "prompt": dump.prompt,
        "size": written.order.job.size,
        "seed": dump.seed,
        "grids": {grid.role: [grid.height, grid.width] for grid in dump.grids},
        "sources": [source.ref.model_dump() for source in dump.sources],
        "sampling": dump.sampling.model_dump(),
        "model": dump.model.id,
        "fingerprint": dump.model.fingerprint,
        "stats": dump.stats.model_dump(),
    }
