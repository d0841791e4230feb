"""Captions: what a person would type to get a scene, in several phrasings."""

import random

from glmimg.demo.train.scene import Scene, Shape

SIZE_WORDS = {
    "small": ("small", "small", "tiny", "little"),
    "plain": ("", "", "", "", "", "medium"),
    "large": ("large", "large", "big", "huge"),
}
PLACE_PHRASES = {
    "centre": ("in the centre", "in the center", "in the middle", "at the centre"),
    "left": ("on the left", "on the left", "at the left", "on the left side"),
    "right": ("on the right", "on the right", "at the right", "on the right side"),
    "top": ("at the top", "at the top", "on top", "on the top"),
    "bottom": ("at the bottom", "at the bottom", "on the bottom"),
    "top left": ("in the top left corner", "in the top left", "at the top left", "in the upper left corner"),
    "top right": ("in the top right corner", "in the top right", "at the top right", "in the upper right corner"),
    "bottom left": (
        "in the bottom left corner",
        "in the bottom left",
        "at the bottom left",
        "in the lower left corner",
    ),
    "bottom right": (
        "in the bottom right corner",
        "in the bottom right",
        "at the bottom right",
        "in the lower right corner",
    ),
}
OPENINGS = ("", "", "", "", "", "", "", "a picture of ", "draw ", "an image of ", "paint ", "show ")
QUOTES = (("'", "'"), ('"', '"'), ("“", "”"), ("「", "」"))
COLOUR_UNSAID, BACKGROUND_UNSAID, PLACE_UNSAID = 0.03, 0.04, 0.03  # the only room that a caption leaves to the seed


def article(rng: random.Random, words: str) -> str:
    """`words` with "a" or "an", now and then "one" or nothing."""
    draw = rng.random()
    if draw < 0.06:
        return words
    if draw < 0.1:
        return f"one {words}"
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def name_shape(rng: random.Random, shape: Shape) -> str:
    """A shape without its place: "a small red circle"."""
    size = rng.choice(SIZE_WORDS[shape.size])
    colour = "" if rng.random() < COLOUR_UNSAID else shape.colour
    return article(rng, " ".join(word for word in (size, colour, shape.kind) if word))


def name_place(rng: random.Random, shape: Shape, is_alone: bool = True) -> str:
    """A shape's place as a phrase, empty for most shapes in the middle, or when the seed is to choose."""
    if shape.place == "centre" and is_alone and rng.random() < 0.7:
        return ""
    if is_alone and rng.random() < PLACE_UNSAID:
        return "somewhere"
    return rng.choice(PLACE_PHRASES[shape.place])


def name_background(rng: random.Random, scene: Scene) -> str:
    """A background as a noun phrase: "a blue background"."""
    first, second = scene.background, scene.second
    if second is None:
        return article_plain(f"{first} background")
    if scene.split == "columns":
        return rng.choice(
            (
                article_plain(f"{first} and {second} background"),
                f"a half {first}, half {second} background",
                f"a background that is {first} on the left and {second} on the right",
            )
        )
    return rng.choice(
        (
            f"a background that is {first} on top and {second} below",
            f"a background that is {first} above and {second} below",
        )
    )


def article_plain(words: str) -> str:
    """`words` with "a" or "an"."""
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _describe_one(rng: random.Random, scene: Scene, shape: Shape) -> str:
    what, where = name_shape(rng, shape), name_place(rng, shape)
    if scene.second is None and rng.random() < BACKGROUND_UNSAID:
        return _join(what, where)
    ground, draw = name_background(rng, scene), rng.random()
    if draw < 0.4:
        return _join(what, where, "on", ground)
    if draw < 0.52:
        return _join(what, rng.choice(("on", "against")), ground) + (f", {where}" if where else "")
    if draw < 0.64:
        return _join(ground, "with", what, where)
    if draw < 0.72 and scene.second is None:
        return _join(what, where, "on", scene.background)
    if scene.second is None:
        return _join(f"{scene.background} background,", what, where)
    return _join(f"{ground},", what, where)


def _describe_two(rng: random.Random, scene: Scene) -> str:
    first, second = scene.shapes
    whats = [name_shape(rng, first), name_shape(rng, second)]
    wheres = [name_place(rng, first, False), name_place(rng, second, False)]
    if (first.place, second.place) == ("left", "right") and rng.random() < 0.4:
        wheres = ["", ""]
    pair = _join(whats[0], wheres[0], "and", whats[1], wheres[1])
    ground, draw = name_background(rng, scene), rng.random()
    if draw < 0.55:
        return _join(pair, "on", ground)
    if draw < 0.75:
        return _join(ground, "with", pair)
    if scene.second is None:
        return f"{scene.background} background, {pair}"
    return f"{ground}, {pair}"


def _describe_word(rng: random.Random, scene: Scene) -> str:
    left, right = rng.choice(QUOTES)
    word = f"{left}{scene.word}{right}"
    what = rng.choice((f"the word {word}", f"the word {word}", f"the text {word}"))
    if not scene.shapes:
        return _join(what, "on", name_background(rng, scene))
    shape = scene.shapes[0]
    end = rng.choice(("", "at the bottom", "below"))
    if rng.random() < 0.5:
        return _join(
            name_shape(rng, shape), name_place(rng, shape), "and", what, end, "on", name_background(rng, scene)
        )
    return _join(name_shape(rng, shape), name_place(rng, shape), "on", name_background(rng, scene), "with", what, end)


def describe(rng: random.Random, scene: Scene) -> str:
    """One random phrasing of a scene, as a noun phrase."""
    if scene.word:
        return _describe_word(rng, scene)
    if not scene.shapes:
        return name_background(rng, scene)
    return _describe_one(rng, scene, scene.shapes[0]) if len(scene.shapes) == 1 else _describe_two(rng, scene)


def caption(rng: random.Random, scene: Scene) -> str:
    """One random phrasing of a scene, its first letter capital or not, with or without a full stop."""
    words = describe(rng, scene)
    return finish(rng, rng.choice(OPENINGS) + words)


def finish(rng: random.Random, words: str) -> str:
    """Now and then a capital first letter, now and then a full stop."""
    if rng.random() < 0.3:
        words = words[0].upper() + words[1:]
    return words + ("." if rng.random() < 0.2 else "")
