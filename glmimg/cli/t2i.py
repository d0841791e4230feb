"""`glmimg t2i`: both stages, from a prompt to a picture."""

from __future__ import annotations

from glmimg.cli import options as o
from glmimg.cli.console import Console
from glmimg.cli.drawing import Destination, draw_jobs


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
    temperature: o.Temperature = None,
    top_p: o.TopP = None,
    replay: o.Replay = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
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
    """
    from glmimg.cli.asking import ask, build_jobs, read_prompts
    from glmimg.cli.sourcing import Replayed, SourceWish, gather_sources
    from glmimg.image_io import read_making
    from glmimg.job import ModelChoice
    from glmimg.runtime.device import check_names
    from glmimg.runtime.resolve import resolve

    console = Console(json=json, quiet=quiet, verbose=verbose)
    replayed = read_making(replay) if replay else None
    texts = read_prompts(prompts or [], prompt_file)
    flags = dict(
        size=size, seed=seed, dit_seed=dit_seed, steps=steps, guidance=guidance, temperature=temperature, top_p=top_p
    )
    wishes = ask(texts, flags=flags, presets=preset or [], replayed=replayed)
    if replayed is not None:
        model, revision = model or replayed.model.id, revision or replayed.model.revision
    choice = ModelChoice(model or "", revision, device, dtype)
    check_names(choice)
    checkpoint = resolve(model, revision)
    again = Replayed(replay, replayed) if replay and replayed else None
    sources, shelf = gather_sources(SourceWish(), checkpoint, console, again)
    jobs = build_jobs(wishes, checkpoint, count, sources)
    if replayed is not None and checkpoint.fingerprint() != replayed.model.fingerprint:
        console.note(f"{replay} was made with other weights than {checkpoint.id}: the new picture will differ")
    destination = Destination(out, tokens_out, keep_tokens=not no_tokens, metadata=not no_metadata, force=force)
    draw_jobs(jobs, checkpoint, choice, destination, console, shelf)
