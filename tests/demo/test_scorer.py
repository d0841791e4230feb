"""The scorer is honest: true pictures score all, pictures of other captions next to nothing."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from glmimg.demo.train.scene import Scene, Shape, draw_scene, is_held_out
from glmimg.demo.train.speech import Spoken

from .cases import Case, all_cases, tally
from .scorer import held_out_prompts, judge, score_prompts
from .spoken import judge_spoken


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


def true_pictures(cases: list[Case]) -> list[Image.Image]:
    return [draw_scene(case.truth, *case.size) for case in cases]


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return all_cases(0.08)


def test_true_pictures_are_right_in_every_row(cases: list[Case]) -> None:
    for row, figures in tally(cases, true_pictures(cases)).items():
        asked = {figures["pictures"], figures.get("letters_asked", figures["pictures"])}
        assert {figures[name] for name in figures if ":" not in name} == asked, row


def test_pictures_of_other_captions_are_wrong_in_every_row(cases: list[Case]) -> None:
    others = true_pictures([*cases[1:], cases[0]])
    of_one_size = [(case, other) for case, other in zip(cases, others, strict=True) if other.size == case.size]
    for row, figures in tally(*map(list, zip(*of_one_size, strict=True))).items():
        right = [name for name in ("shape, place", "shape, size, place", "drawn", "made", "words") if name in figures]
        assert figures[right[0]] <= 1, row


def test_an_edit_that_does_nothing_is_not_made(cases: list[Case]) -> None:
    edits = [case for case in cases if case.sources]
    untouched = tally(edits, [draw_scene(case.sources[0], *case.size) for case in edits])
    assert all(figures["made"] <= 1 for figures in untouched.values())


def test_a_shape_of_another_size_or_a_cell_beside_its_place_is_wrong() -> None:
    for size in ((256, 256), (512, 256)):
        scene = Scene("blue", (Shape("circle", "red", "plain", "left"),))
        picture = draw_scene(scene, *size)
        assert judge(picture, scene).size and judge(picture, scene).place
        for other in ("small", "large"):
            changed = replace(scene, shapes=(replace(scene.shapes[0], size=other),))
            assert not judge(draw_scene(changed, *size), scene).size
        moved = Image.new("RGB", size, "blue")
        moved.paste(picture, (48, 0))
        assert not judge(moved, scene).place


def test_a_part_left_unsaid_may_be_anything_but_what_is_said_may_not() -> None:
    circle = Shape("circle", "red", "small", "left")
    spoken = Spoken("a small circle on a blue background", Scene("blue", (circle,)), frozenset({"colour", "place"}))

    def drawn(ground: str = "blue", **changes: str) -> bool:
        return judge_spoken(draw_scene(Scene(ground, (replace(circle, **changes),)), 256, 256), spoken, "unsaid")

    assert drawn() and drawn(colour="green", place="top right")
    assert not any((drawn("green"), drawn(kind="star"), drawn(size="large")))


def test_shapes_told_by_their_relation_may_not_change_sides() -> None:
    shapes = Shape("star", "red", "plain", "left"), Shape("square", "white", "plain", "right")
    beside, changed = (
        Scene("blue", shapes),
        Scene("blue", tuple(replace(s, place=p) for s, p in zip(shapes, ("right", "left"), strict=True))),
    )
    for words, may_change in (("left of", False), ("next to", True)):
        spoken = Spoken(f"a red star {words} a white square on a blue background", beside)
        assert judge_spoken(draw_scene(beside, 256, 256), spoken, "spatial")
        assert judge_spoken(draw_scene(changed, 256, 256), spoken, "spatial") is may_change


def test_held_out_prompts_are_held_out() -> None:
    assert all(is_held_out(scene) for _, scene in held_out_prompts(100))
