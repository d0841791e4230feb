"""Random scenes of the demo's world, never one of the held-out ones unless asked for."""

import random

from glmimg.demo.train.scene import (
    COLOUR_NAMES,
    KINDS,
    LETTERS,
    MAX_WORD,
    PLACES,
    SIZES,
    WORD_ROWS,
    Scene,
    Shape,
    is_held_out,
)

PAIRS_OF_PLACES = (("left", "right"), ("top", "bottom"), ("top left", "bottom right"), ("top right", "bottom left"))
WORD_PLACES = ("centre", "top", "top left", "top right", "left", "right")  # boxes that leave the bottom row free


def other_colour(rng: random.Random, *taken: str | None) -> str:
    """A colour name that is none of `taken`."""
    return rng.choice([name for name in COLOUR_NAMES if name not in taken])


def random_word(rng: random.Random) -> str:
    """Two to five capital letters."""
    return "".join(rng.choices(LETTERS, k=rng.randint(2, 5)))


def _background(rng: random.Random, two_tone: float) -> tuple[str, str | None, str]:
    first = rng.choice(COLOUR_NAMES)
    if rng.random() >= two_tone:
        return first, None, "columns"
    return first, other_colour(rng, first), rng.choice(("columns", "rows"))


def one_shape(rng: random.Random, two_tone: float = 0.15) -> Scene:
    """A single shape anywhere, of any size."""
    first, second, split = _background(rng, two_tone)
    size = rng.choices(SIZES, (1, 2, 1))[0]
    place = "centre" if rng.random() < 0.15 else rng.choice(list(PLACES))
    shape = Shape(rng.choice(KINDS), other_colour(rng, first, second), size, place)
    return Scene(first, (shape,), second, split)


def two_shapes(rng: random.Random, two_tone: float = 0.1) -> Scene:
    """Two shapes in opposite places, small or plain, the first-named in a random one of the two places."""
    first, second, split = _background(rng, two_tone)
    places = list(rng.choice(PAIRS_OF_PLACES))
    rng.shuffle(places)
    shapes = tuple(
        Shape(rng.choice(KINDS), other_colour(rng, first, second), rng.choices(("small", "plain"), (1, 3))[0], place)
        for place in places
    )
    return Scene(first, shapes, second, split)


def with_word(rng: random.Random) -> Scene:
    """A word, alone or under one shape that leaves the bottom row free."""
    first = rng.choice(COLOUR_NAMES)
    if rng.random() < 0.4:
        return Scene(first, word=random_word(rng))
    place = rng.choice(WORD_PLACES)
    size = "plain" if rng.random() < 0.6 else "small"
    shape = Shape(rng.choice(KINDS), other_colour(rng, first), size, place)
    return Scene(first, (shape,), word=random_word(rng))


def with_placed_word(rng: random.Random) -> Scene:
    """A word of one to MAX_WORD letters in a row that the caption names, alone or beside a shape that leaves it free."""
    first, row = rng.choice(COLOUR_NAMES), rng.choice(WORD_ROWS)
    word = "".join(rng.choices(LETTERS, k=rng.randint(1, MAX_WORD)))
    if row == "middle" or rng.random() < 0.4:
        return Scene(first, word=word, word_row=row)
    place = rng.choice([place for place, (down, _) in PLACES.items() if down != (-1 if row == "top" else 1)])
    shape = Shape(rng.choice(KINDS), other_colour(rng, first), rng.choice(("small", "plain")), place)
    return Scene(first, (shape,), word=word, word_row=row)


def three_shapes(rng: random.Random) -> Scene:
    """Three small shapes side by side; the outer two are of one kind and colour, or differ in both."""
    first = rng.choice(COLOUR_NAMES)
    colours = rng.sample([name for name in COLOUR_NAMES if name != first], 3)
    kinds = rng.choices(KINDS, k=3)
    if rng.random() < 0.5:
        colours[2], kinds[2] = colours[0], kinds[0]
    places = ("left", "centre", "right")
    return Scene(first, tuple(Shape(k, c, "small", p) for k, c, p in zip(kinds, colours, places, strict=True)))


def random_scene(rng: random.Random, pairs: float = 0.3, words: float = 0.05, held_out: bool = False) -> Scene:
    """A scene: two shapes with probability `pairs`, a word with `words`, else one shape; held out or not, as asked."""
    while True:
        draw = rng.random()
        make = two_shapes if draw < pairs else with_word if draw < pairs + words else one_shape
        scene = make(rng)
        if is_held_out(scene) == held_out:
            return scene
