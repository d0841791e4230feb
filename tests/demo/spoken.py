"""Judges captions that leave something open: what they say must be drawn, what they leave open may be anything."""

from dataclasses import replace

import numpy as np
from PIL import Image

from glmimg.demo.train.scene import COLOUR_NAMES, PLACES, SIZES, Scene, Shape
from glmimg.demo.train.speech import Spoken

from .scorer import box_px, colour_classes, judge_background, judge_shape, measured_box, without_lines

EITHER_SIDE = (" next to ", " beside ")


def _commonest(classes: np.ndarray) -> str:
    return COLOUR_NAMES[int(np.bincount(classes.ravel(), minlength=len(COLOUR_NAMES)).argmax())]


def drawn_background(classes: np.ndarray) -> str:
    """The commonest colour of a picture's border."""
    return _commonest(np.concatenate([classes[0], classes[-1], classes[:, 0], classes[:, -1]]))


def _nearest_shape(mask: np.ndarray, shape: Shape, free: frozenset[str]) -> Shape:
    """`shape` with the size and place, where those are free, that lie nearest to what the mask measures."""
    box = measured_box(mask)
    if box is None:
        return shape

    def distance(tried: Shape) -> float:
        top, left, side = box_px(tried, *mask.shape)
        middle = abs(top + side / 2 - box[0] - box[2] / 2) + abs(left + side / 2 - box[1] - box[3] / 2)
        return middle + abs(side - max(box[2:]))

    sizes = SIZES if "size" in free else (shape.size,)
    places = list(PLACES) if "place" in free else [shape.place]
    return min((replace(shape, size=size, place=place) for size in sizes for place in places), key=distance)


def as_drawn(image: Image.Image, spoken: Spoken) -> Scene:
    """The scene nearest to the picture among those that answer the caption."""
    classes, scene, free = colour_classes(image), spoken.scene, spoken.unsaid
    if "background" in free:
        scene = replace(scene, background=drawn_background(classes))
    if len(scene.shapes) != 1 or scene.second:
        return scene
    (shape,) = scene.shapes
    differs = without_lines(classes != COLOUR_NAMES.index(scene.background))
    if "colour" in free and differs.any():
        shape = replace(shape, colour=_commonest(classes[differs]))
    if shape.size == "plain":  # the one size that captions do not name
        free |= {"size"}
    return replace(scene, shapes=(_nearest_shape(differs, shape, free),))


def _is_drawn(image: Image.Image, scene: Scene, judges_place: bool) -> bool:
    if any(shape.colour == scene.background for shape in scene.shapes):
        return False
    if not judge_background(colour_classes(image), scene):
        return False
    for shape in scene.shapes:
        colour, kind, size, place = judge_shape(image, scene, shape)
        size = size or (shape.size == "plain" and len(scene.shapes) > 1)
        if not (colour and kind and size and (place or not judges_place)):
            return False
    return True


def judge_spoken(image: Image.Image, spoken: Spoken, way: str) -> bool:
    """True if all that the caption says is drawn, and nothing else.

    way: of `speech.WAYS`; of shapes told by their relation ("spatial") each must lie in its own part of the picture, no matter where in it.
    """
    scene, is_related = as_drawn(image, spoken), way == "spatial"
    answers = [scene]
    if is_related and any(words in spoken.text for words in EITHER_SIDE):
        places = [shape.place for shape in reversed(scene.shapes)]
        swapped = tuple(replace(shape, place=place) for shape, place in zip(scene.shapes, places, strict=True))
        answers.append(replace(scene, shapes=swapped))
    judges_place = not is_related and "place" not in spoken.unsaid
    return any(_is_drawn(image, answer, judges_place) for answer in answers)
