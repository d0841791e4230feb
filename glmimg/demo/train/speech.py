"""Captions as people say them: with a part left to the seed, with words that relate two shapes, or as a request."""

import random
from dataclasses import dataclass

from glmimg.demo.train.captions import PLACE_PHRASES, article_plain, describe, finish
from glmimg.demo.train.sampling import one_shape, three_shapes, two_shapes, with_placed_word
from glmimg.demo.train.scene import Scene, Shape, is_held_out

WAYS = ("unsaid", "spatial", "chatty", "word")
ABOVE = (("{} above {}", 0), ("{} over {}", 0), ("{} below {}", 1), ("{} under {}", 1), ("{} on top of {}", 0))
BESIDE = (
    *(("{} to the left of {}", 0), ("{} left of {}", 0), ("{} to the right of {}", 1), ("{} right of {}", 1)),
    *(("{} next to {}", 0), ("{} beside {}", 0), ("{} on the left and {} on the right", 0)),
)
"""Words that relate two shapes, and which of them, the upper or left one first, is named first."""

REQUESTS = (
    *(
        "please draw me {}",
        "please draw {}",
        "please paint {}",
        "can you draw {}?",
        "can you make {}?",
        "could you draw me {}?",
    ),
    *("I want {}", "I would like {}", "I would like to see {}", "give me {}", "make me {}", "make {}", "let me see {}"),
    *("create {}", "generate {}", "I need a picture of {}", "could you please paint {}", "{}, please", "{} please"),
    *(
        "make a picture of {}",
        "make a drawing of {}",
        "an image with {}",
        "a nice picture of {}",
        "a simple drawing of {}",
    ),
    *("{}, thanks", "hello, please draw {}", "draw me {} please", "show me {}", "imagine {}"),
)
HELD_OUT_REQUESTS = ("I'd love a picture of {}", "would you paint me {}?", "hi, can you show me {}, please", "just {}")
"""Never seen in training."""

SENTENCES = (
    "there is {what} {where} and the background is {ground}",
    "there is {what} {where}, the background is {ground}",
    "{what} {where}, and the background should be {ground}",
    "the background is {ground} and there is {what} {where}",
    "the background is {ground}, with {what} {where}",
    "{ground} background, {what} {where}",
)
WORD_ROW_PHRASES = {
    "top": ("at the top", "at the top", "on top", "in the top row"),
    "middle": ("in the middle", "in the middle", "in the centre"),
    "bottom": ("at the bottom", "at the bottom", "in the bottom row"),
}
WORD_FORMS = (
    "the word {word} {row}",
    "the text {word} {row}",
    "{word} {row}",
    "{word} written {row}",
    "the word {word} {row}",
)
QUOTES = (("'", "'"), ('"', '"'), ("“", "”"), ("「", "」"))


@dataclass(frozen=True)
class Spoken:
    """A caption, a scene that answers it, and what of the scene the caption leaves open: background, colour, place."""

    text: str
    scene: Scene
    unsaid: frozenset[str] = frozenset()


def _named(shape: Shape, colour: bool = True) -> str:
    """A shape with its size and colour: "a small red circle"."""
    size = {"small": "small", "plain": "", "large": "large"}[shape.size]
    return article_plain(" ".join(word for word in (size, shape.colour if colour else "", shape.kind) if word))


def _on_ground(rng: random.Random, words: str, scene: Scene) -> str:
    ground = scene.background
    form = rng.choice(
        (
            "{} on a {} background",
            "{} on a {} background",
            "{1} background, {0}",
            "{} on {}",
            "{} against a {} background",
        )
    )
    return form.format(words, ground).replace("a orange", "an orange")


def _unsaid(rng: random.Random) -> Spoken:
    scene = one_shape(rng, two_tone=0)
    shape = scene.shapes[0]
    left_out = frozenset(rng.choices(("background", "colour", "place"), (4, 3, 2), k=rng.choice((1, 1, 2))))
    what = _named(shape, colour="colour" not in left_out)
    where = rng.choice(PLACE_PHRASES[shape.place])
    if "place" in left_out:
        where = "somewhere"
    elif shape.place == "centre" and rng.random() < 0.8:
        where = ""
    words = f"{what} {where}".strip()
    return Spoken(words if "background" in left_out else _on_ground(rng, words, scene), scene, left_out)


def _spatial(rng: random.Random) -> Spoken:
    if rng.random() < 0.2:
        return _between(rng)
    while True:
        scene = two_shapes(rng, two_tone=0)
        shapes = {shape.place: shape for shape in scene.shapes}
        if set(shapes) in ({"top", "bottom"}, {"left", "right"}):
            break
    pair = [shapes[place] for place in ("top", "bottom") if place in shapes] or [shapes["left"], shapes["right"]]
    form, first = rng.choice(ABOVE if "top" in shapes else BESIDE)
    words = form.format(_named(pair[first]), _named(pair[1 - first]))
    if rng.random() < 0.25:
        return Spoken(words, scene, frozenset({"background"}))
    return Spoken(_on_ground(rng, words, scene), scene)


def _between(rng: random.Random) -> Spoken:
    scene = three_shapes(rng)
    left, middle, right = (f"{shape.colour} {shape.kind}" for shape in scene.shapes)
    outer = f"two {left}s" if left == right else f"{article_plain(left)} and {article_plain(right)}"
    words = f"{article_plain(middle)} between {outer}"
    return Spoken(_on_ground(rng, words, scene), scene)


def _chatty(rng: random.Random, requests: tuple[str, ...]) -> Spoken:
    scene = one_shape(rng) if rng.random() < 0.75 else two_shapes(rng)
    if len(scene.shapes) == 1 and scene.second is None and rng.random() < 0.3:
        shape = scene.shapes[0]
        where = "" if shape.place == "centre" else rng.choice(PLACE_PHRASES[shape.place])
        text = rng.choice(SENTENCES).format(what=_named(shape), where=where, ground=scene.background)
        return Spoken(" ".join(text.replace(" ,", ",").split()), scene)
    return Spoken(rng.choice(requests).format(describe(rng, scene)), scene)


def _word(rng: random.Random) -> Spoken:
    scene = with_placed_word(rng)
    left, right = rng.choice(QUOTES)
    row = rng.choice(WORD_ROW_PHRASES[scene.word_row])
    if scene.word_row == "middle" and rng.random() < 0.4:
        row = ""
    word = rng.choice(WORD_FORMS).format(word=f"{left}{scene.word}{right}", row=row).strip()
    if not scene.shapes:
        return Spoken(_on_ground(rng, word, scene), scene)
    shape = scene.shapes[0]
    where = "" if shape.place == "centre" else rng.choice(PLACE_PHRASES[shape.place])
    what = f"{_named(shape)} {where}".strip()
    ground = article_plain(f"{scene.background} background")
    forms = (f"{what} on {ground} with {word}", f"{what} and {word} on {ground}", f"{word} and {what} on {ground}")
    return Spoken(rng.choice(forms), scene)


def random_speech(rng: random.Random, held_out: bool = False, way: str | None = None) -> Spoken:
    """A caption said in one of WAYS (any by default); held out: of a scene, or as a request, never trained on."""
    while True:
        chosen = way or rng.choice(WAYS)
        if chosen == "chatty":
            spoken = _chatty(rng, HELD_OUT_REQUESTS if held_out else REQUESTS)
        else:
            spoken = {"unsaid": _unsaid, "spatial": _spatial, "word": _word}[chosen](rng)
        if is_held_out(spoken.scene) == held_out:
            return Spoken(finish(rng, spoken.text), spoken.scene, spoken.unsaid)
