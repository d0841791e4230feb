"""How much memory each stage takes at its peak, from configurations alone.

Weights, keys and values follow exactly from the sizes. Working memory is counted in the widest tensors that are alive
at one time in the libraries' code; the tests hold it against measured peaks.
"""

from __future__ import annotations

from dataclasses import dataclass

from glmimg.grid import CELL_PX
from glmimg.runtime.checkpoint import Half
from glmimg.runtime.layout import TILE_PX, Layout
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

DIT_ALIVE = 14
"""Tensors as wide as the hidden state at the peak of a block: the feed-forward's two of four times the
width, attention's output, the normalised and the plain state, and the prior of both branches."""

VAE_ALIVE = 3
"""Feature maps at the peak of a residual block: its input, the normalised one and the activated one."""


@dataclass(frozen=True)
class Request:
    """What is to be estimated.

    height, width: pixels
    dtype:         of weights and activations: fp32, bf16, fp16
    on_host:       the device is the CPU, so that the process itself counts too
    quantize:      by half, a key of COMPRESSED or "none"
    streamable:    by half, whether its layers may be streamed
    one_batch:     both branches of guidance go through the DiT side by side
    """

    height: int
    width: int
    dtype: str
    on_host: bool
    guided: bool = True
    with_sources: bool = False
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
        """Target grid and preview (about 256), as the AR half writes them."""
        return (self.height // CELL_PX) * (self.width // CELL_PX) + (0 if self.with_sources else 256)


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
    if request.with_sources:
        weights += (sizes.vision + sizes.vq) * scalar
    if sizes.stored is not None:  # the library that reads it loads all of it
        weights = sizes.stored
    tokens = PROMPT_TOKENS + request.new_tokens
    prefill = PROMPT_TOKENS * (4 * sizes.ffn + 8 * sizes.hidden) * scalar
    return Need(
        weights=weights,
        kv_cache=sizes.kv_width * sizes.layers * tokens * scalar,
        activations=prefill + 6 * sizes.visual * 4,
        base=PROCESS_BYTES["ar"] if request.on_host else CONTEXT_BYTES,
    )


def dit_need(sizes: DiTSizes, request: Request, layout: Layout = Layout()) -> Need:
    """Peak of stage 2: all its parts together, or the largest of them where they take turns."""
    scalar = request.scalar
    blocks = sizes.block * request.layer_weight("dit") * layers_present(sizes.blocks, layout)
    vae_weights = (sizes.decoder + (sizes.encoder if request.with_sources else 0)) * scalar
    parts = [
        (sizes.stored.get("text_encoder", sizes.text_encoder * scalar), GLYPH_TOKENS * 64e3),
        (sizes.stored.get("transformer", sizes.rest * scalar + blocks), denoising_bytes(sizes, request)),
        (sizes.stored.get("vae", vae_weights), _vae_bytes(sizes, request, layout)),
    ]
    base = PROCESS_BYTES["dit"] if request.on_host else CONTEXT_BYTES
    if layout.taking_turns:
        weights, activations = max(parts, key=sum)
        return Need(weights, 0, activations, base)
    return Need(sum(part[0] for part in parts), 0, max(part[1] for part in parts), base)


def layers_present(layers: int, layout: Layout) -> int:
    """How many layers of a stack take up memory at one time."""
    return layers if layout.resident is None else min(layers, layout.resident + WINDOW)


def dit_tokens(sizes: DiTSizes, request: Request) -> int:
    """Patches and glyph tokens of one row that goes through the DiT."""
    side = sizes.vae_scale * sizes.patch
    return (request.height // side) * (request.width // side) + GLYPH_TOKENS


def vae_levels(sizes: DiTSizes, pixels: int) -> list[tuple[int, float]]:
    """Channels and area of each resolution the VAE paints `pixels` at, from the latents outwards."""
    return [(channels, pixels / 4**level) for level, channels in enumerate(sizes.vae_channels)][::-1]


def denoising_bytes(sizes: DiTSizes, request: Request) -> float:
    """Working memory of a pass through the DiT."""
    rows = 2 if request.guided and request.one_batch else 1
    return float(rows * DIT_ALIVE * dit_tokens(sizes, request) * sizes.hidden * request.scalar)


def _vae_bytes(sizes: DiTSizes, request: Request, layout: Layout) -> float:
    """Working memory of the VAE's decoder: the widest block at its resolution."""
    pixels = request.height * request.width
    levels = vae_levels(sizes, min(pixels, TILE_PX * TILE_PX) if layout.vae_tiles else pixels)
    pairs = zip([levels[0], *levels], levels, strict=False)
    widest = max(VAE_ALIVE * max(before, channels) * area for (before, _), (channels, area) in pairs)
    picture = 3 * 4 * pixels
    return widest * request.scalar + 2 * picture
