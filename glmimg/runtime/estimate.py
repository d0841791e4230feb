"""How much memory each stage takes at its peak, from configurations alone.

Weights, keys and values follow exactly from the sizes. Working memory is counted in the widest tensors that are alive
at one time in the libraries' code; the tests hold it against measured peaks.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from glmimg.grid import CELL_PX
from glmimg.runtime.checkpoint import Half
from glmimg.runtime.layout import STRIP_ROWS, WHOLE_PX, Layout
from glmimg.runtime.sizes import ARSizes, DiTSizes
from glmimg.runtime.stream import WINDOW

BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
COMPRESSED = {"int8": 1.02, "fp8": 1.02, "int4": 0.56, "nf4": 0.56}
"""Bytes a weight of the big linear layers, with its share of the scales."""

PROMPT_TOKENS = 128
GLYPH_TOKENS = 64
"""Assumed for a prompt that is not known yet: a few sentences, a few quoted words."""

CONTEXT_BYTES = 600e6
"""Memory of an accelerator's driver and matrix library."""

PROCESS_BYTES = {"ar": 305e6, "dit": 355e6}
"""Python and the libraries each stage imports, measured on Linux; the second stage follows the first."""

IN_BLOCK = 11
"""Tensors as wide as the hidden state at the peak of a block: the feed-forward's two of four times the width, the
normalised state, what attention gave and the state after it."""

BESIDE = {True: 8, False: 4}
"""As many beside the block, with and without guidance: of each branch its prior and its states before the first block
and before this one, the first branch's after this one, and the patches."""

BEFORE_ATTENTION = 5
"""Queries, keys, values, the plain and the normalised state, beside keys and values joined to those of the sources."""


@dataclass(frozen=True)
class Request:
    """What is to be estimated.

    height, width: pixels
    dtype:         of weights and activations: fp32, bf16, fp16
    on_host:       the device is the CPU, so that the process itself counts too
    sources:       (height, width) of the source pictures of an edit, in pixels, as the model reads them
    quantize:      by half, a key of COMPRESSED or "none"
    streamable:    by half, whether its layers may be streamed
    one_batch:     both branches of guidance go through the DiT side by side
    """

    height: int
    width: int
    dtype: str
    on_host: bool
    guided: bool = True
    sources: tuple[tuple[int, int], ...] = ()
    quantize: tuple[str, str] = ("none", "none")
    streamable: tuple[bool, bool] = (True, True)
    one_batch: bool = False

    @property
    def scalar(self) -> int:
        """Bytes of a plain weight or activation."""
        return BYTES[self.dtype]

    def layer_weight(self, half: Half) -> float:
        """Bytes of one weight in the half's stack of layers, compressed or not."""
        return COMPRESSED.get(self.quantize[0 if half == "ar" else 1], self.scalar)

    @property
    def new_tokens(self) -> int:
        """Target grid and preview (about 256), as the AR half writes them; an edit has no preview."""
        return (self.height // CELL_PX) * (self.width // CELL_PX) + (0 if self.sources else 256)

    @property
    def prompt_tokens(self) -> int:
        """Words, and a code for each cell of a source picture, as the AR half reads them."""
        return PROMPT_TOKENS + sum((height // CELL_PX) * (width // CELL_PX) for height, width in self.sources)


@dataclass(frozen=True)
class Need:
    """Peak memory of one stage in bytes, by what uses it at the peak."""

    weights: float
    kv_cache: float
    activations: float
    base: float

    @property
    def peak(self) -> float:
        return self.weights + self.kv_cache + self.activations + self.base


def ar_need(sizes: ARSizes, request: Request, layout: Layout = Layout()) -> Need:
    """Peak of stage 1."""
    scalar, weight = request.scalar, request.layer_weight("ar")
    layers = sizes.layer * weight * layers_present(sizes.layers, layout)
    weights = layers + sizes.rest * weight + sizes.visual * sizes.hidden * scalar
    if request.sources:
        weights += (sizes.vision + sizes.vq) * scalar
    if sizes.stored is not None:  # the library that reads it loads all of it
        weights = sizes.stored
    prompt, a_token = request.prompt_tokens, sizes.kv_width * sizes.layers * scalar
    # The prompt is read into a cache of its own, then copied into the one that has room for the grids.
    reading = prompt * (4 * sizes.ffn + 4 * sizes.hidden) * scalar + prompt * prompt
    later = request.new_tokens * a_token
    return Need(
        weights=weights,
        kv_cache=prompt * a_token + later,
        activations=max(reading - later, prompt * a_token) + 6 * sizes.visual * 4,
        base=PROCESS_BYTES["ar"] if request.on_host else CONTEXT_BYTES,
    )


def dit_need(sizes: DiTSizes, request: Request, layout: Layout = Layout()) -> Need:
    """Peak of stage 2: all its parts together, or the largest of them where they take turns."""
    scalar = request.scalar
    blocks = sizes.block * request.layer_weight("dit") * layers_present(sizes.blocks, layout)
    vae_weights = (sizes.decoder + (sizes.encoder if request.sources else 0)) * scalar
    parts = [  # weights, what is kept of the sources, working memory
        (sizes.stored.get("text_encoder", sizes.text_encoder * scalar), 0.0, GLYPH_TOKENS * 64e3),
        (
            sizes.stored.get("transformer", sizes.rest * scalar + blocks),
            # keys and values that the sources leave in every block
            2.0 * sizes.blocks * source_tokens(sizes, request) * sizes.hidden * scalar,
            denoising_bytes(sizes, request),
        ),
        (sizes.stored.get("vae", vae_weights), 0.0, _vae_bytes(sizes, request, layout)),
    ]
    base = PROCESS_BYTES["dit"] if request.on_host else CONTEXT_BYTES
    if layout.taking_turns:
        return Need(*max(parts, key=sum), base)
    _, kept, working = max(parts, key=lambda part: part[1] + part[2])
    return Need(sum(part[0] for part in parts), kept, working, base)


def layers_present(layers: int, layout: Layout) -> int:
    """How many layers of a stack take up memory at one time."""
    return layers if layout.resident is None else min(layers, layout.resident + WINDOW)


def dit_tokens(sizes: DiTSizes, request: Request) -> int:
    """Patches and glyph tokens of one row that goes through the DiT."""
    return patches(sizes, request.height, request.width) + GLYPH_TOKENS


def source_tokens(sizes: DiTSizes, request: Request) -> int:
    """Patches of all source pictures, which the guided row attends to as well."""
    return sum(patches(sizes, *source) for source in request.sources)


def patches(sizes: DiTSizes, height: int, width: int) -> int:
    """How many the DiT cuts a picture into."""
    side = sizes.vae_scale * sizes.patch
    return (height // side) * (width // side)


def vae_levels(sizes: DiTSizes, pixels: int) -> list[tuple[int, float]]:
    """Channels and area of each resolution the VAE paints `pixels` at, from the latents outwards."""
    return [(channels, pixels / 4**level) for level, channels in enumerate(sizes.vae_channels)][::-1]


def denoising_bytes(sizes: DiTSizes, request: Request) -> float:
    """Working memory of a pass through the DiT, or of the one that reads the largest source, if that takes more."""
    own, read = dit_tokens(sizes, request), source_tokens(sizes, request)
    joined = BEFORE_ATTENTION * own + 2 * (own + read)
    rows = 2 if request.guided and request.one_batch else 1
    widths = BESIDE[request.guided] * own + rows * max(IN_BLOCK * own, joined if read else 0)
    largest = max((patches(sizes, *source) for source in request.sources), default=0)
    return float(max(widths, (BESIDE[False] + IN_BLOCK) * largest) * sizes.hidden * request.scalar)


def _vae_bytes(sizes: DiTSizes, request: Request, layout: Layout) -> float:
    """Working memory of the VAE: the widest block at its resolution, painting the picture or reading a source."""
    pixels, read = request.height * request.width, max((h * w for h, w in request.sources), default=0)
    in_strips = layout.decodes_in_strips(request.height, request.width)
    # Of a run that has larger pictures, the smaller ones are decoded whole.
    whole = _widest(vae_levels(sizes, min(pixels, WHOLE_PX) if in_strips else pixels))
    painting = max(whole, _in_strips(sizes, request)) if in_strips else whole
    reading = _widest(vae_levels(sizes, read)[::-1])
    return max(painting * request.scalar, 24 * pixels, reading * request.scalar + 24 * read)  # 24: float32 twice


def _widest(levels: list[tuple[int, float]]) -> float:
    """Numbers alive in the widest block of a resolution, which the library enters with the channels of the one before.

    That map stays, beside it the normalised and the activated one, or later four of the block's own.
    """
    pairs = zip([levels[0], *levels], levels, strict=False)
    return max((before + max(2 * before, 4 * channels)) * area for (before, _), (channels, area) in pairs)


def _in_strips(sizes: DiTSizes, request: Request) -> float:
    """The same in strips (`dit/vae.py`): the smaller map, two of a resolution, five times a strip."""
    first, *_ = levels = vae_levels(sizes, request.height * request.width)
    needs = [_widest([first])]
    for (before, below), (channels, area) in pairwise(levels):
        strip = 5 * before * (STRIP_ROWS + 4) * (area / request.height)
        needs.append(before * below + 2 * channels * area + strip)
    return max(needs)
