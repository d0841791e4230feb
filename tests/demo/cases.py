"""What the demo is measured by: captions and edits never trained on, each with the judge of its picture."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from PIL import Image

from glmimg.demo.train.edits import TASKS, Edit, random_edit, through_a_preset
from glmimg.demo.train.scene import Scene
from glmimg.demo.train.speech import Spoken, random_speech

from .scorer import held_out_prompts, judge, judge_edit, says_all
from .spoken import judge_spoken
from .words import judge_word

Figures = dict[str, float]
SQUARE = (256, 256)
OTHER_SIZES = ((384, 256), (256, 384), (320, 320), (512, 512), (512, 256))
WAYS_COUNTED = {"unsaid": 34, "spatial": 33, "chatty": 33}


@dataclass(frozen=True)
class Case:
    """One picture to draw: a row of the table, what is asked, and how much of it is right.

    truth: a scene that answers it
    size:  (width, height) in pixels
    """

    row: str
    text: str
    truth: Scene
    judge: Callable[[Image.Image], Figures]
    sources: tuple[Scene, ...] = ()
    size: tuple[int, int] = SQUARE


def _judge_prompt(scene: Scene, counts_size: bool, image: Image.Image) -> Figures:
    found = judge(image, scene)
    where = found.shape and found.place and (found.size or not counts_size)
    return {"both colours": found.background and found.colour, f"shape{', size' * counts_size}, place": where}


def _judge_spoken(spoken: Spoken, way: str, image: Image.Image) -> Figures:
    return {"drawn": judge_spoken(image, spoken, way)}


def _judge_edit(edit: Edit, image: Image.Image) -> Figures:
    found = judge_edit(image, edit)
    made, kept = found.is_changed, found.is_kept
    return {
        "made": made,
        "kept": kept,
        f"{edit.task}: made": made,
        f"{edit.task}: kept": kept,
        f"{edit.task}: asked": 1,
    }


def prompt_cases(row: str, count: int, size: tuple[int, int] = SQUARE, seed: int = 0) -> Iterator[Case]:
    """Captions that leave nothing open."""
    for text, scene in held_out_prompts(count, seed):
        yield Case(row, text, scene, partial(_judge_prompt, scene, size != SQUARE), size=size)


def spoken_cases(counts: dict[str, int], seed: int = 5) -> Iterator[Case]:
    """Captions with a part unsaid, with words that relate shapes, and as requests: a row each."""
    for way, count in counts.items():
        rng = random.Random(seed)
        while count:
            spoken = random_speech(rng, held_out=True, way=way)
            if way != "chatty" or says_all(spoken.text, spoken.scene):
                count -= 1
                yield Case(way, spoken.text, spoken.scene, partial(_judge_spoken, spoken, way))


def edit_cases(row: str, count: int, presets: bool = False, seed: int = 9) -> Iterator[Case]:
    """Edits, the tasks in turn; as they reach the model, through one of the shipped presets if asked."""
    rng, presets_rng = random.Random(seed), random.Random(seed)
    for at in range(count):
        edit = random_edit(rng, held_out=True, task=TASKS[at % len(TASKS)])
        said = through_a_preset(presets_rng, edit) if presets else edit
        yield Case(row, said.instruction, edit.target, partial(_judge_edit, edit), edit.sources)


def word_cases(count: int, seed: int = 5) -> Iterator[Case]:
    """Words of one to six capital letters in a row that the caption names."""
    rng = random.Random(seed)
    for _ in range(count):
        spoken = random_speech(rng, held_out=True, way="word")
        yield Case("words", spoken.text, spoken.scene, partial(judge_word, spoken.scene))


def all_cases(share: float = 1.0) -> list[Case]:
    """Every case of every row, or the first `share` of each."""

    def some(count: int) -> int:
        return max(1, round(count * share))

    cases = [*prompt_cases("256x256", some(100)), *spoken_cases({way: some(n) for way, n in WAYS_COUNTED.items()})]
    for width, height in OTHER_SIZES:
        cases += prompt_cases(f"{width}x{height}", some(40), (width, height), seed=1)
    cases += [*edit_cases("edits", some(100)), *edit_cases("edits through presets", some(100), presets=True)]
    return [*cases, *word_cases(some(60))]


def tally(cases: list[Case], pictures: list[Image.Image]) -> dict[str, Figures]:
    """The sums of each row's figures, and how many pictures it has."""
    rows: dict[str, Figures] = {}
    for case, picture in zip(cases, pictures, strict=True):
        row = rows.setdefault(case.row, {"pictures": 0})
        for name, figure in {"pictures": 1, **case.judge(picture)}.items():
            row[name] = row.get(name, 0) + int(figure)
    return rows
