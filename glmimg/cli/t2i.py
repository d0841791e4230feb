"""`glmimg t2i`: both stages, from a prompt to a picture."""

from __future__ import annotations

from glmimg.cli import ar_options as a
from glmimg.cli import options as o
from glmimg.cli.console import Console
from glmimg.cli.drawing import Destination, Drawing, draw_jobs


def t2i(
    prompts: o.Prompts = None,
    prompt_file: o.PromptFile = None,
    out: o.Out = None,
    model: o.Model = None,
    revision: o.Revision = None,
    preset: o.Presets = None,
    size: o.Size = None,
    count: o.Count = 1,
    seed: o.Seed = None,
    dit_seed: o.DitSeed = None,
    steps: o.Steps = None,
    guidance: o.Guidance = None,
    guidance_window: o.GuidanceWindow = None,
    guidance_batch: o.GuidanceBatch = None,
    scheduler: o.Scheduler = None,
    cache: o.Cache = None,
    temperature: o.Temperature = None,
    top_p: o.TopP = None,
    ar_method: a.ARMethod = None,
    ar_window: a.ARWindow = None,
    candidates: a.Candidates = None,
    pick: a.Pick = None,
    replay: o.Replay = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    ar_batch: a.ARBatch = "auto",
    compile: a.Compile = None,
    preview_out: a.PreviewOut = None,
    memory: o.Memory = "auto",
    quantize: o.Quantize = "none",
    lora: o.Loras = None,
    tokens_out: o.TokensOut = None,
    no_tokens: o.NoTokens = False,
    no_metadata: o.NoMetadata = False,
    json: o.Json = False,
    force: o.Force = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Draw a picture from a prompt.

    Writes the picture and, beside it, its token dump (out.png and out.tokens.json).

    Examples:

    glmimg t2i "a red circle on a blue background" --model demo -o out.png

    glmimg t2i "a poster that says 'OPEN'" -p poster -n 4 -o "poster-{seed}.png"

    glmimg t2i --from out.png -o again.png

    glmimg t2i "a red circle" --model demo --candidates 16 -o circle.png
    """
    from functools import partial

    from glmimg.cli.asking import STANDARD_INPUT, ar_choice, ask, build_jobs, read_prompts
    from glmimg.cli.candidates import draw_candidates
    from glmimg.cli.coprocess import draw_as_they_come
    from glmimg.cli.sourcing import Replayed, SourceWish, gather_sources
    from glmimg.engine.batch.stages import CheckpointStages, Scope
    from glmimg.engine.memory import check_extras
    from glmimg.errors import UsageError
    from glmimg.image_io import read_making
    from glmimg.job import ModelChoice
    from glmimg.runtime.device import check_names
    from glmimg.runtime.resolve import resolve

    console = Console(json=json, quiet=quiet, verbose=verbose)
    replayed = read_making(replay) if replay else None
    as_they_come = prompt_file == STANDARD_INPUT
    texts = read_prompts(prompts or [], None if as_they_come else prompt_file)
    flags = dict(size=size, seed=seed, dit_seed=dit_seed, steps=steps, guidance=guidance)
    flags |= dict(temperature=temperature, top_p=top_p, ar_method=ar_method, ar_window=ar_window)
    flags |= dict(guidance_window=guidance_window, guidance_batch=guidance_batch, scheduler=scheduler, cache=cache)
    ar = ar_choice(ar_batch, compile)
    wish_for = partial(ask, flags=flags, presets=preset or [], replayed=replayed)
    wishes = wish_for(texts or ["yet to come"] if as_they_come else texts)
    if replayed is not None:
        model, revision = model or replayed.model.id, revision or replayed.model.revision
    choice = ModelChoice(model or "", revision, device, dtype, memory, quantize, tuple(lora or []), compile)
    check_names(choice)
    checkpoint = resolve(model, revision)
    again = Replayed(replay, replayed) if replay and replayed else None
    sources, shelf = gather_sources(SourceWish(), checkpoint, console, again)
    if candidates is not None and (sources or count > 1 or len(wishes) > 1 or preview_out or out == "-"):
        raise UsageError("--candidates takes one prompt and one --out", "Leave out --count and --preview-out.")
    if pick is not None and candidates is None:
        raise UsageError("--pick goes with --candidates", "For example --candidates 16 --pick 3,7.")
    jobs = build_jobs(wishes, checkpoint, candidates or count, sources)
    if replayed is not None and checkpoint.fingerprint() != replayed.model.fingerprint:
        console.note(f"{replay} was made with other weights than {checkpoint.id}: the new picture will differ")
    if replayed is not None and replayed.grid == "preview":
        console.note(f"{replay} is a draft: drawing the picture it is a preview of")
    destination = Destination(
        out,
        tokens_out,
        keep_tokens=not no_tokens,
        metadata=not no_metadata,
        force=force,
        preview_out=preview_out,
    )
    if as_they_come:
        if candidates is not None or preview_out is not None:
            raise UsageError("--prompts - takes no --candidates and no --preview-out", "Draw them one by one.")
        check_extras((job.painting, bool(job.sources)) for job in jobs)
        stages = CheckpointStages(checkpoint, choice, ar, Scope.of(jobs))
        stages.check()
        draw_as_they_come(
            lambda text: build_jobs(wish_for([text]), checkpoint, count, sources), texts, stages, destination, quiet
        )
        return
    if candidates is not None:
        draw_candidates(jobs, pick, Drawing(checkpoint, choice, destination, ar), console)
    else:
        draw_jobs(jobs, checkpoint, choice, destination, console, shelf, ar)
