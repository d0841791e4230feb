"""Boxes and masks, and the cells they touch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glmimg.errors import BadImage, UsageError
from glmimg.grid import GridShape
from glmimg.tokens.region import box_region, count, mask_region, region_of

SIZE = (96, 128)
SHAPE = GridShape(3, 4)


def drawn(cells: object) -> str:
    return "/".join("".join(".#"[flag] for flag in row) for row in cells)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("box", "cells"),
    [
        ("0,0,128,96", "####/####/####"),
        ("32,32,64,64", "..../.#../...."),
        ("31,32,64,64", "..../##../...."),
        ("32,32,65,65", "..../.##./.##."),
        ("127,95,128,96", "..../..../...#"),
    ],
)
def test_a_box_selects_the_cells_it_touches(box: str, cells: str) -> None:
    assert drawn(box_region(box, SIZE).cells(SHAPE)) == cells


def test_the_same_box_in_another_grid() -> None:
    assert drawn(box_region("32,32,64,64", SIZE).cells(GridShape(6, 4))) == "..../..../.#../.#../..../...."


@pytest.mark.parametrize(
    "box", ["", "1,2,3", "a,b,c,d", "0,0,0,32", "32,0,0,32", "0,0,129,96", "0,0,128,97", "-1,0,5,5", "1e3,0,2,2"]
)
def test_boxes_that_are_none(box: str) -> None:
    with pytest.raises(UsageError):
        box_region(box, SIZE)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P", "LA", "I;16"])
def test_a_mask_of_any_mode(mode: str, tmp_path: Path) -> None:
    mask = Image.new("L", (128, 96))
    mask.paste(255, (40, 40, 50, 50))
    if mode == "I;16":
        mask.point(lambda light: light * 257, mode="I").convert("I;16").save(tmp_path / "m.png")
    else:
        mask.convert(mode).save(tmp_path / "m.png")
    assert drawn(mask_region(tmp_path / "m.png", SIZE, SHAPE).cells(SHAPE)) == "..../.#../...."


def test_a_mask_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    mask = Image.new("L", (96, 128))
    mask.paste(255, (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    mask.save(tmp_path / "m.png", exif=exif)
    assert drawn(mask_region(tmp_path / "m.png", SIZE, SHAPE).cells(SHAPE)) == "...#/..../...."


@pytest.mark.parametrize("name", ["m.png", "m.tiff"])
def test_a_mask_of_16_bits_is_white_from_half_on(tmp_path: Path, name: str) -> None:
    values = np.full((96, 128), 1000, np.uint16)
    values[40:50, 40:50] = 60_000
    Image.fromarray(values).save(tmp_path / name)
    assert drawn(mask_region(tmp_path / name, SIZE, SHAPE).cells(SHAPE)) == "..../.#../...."


def test_a_mask_of_one_pixel_a_token(tmp_path: Path) -> None:
    mask = Image.new("1", (4, 3))
    mask.putpixel((3, 0), 1)
    mask.save(tmp_path / "m.png")
    region = region_of(str(tmp_path / "m.png"), SIZE, SHAPE)
    assert drawn(region.cells(SHAPE)) == "...#/..../...."
    assert count(region.cells(GridShape(6, 8))) == 4


def test_masks_that_are_none(tmp_path: Path) -> None:
    Image.new("L", (64, 64), 255).save(tmp_path / "size.png")
    Image.new("L", (128, 96), 100).save(tmp_path / "dark.png")
    Image.new("RGBA", (128, 96), (255, 255, 255, 0)).save(tmp_path / "clear.png")
    (tmp_path / "text.png").write_text("no picture")
    for name, reason in [
        ("size", "64x64"),
        ("dark", "selects nothing"),
        ("clear", "selects nothing"),
        ("text", "not a picture"),
    ]:
        with pytest.raises(BadImage, match=reason):
            mask_region(tmp_path / f"{name}.png", SIZE, SHAPE)
    with pytest.raises(BadImage, match="cannot be read"):
        region_of(str(tmp_path / "none.png"), SIZE, SHAPE)
