"""The demo's world: layouts, codes and captions that the trainers lean on."""

import random

import numpy as np
import pytest
from transformers import GlmImageProcessor

from glmimg.demo.train.ar_data import preview_shape
from glmimg.demo.train.captions import caption
from glmimg.demo.train.codebook import CODEBOOK_SIZE, Codebook, build_codebook
from glmimg.demo.train.edits import TASKS, is_held_out_edit, random_edit
from glmimg.demo.train.sampling import random_scene
from glmimg.demo.train.scene import CELL_PX, KINDS, SIDES, Scene, Shape, box_of, draw_scene, lay_out, shape_mask
from glmimg.demo.train.vision import SourceReader


@pytest.fixture(scope="module")
def codebook() -> Codebook:
    return build_codebook()


def test_boxes_of_the_smallest_grid() -> None:
    assert box_of(Shape("circle", "red"), 8, 8) == (2, 2, 4)
    assert box_of(Shape("circle", "red", "small", "top left"), 8, 8) == (1, 1, 2)
    assert box_of(Shape("circle", "red", "large", "bottom right"), 8, 8) == (2, 2, 6)


def test_shapes_have_the_area_of_their_kind() -> None:
    area = {"circle": np.pi / 4, "square": 1.0, "triangle": 0.5, "diamond": 0.5}
    for kind, share in area.items():
        assert shape_mask(kind, 4).mean() == pytest.approx(share, abs=0.01)


def test_two_shapes_never_share_a_cell() -> None:
    rng = random.Random(0)
    for _ in range(300):
        scene = random_scene(rng, pairs=1.0)
        rows, columns = rng.randint(8, 16), rng.randint(8, 16)
        taken = np.zeros((rows, columns), int)
        for shape in scene.shapes:
            top, left, side = box_of(shape, rows, columns)
            assert side in SIDES
            taken[top : top + side, left : left + side] += 1
        assert taken.max() == 1


def test_every_layout_has_codes(codebook: Codebook) -> None:
    rng = random.Random(1)
    for _ in range(300):
        layout = lay_out(random_scene(rng, words=0.3), rng.randint(8, 16), rng.randint(8, 16))
        codes = codebook.codes_of(layout)
        assert codes.min() >= 0 and codes.max() < CODEBOOK_SIZE


def test_pictures_are_read_back_as_their_codes(codebook: Codebook) -> None:
    """The nearest code of each patch, as the VQ finds it, is the one the table gives: in 98 of 100 cells at least."""
    read, rng = SourceReader(codebook), random.Random(2)
    same = []
    for _ in range(20):
        scene = random_scene(rng)
        same.append(read(np.asarray(draw_scene(scene, 256, 256))) == codebook.codes_of(lay_out(scene, 8, 8)))
    assert np.mean(same) >= 0.98


def test_a_picture_is_its_cells() -> None:
    scene = Scene("blue", (Shape("square", "red"),))
    pixels = np.asarray(draw_scene(scene, 256, 256))
    inside = np.s_[2 * CELL_PX : 6 * CELL_PX, 2 * CELL_PX : 6 * CELL_PX]
    assert (pixels[inside] == (255, 0, 0)).all()
    assert (pixels == (0, 0, 255)).all(-1).sum() == 256 * 256 - (4 * CELL_PX) ** 2


def test_preview_shape_is_the_processors() -> None:
    for rows in range(8, 17):
        for columns in range(8, 17):
            shape = GlmImageProcessor._get_target_shape(None, rows * 32, columns * 32)  # type: ignore[arg-type]
            assert preview_shape(rows, columns) == shape[2:]


def test_captions_name_the_shape() -> None:
    rng = random.Random(3)
    for kind in KINDS:
        assert kind in caption(rng, Scene("blue", (Shape(kind, "red"),)))


def test_edits_follow_from_a_seed_and_keep_their_promise() -> None:
    assert random_edit(random.Random(4)) == random_edit(random.Random(4))
    for task in TASKS:
        for held_out in (False, True):
            edit = random_edit(random.Random(5), held_out, task)
            assert edit.task == task
            assert is_held_out_edit(edit) is held_out
