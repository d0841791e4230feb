"""From the command line to jobs: prompts from everywhere, presets, replayed pictures, flags."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from glmimg.errors import BadPrompts, UsageError

if TYPE_CHECKING:
    from glmimg.image_io import Making
    from glmimg.job import ARChoice, Job, SourceRef, Wish
    from glmimg.runtime.checkpoint import Checkpoint

STANDARD_INPUT = "-"
MAX_BATCH = 4096
MAX_PROMPTS_BYTES = 64 * 1024 * 1024


def read_prompts(arguments: Sequence[str], file: str | None) -> list[str]:
    """All prompts: the arguments, with `-` replaced by the lines of standard input, then those of a file.

    raises: UsageError (exit 2) for an empty argument; BadPrompts (exit 3) for input that holds none
    """
    from glmimg.job import check_prompt

    prompts: list[str] = []
    for argument in arguments:
        prompts += _lines(STANDARD_INPUT) if argument == STANDARD_INPUT else [check_prompt(argument)]
    if file is not None:
        prompts += _lines(file)
    return prompts


def ask(
    prompts: Sequence[str], *, flags: Mapping[str, Any], presets: Sequence[str], replayed: Making | None = None
) -> list[Wish]:
    """One wish for each prompt: flags over the replayed picture over presets. Needs no model.

    replayed: the making of a picture to make again; its prompt is taken as it is, without template
    raises:   UsageError, SizeError (exit 2), BadPreset (exit 3)
    """
    from glmimg.job import Wish
    from glmimg.preset import load_stack

    if replayed is not None and replayed.beyond:
        raise UsageError(
            f"this picture cannot be made again from its metadata alone: {replayed.beyond}",
            "Paint its token dump instead: glmimg decode X.tokens.json.",
        )
    stack = load_stack(presets)
    below = stack.wish if replayed is None else wish_of(replayed).over(stack.wish)
    wish = Wish.of(flags).over(below)
    texts = [stack.fill(prompt) for prompt in prompts]
    if not texts and wish.prompt is not None:
        texts = [wish.prompt]
    if not texts:
        raise UsageError("there is no prompt", "Say what to draw, for example: glmimg t2i 'a red circle'.")
    return [wish.model_copy(update={"prompt": text}) for text in texts]


def build_jobs(
    wishes: Sequence[Wish], checkpoint: Checkpoint, count: int, sources: Sequence[SourceRef] = ()
) -> list[Job]:
    """`count` jobs for each wish, with seeds seed, seed + 1, ... and the same sources. Raises as `complete`."""
    from glmimg.engine.complete import complete

    jobs = []
    for wish in wishes:
        first = complete(wish, checkpoint, sources)
        jobs += [_with_seed(first, wish.dit_seed, first.seed + offset) for offset in range(count)]
    return jobs


def ar_choice(batch: str, compile: bool | None) -> ARChoice:
    """How stage 1 is run. Raises UsageError (exit 2) for a batch that is no number of jobs."""
    from glmimg.job import ARChoice

    if batch == "auto":
        return ARChoice(None, compile)
    if not batch.isdecimal() or not 1 <= int(batch) <= MAX_BATCH:
        raise UsageError(f"--ar-batch {batch}: no such batch", f"Use auto, or a number from 1 to {MAX_BATCH}.")
    return ARChoice(int(batch), compile)


def check_grid_name(option: str, name: str) -> Literal["preview", "target"]:
    """The grid an option names. Raises UsageError (exit 2)."""
    if name == "preview":
        return "preview"
    if name == "target":
        return "target"
    raise UsageError(f"{option} {name}: there is no such grid", "Use preview or target.")


def wish_of(making: Making) -> Wish:
    """What somebody would have had to say to get this picture."""
    from glmimg.job import Wish

    job = making.job
    return Wish(
        prompt=job.prompt,
        size=job.size,
        seed=job.seed,
        dit_seed=None if job.dit_seed == job.seed else job.dit_seed,
        steps=job.steps,
        guidance=job.guidance,
        guidance_window=",".join(map(str, job.guidance_window)) if job.guidance_window else None,
        scheduler=job.scheduler,
        cache=job.cache,
        guidance_batch=job.guidance_batch or None,
        temperature=job.sampling.temperature,
        top_p=job.sampling.top_p,
        ar_method=job.sampling.method,
        ar_window=job.sampling.window,
    )


def _with_seed(job: Job, dit_seed: int | None, seed: int) -> Job:
    return job.model_copy(update={"seed": seed, "dit_seed": seed if dit_seed is None else dit_seed})


def _lines(file: str) -> list[str]:
    """The non-empty lines of a text file or of standard input. Raises BadPrompts (exit 3)."""
    name = "standard input" if file == STANDARD_INPUT else file
    try:
        if file == STANDARD_INPUT:
            raw = sys.stdin.buffer.read(MAX_PROMPTS_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                raw = stream.read(MAX_PROMPTS_BYTES + 1)
    except OSError as error:
        raise BadPrompts(name, f"cannot be read: {error.strerror}") from error
    if len(raw) > MAX_PROMPTS_BYTES:
        raise BadPrompts(name, "holds more than 64 MiB of prompts")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise BadPrompts(name, f"line {line} is not UTF-8 text") from error
    prompts = [line.strip() for line in text.splitlines() if line.strip()]
    if not prompts:
        raise BadPrompts(name, "holds no prompts", "Write one prompt a line.")
    return prompts
