"""`--attention`: other kernels paint the same but for rounding, say so, and are refused where they do not run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glmimg.image_io import read_provenance
from tests.conftest import Outcome

Run = Callable[..., Outcome]

DRAW = ("a sign 'OPEN'", "-s", "64x96", "--seed", "5", "--steps", "2")


def pixels(path: str) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(Image.open(path)).astype(int)


def test_other_kernels_paint_the_same_but_for_rounding(
    glmimg: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert glmimg("t2i", *DRAW, "-m", tiny, "-o", "plain.png").status == 0
    assert read_provenance(Path("plain.png")).changes == []
    for backend in ("native", "_native_math"):
        drawn = glmimg("t2i", *DRAW, "-m", tiny, "-o", f"{backend}.png", "--attention", backend)
        assert drawn.status == 0, drawn.err
        assert drawn.err == "seed 5\n", "the kernels' own warnings are not for people"
        assert np.abs(pixels(f"{backend}.png") - pixels("plain.png")).max() <= 1
    assert Path("native.png").read_bytes() == Path("plain.png").read_bytes()
    assert read_provenance(Path("_native_math.png")).changes == ["attention _native_math"]
    assert glmimg("replay", "_native_math.png", "-o", "again.png").status == 0
    assert Path("again.png").read_bytes() == Path("_native_math.png").read_bytes()


def test_other_kernels_are_called(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels of 8 bits hide their rounding."""
    from diffusers.models import attention_dispatch

    import glmimg as package

    asked: list[str] = []
    dispatch = attention_dispatch.dispatch_attention_fn

    def noting(*states: object, backend: str) -> object:
        asked.append(backend)
        return dispatch(*states, backend=backend)

    monkeypatch.setattr(attention_dispatch, "dispatch_attention_fn", noting)
    with package.load(str(tiny), attention="_native_math") as model:
        model.draw(DRAW[0], size="64x96", seed=5, steps=2)
    assert set(asked) == {"_native_math"}


@pytest.mark.parametrize(("backend", "why"), [("sage", "install `sageattention"), ("nonesuch", "not registered")])
def test_kernels_that_do_not_run_are_refused_before_anything_is_drawn(
    glmimg: Run, tiny: Path, tmp_path: Path, backend: str, why: str
) -> None:
    drawn = glmimg("t2i", *DRAW, "-m", tiny, "-o", tmp_path / "x.png", "--attention", backend)
    assert drawn.status == 2
    assert f"--attention {backend} cannot be used here" in drawn.err
    assert why in drawn.err
    assert "native" in drawn.err
    assert not list(tmp_path.iterdir())
