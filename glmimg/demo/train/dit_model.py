"""The decode stage's trainable models: GlmImageTransformer2DModel and the glyph encoder, with the demo's own numbers."""

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, GlmImageTransformer2DModel
from torch import nn
from transformers import T5Config, T5EncoderModel

from glmimg.demo.train.codebook import CODEBOOK_SIZE, Codebook
from glmimg.demo.train.features import code_features, embed_features

LAYERS, HEADS, HEAD_DIM, TIME_DIM, CONDITION_DIM, GLYPH_DIM, LATENT_CHANNELS = 5, 4, 40, 64, 16, 64, 8


def build_dit(codebook: Codebook) -> GlmImageTransformer2DModel:
    """An untrained DiT: code embeddings from the codes' features, modulation that starts as plain half-open gates."""
    dit = GlmImageTransformer2DModel(
        patch_size=2,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=LAYERS,
        attention_head_dim=HEAD_DIM,
        num_attention_heads=HEADS,
        text_embed_dim=GLYPH_DIM,
        time_embed_dim=TIME_DIM,
        condition_dim=CONDITION_DIM,
        prior_vq_quantizer_codebook_size=CODEBOOK_SIZE,
    )
    width = HEADS * HEAD_DIM
    with torch.no_grad():
        dit.prior_token_embedding.weight.copy_(embed_features(code_features(codebook), width, 1.0, seed=3))
        for block in dit.transformer_blocks:
            modulation = block.norm1.linear
            modulation.weight.mul_(0.1)
            modulation.bias.zero_()
            for gate in (4, 5, 10, 11):  # gates of attention and MLP among the twelve chunks, latents and glyphs
                modulation.bias[gate * width : (gate + 1) * width] = 0.5
        nn.init.zeros_(dit.proj_out.weight)
    return dit


def build_glyph_encoder() -> T5EncoderModel:
    """A two-layer T5 encoder over bytes."""
    return T5EncoderModel(
        T5Config(
            vocab_size=384,
            d_model=GLYPH_DIM,
            d_ff=128,
            d_kv=32,
            num_heads=2,
            num_layers=2,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=0,
            is_encoder_decoder=False,
            use_cache=False,
            tie_word_embeddings=False,
            tokenizer_class="ByT5Tokenizer",
        )
    )


def build_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """The scheduler with the real checkpoint's values."""
    return FlowMatchEulerDiscreteScheduler(
        base_image_seq_len=256,
        base_shift=0.25,
        max_image_seq_len=4096,
        max_shift=0.75,
        num_train_timesteps=1000,
        shift=1.0,
        time_shift_type="linear",
        use_dynamic_shifting=True,
    )
