"""The libraries are imported without torch's compiler, which comes, whole, when somebody asks for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

LEAN = """
import importlib.util, sys
find = importlib.util.find_spec
extras = {"torchao", "peft", "bitsandbytes", "cache_dit"}  # these import the compiler for their own ends
importlib.util.find_spec = lambda name, *rest: None if name in extras else find(name, *rest)
from glmimg.runtime.startup import CompilerLater, own_process
own_process()
from glmimg.runtime.load import quiet_libraries
quiet_libraries()
from transformers import GlmImageForConditionalGeneration, GlmImageProcessor, T5EncoderModel
from diffusers import AutoencoderKL, GlmImageTransformer2DModel
import torch

def heavy():
    return [name for name in ("sympy", "torch._inductor", "torch.distributed.tensor") if name in sys.modules]

assert not heavy(), heavy()
assert isinstance(sys.modules["torch._dynamo"], CompilerLater)
"""

ASKED = {
    "an attribute": "import torch._dynamo; torch._dynamo.reset()",
    "a name": "from torch._dynamo import config",
    "a part": "import torch._dynamo.config as config",
    "a part of a part": "from torch._dynamo.variables.base import VariableTracker",
    "a function of the part that is stood for": (
        "from torch._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex\n"
        "with TransformGetItemToIndex(): torch.ones(3)[0]"
    ),
    "compiling": "assert torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1)) == 2",
}

ARRIVED = """
assert heavy()
import torch._dynamo
import torch._dynamo.config
compiler = sys.modules["torch._dynamo"]
assert not isinstance(compiler, CompilerLater) and compiler.config is sys.modules["torch._dynamo.config"]
"""

MARKED = """
@torch.compiler.disable
def outside(x):
    return x + (1 if torch.compiler.is_compiling() else 2)

@torch.compiler.disable(recursive=False)
def alone(x):
    return outside(x)

@torch.compiler.assume_constant_result
def constant():
    return 5

assert outside(1) == 3 and alone(1) == 3
assert not heavy()
assert torch.compile(lambda x: alone(x) + outside(x), backend="eager")(torch.ones(1)) == 6
assert constant._dynamo_marked_constant
from torch._dynamo.trace_rules import is_callable_allowed
from diffusers.models.transformers.transformer_glm_image import GlmImageTransformerBlock
assert is_callable_allowed(GlmImageTransformerBlock)
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("request_", ASKED.values(), ids=ASKED)
def test_the_compiler_comes_when_it_is_asked(request_: str) -> None:
    run(LEAN + request_ + ARRIVED)


def test_marks_are_handed_on() -> None:
    run(LEAN + MARKED + ARRIVED)


def test_a_process_of_somebody_else_is_left_alone() -> None:
    run(LEAN.replace("own_process()\n", "").split("import torch\n")[0] + "assert 'sympy' in sys.modules")
