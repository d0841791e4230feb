"""Parameter counts of each part of a checkpoint, and the widths that decide its working memory.

Both come from configurations and from the names and shapes in weight files; neither torch nor weights are loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from glmimg.runtime.checkpoint import Checkpoint


@dataclass(frozen=True)
class ARSizes:
    """Parameters and widths of the AR half.

    layer:     parameters of one text layer, of which there are `layers`
    rest:      what every token passes besides the layers: last norm and head
    visual:    rows of the embedding table that written tokens can pick, each as wide as `hidden`
    vision:    vision encoder, vq: vector quantiser; both are read for source pictures only
    kv_width:  keys and values of one token in one layer
    stored:    bytes of the whole half in its files, where it comes compressed
    """

    layer: int
    layers: int
    rest: int
    visual: int
    vision: int
    vq: int
    kv_width: int
    hidden: int
    ffn: int
    stored: int | None


@dataclass(frozen=True)
class DiTSizes:
    """Parameters and widths of stage 2.

    block:         parameters of one transformer block, of which there are `blocks`; `rest` is the DiT besides
    encoder:       the VAE's, read for source pictures only; `decoder` is the half that paints
    vae_channels:  from the picture inwards
    stored:        bytes in their files of the parts that come compressed
    """

    block: int
    blocks: int
    rest: int
    text_encoder: int
    encoder: int
    decoder: int
    hidden: int
    patch: int
    vae_channels: tuple[int, ...]
    stored: Mapping[str, int]

    @property
    def vae_scale(self) -> int:
        """Pixels a side of a latent stands for."""
        return int(2 ** (len(self.vae_channels) - 1))


def ar_sizes(checkpoint: Checkpoint) -> ARSizes:
    """Sizes of the AR half. Raises ModelUnfit (exit 4) for a checkpoint that does not say them."""
    part = "vision_language_encoder"
    parameters = checkpoint.parameters(part)
    text = checkpoint.config(part)["text_config"]
    hidden, layers, heads = text["hidden_size"], text["num_hidden_layers"], text["num_attention_heads"]
    return ARSizes(
        layer=_count(parameters, "model.language_model.layers.") // layers,
        layers=layers,
        rest=_count(parameters, "model.language_model.norm.", "lm_head."),
        visual=text["vision_vocab_size"],
        vision=_count(parameters, "model.visual."),
        vq=_count(parameters, "model.vqmodel."),
        kv_width=2 * text["num_key_value_heads"] * (text.get("head_dim") or hidden // heads),
        hidden=hidden,
        ffn=text["intermediate_size"],
        stored=checkpoint.stored_bytes(part),
    )


def dit_sizes(checkpoint: Checkpoint) -> DiTSizes:
    """Sizes of stage 2. Raises ModelUnfit (exit 4) for a checkpoint that does not say them."""
    parts = ("text_encoder", "transformer", "vae")
    glyphs, dit, vae = map(checkpoint.parameters, parts)
    in_blocks = _count(dit, "transformer_blocks.")
    config = checkpoint.config("transformer")
    return DiTSizes(
        block=in_blocks // config["num_layers"],
        blocks=config["num_layers"],
        rest=sum(dit.values()) - in_blocks,
        text_encoder=sum(glyphs.values()),
        encoder=_count(vae, "encoder.", "quant_conv."),
        decoder=_count(vae, "decoder.", "post_quant_conv."),
        hidden=config["num_attention_heads"] * config["attention_head_dim"],
        patch=config["patch_size"],
        vae_channels=tuple(checkpoint.config("vae")["block_out_channels"]),
        stored={part: count for part in parts if (count := checkpoint.stored_bytes(part)) is not None},
    )


def _count(parameters: Mapping[str, int], *prefixes: str) -> int:
    return sum(count for name, count in parameters.items() if name.startswith(prefixes))
