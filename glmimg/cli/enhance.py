"""`glmimg enhance`: a prompt rewritten by a language model."""

from __future__ import annotations

from typing import Annotated

from glmimg.choice import Ideas, Output
from glmimg.cli import arguments as a
from glmimg.cli.options import Request, only, takes
from glmimg.errors import UsageError

Edit = Annotated[bool, a.option("--edit", text="The prompt is the instruction of an edit.")]


@takes(
    only(Ideas, "enhance_url", "enhance_model", "enhance_key_file"),
    only(Output, "as_json", "quiet", "verbose"),
)
def enhance(request: Request, prompts: a.Prompts, edit: Edit = False) -> None:
    """Have a language model rewrite a prompt.

    Any OpenAI-compatible chat endpoint will do, such as a local ollama or llama.cpp. Quoted words stay as they are.
    The key comes from GLMIMG_ENHANCE_KEY or from the file enhance_key_file names.

    \b
    Examples:
      glmimg enhance "a poster for a jazz night that says 'Blue Hour'"
      glmimg enhance --edit "make it winter"
    """
    from glmimg.cli.prompts import read_prompts
    from glmimg.enhance import Rewriter

    texts = read_prompts(prompts or [], None)
    if not texts:
        raise UsageError("no prompt given", "For example: glmimg enhance 'a red circle'.")
    rewriter = Rewriter.of(request.settings(Ideas), edit=edit)
    for text in texts:
        enhanced = rewriter(text)
        request.console.result(enhanced, {"prompt": text, "enhanced": enhanced, "model": rewriter.model})
