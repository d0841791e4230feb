"""Prompts rewritten by a language model, over the chat endpoint that OpenAI, ollama, llama.cpp and others serve."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from glmimg.choice import Ideas
from glmimg.errors import BadConfig, EnhanceFailed, UsageError, WriteError
from glmimg.home import beside, write_own
from glmimg.prompts import check_prompt
from glmimg.settings_file import read_text
from glmimg.text import excerpt, quoted_texts

KEY = "GLMIMG_ENHANCE_KEY"
"""The variable with the endpoint's key, which no option takes: command lines are kept and seen."""

TIMEOUT_S = 180.0
MAX_BYTES, MAX_ANSWER = 1 << 20, 8000
"""Of a whole response, and characters of a rewritten prompt."""

HOUSE_RULES = """
- Words in quotation marks are painted letter by letter. Repeat each of them exactly, in quotation marks of the same \
kind, as often as it is there. Put nothing else in quotation marks, and write no apostrophes.
- Write in the language of the prompt: Chinese for Chinese, English for English. Leave quoted words in theirs.
- Answer with the rewritten prompt alone: one paragraph of plain text, without preface, list or markup."""

DRAWING = f"""You write prompts for GLM-Image, a model that draws pictures and sets text in them. Rewrite the prompt \
you are given so that it draws what its author meant, only better.
- Keep all that the prompt says. What it leaves open, decide: subject, setting, composition, light, colours, style.
- For a poster, sign, card, menu, slide or page, describe the layout from top to bottom: the ground, where each text \
stands, its size, typeface, weight and colour, and what is drawn beside it.
- Describe what is seen, in 60 to 200 words.{HOUSE_RULES}"""

EDITING = f"""You write instructions for GLM-Image, a model that changes pictures. You cannot see the pictures. \
Rewrite the instruction you are given so that it cannot be misread.
- Say what changes, where, and into what: shape, material, colours, light, style. Invent no further changes.
- Say what has to stay as it is: persons and their faces, poses, composition, background, light.
- Write 20 to 100 words.{HOUSE_RULES}"""

MARKED = re.compile(r'(“[^“”]*”|"[^"]*"|「[^「」]*」)')
APOSTROPHE = re.compile(r"(?<=[^\W\d_])'(?=[^\W\d_])")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True)
class Rewriter:
    """Rewrites prompts.

    url:   the endpoint's, up to /v1; key: empty for none
    edit:  whether prompts are instructions of edits
    keep:  whether answers are kept on disk, so that a prompt is asked about once
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    edit: bool = False
    keep: bool = True
    _known: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, asked: Ideas, *, edit: bool = False, keep: bool = True) -> Rewriter:
        """The one that is set. Raises UsageError (exit 2) if none is, BadConfig (exit 3) for an unreadable key file."""
        for name, value in (("enhance_url", asked.enhance_url), ("enhance_model", asked.enhance_model)):
            if not value:
                reason = f"--enhance needs a language model, and there is no {name}"
                example = "http://localhost:11434/v1" if name == "enhance_url" else "qwen3:8b"
                raise UsageError(reason, f"For example: glmimg config set {name} {example}")
        url, model = asked.enhance_url or "", asked.enhance_model or ""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii() or " " in url:
            raise UsageError("enhance_url is not an http(s) address", "For example http://localhost:11434/v1")
        if parts.username or parts.query:
            raise UsageError(
                "enhance_url holds a name or a key, which would be kept and shown", f"Set {KEY}, or enhance_key_file."
            )
        key = os.environ.get(KEY, "")
        if not key and asked.enhance_key_file:
            key = read_text(Path(asked.enhance_key_file).expanduser(), BadConfig)
        if not re.fullmatch(r"[!-~]*", key := key.strip()):
            raise UsageError(f"the key of {KEY} or enhance_key_file is not one word of ASCII", "Mend it.")
        return cls(url.rstrip("/"), model, key, edit, keep)

    def __call__(self, prompt: str) -> str:
        """The prompt rewritten, its quoted words unchanged. Raises EnhanceFailed (exit 1)."""
        if prompt not in self._known:
            self._known[prompt] = self._kept(prompt) or self._fresh(prompt)
        return self._known[prompt]

    def _kept(self, prompt: str) -> str:
        with suppress(OSError, ValueError, KeyError, TypeError):
            answer = str(json.loads(self._path(prompt).read_text())["enhanced"]) if self.keep else ""
            return answer if same_words(prompt, answer) else ""
        return ""

    def _path(self, prompt: str) -> Path:
        what = json.dumps([self.model, EDITING if self.edit else DRAWING, prompt])
        return beside("enhanced") / f"{hashlib.sha256(what.encode()).hexdigest()}.json"

    def _fresh(self, prompt: str) -> str:
        prompt_sent = plain_apostrophes(prompt)
        messages = [{"role": "system", "content": EDITING if self.edit else DRAWING}]
        messages.append({"role": "user", "content": prompt_sent})
        answer = self._ask(messages)
        if not same_words(prompt, answer):
            texts = ", ".join(f'"{text}"' for text in quoted_texts(prompt_sent)) or "none at all"
            again = f"You changed the words in quotation marks. They have to be exactly these: {texts}. Once more."
            messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": again}]
            answer = self._ask(messages)
        if not same_words(prompt, answer):
            became = f"{quoted_texts(prompt_sent)} became {quoted_texts(answer)}"
            reason = f"{self.model} changed the quoted words twice: {excerpt(became)}"
            raise EnhanceFailed(reason, "Try another model, or draw without --enhance.")
        if self.keep:
            with suppress(WriteError):  # a home that cannot be written costs another answer
                record = {"model": self.model, "prompt": prompt, "enhanced": answer}
                write_own(self._path(prompt), json.dumps(record, ensure_ascii=False) + "\n")
        return answer

    def _ask(self, messages: list[dict[str, str]]) -> str:
        """One answer, as a prompt. Raises EnhanceFailed (exit 1)."""
        raw = self._answer({"model": self.model, "messages": messages, "stream": False})
        try:
            answer = json.loads(raw)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise self._failed("did not answer with a chat completion", "Is this the address up to /v1?") from error
        answer = cleaned(answer) if isinstance(answer, str) else ""
        if not answer:
            raise self._failed("gave an empty answer", "Try again, or another model.")
        if len(answer) > MAX_ANSWER:
            raise self._failed(f"wrote {len(answer)} characters, more than {MAX_ANSWER}", "Try another model.")
        try:
            return check_prompt(answer)
        except UsageError as error:
            raise self._failed(f"gave an answer that is no prompt: {error.message}", "Try again.") from error

    def _answer(self, body: dict[str, Any]) -> bytes:
        """The bytes of a response. Raises EnhanceFailed (exit 1) for none in time, another status, too many."""
        address = self.url if self.url.endswith("/chat/completions") else f"{self.url}/chat/completions"
        headers = {"Content-Type": "application/json", "User-Agent": "glmimg"}
        headers |= {"Authorization": f"Bearer {self.key}"} if self.key else {}
        request = urllib.request.Request(address, json.dumps(body).encode(), headers)
        late = self._failed(f"did not answer within {TIMEOUT_S:g} s", "Is it loading its model? Try again.")
        until = time.monotonic() + TIMEOUT_S
        raw = b""
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_S) as response:
                while len(raw) <= MAX_BYTES and (piece := response.read1(1 << 16)):
                    raw += piece
                    if time.monotonic() > until:
                        raise late
        except HTTPError as error:
            raise self._refused(error) from error
        except TimeoutError as error:
            raise late from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise late from error
            reason = getattr(reason, "strerror", None) or reason
            raise self._failed(f"cannot be reached: {reason}", "Is it running, and is enhance_url right?") from error
        if len(raw) > MAX_BYTES:
            raise self._failed(f"answered with over {MAX_BYTES >> 20} MiB", "Is this a chat endpoint?")
        return raw

    def _refused(self, error: HTTPError) -> EnhanceFailed:
        """What a status other than 200 means. What 401 says may repeat the key, and is left out."""
        with error:
            said = error.read(2000).decode(errors="replace") if error.code not in (401, 403) else ""
        if error.code in (401, 403):
            why = "does not take the key" if self.key else "wants a key"
            return self._failed(f"{why} ({error.code})", f"Set {KEY}, or: glmimg config set enhance_key_file PATH")
        if 300 <= error.code < 400:
            return self._failed(f"redirects ({error.code})", "Set enhance_url to the address it leads to.")
        hint = "Is enhance_model one it has, and is enhance_url right?" if error.code in (400, 404) else "Try again."
        return self._failed(f"answered {error.code}: {' '.join(said.split())}", hint)

    def _failed(self, what: str, hint: str) -> EnhanceFailed:
        what = what.replace(self.key, "***") if self.key else what
        return EnhanceFailed(f"{excerpt(self.url)} {excerpt(what)}", hint)


def cleaned(answer: str) -> str:
    """An answer as a prompt: without thoughts and fences, one paragraph, apostrophes that quote nothing."""
    text = re.sub(r"(?s)<think>.*?</think>", "", answer).strip()
    text = re.sub(r"(?s)^```\w*\n(.*?)\n?```$", r"\1", text)
    return plain_apostrophes(re.sub(r"\s*\n\s*", " ", text.strip()))


def plain_apostrophes(text: str) -> str:
    """A text whose apostrophes within words, outside of other quotation marks, are typographic and so quote nothing."""
    parts = MARKED.split(text)
    return "".join(part if at % 2 else APOSTROPHE.sub("’", part) for at, part in enumerate(parts))


def same_words(prompt: str, answer: str) -> bool:
    """Whether an answer quotes what the prompt quotes, each text as often, and nothing else."""
    return Counter(quoted_texts(plain_apostrophes(prompt))) == Counter(quoted_texts(answer))
