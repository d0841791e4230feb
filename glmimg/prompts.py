"""What a prompt may be, and a negative one."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic_core import PydanticCustomError

from glmimg.errors import UsageError
from glmimg.text import excerpt, is_text, quoted_texts

MAX_PROMPT = 20_000
"""Characters; the model's context is much shorter."""


def check_prompt(prompt: str) -> str:
    """The prompt, if it is usable. Raises UsageError (exit 2)."""
    if not prompt.strip():
        raise UsageError("the prompt is empty", "Say what to draw, for example 'a red circle'.")
    if len(prompt) > MAX_PROMPT:
        raise UsageError(f"the prompt has {len(prompt)} characters, more than {MAX_PROMPT}", "Shorten it.")
    if not is_text(prompt):
        raise UsageError("the prompt is not text (NUL or broken UTF-8 in it)", "Pass the prompt as UTF-8.")
    return prompt


def check_markers(prompt: str, markers: Iterable[str]) -> None:
    """Refuse a prompt with a special token of the tokenizer, which the model would not read as text (exit 2)."""
    for marker in markers:
        if marker in prompt:
            raise UsageError(f"the prompt {excerpt(prompt, 60)!r} contains {marker}, a special token", "Remove it.")


def check_negative(text: str) -> str:
    """A text that quotes what is not to be written, or nothing. Raises what pydantic collects."""
    if not is_text(text):
        raise ValueError("it is not text (NUL or broken UTF-8 in it)")
    if text and not "".join(quoted_texts(text)).strip():
        raise PydanticCustomError(
            "no_words",
            "it quotes no words, and only quoted words have an effect in stage 2; stage 1 reads none of it",
            {"hint": "Quote the words to avoid, such as --negative \"'SALE'\"; say the rest in the prompt."},
        )
    return text
