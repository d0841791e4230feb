"""Edits: a picture or two, an instruction, and the picture it asks for."""

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from glmimg.demo.train.captions import article_plain, finish
from glmimg.demo.train.sampling import PAIRS_OF_PLACES, one_shape, other_colour, two_shapes
from glmimg.demo.train.scene import KINDS, SIZES, Scene, Shape
from glmimg.preset import load_preset

FIRST_TASKS = ("background", "colour", "add", "remove", "combine")
TASKS = (*FIRST_TASKS, "bigger", "smaller", "move")
OPPOSITE = {a: b for pair in PAIRS_OF_PLACES for a, b in (pair, pair[::-1])}
AT_PLACE = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "top left": "in the top left corner",
    "top right": "in the top right corner",
    "bottom left": "in the bottom left corner",
    "bottom right": "in the bottom right corner",
    "centre": "in the centre",
}


BIGGER = ("make the {} bigger", "make the {} bigger", "make the {} larger", "enlarge the {}", "a bigger {}")
SMALLER = ("make the {} smaller", "make the {} smaller", "shrink the {}", "a smaller {}", "make the {} a bit smaller")
MOVES = ("move the {} {}", "move the {} {}", "move the {} {}", "shift the {} {}", "put the {} {}")
TO_PLACE = {
    "left": ("to the left", "to the left side"),
    "right": ("to the right", "to the right side"),
    "top": ("to the top", "up to the top"),
    "bottom": ("to the bottom", "down to the bottom"),
    "top left": ("to the top left corner", "to the top left"),
    "top right": ("to the top right corner", "to the top right"),
    "bottom left": ("to the bottom left corner", "to the bottom left"),
    "bottom right": ("to the bottom right corner", "to the bottom right"),
    "centre": ("to the centre", "to the middle"),
}
PRESETS = ("edit", "restyle", "together", "keep-face")
PRESET_SHARE = 0.25


@dataclass(frozen=True)
class Edit:
    """What is asked (`instruction`, of one of TASKS), of which `sources`, and the scene that answers it."""

    task: str
    instruction: str
    sources: tuple[Scene, ...]
    target: Scene


def is_held_out_edit(edit: Edit) -> bool:
    """True for the one edit in sixteen that no trainer sees: a hash of task, sources and target decides."""
    key = repr((edit.task, edit.sources, edit.target))
    return hashlib.sha256(key.encode()).digest()[0] < 16


def _source(rng: random.Random) -> Scene:
    if rng.random() < 0.7:
        return one_shape(rng, two_tone=0.08)
    while True:
        scene = two_shapes(rng, two_tone=0.05)
        if scene.shapes[0].kind != scene.shapes[1].kind:
            return scene


def _edit_background(rng: random.Random) -> Edit:
    source = _source(rng)
    new = other_colour(rng, source.background, source.second, *(s.colour for s in source.shapes))
    form = rng.choice(
        (
            "make the background {}",
            "make the background {}",
            "change the background to {}",
            "turn the background {}",
            "set the background to {}",
            "paint the background {}",
        )
    )
    return Edit("background", form.format(new), (source,), replace(source, background=new, second=None))


def _edit_colour(rng: random.Random) -> Edit:
    source = _source(rng)
    at = rng.randrange(len(source.shapes))
    shape = source.shapes[at]
    new = other_colour(rng, shape.colour, source.background, source.second)
    forms = (
        "make the {} {}",
        "make the {} {}",
        "change the {} to {}",
        "turn the {} {}",
        "paint the {} {}",
        "change the colour of the {} to {}",
    )
    shapes = tuple(replace(s, colour=new) if i == at else s for i, s in enumerate(source.shapes))
    return Edit("colour", rng.choice(forms).format(shape.kind, new), (source,), replace(source, shapes=shapes))


def _edit_add(rng: random.Random) -> Edit:
    source = one_shape(rng, two_tone=0.05)
    old = source.shapes[0]
    empty = rng.random() < 0.2
    if old.size == "large" or old.place not in OPPOSITE:
        place = rng.choice(list(OPPOSITE))
        old = replace(old, size=rng.choice(("small", "plain")), place=place)
    place = "centre" if empty else OPPOSITE[old.place]
    size = rng.choices(("small", "plain"), (1, 3))[0]
    new = Shape(rng.choice(KINDS), other_colour(rng, source.background, source.second), size, place)
    source = replace(source, shapes=() if empty else (old,))
    words = article_plain(f"small {new.colour} {new.kind}" if size == "small" else f"{new.colour} {new.kind}")
    where = f" {AT_PLACE[place]}" if rng.random() < 0.5 else ""
    form = rng.choice(("add {}{}", "add {}{}", "put {}{}", "draw {}{}"))
    return Edit("add", form.format(words, where), (source,), replace(source, shapes=(*source.shapes, new)))


def _edit_remove(rng: random.Random) -> Edit:
    source = _source(rng)
    at = rng.randrange(len(source.shapes))
    kind = source.shapes[at].kind
    form = rng.choice(("remove the {}", "remove the {}", "delete the {}", "take away the {}", "erase the {}"))
    shapes = source.shapes[:at] + source.shapes[at + 1 :]
    return Edit("remove", form.format(kind), (source,), replace(source, shapes=shapes))


def _edit_combine(rng: random.Random) -> Edit:
    while True:
        first, second = one_shape(rng, two_tone=0), one_shape(rng, two_tone=0.08)
        if first.shapes[0].colour not in (second.background, second.second):
            break
    form = rng.choice(
        (
            "put the shape of the first picture on the background of the second",
            "put the shape of the first picture on the background of the second",
            "put the shape of the first image on the background of the second image",
            "the shape of the first picture on the background of the second picture",
        )
    )
    return Edit("combine", form, (first, second), replace(second, shapes=first.shapes))


def _edit_size(rng: random.Random, grows: bool = True) -> Edit:
    source = _source(rng)
    at = rng.randrange(len(source.shapes))
    sizes = SIZES if len(source.shapes) == 1 else SIZES[:2]
    step = rng.randrange(len(sizes) - 1)
    before, after = (sizes[step], sizes[step + 1]) if grows else (sizes[step + 1], sizes[step])

    def sized(size: str) -> tuple[Shape, ...]:
        return tuple(replace(s, size=size) if i == at else s for i, s in enumerate(source.shapes))

    forms = BIGGER if grows else SMALLER
    words = rng.choice(forms).format(source.shapes[at].kind)
    sources = (replace(source, shapes=sized(before)),)
    return Edit("bigger" if grows else "smaller", words, sources, replace(source, shapes=sized(after)))


def _edit_move(rng: random.Random) -> Edit:
    source = one_shape(rng, two_tone=0.05)
    shape = source.shapes[0]
    if shape.size == "large":  # it has hardly room to move
        shape = replace(shape, size="plain")
    place = rng.choice([place for place in TO_PLACE if place != shape.place])
    words = rng.choice(MOVES).format(shape.kind, rng.choice(TO_PLACE[place]))
    source = replace(source, shapes=(shape,))
    return Edit("move", words, (source,), replace(source, shapes=(replace(shape, place=place),)))


_MAKERS: dict[str, Callable[[random.Random], Edit]] = {
    "background": _edit_background,
    "colour": _edit_colour,
    "add": _edit_add,
    "remove": _edit_remove,
    "combine": _edit_combine,
    "bigger": _edit_size,
    "smaller": partial(_edit_size, grows=False),
    "move": _edit_move,
}


def random_edit(
    rng: random.Random, held_out: bool = False, task: str | None = None, tasks: Sequence[str] = TASKS
) -> Edit:
    """An edit of `task` (any of `tasks` by default), held out or not as asked."""
    while True:
        edit = _MAKERS[task or rng.choice(tasks)](rng)
        if is_held_out_edit(edit) == held_out:
            return replace(edit, instruction=finish(rng, edit.instruction))


@cache
def template_of(preset: str) -> str:
    """What a shipped preset makes of an instruction, `{prompt}` where it stands."""
    return load_preset(preset).template or "{prompt}"


def through_a_preset(rng: random.Random, edit: Edit) -> Edit:
    """The edit as it reaches the model when a shipped preset is named with it."""
    names = PRESETS if len(edit.sources) > 1 else [name for name in PRESETS if name != "together"]
    return replace(edit, instruction=template_of(rng.choice(names)).replace("{prompt}", edit.instruction))
