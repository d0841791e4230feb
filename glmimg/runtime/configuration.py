"""What a checkpoint's configuration files may contain: types and ranges of every value that drawing depends on, and
how a part is quantized, if it is.

Values not named here are left to the libraries; a missing value, or null, means the library's default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, FiniteFloat, ValidationError, create_model

from glmimg.request import problem_of
from glmimg.text import excerpt

Values = Mapping[str, Any]


def _whole(least: int, most: int) -> Any:
    """An integer, neither text nor a boolean."""
    return Annotated[int, Field(strict=True, ge=least, le=most)]


def _fields(*kinds: tuple[Any, str], needed: str = "", null: bool = True) -> type[BaseModel]:
    """A model of fields by their kind. needed: those without a default; null: whether it stands for the default"""
    fields: dict[str, Any] = {}
    for kind, names in kinds:
        for name in names.split():
            fields[name] = (kind, ...) if name in needed.split() else (kind | None if null else kind, None)
    return create_model("Configuration", **fields)


def _list(kind: Any, least: int = 0, most: int | None = None) -> Any:
    return Annotated[list[kind], Field(min_length=least, max_length=most)]


WIDTH, HEADS, LAYERS = _whole(1, 1 << 18), _whole(1, 1 << 10), _whole(1, 1 << 8)
ROWS, TOKEN, PIXELS = _whole(1, 1 << 20), _whole(0, 1 << 20), _whole(1, 1 << 28)
SHARE = Annotated[FiniteFloat, Field(gt=0, le=1)]
POSITIVE = Annotated[FiniteFloat, Field(gt=0)]
FLAG = Annotated[bool, Field(strict=True)]
RGB = _list(POSITIVE, 3, 3)

ROPE = _fields((_list(_whole(0, 1 << 12)), "mrope_section"), (POSITIVE, "rope_theta"), (SHARE, "partial_rotary_factor"))
TEXT = _fields(
    (WIDTH, "hidden_size intermediate_size head_dim"),
    (HEADS, "num_attention_heads num_key_value_heads"),
    (LAYERS, "num_hidden_layers"),
    (ROWS, "vision_vocab_size vocab_size max_position_embeddings"),
    (TOKEN, "pad_token_id"),
    (SHARE, "rms_norm_eps"),
    (FLAG, "attention_bias"),
    (ROPE, "rope_parameters"),
    needed="hidden_size intermediate_size num_attention_heads num_key_value_heads num_hidden_layers vision_vocab_size",
)
VISION = _fields(
    (WIDTH, "hidden_size intermediate_size image_size patch_size"),
    (HEADS, "num_heads in_channels spatial_merge_size"),
    (LAYERS, "depth"),
    (SHARE, "layer_norm_eps"),
    (FLAG, "attention_bias"),
)
QUANTIZER = _fields((ROWS, "num_embeddings"), (WIDTH, "embed_dim latent_channels"), needed="num_embeddings")

UNSUPPORTED: dict[str, object] = {
    **dict.fromkeys(("repetition_penalty", "encoder_repetition_penalty", "typical_p"), 1.0),
    **dict.fromkeys(("epsilon_cutoff", "eta_cutoff", "diversity_penalty"), 0.0),
    **dict.fromkeys(("no_repeat_ngram_size", "encoder_no_repeat_ngram_size"), 0),
    **dict.fromkeys(("num_beams", "num_beam_groups", "num_return_sequences", "guidance_scale"), 1),
    **dict.fromkeys(("min_p", "top_h", "penalty_alpha", "bad_words_ids", "force_words_ids", "constraints")),
    **dict.fromkeys(("sequence_bias", "forced_bos_token_id", "forced_eos_token_id", "begin_suppress_tokens")),
    **dict.fromkeys(("exponential_decay_length_penalty", "watermarking_config", "stop_strings", "dola_layers")),
}
"""Settings of `generate` that glmimg does not implement, and the values with which they do nothing."""

READERS = {
    "auto-round": ("auto_round", "auto-round"),
    "awq": ("gptqmodel", "gptqmodel"),
    "bitsandbytes": ("bitsandbytes", "bitsandbytes"),
    "compressed-tensors": ("compressed_tensors", "compressed-tensors"),
    "gptq": ("gptqmodel", "gptqmodel"),
    "hqq": ("hqq", "hqq"),
    "quanto": ("optimum.quanto", "optimum-quanto"),
    "sdnq": ("sdnq", "sdnq"),
    "torchao": ("torchao", "torchao"),
}
"""By method: the module that reads such weights, and the package that holds it. Others are left to the libraries."""

KNOWN_BY_IMPORT = ("sdnq",)
"""Methods that transformers and diffusers know once the module that reads them is imported."""

IN_HALF_PRECISION = ("auto-round", "awq", "gptq")
"""Methods whose libraries turn a part loaded in fp32 into fp16."""


def _text_problem(values: Values) -> str | None:
    """Check that heads share keys evenly, and that the rotary sections add up."""
    text = values["text_config"]
    heads = text["num_attention_heads"]
    if heads % text["num_key_value_heads"]:
        return "text_config: num_attention_heads is not a multiple of num_key_value_heads"
    rope = text.get("rope_parameters") or {}
    sections, share = rope.get("mrope_section") or [8, 12, 12], rope.get("partial_rotary_factor") or 1
    turned = int((text.get("head_dim") or text["hidden_size"] // heads) * share) // 2
    return (
        f"rope_parameters: mrope_section adds up to {sum(sections)}, not {turned}" if sum(sections) != turned else None
    )


def _vae_problem(values: Values) -> str | None:
    """Check that the VAE's lists have as many values as it has resolutions, or channels."""
    levels, channels = len(values["block_out_channels"]), values["latent_channels"]
    counts = {"down_block_types": levels, "up_block_types": levels, "latents_mean": channels, "latents_std": channels}
    wrong = [key for key, count in counts.items() if values.get(key) is not None and len(values[key]) != count]
    return f"{wrong[0]} holds {len(values[wrong[0]])} values, not {counts[wrong[0]]}" if wrong else None


def _sampling_problem(values: Values) -> str | None:
    for key, neutral in UNSUPPORTED.items():
        if values.get(key) not in (None, neutral, []):
            return f"{key} is {excerpt(str(values[key]), 40)}, and glmimg does not sample that way"
    return None


@dataclass(frozen=True)
class Allowed:
    """What one file may contain. check: finds conflicts between values that are valid by themselves"""

    model: type[BaseModel]
    check: Callable[[Values], str | None] = lambda values: None

    def problem(self, values: Values) -> str | None:
        """The first fault of a configuration, or None."""
        try:
            self.model.model_validate(values)
        except ValidationError as error:
            return excerpt(problem_of(error))
        return self.check(values)


ANYTHING = Allowed(_fields())
AR = Allowed(
    _fields(
        (TEXT, "text_config"), (VISION, "vision_config"), (QUANTIZER, "vq_config"),
        (TOKEN, "image_token_id image_start_token_id image_end_token_id"),
        needed="text_config vision_config vq_config",
    ),
    _text_problem,
)  # fmt: skip
GENERATION = Allowed(
    _fields(
        (Annotated[float, Field(gt=0, le=100)], "temperature"), (SHARE, "top_p"), (TOKEN, "top_k"),
        (_list(TOKEN), "suppress_tokens"),
    ),
    _sampling_problem,
)  # fmt: skip
DIT = Allowed(
    _fields(
        (HEADS, "num_attention_heads in_channels out_channels patch_size"), (LAYERS, "num_layers"),
        (WIDTH, "attention_head_dim condition_dim text_embed_dim time_embed_dim"),
        (ROWS, "prior_vq_quantizer_codebook_size"),
        needed="num_attention_heads attention_head_dim num_layers in_channels patch_size "
        "prior_vq_quantizer_codebook_size",
    )
)  # fmt: skip
VAE = Allowed(
    _fields(
        (_list(WIDTH, 1, 8), "block_out_channels"),
        (list[str], "down_block_types up_block_types"), (Literal[3], "in_channels out_channels"),
        (HEADS, "latent_channels layers_per_block"), (WIDTH, "norm_num_groups sample_size"),
        (_list(FiniteFloat), "latents_mean"), (_list(POSITIVE), "latents_std"),
        needed="block_out_channels latent_channels latents_mean latents_std",
    ),
    _vae_problem,
)  # fmt: skip
T5 = Allowed(
    _fields(
        (WIDTH, "d_model d_kv d_ff relative_attention_num_buckets relative_attention_max_distance"),
        (HEADS, "num_heads"), (LAYERS, "num_layers"), (ROWS, "vocab_size"), (SHARE, "layer_norm_epsilon"),
    )
)  # fmt: skip
SCHEDULER = Allowed(
    _fields(
        (ROWS, "num_train_timesteps base_image_seq_len max_image_seq_len"), (FiniteFloat, "base_shift max_shift"),
        (POSITIVE, "shift"), (SHARE | None, "shift_terminal"), null=False,
    )
)  # fmt: skip
IMAGES = Allowed(
    _fields(
        (WIDTH, "patch_size merge_size"), (HEADS, "temporal_patch_size"), (PIXELS, "min_pixels max_pixels"),
        (dict[str, Any], "size"), (RGB, "image_std"), (POSITIVE, "rescale_factor"),
    )
)  # fmt: skip


def method_of(config: Values) -> str | None:
    """How a part with this configuration is quantized, such as "auto-round"; None if it is not."""
    settings = config.get("quantization_config")
    if not isinstance(settings, Mapping):
        return None
    if settings.get("load_in_4bit") or settings.get("load_in_8bit"):
        return "bitsandbytes"
    return str(settings.get("quant_method") or "an unnamed method")


def make_known(method: str | None) -> None:
    """Import the reader of such weights, where that is what tells the libraries of it."""
    if method in KNOWN_BY_IMPORT:
        import_module(READERS[method][0])


def missing_reader(method: str) -> str | None:
    """The package that reads weights of this method, if it is not installed."""
    module, package = READERS.get(method, ("", ""))
    try:
        return package if module and find_spec(module) is None else None
    except ModuleNotFoundError:  # not even the package around it
        return package
