"""Parameter counts from weight files, or known of a published checkpoint, held against the libraries' own classes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from glmimg.runtime.checkpoint import Checkpoint
from glmimg.runtime.known import known_checkpoint
from glmimg.runtime.sizes import ar_sizes, dit_sizes


def count(parameters: Iterable[Any]) -> int:
    return sum(parameter.numel() for parameter in parameters)


@pytest.fixture(params=["tiny", "zai-org/GLM-Image"])
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    if request.param == "tiny":
        return Checkpoint("tiny", request.getfixturevalue("tiny"))
    known = known_checkpoint(request.param)
    assert known is not None
    return known


def test_ar_half(checkpoint: Checkpoint) -> None:
    import torch
    from transformers import GlmImageConfig, GlmImageForConditionalGeneration

    with torch.device("meta"):
        model = GlmImageForConditionalGeneration(GlmImageConfig(**checkpoint.config("vision_language_encoder")))
    sizes, text = ar_sizes(checkpoint), model.model.language_model
    text_parameters = count(text.parameters()) - text.embed_tokens.weight.numel() + count(model.lm_head.parameters())
    assert sizes.layer * sizes.layers + sizes.rest == text_parameters
    assert sizes.layer == count(text.layers[0].parameters())
    assert sizes.vision == count(model.model.visual.parameters())
    assert sizes.vq == count(model.model.vqmodel.parameters())


def test_stage_2(checkpoint: Checkpoint) -> None:
    import torch
    from diffusers import AutoencoderKL, GlmImageTransformer2DModel
    from transformers import T5Config, T5EncoderModel

    with torch.device("meta"):
        dit = GlmImageTransformer2DModel.from_config(checkpoint.config("transformer"))
        vae = AutoencoderKL.from_config(checkpoint.config("vae"))
        glyphs = T5EncoderModel(T5Config(**checkpoint.config("text_encoder")))
    sizes = dit_sizes(checkpoint)
    assert sizes.block * sizes.blocks + sizes.rest == count(dit.parameters())
    assert sizes.block == count(dit.transformer_blocks[0].parameters())
    assert sizes.encoder + sizes.decoder == count(vae.parameters())
    assert sizes.decoder == count(vae.decoder.parameters()) + count(
        vae.post_quant_conv.parameters() if vae.post_quant_conv is not None else ()
    )
    assert sizes.text_encoder == count(glyphs.parameters())


def test_the_published_checkpoint_has_the_published_size() -> None:
    """Weights by part as listed on the hub: 17.8 GB of text model, 2.3 of vision tower, 13.85 of DiT in bf16."""
    known = known_checkpoint("zai-org/GLM-Image")
    assert known is not None
    ar, dit = ar_sizes(known), dit_sizes(known)
    assert 2 * (ar.layer * ar.layers + ar.rest + 168_064 * ar.hidden) == pytest.approx(17.83e9, rel=1e-3)
    assert 2 * ar.vision == pytest.approx(2.32e9, rel=1e-2)
    assert 2 * (dit.block * dit.blocks + dit.rest) == pytest.approx(13.85e9, rel=1e-3)


def test_an_unfinished_configuration_is_named(tiny: Path, tmp_path: Path) -> None:
    import json
    import shutil

    from glmimg.errors import ModelUnfit

    shutil.copytree(tiny, tmp_path / "model")
    config = tmp_path / "model" / "transformer" / "config.json"
    values = json.loads(config.read_text())
    del values["num_layers"]
    config.write_text(json.dumps(values))
    with pytest.raises(ModelUnfit, match="num_layers"):
        dit_sizes(Checkpoint("tiny", tmp_path / "model"))
