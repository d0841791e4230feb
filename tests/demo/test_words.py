"""The reader of words finds letters wherever they stand, and none where there are none."""

from dataclasses import replace

import pytest
from PIL import Image, ImageFilter

from glmimg.demo.train.scene import Scene, draw_scene

from .cases import word_cases
from .scorer import held_out_prompts
from .words import judge_word, read_picture

SCENES = [case.truth for case in word_cases(30)]


def words_read(scene: Scene, image: Image.Image) -> str:
    return "".join(letter.name for letter in read_picture(image, scene.background))


@pytest.mark.parametrize(("blur", "least"), [(0, 30), (1.5, 28)])
def test_true_pictures_are_read_and_soft_ones_nearly_as_well(blur: float, least: int) -> None:
    pictures = [draw_scene(scene, 256, 256).filter(ImageFilter.GaussianBlur(blur)) for scene in SCENES]
    assert sum(words_read(*each) == each[0].word for each in zip(SCENES, pictures, strict=True)) >= least


def test_other_letters_are_not_taken_for_the_words() -> None:
    for scene in SCENES[:12]:
        figures = judge_word(scene, draw_scene(replace(scene, word=scene.word[::-1] + "X"), 256, 256))
        assert not figures["words"]


def test_no_letter_is_read_where_there_is_none() -> None:
    assert not [text for text, scene in held_out_prompts(40) if words_read(scene, draw_scene(scene, 256, 256))]


def test_a_word_is_read_where_it_does_not_belong_but_is_not_right() -> None:
    scene = Scene("white", word="OPEN", word_row="top")
    moved = Image.new("RGB", (256, 256), "white")
    moved.paste(draw_scene(scene, 256, 256), (11, 70))  # in no cell
    assert words_read(scene, moved) == "OPEN"
    assert judge_word(scene, moved) == {"letters": 0, "letters_asked": 4, "words": False}


def test_a_letter_cut_off_at_the_edge_is_not_right() -> None:
    scene = Scene("white", word="OPEN", word_row="top")
    cut = Image.new("RGB", (256, 256), "white")
    cut.paste(draw_scene(scene, 256, 256), (0, -14))
    assert judge_word(scene, cut)["letters"] == 0


def test_a_word_beside_the_one_asked_is_too_much() -> None:
    scene = Scene("white", word="OPEN", word_row="top")
    twice = draw_scene(scene, 256, 256)
    twice.paste(twice.crop((0, 0, 256, 32)), (0, 128))
    assert judge_word(scene, twice) == {"letters": 4, "letters_asked": 4, "words": False}
