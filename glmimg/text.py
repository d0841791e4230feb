"""Makes text from outside (file names, prompts, messages) safe for a terminal, a shell, a file name."""

from __future__ import annotations

import re
import shlex
import unicodedata
from pathlib import Path

MAX_EXCERPT = 200
"""The most characters of foreign text (keys, messages) that an error message quotes."""

SLUG_LENGTH = 60
"""Characters of a prompt that name a file; twice as many bytes."""

UNSAFE = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories that drive a terminal or break a line: control characters, lone surrogates, separators."""

QUOTES = (r"'([^']*)'", r"“([^“”]*)”", r'"([^"]*)"', r"「([^「」]*)」")
"""Around words to be written in a picture; in the order diffusers looks for them, which is that of their embeddings."""

LINE_END = re.compile(r"\r\n|\n|\r")
"""Where a line ends, here and in every other program; `str.splitlines` also splits at U+2028 and form feeds."""

BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that show the text after them in another order than it has."""


def printable(text: object, *, keep: str = "") -> str:
    r"""Text that is safe to print: control characters are escaped as in Python, such as `\x1b`.

    keep: control characters that are allowed
    """
    return "".join(
        char
        if char in keep or (unicodedata.category(char) not in UNSAFE and char not in BIDIRECTIONAL)
        else char.encode("unicode_escape").decode()
        for char in str(text)
    )


def excerpt(text: str, length: int = MAX_EXCERPT) -> str:
    """Foreign text as a single printable line, shortened if it is long."""
    return printable(text if len(text) <= length else text[:length] + "...")


def quoted_texts(prompt: str) -> list[str]:
    """The quoted texts of a prompt, by kind of quotation mark (diffusers, `GlmImagePipeline.get_glyph_texts`)."""
    return [text for pattern in QUOTES for text in re.findall(pattern, prompt)]


def is_text(text: str) -> bool:
    """Whether UTF-8 can hold it, and a program's argument: no lone surrogates and no NUL."""
    return not any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text)


def how_to_install(extra: str) -> str:
    """The hint for a missing extra. glmimg is on no package index, so its checkout is what pip installs."""
    return f"Install it, in the checkout: pip install -c constraints.txt '.[{extra}]'"


def counted(number: int, noun: str) -> str:
    """How many of something, such as `1 job` or `2 jobs`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def shell_words(*words: str | Path) -> str:
    """Words quoted for a shell, whatever they contain; those with control characters as bash's `$'...'`."""
    return " ".join(map(_shell_word, map(str, words)))


def _shell_word(word: str) -> str:
    if printable(word) == word:
        return shlex.quote(word)
    escaped = "".join(
        char if char.isprintable() and char not in "\\'" else "".join(f"\\{byte:03o}" for byte in _bytes(char))
        for char in word
    )
    return f"$'{escaped}'"


def _bytes(char: str) -> bytes:
    return char.encode("utf-8", "surrogateescape")


def is_utf16(raw: bytes) -> bool:
    """Whether bytes begin as UTF-16 text: by its mark, or by a zero in about every other byte."""
    head = raw[:1000]
    return head.startswith((b"\xff\xfe", b"\xfe\xff")) or head.count(0) > len(head) // 3


def slug(prompt: str) -> str:
    """The prompt as a part of a file name: letters and digits of any script, dashes between."""
    words = re.findall(r"\w+", prompt.lower())
    text = ""
    for word in words:
        longer = f"{text}-{word}" if text else word
        if len(longer.encode()) > SLUG_LENGTH * 2 or len(longer) > SLUG_LENGTH:
            break
        text = longer
    return text or (words[0][:SLUG_LENGTH] if words else "picture")
