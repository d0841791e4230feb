"""From Python: one model that stays loaded, prompts as text or lists, pictures of PIL as sources."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import glmimg as package
from glmimg.api import in_python
from glmimg.errors import UsageError
from glmimg.events import Event, Loading
from tests.conftest import Outcome

FEW = {"size": "64x64", "steps": 2}


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return []


@pytest.fixture(scope="module")
def model(tiny: Path, events: list[Event]) -> Iterator[package.Model]:
    with package.load(str(tiny), device="cpu", watch=events.append) as model:
        yield model


def pixels(picture: package.Picture) -> np.ndarray:
    return np.asarray(picture.image)


def test_it_draws_what_the_command_draws_and_says_so(
    model: package.Model, glmimg: Callable[..., Outcome], tiny: Path, tmp_path: Path
) -> None:
    picture = model.draw("a red circle", seed=3, size="64x64", steps=2, guidance_window="0,0.5")
    picture.save(tmp_path / "python.png")
    command = ("t2i", "a red circle", "--seed", "3", "-s", "64x64", "--steps", "2", "--guidance-window", "0,0.5")
    assert glmimg(*command, "-m", tiny, "-o", tmp_path / "shell.png").status == 0
    assert np.array_equal(pixels(picture), np.asarray(Image.open(tmp_path / "shell.png")))
    made = package.read_provenance(tmp_path / "python.png")
    assert made.job == package.read_provenance(tmp_path / "shell.png").job
    assert Image.open(io.BytesIO(picture._repr_png_())).size == (64, 64)


def test_a_list_is_drawn_one_after_the_other_and_the_model_stays(model: package.Model, events: list[Event]) -> None:
    events.clear()
    pictures = list(model.draw(["one", "two"], seed=1, size="64x64", steps=1))
    assert [picture.provenance.job.scene.prompt for picture in pictures] == ["one", "two"]
    assert not [event for event in events if isinstance(event, Loading)], "both halves were there already"


def test_the_two_stages_apart_are_the_same_picture(model: package.Model) -> None:
    dump = model.write("a red circle", seed=5, size="64x64", steps=3)
    assert dump.painting is not None
    assert dump.painting.steps == 3
    painted = model.paint(dump)
    assert np.array_equal(pixels(painted), pixels(model.draw("a red circle", seed=5, size="64x64", steps=3)))
    assert model.paint(dump, steps=1).provenance.job.painting.steps == 1


def test_sources_are_pictures_or_files(model: package.Model, tmp_path: Path) -> None:
    source = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    source.save(tmp_path / "s.png")
    from_memory = model.draw("x", sources=source, seed=1, size="64x64", steps=1)
    from_file = model.draw("x", sources=[tmp_path / "s.png"], seed=1, size="64x64", steps=1)
    assert np.array_equal(pixels(from_memory), pixels(from_file))
    assert len(from_memory.provenance.job.scene.sources) == 1


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"steps": 0}, "steps 0"),
        ({"guidance_window": "0.9,0.1"}, "guidance_window"),
        ({"size": "65x64"}, "size 64x64"),
        ({"cache": 0.1, "guidance_batch": True}, "cache X and guidance_batch cannot be combined"),
    ],
)
def test_errors_name_keywords(model: package.Model, keywords: dict[str, object], words: str) -> None:
    with pytest.raises(package.GlmimgError) as refused:
        model.draw("x", **keywords)  # type: ignore[call-overload]
    text = f"{refused.value.message} {refused.value.hint}"
    assert words in text
    assert "--" not in text


def test_a_dump_of_other_weights_names_the_keyword(model: package.Model) -> None:
    dump = model.write("x", seed=1, size="64x64")
    half = dump.model.fingerprint.partition("-")[0]
    foreign = dump.model_copy(update={"model": dump.model.model_copy(update={"fingerprint": f"{half}-other"})})
    with pytest.raises(package.GlmimgError) as refused:
        model.paint(foreign)
    assert "or any_model to paint it" in refused.value.hint
    assert "--" not in refused.value.hint
    assert model.paint(foreign, any_model=True, steps=1).image.size == (64, 64)


def test_commands_in_hints_keep_their_flags() -> None:
    with pytest.raises(package.GlmimgError) as refused, in_python():
        raise UsageError("--ar-window 9: no", "Leave --no-compile out, or: pip install --upgrade glmimg")
    assert refused.value.message == "ar_window 9: no"
    assert refused.value.hint == "Leave compile out, or: pip install --upgrade glmimg"


def test_pictures_carry_their_dump_in_every_format(model: package.Model, tmp_path: Path) -> None:
    picture = model.draw("a red circle", seed=3, size="64x64", steps=1)
    for name in ("a.png", "a.jpg", "a.webp", "a.avif"):
        picture.save(tmp_path / name, quality=80)
        again = model.paint(package.read_dump(tmp_path / name))
        assert np.array_equal(pixels(again), pixels(picture)), name
    with pytest.raises(package.GlmimgError, match=r"cannot be written as \.gif"):
        picture.save(tmp_path / "a.gif")


def test_an_unknown_keyword_is_a_type_error(model: package.Model) -> None:
    with pytest.raises(TypeError, match="devize"):
        package.load("demo", devize="cpu")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="stepz"):
        model.draw("x", stepz=3)  # type: ignore[call-overload]


def test_a_wrong_device_names_the_keyword(tiny: Path) -> None:
    with pytest.raises(package.GlmimgError, match=r"^dtype fp99: no such value"):
        package.load(str(tiny), dtype="fp99")  # type: ignore[typeddict-item]
