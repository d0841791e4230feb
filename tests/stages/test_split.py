"""Each stage alone: its own half of the weights, none of the other's classes, the same pixels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

PROBE = """
import sys
from glmimg.cli.main import main
sys.argv = ["glmimg", *{arguments!r}]
try:
    main()
except SystemExit as leaving:
    assert leaving.code in (0, None), leaving.code
print("LOADED", " ".join(sorted(sys.modules)))
"""


def run_and_list_modules(*arguments: str) -> set[str]:
    script = PROBE.format(arguments=list(arguments))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("LOADED ")[2].split())


def test_tokens_then_decode(tiny: Path, tmp_path: Path) -> None:
    dump, apart, whole = tmp_path / "x.tokens.json", tmp_path / "x.png", tmp_path / "whole.png"
    common = ["-m", str(tiny), "--seed", "3"]
    stage_one = run_and_list_modules("tokens", "a 'red' circle", *common, "-o", str(dump))
    stage_two = run_and_list_modules("decode", str(dump), "-o", str(apart), "--steps", "3")
    run_and_list_modules("t2i", "a 'red' circle", *common, "-o", str(whole), "--steps", "3")

    assert apart.read_bytes() == whole.read_bytes(), "pixels and metadata alike"
    assert dump.read_text().split('"stats"')[0] == (tmp_path / "whole.tokens.json").read_text().split('"stats"')[0]
    assert Image.open(apart).size == (128, 128)
    assert "diffusers" not in stage_one
    assert "transformers.models.glm_image.modeling_glm_image" in stage_one
    assert "transformers.models.glm_image.modeling_glm_image" not in stage_two


def test_stage_one_needs_no_decoder_weights_and_stage_two_no_ar_weights(tiny: Path, tmp_path: Path) -> None:
    """A machine may hold one half only: the other half's weights are not even looked at."""
    import shutil

    ar_only, dit_only = tmp_path / "ar", tmp_path / "dit"
    shutil.copytree(tiny, ar_only)
    shutil.copytree(tiny, dit_only)
    for file in ("transformer", "text_encoder", "vae"):
        for weights in (ar_only / file).glob("*.safetensors"):
            weights.unlink()
    (dit_only / "vision_language_encoder" / "model.safetensors").unlink()
    dump = tmp_path / "x.tokens.json"
    run_and_list_modules("tokens", "x", "-m", str(ar_only), "--seed", "3", "-o", str(dump))
    run_and_list_modules("decode", str(dump), "-m", str(dit_only), "-o", str(tmp_path / "x.png"), "--steps", "2")
    assert Image.open(tmp_path / "x.png").size == (128, 128)
