"""Judges pictures by their pixels: does a picture show what its caption says?

The scorer knows the caption's truth (a `Scene`) and nothing of the model. It needs only a callable prompt -> picture
(`score_prompts`). A caption that names two shapes counts as right only when both are.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

from glmimg.demo.train.captions import PLACE_PHRASES, caption
from glmimg.demo.train.edits import Edit
from glmimg.demo.train.sampling import random_scene
from glmimg.demo.train.scene import (
    CELL_PX,
    COLOUR_NAMES,
    COLOURS,
    KINDS,
    PLACES,
    Scene,
    Shape,
    box_of,
    draw_scene,
    lay_out,
    shape_mask,
)

Draw = Callable[[str], Image.Image]

BACKGROUND_SHARE = 0.75  # of the pixels outside the shapes' boxes must have the background's colour
COLOUR_SHARE = 0.5  # of the pixels that differ from the background must have the shape's colour
LEAST_OVERLAP = 0.6  # intersection over union of the drawn shape with the true kind, which must also be the best
MOST_CHANGE = 12.0  # mean absolute difference, of 255, outside the region that an edit may change
SIZE_SHARE = 0.25  # of its true side a shape may be wider or narrower
PLACE_SHARE = 1 / 8  # of the picture's shorter side a shape's middle may lie from its true one, on either axis
EDGE_PX = 12  # around the changed region, not counted as "the rest"


@dataclass(frozen=True)
class Verdict:
    """What of one picture is right."""

    background: bool
    colour: bool
    shape: bool
    size: bool
    place: bool


@dataclass(frozen=True)
class EditVerdict:
    """Whether the asked change was made, and how far the rest moved (mean absolute difference, 0..255)."""

    task: str
    is_changed: bool
    rest_difference: float

    @property
    def is_kept(self) -> bool:
        """The rest of the picture is as before."""
        return self.rest_difference <= MOST_CHANGE


@lru_cache(maxsize=1)
def _nearest_colours() -> np.ndarray:
    """int8 (64, 64, 64): index of the colour nearest to each red, green, blue, in steps of four."""
    steps = np.arange(64, dtype=np.float32) * 4 + 2
    space = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1)
    distances = [((space - np.array(COLOURS[name], np.float32)) ** 2).sum(-1) for name in COLOUR_NAMES]
    return np.argmin(distances, axis=0).astype(np.int8)


def colour_classes(image: Image.Image) -> np.ndarray:
    """int8 (height, width): index in COLOUR_NAMES of each pixel's nearest colour."""
    red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")) >> 2, -1, 0)
    return _nearest_colours()[red, green, blue]


def background_classes(scene: Scene, height: int, width: int) -> np.ndarray:
    """int (height, width): the background's colour at each pixel of the true picture."""
    layout = lay_out(scene, height // CELL_PX, width // CELL_PX)
    return layout.back.repeat(CELL_PX, 0).repeat(CELL_PX, 1)


def box_px(shape: Shape, height: int, width: int) -> tuple[int, int, int]:
    """(top, left, side) of a shape's true box in pixels."""
    top, left, side = box_of(shape, height // CELL_PX, width // CELL_PX)
    return top * CELL_PX, left * CELL_PX, side * CELL_PX


def outside_boxes(shapes: Iterable[Shape], height: int, width: int) -> np.ndarray:
    """bool (height, width): the pixels in none of the shapes' true boxes."""
    outside = np.ones((height, width), bool)
    for shape in shapes:
        top, left, side = box_px(shape, height, width)
        outside[top : top + side, left : left + side] = False
    return outside


def _territory(scene: Scene, shape: Shape, height: int, width: int) -> np.ndarray:
    """bool (height, width): the pixels nearer to the shape's true centre than to the other shapes'."""
    rows, columns = np.mgrid[:height, :width]

    def distance(other: Shape) -> np.ndarray:
        top, left, side = box_px(other, height, width)
        return (rows - top - side / 2) ** 2 + (columns - left - side / 2) ** 2

    mine = distance(shape)
    own = np.ones((height, width), bool)
    for other in scene.shapes:
        if other != shape:
            own &= mine <= distance(other)
    return own


def measured_box(mask: np.ndarray) -> tuple[float, float, float, float] | None:
    """(top, left, height, width) of a mask's extent in pixels, a few stray pixels left out; None if it is empty."""
    if mask.sum() < 64:
        return None
    rows, columns = np.cumsum(mask.sum(1)), np.cumsum(mask.sum(0))
    low, high = 0.002 * rows[-1], 0.998 * rows[-1]
    top, bottom = np.searchsorted(rows, low), np.searchsorted(rows, high)
    left, right = np.searchsorted(columns, low), np.searchsorted(columns, high)
    return float(top), float(left), float(bottom - top + 1), float(right - left + 1)


def _overlap(mask: np.ndarray, kind: str, top: float, left: float, side: float) -> float:
    """Intersection over union of a mask with a kind's outline in a square box (pixels)."""
    outline = Image.fromarray((shape_mask(kind, 8) * 255).astype(np.uint8)).resize((round(side), round(side)))
    truth = Image.new("L", (mask.shape[1], mask.shape[0]))
    truth.paste(outline, (round(left), round(top)))
    filled = np.asarray(truth) > 127
    return float((mask & filled).sum() / (mask | filled).sum())


def best_kind(mask: np.ndarray, true_box: tuple[int, int, int]) -> tuple[str, float]:
    """(kind, overlap): the kind that overlaps the mask best (intersection over union).

    Each kind is tried in the box that the mask measures and in the true box, (top, left, side) in pixels.
    """
    box = measured_box(mask)
    if box is None:
        return "", 0.0
    top, left, height, width = box
    side = max(height, width)
    boxes = ((top + height / 2 - side / 2, left + width / 2 - side / 2, side), true_box)
    overlaps = {kind: max(_overlap(mask, kind, *tried) for tried in boxes) for kind in KINDS}
    best = max(overlaps, key=lambda kind: overlaps[kind])
    return best, overlaps[best]


def has_size(mask: np.ndarray, shape: Shape) -> bool:
    """True if the mask is about as wide as the shape would be in a picture of this size."""
    box, side = measured_box(mask), box_px(shape, *mask.shape)[2]
    return box is not None and abs(max(box[2:]) - side) <= SIZE_SHARE * side


def is_at_place(mask: np.ndarray, shape: Shape) -> bool:
    """True if the mask's middle is near the true one, and nearer than to any of the other eight places."""
    box = measured_box(mask)
    if box is None:
        return False
    middle = box[0] + box[2] / 2, box[1] + box[3] / 2
    true_top, true_left, true_side = box_px(shape, *mask.shape)
    off = max(abs(middle[0] - true_top - true_side / 2), abs(middle[1] - true_left - true_side / 2))
    if off > PLACE_SHARE * min(mask.shape):
        return False

    def distance(place: str) -> float:
        top, left, side = box_px(Shape(shape.kind, shape.colour, shape.size, place), *mask.shape)
        return (middle[0] - top - side / 2) ** 2 + (middle[1] - left - side / 2) ** 2

    return min(PLACES, key=distance) == shape.place


def judge_background(classes: np.ndarray, scene: Scene) -> bool:
    """The background's colour is right nearly everywhere outside the shapes; each half of a two-tone one is."""
    height, width = classes.shape
    truth, outside = background_classes(scene, height, width), outside_boxes(scene.shapes, height, width)
    names = [scene.background, scene.second or scene.background]
    regions = [outside & (truth == COLOUR_NAMES.index(name)) for name in names]
    return all((classes[region] == truth[region]).mean() >= BACKGROUND_SHARE for region in regions if region.any())


def nearer_to(pixels: np.ndarray, colour: int, ground: np.ndarray) -> np.ndarray:
    """bool (height, width): the pixels nearer to `colour` than to the background's: a blend counts as what it is most."""
    palette = np.array([COLOURS[name] for name in COLOUR_NAMES], np.float32)
    return ((pixels - palette[colour]) ** 2).sum(-1) < ((pixels - palette[ground]) ** 2).sum(-1)


def without_lines(mask: np.ndarray) -> np.ndarray:
    """A mask without lines of one or two pixels: where two background colours meet, a blend may look like a third."""
    return np.asarray(Image.fromarray(mask).convert("L").filter(ImageFilter.MedianFilter(5))) > 127


def judge_shape(image: Image.Image, scene: Scene, shape: Shape) -> tuple[bool, bool, bool, bool]:
    """(colour, kind, size, place) of one shape; all but the first are judged in whatever colour it was drawn."""
    pixels, classes = np.asarray(image.convert("RGB"), np.float32), colour_classes(image)
    height, width = classes.shape
    mine = _territory(scene, shape, height, width)
    colour = COLOUR_NAMES.index(shape.colour)
    ground = background_classes(scene, height, width)
    differs = mine & (classes != ground)
    if differs.sum() < 64:
        return False, False, False, False
    counts = np.bincount(classes[differs], minlength=len(COLOURS))
    found = without_lines(mine & nearer_to(pixels, int(counts.argmax()), ground))
    kind, overlap = best_kind(found, box_px(shape, height, width))
    has_colour = bool(counts.argmax() == colour and counts[colour] >= COLOUR_SHARE * counts.sum())
    is_kind = kind == shape.kind and overlap >= LEAST_OVERLAP
    return has_colour, is_kind, has_size(found, shape), is_at_place(found, shape)


def judge(image: Image.Image, scene: Scene) -> Verdict:
    """Compare a picture with the scene that its caption tells of."""
    each = [judge_shape(image, scene, shape) for shape in scene.shapes]
    return Verdict(judge_background(colour_classes(image), scene), *(all(found[i] for found in each) for i in range(4)))


def says_all(text: str, scene: Scene) -> bool:
    """True if the caption leaves nothing to the seed: every colour, and every place other than the middle, is named."""
    words = text.lower()
    places = [shape.place == "centre" or any(p in words for p in PLACE_PHRASES[shape.place]) for shape in scene.shapes]
    colours = [scene.background, scene.second or "", *(shape.colour for shape in scene.shapes)]
    return all(places) and all(words.count(name) >= colours.count(name) for name in colours if name)


def held_out_prompts(count: int = 100, seed: int = 0) -> list[tuple[str, Scene]]:
    """Captions of scenes that training never drew (see `is_held_out`): three in ten with two shapes, none with words."""
    rng = random.Random(seed)
    prompts: list[tuple[str, Scene]] = []
    while len(prompts) < count:
        scene = random_scene(rng, pairs=0.3, words=0, held_out=True)
        text = caption(rng, scene)
        if says_all(text, scene):
            prompts.append((text, scene))
    return prompts


def score_prompts(draw: Draw, prompts: list[tuple[str, Scene]]) -> dict[str, float]:
    """Counts of right pictures: each aspect, and the two pairs that the goals are set in."""
    verdicts = [judge(draw(text), scene) for text, scene in prompts]
    counts = {name: float(sum(getattr(v, name) for v in verdicts)) for name in Verdict.__dataclass_fields__}
    counts["background_and_colour"] = float(sum(v.background and v.colour for v in verdicts))
    counts["shape_and_place"] = float(sum(v.shape and v.place for v in verdicts))
    return {"prompts": float(len(verdicts)), **counts}


def _is_change_made(image: Image.Image, edit: Edit) -> bool:
    source, target = edit.sources[0], edit.target
    classes = colour_classes(image)
    height, width = classes.shape
    if edit.task == "background":
        return judge_background(classes, target)
    if edit.task == "combine":
        return all(judge_shape(image, target, target.shapes[0])) and judge_background(classes, target)
    if edit.task == "remove":
        gone = next(shape for shape in source.shapes if shape not in target.shapes)
        box = ~outside_boxes([gone], height, width)
        return bool((classes == background_classes(target, height, width))[box].mean() >= 0.9)
    new = next(shape for shape in target.shapes if shape not in source.shapes)
    return judge_shape(image, target, new)[0] if edit.task == "colour" else all(judge_shape(image, target, new))


def judge_edit(image: Image.Image, edit: Edit) -> EditVerdict:
    """Compare an edited picture with its source and with the true answer."""
    size = image.size
    before = np.asarray(draw_scene(edit.sources[-1], *size), np.float32)
    after = np.asarray(draw_scene(edit.target, *size), np.float32)
    changed = np.abs(before - after).max(-1) > 0
    grown = Image.fromarray(changed).convert("L").filter(ImageFilter.MaxFilter(2 * EDGE_PX + 1))
    changed = np.asarray(grown) > 0
    difference = np.abs(np.asarray(image.convert("RGB"), np.float32) - before).mean(-1)[~changed]
    rest = float(difference.mean()) if difference.size else 0.0
    return EditVerdict(edit.task, _is_change_made(image, edit), rest)
