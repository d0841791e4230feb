"""Memory layouts: where the weights of each stage are while it computes, as a plan or `--memory` decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from glmimg.runtime.lora import Lora

Mode = Literal["resident", "stage", "offload", "stream"]
TILE_PX = 512
"""Side of the tiles of a tiled VAE; each overlaps the next by a quarter."""


@dataclass(frozen=True)
class Layout:
    """The layout of one stage on its device.

    quantize:     how its stack of layers is compressed; not together with streaming
    taking_turns: its parts (glyph encoder, DiT, VAE) are on the device one after the other
    resident:     how many layers of the big stack stay there; None keeps all, others are streamed
    vae_tiles:    the VAE paints square pieces; seams are blended; each piece is normalised by itself, so pixels differ
    loras:        adapters of this half; not together with streaming
    """

    quantize: str = "none"
    taking_turns: bool = False
    resident: int | None = None
    vae_tiles: bool = False
    loras: tuple[Lora, ...] = ()


@dataclass(frozen=True)
class MemoryPlan:
    """A memory mode and its layout for each stage. `resident` keeps both stages loaded."""

    mode: Mode
    ar: Layout
    dit: Layout


PLANS: dict[str, MemoryPlan] = {
    "resident": MemoryPlan("resident", Layout(), Layout()),
    "stage": MemoryPlan("stage", Layout(), Layout()),
    "offload": MemoryPlan("offload", Layout(), Layout(taking_turns=True)),
    "stream": MemoryPlan("stream", Layout(resident=0), Layout(taking_turns=True, resident=0, vae_tiles=True)),
}
"""What each named mode means; `auto` may choose something in between."""
