"""`python -m tests.demo.sheet DIR OUT --share S`: what `measure.py --pictures DIR --share S` drew, on one sheet.

The prompts at 256x256 and then the edits, each edit beside its sources, under each what was asked, with a bar that
is green where the scorer finds all of it and red where it does not.
"""

import argparse
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from glmimg.demo.train.scene import draw_scene
from tests.demo.cases import Case, all_cases

SIDE, GAP, LINES, ACROSS = 104, 8, 4, 12
FONT_PX, LETTERS = 9, 23
PROMPTS = ("256x256", "unsaid", "spatial", "chatty")
ROW_PX = SIDE + LINES * (FONT_PX + 2) + 3 * GAP


def drawn_as_asked(judged: dict[str, float]) -> bool:
    """Whether a case's figures, as `measure.py` keeps them, find all that was asked."""
    return all(judged[name] for name in ("made", "kept") if name in judged) and all(
        figure for name, figure in judged.items() if name not in ("row", "text") and ":" not in name
    )


def draw_case(sheet: Image.Image, case: Case, picture: Image.Image, at: tuple[int, int], right: bool) -> None:
    """One case at a place of the sheet, its sources to the left of its picture."""
    write, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_PX)
    pictures = [*(draw_scene(scene, *case.size) for scene in case.sources), picture]
    for number, each in enumerate(pictures):
        sheet.paste(each.resize((SIDE, SIDE)), (at[0] + number * (SIDE + 2), at[1]))
    width = len(pictures) * (SIDE + 2) - 2
    write.rectangle((at[0], at[1] + SIDE + 1, at[0] + width, at[1] + SIDE + 3), fill="green" if right else "red")
    text = "\n".join(textwrap.wrap(case.text, LETTERS * len(pictures))[:LINES])
    write.text((at[0], at[1] + SIDE + 5), text, fill="black", font=font, spacing=1)


def make_sheet(cases: Sequence[Case], folder: Path) -> Image.Image:
    """All prompts at 256x256, and below them the edits that are not through a preset."""
    judged = json.loads((folder / "cases.json").read_text())
    shown = [(n, case, 1) for n, case in enumerate(cases) if case.row in PROMPTS]
    shown += [(n, case, 1 + len(case.sources)) for n, case in enumerate(cases) if case.row == "edits"]
    places, x, y = [], 0, 0
    was_edit = False
    for _, case, columns in shown:
        if x + columns > ACROSS or bool(case.sources) != was_edit:
            x, y, was_edit = 0, y + (x > 0), bool(case.sources)
        places.append((GAP + x * (SIDE + GAP), GAP + y * ROW_PX))
        x += columns
    sheet = Image.new("RGB", (GAP + ACROSS * (SIDE + GAP), GAP + (y + 1) * ROW_PX), "white")
    for (number, case, _), place in zip(shown, places, strict=True):
        draw_case(sheet, case, Image.open(folder / f"{number:03}.png"), place, drawn_as_asked(judged[number]))
    return sheet


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=1.0)
    options = parser.parse_args()
    make_sheet(all_cases(options.share), options.folder).save(options.out, quality=82, optimize=True)
