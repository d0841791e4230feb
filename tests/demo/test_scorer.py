"""The scorer is honest: true pictures score all, pictures of other captions next to nothing."""

import numpy as np
from PIL import Image

from glmimg.demo.train.scene import Scene, Shape, draw_scene, is_held_out

from .scorer import held_out_edits, held_out_prompts, judge, score_edits, score_prompts


def test_true_pictures_score_all() -> None:
    prompts = held_out_prompts(100)
    truth = {text: draw_scene(scene, 256, 256) for text, scene in prompts}
    counts = score_prompts(lambda text: truth[text], prompts)
    assert set(counts.values()) == {100.0}


def test_true_pictures_score_all_when_oblong_or_large() -> None:
    for size in ((384, 256), (256, 384), (512, 512)):
        prompts = held_out_prompts(30, seed=1)
        truth = {text: draw_scene(scene, *size) for text, scene in prompts}
        counts = score_prompts(lambda text, truth=truth: truth[text], prompts)  # type: ignore[misc]
        assert set(counts.values()) == {30.0}, size


def test_pictures_of_other_captions_score_next_to_nothing() -> None:
    prompts = held_out_prompts(100)
    others = {text: draw_scene(prompts[i - 1][1], 256, 256) for i, (text, _) in enumerate(prompts)}
    counts = score_prompts(lambda text: others[text], prompts)
    assert counts["background_and_colour"] <= 2
    assert counts["shape_and_place"] <= 5


def test_each_aspect_is_judged_by_itself() -> None:
    scene = Scene("blue", (Shape("circle", "red", "plain", "left"),))

    def verdict(**changes: str) -> tuple[bool, bool, bool, bool]:
        shape = Shape(**{"kind": "circle", "colour": "red", "size": "plain", "place": "left", **changes})
        found = judge(draw_scene(Scene("blue", (shape,)), 256, 256), scene)
        return found.background, found.colour, found.shape, found.place

    assert verdict() == (True, True, True, True)
    assert verdict(colour="green") == (True, False, True, True)
    assert verdict(kind="diamond") == (True, True, False, True)
    assert verdict(place="centre")[1:] == (True, True, False)
    assert judge(draw_scene(Scene("pink", scene.shapes), 256, 256), scene).background is False


def test_noise_and_blank_pictures_are_wrong() -> None:
    prompts = held_out_prompts(20)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8))
    for image in (noise, Image.new("RGB", (256, 256), "grey")):
        counts = score_prompts(lambda _, image=image: image, prompts)  # type: ignore[misc]
        assert counts["background_and_colour"] == counts["shape_and_place"] == 0


def test_true_edits_score_all_and_untouched_sources_none() -> None:
    edits = held_out_edits(60)
    answers = iter(edits)
    counts = score_edits(lambda *_: draw_scene(next(answers).target, 256, 256), edits)
    assert counts["changed"] == counts["kept"] == 60
    untouched = score_edits(lambda _, sources: sources[0], edits)
    assert untouched["changed"] <= 3


def test_held_out_prompts_are_held_out() -> None:
    assert all(is_held_out(scene) for _, scene in held_out_prompts(100))
