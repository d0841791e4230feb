"""`glmimg edit`: both stages, from source pictures and a prompt to a picture."""

from __future__ import annotations

from glmimg.cli import ar_options as a
from glmimg.cli import options as o
from glmimg.cli.console import Console
from glmimg.cli.drawing import Destination, draw_jobs
from glmimg.errors import UsageError


def edit(
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
    dit_seed: o.DitSeed = None,
    steps: o.Steps = None,
    guidance: o.Guidance = None,
    guidance_window: o.GuidanceWindow = None,
    guidance_batch: o.GuidanceBatch = None,
    scheduler: o.Scheduler = None,
    temperature: o.Temperature = None,
    top_p: o.TopP = None,
    ar_method: a.ARMethod = None,
    ar_window: a.ARWindow = None,
    replay: o.Replay = None,
    elsewhere: o.Elsewhere = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    ar_batch: a.ARBatch = "auto",
    compile: a.Compile = None,
    memory: o.Memory = "auto",
    quantize: o.Quantize = "none",
    lora: o.Loras = None,
    tokens_out: o.TokensOut = None,
    no_tokens: o.NoTokens = False,
    embed_sources: o.EmbedSources = False,
    no_metadata: o.NoMetadata = False,
    json: o.Json = False,
    force: o.Force = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Draw a picture from one or several source pictures and a prompt.

    Any picture Pillow opens will do. The new one is as large as the first source unless --size says otherwise.

    Examples:

    glmimg edit "Replace the snow forest with an underground station" -i cond.jpg -o out.png

    glmimg edit "The man and the dog sit in a boat" -i man.jpg -i dog.png -p together -o out.png

    glmimg edit --from out.png -o again.png
    """
    from glmimg.cli.asking import ar_choice, ask, build_jobs, read_prompts
    from glmimg.cli.sourcing import Replayed, SourceWish, gather_sources
    from glmimg.image_io import read_making
    from glmimg.job import ModelChoice
    from glmimg.runtime.device import check_names
    from glmimg.runtime.resolve import resolve

    console = Console(json=json, quiet=quiet, verbose=verbose)
    replayed = Replayed(replay, read_making(replay)) if replay else None
    if not images and not (replayed and replayed.making.job.sources):
        raise UsageError("there is no source picture", "Name one with -i PATH; glmimg t2i draws without.")
    texts = read_prompts(prompts or [], prompt_file)
    flags = dict(size=size, seed=seed, dit_seed=dit_seed, steps=steps, guidance=guidance)
    flags |= dict(temperature=temperature, top_p=top_p, ar_method=ar_method, ar_window=ar_window)
    flags |= dict(guidance_window=guidance_window, guidance_batch=guidance_batch, scheduler=scheduler)
    ar = ar_choice(ar_batch, compile)
    wishes = ask(texts, flags=flags, presets=preset or [], replayed=replayed.making if replayed else None)
    if replayed is not None:
        model, revision = model or replayed.making.model.id, revision or replayed.making.model.revision
    choice = ModelChoice(model or "", revision, device, dtype, memory, quantize, tuple(lora or []), compile)
    check_names(choice)
    checkpoint = resolve(model, revision)
    wanted = SourceWish(images or (), fit, background, elsewhere or ())
    sources, shelf = gather_sources(wanted, checkpoint, console, replayed)
    jobs = build_jobs(wishes, checkpoint, count, sources)
    if replayed is not None and checkpoint.fingerprint() != replayed.making.model.fingerprint:
        console.note(f"{replay} was made with other weights than {checkpoint.id}: the new picture will differ")
    destination = Destination(
        out, tokens_out, keep_tokens=not no_tokens, metadata=not no_metadata, force=force, embed_sources=embed_sources
    )
    draw_jobs(jobs, checkpoint, choice, destination, console, shelf, ar)
