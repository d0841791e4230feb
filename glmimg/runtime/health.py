"""Whether a checkpoint is usable: all faults that drawing would meet, found without loading weights."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from time import monotonic
from types import FrameType
from typing import Any

from glmimg.errors import ModelUnfit
from glmimg.runtime.checkpoint import PARTS, Checkpoint
from glmimg.runtime.load import check_module, load_part, naming_part, quiet_libraries
from glmimg.runtime.sizes import ar_sizes, dit_sizes

MARKERS = ("bos_token", "eos_token", "image_token", "grid_bos_token", "grid_eos_token")
PROBE = "glmimg"
LONGEST_TEMPLATE_S = 2
"""Time limit of a chat template for a one-word prompt."""
TEMPLATE = "<template>"
"""The file that jinja says a template's code is from."""


def find_faults(checkpoint: Checkpoint) -> Iterator[ModelUnfit]:
    """All faults of a checkpoint: of its files first and, if those are complete, of their contents."""
    problem = None
    for problem in checkpoint.problems():
        yield problem
    if problem is not None:
        return
    quiet_libraries()
    checks: list[Callable[[], object]] = [partial(ar_sizes, checkpoint), partial(dit_sizes, checkpoint)]
    checks += [partial(_check_part, checkpoint, name) for name in PARTS]
    for check in checks:
        try:
            check()
        except ModelUnfit as fault:
            yield fault


def _check_part(checkpoint: Checkpoint, name: str) -> None:
    """Raises ModelUnfit (exit 4)."""
    part = PARTS[name]
    if name == "vision_language_encoder":
        checkpoint.generation_config  # noqa: B018 (reading it checks it)
        checkpoint.source_bounds  # noqa: B018
    import diffusers
    import transformers

    part_class: Any = getattr(diffusers, part.class_name, None) or getattr(transformers, part.class_name)
    if part.weight_stem is None:
        loaded: Any = load_part(part_class, checkpoint, name)
        if name == "processor":
            check_processor(checkpoint, loaded)
        elif name == "tokenizer":
            check_glyph_tokenizer(checkpoint, loaded)
    elif checkpoint.compressed_by(name) is None:
        check_module(part_class, checkpoint, name)


def check_processor(checkpoint: Checkpoint, processor: Any) -> None:
    """Raise ModelUnfit (exit 4) for a processor without its markers, or without a chat template that works."""
    tokenizer, ids = processor.tokenizer, checkpoint.config("vision_language_encoder")
    with naming_part(checkpoint, "processor"):
        for marker in MARKERS:
            text = getattr(tokenizer, marker, None)
            if not isinstance(text, str) or len(tokenizer.encode(text, add_special_tokens=False)) != 1:
                raise checkpoint.unfit(f"its tokenizer has no {marker}")
        if tokenizer.convert_tokens_to_ids(tokenizer.image_token) != ids.get("image_token_id"):
            raise checkpoint.unfit("its tokenizer and its AR half have different ids for a picture")
        if not processor.chat_template:
            raise checkpoint.unfit("its processor has no chat template (chat_template.jinja)")
        chat = _fill_template(checkpoint, processor)
        if not isinstance(chat, list) or PROBE not in str(chat[0]):
            raise checkpoint.unfit("its chat template leaves the prompt out")
        inputs = processor(text=chat, target_h=64, target_w=64, return_tensors="pt")
        if lacking := {"input_ids", "attention_mask", "image_grid_thw"} - set(inputs):
            raise checkpoint.unfit(f"its processor does not produce {', '.join(sorted(lacking))}")
        known = [tokenizer.convert_tokens_to_ids(getattr(tokenizer, marker)) for marker in MARKERS]
        _check_ids(checkpoint, [*known, *inputs["input_ids"][0].tolist()], ids.get("text_config") or {}, "AR half")


def check_glyph_tokenizer(checkpoint: Checkpoint, tokenizer: Any) -> None:
    """Raise ModelUnfit (exit 4) for a tokenizer with tokens that the glyph encoder does not know."""
    with naming_part(checkpoint, "tokenizer"):
        ids = [tokenizer.pad_token_id, *tokenizer(PROBE).input_ids]
        _check_ids(checkpoint, ids, checkpoint.config("text_encoder"), "glyph encoder")


def _check_ids(checkpoint: Checkpoint, ids: list[int], config: Mapping[str, Any], reader: str) -> None:
    if (largest := max(ids)) >= config.get("vocab_size", largest + 1):
        raise checkpoint.unfit(f"its tokenizer writes token {largest}, which its {reader} does not know")


def _fill_template(checkpoint: Checkpoint, processor: Any) -> Any:
    """The chat for a one-word prompt. A template is a program: only running it shows whether it ends."""
    message = {"role": "user", "content": [{"type": "text", "text": PROBE}]}
    deadline = monotonic() + LONGEST_TEMPLATE_S

    def watch(frame: FrameType, event: str, argument: Any) -> Any:
        if monotonic() > deadline:
            raise TimeoutError
        return watch if frame.f_code.co_filename == TEMPLATE else None

    # A thread that does not end could not be stopped; Python's tracing looks at the clock at each call and at each line
    # of the template, not at every line of jinja's compiler.
    before = sys.gettrace()
    sys.settrace(watch)
    try:
        return processor.apply_chat_template([[message]], tokenize=False)
    except TimeoutError as error:
        raise checkpoint.unfit(f"its chat template does not end (within {LONGEST_TEMPLATE_S} s)") from error
    finally:
        sys.settrace(before)
