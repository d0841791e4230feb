"""The modules of stage 2, all loaded at once or one after the other."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from glmimg.choice import NATIVE
from glmimg.dit.attention import Attend, join_projections
from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.device import Placement
from glmimg.runtime.health import check_glyph_tokenizer
from glmimg.runtime.layout import Layout
from glmimg.runtime.load import Selection, load_module, load_part, quiet_libraries
from glmimg.runtime.lora import put_on
from glmimg.runtime.machine import release_memory

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, GlmImageTransformer2DModel
    from transformers import ByT5Tokenizer, T5EncoderModel

WITH_WEIGHTS = ("text_encoder", "transformer", "vae")


class DecoderParts:
    """Glyph encoder, DiT and VAE of a checkpoint, each loaded when first asked for.

    layout:    with `taking_turns`, asking for one lets the others go: callers keep no reference
    with_encoder: also load the VAE's encoder, for source pictures
    compile:   compile the DiT's blocks when they first run; streamed ones come and go and stay as they are
    attention: whose attention kernels they call
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        placement: Placement,
        layout: Layout = Layout(),
        *,
        with_encoder: bool = False,
        compile: bool = False,
        attention: str = NATIVE,
    ) -> None:
        quiet_libraries()
        from diffusers import FlowMatchEulerDiscreteScheduler as Euler
        from transformers import ByT5Tokenizer

        self.checkpoint, self.placement, self.layout = checkpoint, placement, layout
        self.with_encoder, self.attend = with_encoder, Attend(attention)
        self.is_compiled = compile and layout.resident is None
        self.tokenizer: ByT5Tokenizer = load_part(ByT5Tokenizer, checkpoint, "tokenizer")
        check_glyph_tokenizer(checkpoint, self.tokenizer)
        self.scheduler: FlowMatchEulerDiscreteScheduler = load_part(Euler, checkpoint, "scheduler")

    @cached_property
    def text_encoder(self) -> T5EncoderModel:
        """The glyph encoder."""
        from transformers import T5EncoderModel

        self._make_room()
        return load_module(T5EncoderModel, self.checkpoint, "text_encoder", self.placement)

    @cached_property
    def transformer(self) -> GlmImageTransformer2DModel:
        from diffusers import GlmImageTransformer2DModel as DiT

        self._make_room()
        layout = self.layout
        selection = Selection(stack="transformer_blocks", layout=layout)
        transformer = load_module(DiT, self.checkpoint, "transformer", self.placement, selection)
        put_on(transformer, layout.loras, self.placement)
        for block in transformer.transformer_blocks:
            block.attn1.processor = self.attend
        if self.is_compiled:
            if not layout.taking_turns:  # what moves would move apart
                for block in transformer.transformer_blocks:
                    join_projections(block.attn1)
            transformer.compile_repeated_blocks()
        return transformer

    @cached_property
    def vae(self) -> AutoencoderKL:
        """The VAE; without `with_encoder`, the half that paints."""
        from diffusers import AutoencoderKL

        self._make_room()
        selection = Selection(skip=() if self.with_encoder else ("encoder",))
        return load_module(AutoencoderKL, self.checkpoint, "vae", self.placement, selection)

    def load_all(self) -> None:
        """Load every part now, unless they take turns."""
        if not self.layout.taking_turns:
            for name in WITH_WEIGHTS:
                getattr(self, name)

    def latent_shape(self, height_px: int, width_px: int) -> tuple[int, int, int, int]:
        """Shape of the latents of a picture, [1, channels, height, width]; needs no weights."""
        scale = 2 ** (len(self.checkpoint.config("vae")["block_out_channels"]) - 1)
        return 1, int(self.checkpoint.config("transformer")["in_channels"]), height_px // scale, width_px // scale

    def close(self) -> None:
        for name in WITH_WEIGHTS:
            module = self.__dict__.pop(name, None)  # where `cached_property` keeps it
            if hasattr(module, "streamed_layers"):
                module.streamed_layers.close()
        release_memory()

    def _make_room(self) -> None:
        """Unload the other parts before one loads, if they take turns."""
        if self.layout.taking_turns:
            self.close()
