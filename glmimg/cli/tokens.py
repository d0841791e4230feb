"""`glmimg tokens`: stage 1 alone, from a prompt to a token dump."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from glmimg.cli import ar_options as a
from glmimg.cli import dump_options as d
from glmimg.cli import options as o
from glmimg.cli.console import Console

if TYPE_CHECKING:
    from glmimg.engine.local import Order, Written
    from glmimg.job import ARChoice, ModelChoice
    from glmimg.runtime.checkpoint import Checkpoint
    from glmimg.sources import SourceShelf


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
    logprobs: d.LogProbs = False,
    redraw: d.Redraw = None,
    mask: d.Mask = None,
    keep_from: d.KeepFrom = None,
    new_prompt: d.NewPrompt = None,
    paste: d.Paste = None,
    box: d.PasteBox = None,
    at: d.PasteAt = None,
    from_image: d.FromImage = None,
    ar_method: a.ARMethod = None,
    ar_window: a.ARWindow = None,
    until: a.Until = "target",
    resume: a.Resume = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    embed_sources: o.EmbedSources = False,
    ar_batch: a.ARBatch = "auto",
    compile: a.Compile = None,
    memory: o.Memory = "auto",
    quantize: o.Quantize = "none",
    lora: o.Loras = None,
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

    glmimg tokens "a red circle" --model demo --until preview -o x.tokens.json

    glmimg tokens --resume x.tokens.json -o whole.tokens.json
    """
    from glmimg.cli.asking import ar_choice, ask, build_jobs, check_grid_name, read_prompts
    from glmimg.cli.resuming import read_begun
    from glmimg.cli.reworking import Drawing, Output, Rework, rework
    from glmimg.cli.sourcing import SourceWish, gather_sources
    from glmimg.engine.local import Order
    from glmimg.errors import UsageError
    from glmimg.job import ModelChoice
    from glmimg.runtime.device import check_names
    from glmimg.runtime.resolve import resolve

    console = Console(json=json, quiet=quiet, verbose=verbose)
    asked = Rework(redraw, mask, keep_from, new_prompt, paste, box, at, from_image)
    asked.check(size=size)
    if asked.asked:
        said = dict(seed=seed, temperature=temperature, top_p=top_p)
        drawing = Drawing(
            said,
            preset or [],
            count,
            ModelChoice(model or "", revision, device, dtype, memory, quantize, tuple(lora or []), compile),
            size,
        )
        rework(prompts or [], asked, drawing, Output(out, force, logprobs), console)
        return
    last = check_grid_name("--until", until)
    ar = ar_choice(ar_batch, compile)
    flags = dict(size=size, seed=seed, temperature=temperature, top_p=top_p, ar_method=ar_method, ar_window=ar_window)
    if resume:
        begun = read_begun(resume, size, others=[prompts, prompt_file, preset, *list(flags.values())[1:]])
        model, revision = model or begun[0].model.id, revision or (None if model else begun[0].model.revision)
    else:
        wishes = ask(read_prompts(prompts or [], prompt_file), flags=flags, presets=preset or [])
    choice = ModelChoice(model or "", revision, device, dtype, memory, quantize, tuple(lora or []), compile)
    check_names(choice)
    checkpoint = resolve(model, revision)
    sources, shelf = gather_sources(SourceWish(images or (), fit, background), checkpoint, console)
    if logprobs and last == "preview":
        raise UsageError("--logprobs takes whole dumps", "Leave out --until.")
    if sources and (resume or last == "preview"):
        raise UsageError("an edit has no preview", "Leave out --until and --resume.")
    if resume:
        from glmimg.engine.resume import resume_orders

        orders = [replace(order, logprobs=logprobs) for order in resume_orders(begun, resume, checkpoint)]
    else:
        orders = [Order(job, logprobs=logprobs, until=last) for job in build_jobs(wishes, checkpoint, count, sources)]
    write_orders(orders, checkpoint, choice, TokensOut(out, ar, force, shelf, embed_sources), console)


@dataclass(frozen=True)
class TokensOut:
    """Where dumps go and how stage 1 is run, as the command line said it."""

    out: str | None
    ar: ARChoice
    force: bool
    shelf: SourceShelf
    embed: bool


def write_orders(
    orders: Sequence[Order], checkpoint: Checkpoint, choice: ModelChoice, said: TokensOut, console: Console
) -> None:
    """Draw the dumps of every order and report each. Raises OutputError (exit 2), else as `LocalEngine.write`."""
    from glmimg.cli.drawing import report_seeds
    from glmimg.cli.outputs import STANDARD_OUTPUT, NameFields, check_outputs, name_outputs
    from glmimg.cli.progress import ProgressLine
    from glmimg.engine.local import LocalEngine
    from glmimg.errors import UsageError

    jobs = [order.job for order in orders]
    to_stdout = said.out == STANDARD_OUTPUT
    if to_stdout and console.json:
        raise UsageError("--out - already writes JSON to standard output", "Leave out --json.")
    paths = [None] * len(jobs) if to_stdout else name_outputs(said.out, NameFields.of(jobs), ".tokens.json")
    check_outputs([path for path in paths if path], force=said.force)
    report_seeds(jobs, console)
    placed = [replace(order, dump_path=path) for order, path in zip(orders, paths, strict=True)]
    with ProgressLine(console) as progress:
        engine = LocalEngine(checkpoint, choice, watch=progress, ar=said.ar, shelf=said.shelf, embed=said.embed)
        for written in engine.write(placed):
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
