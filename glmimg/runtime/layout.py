"""Memory layouts: where the weights of each stage are while it computes, as a plan or `--memory` decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from glmimg.runtime.checkpoint import Half
from glmimg.runtime.lora import Lora

Mode = Literal["resident", "stage", "offload", "stream"]
WHOLE_PX = 512 * 512
"""Pixels up to which a picture is decoded whole in any layout: the DiT takes more memory."""

STRIP_ROWS = 32
"""Rows of a strip, of a VAE that decodes in strips."""


@dataclass(frozen=True)
class Layout:
    """The layout of one stage on its device.

    quantize:     how its stack of layers is compressed; not together with streaming
    taking_turns: its parts (glyph encoder, DiT, VAE) are on the device one after the other
    resident:     how many layers of the big stack stay there; None keeps all, others are streamed
    vae_strips:   the VAE decodes large pictures in strips of rows; pixels are those of a whole decode, to rounding
    loras:        adapters of this half; not together with streaming
    """

    quantize: str = "none"
    taking_turns: bool = False
    resident: int | None = None
    vae_strips: bool = False
    loras: tuple[Lora, ...] = ()

    def decodes_in_strips(self, height: int, width: int) -> bool:
        """Whether the VAE decodes a picture of so many pixels in strips."""
        return self.vae_strips and height * width > WHOLE_PX


@dataclass(frozen=True)
class MemoryPlan:
    """A memory mode and its layout for each stage. `resident` keeps both stages loaded."""

    mode: Mode
    ar: Layout
    dit: Layout

    def of(self, half: Half) -> Layout:
        """The layout of one stage."""
        return self.ar if half == "ar" else self.dit


PLANS: dict[str, MemoryPlan] = {
    "resident": MemoryPlan("resident", Layout(), Layout()),
    "stage": MemoryPlan("stage", Layout(), Layout()),
    "offload": MemoryPlan("offload", Layout(), Layout(taking_turns=True)),
    "stream": MemoryPlan("stream", Layout(resident=0), Layout(taking_turns=True, resident=0, vae_strips=True)),
}
"""What each named mode means; `auto` may choose something in between."""
