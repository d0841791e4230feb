"""The AR stage's model: GlmImageForConditionalGeneration with the demo's own numbers."""

import torch
from transformers import GenerationConfig, GlmImageConfig, GlmImageForConditionalGeneration

from glmimg.demo.train.codebook import CODEBOOK_SIZE, LETTER_CODES_START, Codebook
from glmimg.demo.train.features import code_features, embed_features
from glmimg.demo.train.scene import COLOURS, LETTERS
from glmimg.demo.train.tokenizer import IMAGE_END, IMAGE_START, VISION_VOCAB

WIDTH, LAYERS, HEADS, KV_HEADS, HEAD_DIM, MLP = 192, 5, 6, 6, 32, 384
VISION_WIDTH = 64


def ar_config(vocab_size: int, image_token: int) -> GlmImageConfig:
    """The configuration; `vocab_size` and `image_token` come from the tokenizer.

    rope_theta 100 and a mrope_section of ones deal the rotary frequencies to time, rows and columns in turn, fast
    enough that a narrow head tells neighbouring cells apart; GLM-Image's own bands leave the columns almost equal.
    """
    rope = {
        "rope_theta": 100,
        "rope_type": "default",
        "mrope_section": [1] * (HEAD_DIM // 2),
        "partial_rotary_factor": 1.0,
    }
    text = {
        "vocab_size": vocab_size,
        "vision_vocab_size": VISION_VOCAB,
        "hidden_size": WIDTH,
        "intermediate_size": MLP,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": 4096,
        "rope_parameters": rope,
        "eos_token_id": IMAGE_END,
        "pad_token_id": image_token,
        "initializer_range": 0.04,
    }
    vision = {
        "depth": 1,
        "hidden_size": VISION_WIDTH,
        "num_heads": 1,
        "intermediate_size": 16,
        "image_size": 64,
        "patch_size": 16,
    }
    codes = {"embed_dim": VISION_WIDTH, "latent_channels": VISION_WIDTH, "num_embeddings": CODEBOOK_SIZE}
    return GlmImageConfig(
        text_config=text,
        vision_config=vision,
        vq_config=codes,
        image_token_id=image_token,
        image_start_token_id=IMAGE_START,
        image_end_token_id=IMAGE_END,
    )


def generation_config(image_token: int, temperature: float, top_p: float) -> GenerationConfig:
    """The demo's sampling values, with the same keys as the real checkpoint's."""
    return GenerationConfig(
        do_sample=True,
        eos_token_id=IMAGE_END,
        pad_token_id=image_token,
        top_p=top_p,
        temperature=temperature,
        top_k=VISION_VOCAB,
    )


def build_ar(codebook: Codebook, vocab_size: int, image_token: int) -> GlmImageForConditionalGeneration:
    """An untrained AR model whose code embeddings and head start from the codes' features."""
    model = GlmImageForConditionalGeneration(ar_config(vocab_size, image_token))
    features = code_features(codebook)
    with torch.no_grad():
        embedding = model.model.language_model.embed_tokens.weight
        embedding.normal_()
        embedding[:CODEBOOK_SIZE] = embed_features(features, WIDTH, 1.0, seed=1)
        model.lm_head.weight.normal_(std=0.02)
        model.lm_head.weight[:CODEBOOK_SIZE] = embed_features(features, WIDTH, 0.05, seed=2)
        for layer in model.model.language_model.layers:
            layer.post_self_attn_layernorm.weight.fill_(0.5)
            layer.post_mlp_layernorm.weight.fill_(0.5)
    return model


def start_letters(model: GlmImageForConditionalGeneration, letter_ids: list[int]) -> None:
    """Start the embeddings of a prompt's letters from those of the codes that show them.

    What copies a source picture's codes in an edit then copies a caption's letters as well.
    letter_ids: token ids of the LETTERS
    """
    embedding = model.model.language_model.embed_tokens.weight
    with torch.no_grad():
        codes = embedding[LETTER_CODES_START : LETTER_CODES_START + len(COLOURS) * len(LETTERS)]
        shapes = codes.view(len(COLOURS), len(LETTERS), -1).mean(0)
        shapes = shapes - shapes.mean(0)
        embedding[letter_ids] = embedding[letter_ids].mean(0) + shapes / shapes.square().mean().sqrt()
