"""Every measurement of stage 1 that needs a GPU, in one command and under eight minutes; prints one JSON object.

`python -m tests.bench.gpu` on a machine with torch, transformers and pydantic. Nothing is downloaded: a model
of GLM-Image's full size (8.9 B parameters) is filled with random weights on the device, in bf16.
`--smoke` runs the same code at toy size on any device, which the tests do.

Random weights draw tokens as fast as trained ones. Only how many drafts a Jacobi pass keeps depends on
the weights; there it is forced, to the rate `--accept` (tokens a pass, as measured on a trained model).
Each part is abandoned, and said to be, when the time is up or it fails: the others are still reported.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from glmimg.ar.decode_loop import Decoder, TextDecoder, prefill, write_tokens
from glmimg.ar.prompt import ARPrompt, grid_positions
from glmimg.ar.sampling import TokenSampler
from glmimg.ar.static_decoder import StaticDecoder
from glmimg.grid import GridShape
from tests.jobs import make_sampling

GRIDS = (("preview", GridShape(16, 16)), ("target", GridShape(32, 32)))
"""1024x1024 px: 1,280 tokens."""

PROMPT_TOKENS = 64
LAW = make_sampling(temperature=0.9, top_p=0.75)


@dataclass(frozen=True)
class Setting:
    """The model and how much of a picture each part writes."""

    model: Any
    device: torch.device
    codebook: int
    tokens: int
    window: int
    accept: float

    def prompts(self, rows: int = 1) -> list[ARPrompt]:
        """The same random prompt for every row, before the grids of a picture."""
        ids = torch.arange(PROMPT_TOKENS, device=self.device)[None] % self.codebook
        places = torch.arange(PROMPT_TOKENS, device=self.device).expand(3, 1, -1)
        after = grid_positions(PROMPT_TOKENS, [shape for _, shape in GRIDS]).to(self.device)
        return [ARPrompt(ids, torch.ones_like(ids), places, after, GRIDS)] * rows  # type: ignore[arg-type]

    def sampler(self, rows: int = 1) -> TokenSampler:
        generators = [torch.Generator(self.device).manual_seed(seed) for seed in range(rows)]
        return TokenSampler(LAW, generators, self.codebook)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def build(smoke: bool, device: torch.device) -> tuple[Any, int]:
    """A text model with its head in the real architecture, random weights made on the device."""
    from transformers import GlmImageConfig, GlmImageForConditionalGeneration

    rope = {"rope_type": "default", "rope_theta": 10000, "partial_rotary_factor": 0.5, "mrope_section": [8, 12, 12]}
    config = GlmImageConfig(text_config={"rope_parameters": rope, "rms_norm_eps": 1e-5})
    text = config.text_config
    if smoke:
        text.update(dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4))
        text.update(dict(num_key_value_heads=2, vocab_size=600, vision_vocab_size=520, pad_token_id=0))
        rope["mrope_section"] = [2, 1, 1]
        text.rope_parameters = rope
        config.vq_config.num_embeddings = 512
    config.vision_config.update(dict(depth=1, hidden_size=64, intermediate_size=64, num_heads=2))
    config.vq_config.update(dict(latent_channels=64, embed_dim=64))
    torch.set_default_dtype(torch.float32 if device.type == "cpu" else torch.bfloat16)
    try:
        with torch.device("meta"):
            model = GlmImageForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(torch.float32)
    model = model.to_empty(device=device).eval()
    rotary = type(model.model.language_model.rotary_emb)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(1.0) if "norm" in name else weight.normal_(0, 0.02)
    model.model.language_model.rotary_emb = rotary(config=model.config.text_config).to(device)
    return model, int(config.vq_config.num_embeddings)


def plain(setting: Setting) -> dict[str, Any]:
    """One forward pass a token, launched by the host."""
    return write(setting, lambda: TextDecoder(setting.model, setting.prompts(), setting.tokens))


def graphed(setting: Setting, *, compile: bool, rows: int = 1) -> dict[str, Any]:
    """One graph replay a token."""
    decoder = StaticDecoder(setting.model, compile=compile)

    def start() -> Decoder:
        decoder.start(setting.prompts(rows), setting.tokens)
        return decoder

    started = time.perf_counter()
    start()
    setting.wait()
    ready = time.perf_counter() - started
    return write(setting, start, rows) | {"ready_s": round(ready, 1), "rows": rows}


def write(setting: Setting, start: Callable[[], Decoder], rows: int = 1) -> dict[str, Any]:
    """Tokens a second of three runs over the grids, prompt not counted."""
    rates = []
    for _ in range(3):
        decoder = start()
        setting.wait()
        started = time.perf_counter()
        for _token in write_tokens(decoder, setting.sampler(rows), setting.tokens):
            pass
        setting.wait()
        rates.append(rows * setting.tokens / (time.perf_counter() - started))
    return {"tokens_a_second": round(statistics.median(rates), 1), "runs": [round(rate, 1) for rate in rates]}


def generate(setting: Setting, implementation: str | None) -> dict[str, Any]:
    """transformers' `generate`, with a dynamic or a static (compiled) cache; both runs count from the prompt."""
    prompt = setting.prompts()[0]
    grids = torch.tensor([[1, *shape] for _, shape in reversed(GRIDS)], device=setting.device)
    seconds = []
    for _ in range(3):
        torch.manual_seed(0)
        setting.wait()
        started = time.perf_counter()
        ids = setting.model.generate(
            input_ids=prompt.input_ids,
            attention_mask=prompt.attention_mask,
            image_grid_thw=grids,
            images_per_sample=torch.tensor([2], device=setting.device),
            do_sample=True,
            temperature=LAW.temperature,
            top_p=LAW.top_p,
            top_k=0,
            min_new_tokens=setting.tokens,
            max_new_tokens=setting.tokens,
            cache_implementation=implementation,
        )
        setting.wait()
        seconds.append(time.perf_counter() - started)
    count = ids.shape[1] - prompt.input_ids.shape[1]
    return {"tokens_a_second": round(count / min(seconds), 1), "runs_s": [round(each, 2) for each in seconds]}


def jacobi(setting: Setting) -> dict[str, Any]:
    """Passes of Jacobi decoding with the draft acceptance of a trained model forced on random weights.

    What a pass costs is measured as it is, racing included; how many tokens it finishes is `accept`.
    """
    from glmimg.ar.jacobi import Guesser, Row, Window, write_jacobi
    from glmimg.ar.sampling import Recital

    owed = 0.0

    class Forced(Row):
        def settle(self, drafts: Sequence[int], logits: torch.Tensor) -> int:
            nonlocal owed
            if not self.finished:
                return super().settle(drafts, logits)
            raced = self.recital.race(len(self.finished), logits, torch.stack(self.noise[: len(logits)]))
            owed += setting.accept
            count = max(1, min(int(owed), len(raced)))
            owed -= count
            self.drafts = raced[count:]
            del self.noise[:count]
            self.guesser.learn(self.finished, raced[:count])
            return count

    class Fixed(Window):
        size = setting.window  # type: ignore[assignment]

    shapes = [shape for _, shape in GRIDS]
    rates, passes = [], 0
    for _ in range(3):
        decoder = TextDecoder(setting.model, setting.prompts(), setting.tokens + setting.window, together=True)
        recital = Recital(setting.sampler(), torch.empty(1, 0, dtype=torch.int64), (), stream_moves=True)
        setting.wait()
        started, passes, count = time.perf_counter(), 0, 0
        for piece in write_jacobi(decoder, [Forced(recital, Guesser(shapes), Fixed())], setting.tokens):
            passes, count = passes + 1, count + piece.shape[1]
        setting.wait()
        rates.append(count / (time.perf_counter() - started))
    return {"tokens_a_second": round(statistics.median(rates), 1), "passes": passes, "window": setting.window}


def prefill_time(setting: Setting) -> dict[str, Any]:
    """Reading the prompt."""
    prefill(setting.model, setting.prompts())
    setting.wait()
    started = time.perf_counter()
    prefill(setting.model, setting.prompts())
    setting.wait()
    return {"seconds": round(time.perf_counter() - started, 4)}


def parts(setting: Setting, *, compile: bool) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """The measurements, those the goals are about first."""
    yield "prefill", lambda: prefill_time(setting)
    yield "graph", lambda: graphed(setting, compile=False)
    yield "generate", lambda: generate(setting, None)
    yield "plain", lambda: plain(setting)
    yield "jacobi_forced", lambda: jacobi(setting)
    yield "graph_batch_8", lambda: graphed(setting, compile=False, rows=8)
    if compile:
        yield "graph_compiled", lambda: graphed(setting, compile=True)
        yield "generate_static", lambda: generate(setting, "static")


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure what the time allows. Returns what is printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="toy size, on any device, nothing compiled")
    parser.add_argument("--seconds", type=float, default=460, help="start no part after this")
    parser.add_argument("--accept", type=float, default=5.0, help="tokens a Jacobi pass finishes")
    parser.add_argument("--window", type=int, default=16)
    said = parser.parse_args(arguments)
    started = time.perf_counter()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not said.smoke:
        sys.exit("no GPU here: --smoke runs the same code at toy size")
    model, codebook = build(said.smoke, device)
    tokens = 24 if said.smoke else sum(shape.cells for _, shape in GRIDS)
    setting = Setting(model, device, codebook, tokens, min(said.window, tokens), said.accept)
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "parameters": sum(weight.numel() for weight in model.model.language_model.parameters()),
        "build_s": round(time.perf_counter() - started, 1),
        "forced_tokens_a_pass": said.accept,
    }
    for name, measure in parts(setting, compile=not said.smoke):
        if time.perf_counter() - started > said.seconds:
            report[name] = "not measured: the time was up"
            continue
        try:
            with torch.inference_mode():
                report[name] = measure()
        except Exception as error:  # one part must not take the others with it
            report[name] = f"failed: {type(error).__name__}: {error}"
            traceback.print_exc()
        print(name, report[name], file=sys.stderr, flush=True)
    report["seconds"] = round(time.perf_counter() - started, 1)
    print(json.dumps(report))
    return report


if __name__ == "__main__":
    main()
