"""The judge of words reads what is there, and nothing where nothing is."""

from dataclasses import replace

from PIL import Image, ImageFilter

from glmimg.demo.train.scene import draw_scene, is_held_out

from .words import held_out_words, read_word, score_words


def test_true_pictures_are_read_and_soft_ones_nearly_as_well() -> None:
    prompts = held_out_words(40)
    pictures = {text: draw_scene(scene, 256, 256) for text, scene in prompts}
    assert score_words(pictures.__getitem__, prompts)["words"] == 40
    soft = {text: picture.filter(ImageFilter.GaussianBlur(1.5)) for text, picture in pictures.items()}
    assert score_words(soft.__getitem__, prompts)["words"] >= 38


def test_other_words_and_empty_pictures_are_not() -> None:
    prompts = held_out_words(20)
    others = {text: draw_scene(replace(scene, word=scene.word[::-1] + "X"), 256, 256) for text, scene in prompts}
    assert score_words(others.__getitem__, prompts)["words"] == 0
    assert all(read_word(Image.new("RGB", (256, 256), scene.background), scene) == "" for _, scene in prompts)


def test_the_captions_are_held_out() -> None:
    assert all(is_held_out(scene) for _, scene in held_out_words(20))
