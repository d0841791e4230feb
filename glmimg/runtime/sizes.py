"""How many parameters each part of a checkpoint has, from its configurations alone.

Neither weights nor torch are needed, so a plan can be made before a download. The tests hold every
number against the libraries' own classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from glmimg.runtime.checkpoint import Checkpoint

Config = dict[str, Any]
DIT_PARTS = ("text_encoder", "transformer", "vae")


@dataclass(frozen=True)
class ARSizes:
    """Parameters of the AR half and the widths that decide its working memory.

    layer:     of one text layer, of which there are `layers`
    rest:      what every token passes besides the layers: last norm and head
    embedding: of one row of the embedding table
    visual:    rows of it that written tokens can pick; `rows` in all
    vision:    vision encoder, vq: vector quantiser; both are read for source pictures only
    kv_width:  keys and values of one token in one layer
    stored:    bytes of the whole half in its files, where it comes compressed
    """

    layer: int
    layers: int
    rest: int
    embedding: int
    visual: int
    rows: int
    vision: int
    vq: int
    kv_width: int
    hidden: int
    ffn: int
    stored: int | None = None

    @property
    def text(self) -> int:
        return self.layer * self.layers + self.rest + self.embedding * self.rows


@dataclass(frozen=True)
class DiTSizes:
    """Parameters of stage 2 by part, and the widths that decide its working memory.

    block:         of one transformer block, of which there are `blocks`; `rest` is the DiT besides
    encoder:       the VAE's, read for source pictures only; `decoder` is the half that paints
    vae_channels:  from the picture inwards, vae_scale: pixels a latent stands for
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
    stored: Mapping[str, int] = field(default_factory=dict)

    @property
    def transformer(self) -> int:
        return self.block * self.blocks + self.rest

    @property
    def vae_scale(self) -> int:
        return int(2 ** (len(self.vae_channels) - 1))


def ar_sizes(checkpoint: Checkpoint) -> ARSizes:
    """Sizes of the AR half. Raises ModelUnfit (exit 4) for a configuration without them.

    source: transformers, `GlmImageForConditionalGeneration`
    """
    config = checkpoint.config("vision_language_encoder")
    try:
        text, vision, vq = config["text_config"], config["vision_config"], config["vq_config"]
        hidden, heads, kv_heads = text["hidden_size"], text["num_attention_heads"], text["num_key_value_heads"]
        head = text.get("head_dim") or hidden // heads
        bias = text.get("attention_bias", True)
        attention = sum(linear(hidden, head * count, bias) for count in (heads, kv_heads, kv_heads))
        attention += linear(heads * head, hidden, False)
        ffn, latent = text["intermediate_size"], vq["latent_channels"]
        return ARSizes(
            layer=attention + linear(hidden, 2 * ffn, False) + linear(ffn, hidden, False) + 4 * hidden,
            layers=text["num_hidden_layers"],
            rest=hidden + linear(hidden, text["vision_vocab_size"], False),
            embedding=hidden,
            visual=text["vision_vocab_size"],
            rows=text["vocab_size"],
            vision=_vision(vision),
            vq=vq["num_embeddings"] * vq["embed_dim"] + _feed_forward(latent, vq["embed_dim"], latent),
            kv_width=2 * kv_heads * head,
            hidden=hidden,
            ffn=ffn,
            stored=checkpoint.stored_bytes("vision_language_encoder"),
        )
    except (KeyError, TypeError) as error:
        raise checkpoint.unfit(f"vision_language_encoder/config.json does not say {error}") from error


def dit_sizes(checkpoint: Checkpoint) -> DiTSizes:
    """Sizes of stage 2. Raises ModelUnfit (exit 4) for a configuration without them.

    source: diffusers, `GlmImageTransformer2DModel`, `AutoencoderKL`; transformers, `T5EncoderModel`
    """
    dit, vae = checkpoint.config("transformer"), checkpoint.config("vae")
    try:
        width = dit["num_attention_heads"] * dit["attention_head_dim"]
        time, patch = dit["time_embed_dim"], dit["patch_size"]
        return DiTSizes(
            block=linear(time, 12 * width) + 4 * linear(width, width) + _feed_forward(width, 4 * width, width),
            blocks=dit["num_layers"],
            rest=_dit_rest(dit, width),
            text_encoder=_t5(checkpoint.config("text_encoder")),
            encoder=_vae_encoder(vae),
            decoder=_vae_decoder(vae),
            hidden=width,
            patch=patch,
            vae_channels=tuple(vae["block_out_channels"]),
            stored={part: count for part in DIT_PARTS if (count := checkpoint.stored_bytes(part)) is not None},
        )
    except (KeyError, TypeError) as error:
        raise checkpoint.unfit(f"the configurations of the decoder do not say {error}") from error


def linear(inputs: int, outputs: int, bias: bool = True) -> int:
    """Parameters of a linear layer, or of a 1x1 convolution."""
    return inputs * outputs + outputs * bias


def _feed_forward(inputs: int, inner: int, outputs: int) -> int:
    return linear(inputs, inner) + linear(inner, outputs)


def _vision(config: Config) -> int:
    width, ffn = config["hidden_size"], config["intermediate_size"]
    bias = config.get("attention_bias", True)
    block = 4 * width + linear(width, 3 * width, bias) + linear(width, width, bias) + _feed_forward(width, ffn, width)
    places = int((config["image_size"] // config["patch_size"]) ** 2) * width
    patches = linear(config["in_channels"] * config["patch_size"] ** 2, width)
    return int(config["depth"] * block + places + patches)


def _dit_rest(config: Config, width: int) -> int:
    patch_area, time = config["patch_size"] ** 2, config["time_embed_dim"]
    return int(
        linear(config["in_channels"] * patch_area, width)
        + _feed_forward(config["text_embed_dim"], width, width)
        + config["prior_vq_quantizer_codebook_size"] * width
        + _feed_forward(width, width, width)
        + _feed_forward(time, time, time)
        + _feed_forward(4 * config["condition_dim"], time, time)
        + linear(time, 2 * width)
        + linear(width, patch_area * config["out_channels"])
    )


def _t5(config: Config) -> int:
    width, inner, ffn = config["d_model"], config["num_heads"] * config["d_kv"], config["d_ff"]
    gated = 2 if str(config.get("feed_forward_proj", "relu")).startswith("gated") else 1
    layer = 4 * width * inner + (gated + 1) * width * ffn + 2 * width
    places = config.get("relative_attention_num_buckets", 32) * config["num_heads"]
    return int(config["vocab_size"] * width + config["num_layers"] * layer + places + width)


def _conv(inputs: int, outputs: int) -> int:
    return 9 * inputs * outputs + outputs


def _resnet(inputs: int, outputs: int) -> int:
    shortcut = linear(inputs, outputs) if inputs != outputs else 0
    return 2 * inputs + _conv(inputs, outputs) + 2 * outputs + _conv(outputs, outputs) + shortcut


def _vae_middle(config: Config, width: int) -> int:
    attention = 2 * width + 4 * linear(width, width) if config.get("mid_block_add_attention", True) else 0
    return 2 * _resnet(width, width) + attention


def _vae_levels(widths: list[int], resnets: int) -> int:
    """The residual blocks of each resolution, and the convolutions between resolutions."""
    count, before = 0, widths[0]
    for number, width in enumerate(widths, start=1):
        count += _resnet(before, width) + (resnets - 1) * _resnet(width, width)
        count += _conv(width, width) if number < len(widths) else 0
        before = width
    return count


def _vae_encoder(config: Config) -> int:
    widths, latent, last = config["block_out_channels"], config["latent_channels"], config["block_out_channels"][-1]
    count = _conv(config.get("in_channels", 3), widths[0]) + _vae_levels(widths, config["layers_per_block"])
    count += _vae_middle(config, last) + 2 * last + _conv(last, 2 * latent)
    return int(count + (linear(2 * latent, 2 * latent) if config.get("use_quant_conv", True) else 0))


def _vae_decoder(config: Config) -> int:
    widths, latent = config["block_out_channels"][::-1], config["latent_channels"]
    count = _conv(latent, widths[0]) + _vae_middle(config, widths[0])
    count += _vae_levels(widths, config["layers_per_block"] + 1)
    count += 2 * widths[-1] + _conv(widths[-1], config.get("out_channels", 3))
    return int(count + (linear(latent, latent) if config.get("use_post_quant_conv", True) else 0))
