"""Foreign text on a terminal and in a shell."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmimg.text import excerpt, printable, shell_words

HOSTILE = "\x1b[31mred\x07\x9b2J\r\u202etxt\u2028[/bold]:smile:"


def test_what_drives_a_terminal_is_shown_as_it_is_written() -> None:
    assert printable(HOSTILE) == r"\x1b[31mred\x07\x9b2J\r\u202etxt\u2028[/bold]:smile:"
    assert printable("a red\u3000circle, é, 圆, 👩‍🎨") == "a red\u3000circle, é, 圆, 👩‍🎨"
    assert printable("two\nlines", keep="\n") == "two\nlines"
    assert excerpt("a" * 300) == "a" * 200 + "..."


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@given(words=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1))
def test_a_shell_reads_back_the_words(shell: str, words: list[str]) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    line = shell_words(*words)
    assert printable(line) == line
    script = f"printf '%s\\0' {line}".encode()
    read = subprocess.run([shell, "-f", "-c", script], capture_output=True, check=True).stdout
    assert read.decode().split("\0")[:-1] == words
