"""Any picture becomes one both stages agree on: every mode, every size, every odd file."""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from glmimg.errors import BadImage
from glmimg.job import Fit
from glmimg.sources import SourceShelf, prepare_source
from glmimg.sources.prepare import SourceBounds, choose_size
from tests.pictures import BAD, GOOD, gradient, write_bad, write_good

BOUNDS = SourceBounds.of_pixels(512 * 512, 2048 * 2048)
TINY = SourceBounds.of_pixels(64 * 64, 512 * 512)


@pytest.mark.parametrize("kind", GOOD)
def test_every_kind_of_picture_becomes_rgb(kind: str, tmp_path: Path) -> None:
    path = write_good(kind, tmp_path)
    prepared = prepare_source(path, TINY)
    assert prepared.image.mode == "RGB"
    assert prepared.image.size == (prepared.ref.width, prepared.ref.height)
    assert TINY.admit(prepared.ref.height, prepared.ref.width)


@pytest.mark.parametrize("kind", BAD)
def test_every_kind_of_bad_file_is_one_sentence(kind: str, tmp_path: Path) -> None:
    with pytest.raises(BadImage) as refusal:
        prepare_source(write_bad(kind, tmp_path), TINY)
    assert refusal.value.message.count("\n") == 0
    assert BAD[kind][1] in refusal.value.message


@pytest.mark.parametrize("size", [(512, 512), (2048, 512), (1024, 1024), (544, 2048), (1152, 768)])
def test_a_picture_both_stages_can_read_stays_bit_for_bit(size: tuple[int, int], tmp_path: Path) -> None:
    picture = gradient(*size)
    picture.save(tmp_path / "x.png")
    prepared = prepare_source(tmp_path / "x.png", BOUNDS)
    assert np.array_equal(np.asarray(prepared.image), np.asarray(picture))
    assert prepared.notes == ()


@pytest.mark.parametrize("bounds", [BOUNDS, TINY, SourceBounds(64, 128)])
@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_the_chosen_size_is_one_the_processor_leaves_alone(bounds: SourceBounds, fit: Fit) -> None:
    """Against transformers' own rounding, for sides from 1 to 12000 px."""
    from transformers.models.glm_image.image_processing_pil_glm_image import smart_resize

    sides = [1, 2, 31, 32, 33, 63, 100, 333, 511, 512, 513, 700, 1023, 2047, 2048, 2049, 3000, 8191, 12000]
    for height in sides:
        for width in sides:
            rows, columns, used = choose_size(height, width, bounds, fit)
            assert bounds.admit(rows, columns), (height, width)
            resized = smart_resize(rows, columns, min_pixels=bounds.shortest**2, max_pixels=bounds.longest**2)
            assert resized == (rows // 2, columns // 2), (height, width)
            assert (used is not None) == (max(height, width) > bounds.max_aspect * min(height, width))
            if bounds.admit(height, width):
                assert (rows, columns) == (height, width)


def test_the_aspect_is_kept_within_a_cell() -> None:
    for height, width in [(333, 700), (1000, 750), (3000, 4000), (100, 399), (2049, 513)]:
        rows, columns, used = choose_size(height, width, BOUNDS, "pad")
        assert used is None
        assert abs(rows - columns * height / width) <= 32 or abs(columns - rows * width / height) <= 32


def test_long_pictures_are_padded_or_cropped_about_their_middle(tmp_path: Path) -> None:
    picture = Image.new("RGB", (1000, 100), "red")
    picture.paste("blue", (400, 0, 600, 100))
    picture.save(tmp_path / "x.png")
    padded = prepare_source(tmp_path / "x.png", TINY, "pad", "#00ff00")
    assert padded.image.size == (512, 128)
    assert padded.image.getpixel((256, 5)) == (0, 255, 0)
    assert padded.image.getpixel((256, 64)) == (0, 0, 255)
    assert padded.image.getpixel((5, 64)) == (255, 0, 0)
    assert padded.notes == ("padded from 1000x100 to 4:1",)
    cropped = prepare_source(tmp_path / "x.png", TINY, "crop")
    assert cropped.image.size == (384, 96) or cropped.image.size == (416, 96)
    assert cropped.image.getpixel((5, 5)) == (255, 0, 0)
    assert cropped.image.getpixel((cropped.image.width // 2, 5)) == (0, 0, 255)
    assert "cropped from 1000x100" in cropped.notes[0]


def test_transparency_goes_over_the_background(tmp_path: Path) -> None:
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(tmp_path / "x.png")
    assert prepare_source(tmp_path / "x.png", TINY).image.getpixel((9, 9)) == (255, 255, 255)
    assert prepare_source(tmp_path / "x.png", TINY, background="#102030").image.getpixel((9, 9)) == (16, 32, 48)
    Image.new("RGBA", (64, 64), (255, 0, 0, 128)).save(tmp_path / "half.png")
    red, green, _ = prepare_source(tmp_path / "half.png", TINY).image.getpixel((9, 9))  # type: ignore[misc]
    assert red == 255
    assert abs(green - 127) <= 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.full((64, 64), 32896, np.uint16), 128),
        (np.full((64, 64), 65535, np.uint16), 255),
        (np.full((64, 64), 0.5, np.float32), 128),
        (np.full((64, 64), 200.0, np.float32), 200),
        (np.full((64, 64), 77, np.int32), 77),
        (np.full((64, 64), np.nan, np.float32), 0),
    ],
)
def test_numbers_of_more_than_8_bits(values: np.ndarray, expected: int, tmp_path: Path) -> None:  # type: ignore[type-arg]
    Image.fromarray(values).save(tmp_path / "x.tiff")
    image = prepare_source(tmp_path / "x.tiff", TINY).image
    assert image.getpixel((9, 9)) == (expected,) * 3


def test_values_without_a_known_white_are_stretched_and_said(tmp_path: Path) -> None:
    values = np.zeros((64, 64), np.float32)
    values[:32], values[32:] = -5, 5
    Image.fromarray(values).save(tmp_path / "x.tiff")
    prepared = prepare_source(tmp_path / "x.tiff", TINY)
    assert prepared.image.getpixel((9, 9)) == (0, 0, 0)
    assert prepared.image.getpixel((9, 60)) == (255, 255, 255)
    assert prepared.notes == ("values from -5 to 5, taken as black to white",)


def test_colour_profiles_are_brought_to_srgb(tmp_path: Path) -> None:
    picture = gradient(64, 64)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture.save(tmp_path / "srgb.png", icc_profile=srgb)
    assert np.array_equal(np.asarray(prepare_source(tmp_path / "srgb.png", TINY).image), np.asarray(picture))
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    picture.save(tmp_path / "wrong.png", icc_profile=lab)
    assert prepare_source(tmp_path / "wrong.png", TINY).notes == ("its colour profile cannot be used; treated as sRGB",)
    picture.save(tmp_path / "gamma.png", icc_profile=linear_profile())
    lighter = np.asarray(prepare_source(tmp_path / "gamma.png", TINY).image).astype(int)
    middle = np.asarray(picture).astype(int)
    assert (lighter - middle)[(middle > 60) & (middle < 200)].min() > 20, "linear 128 is sRGB 188"


def linear_profile(name: str = "flat") -> bytes:
    """A copy of the sRGB profile whose three curves are straight, so that its values are linear light."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack_from(">I", profile, 128)
    for index in range(count):
        tag, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        if tag in (b"rTRC", b"gTRC", b"bTRC"):
            profile[offset : offset + 12] = b"curv" + bytes(8)
        if tag == b"desc":
            text = profile.find("sRGB".encode("utf-16-be"), offset)
            profile[text : text + 8] = name.encode("utf-16-be")
    return bytes(profile)


def test_a_profile_is_what_it_does_not_what_it_is_called(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (183, 183, 183)).save(tmp_path / "x.png", icc_profile=linear_profile("sRGB"))
    light = prepare_source(tmp_path / "x.png", TINY).image.getpixel((9, 9))
    assert light == (219, 219, 219) or light == (220, 220, 220), "linear 183 is sRGB 220"


def png_with_gamma(path: Path, gamma: int, *more: bytes) -> Path:
    Image.new("RGB", (64, 64), (183, 90, 0)).save(path)
    chunk = b"gAMA" + struct.pack(">I", gamma)
    raw = path.read_bytes()
    added = struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"".join(more)
    path.write_bytes(raw[:33] + added + raw[33:])
    return path


SRGB_CHUNK = struct.pack(">I", 1) + b"sRGB\0" + struct.pack(">I", zlib.crc32(b"sRGB\0"))


def test_a_gamma_without_a_profile_is_honoured(tmp_path: Path) -> None:
    assert prepare_source(png_with_gamma(tmp_path / "x.png", 100_000), TINY).image.getpixel((9, 9)) == (220, 160, 0)
    for gamma, *more in [(45_455,), (45_000,), (0,), (100_000, SRGB_CHUNK)]:
        path = png_with_gamma(tmp_path / "x.png", gamma, *more)
        assert prepare_source(path, TINY).image.getpixel((9, 9)) == (183, 90, 0), gamma


def test_a_scaled_source_says_so(tmp_path: Path) -> None:
    gradient(300, 200).resize((3000, 2000)).save(tmp_path / "x.png")
    prepared = prepare_source(tmp_path / "x.png", TINY)
    assert prepared.image.size == (512, 352)
    assert prepared.notes == ("scaled from 3000x2000 to 512x352, as the model reads it",)


def test_an_address_is_named_as_one() -> None:
    for address in ("https://example.com/x.png", "s3://bucket/x.png"):
        with pytest.raises(BadImage, match=f"^{address}: is a URL, and only files are read"):
            prepare_source(Path(address), TINY)


def test_heic_is_read_by_its_extra_or_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(Image.new("RGB", (64, 96), (200, 40, 90))).save(tmp_path / "x.heic", quality=90)
    image = prepare_source(tmp_path / "x.heic", TINY).image
    assert image.size == (64, 96)
    assert np.abs(np.asarray(image).astype(int) - (200, 40, 90)).max() < 12
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(BadImage, match="is a HEIC picture") as refusal:
        prepare_source(tmp_path / "x.heic", TINY)
    assert ".[heic]" in refusal.value.hint


def test_an_avif_that_begins_as_any_heif_is_one(tmp_path: Path) -> None:
    path = tmp_path / "x.avif"
    gradient(64, 64).save(path)
    raw = path.read_bytes()
    assert raw[8:12] == b"avif"
    path.write_bytes(raw[:8] + b"mif1" + raw[12:])
    assert prepare_source(path, TINY).image.size == (64, 64)


def test_long_texts_in_a_png_do_not_close_it(tmp_path: Path) -> None:
    texts = PngInfo()
    texts.add_text("comment", "x" * 3_000_000, zip=True)
    picture = gradient(64, 64)
    picture.save(tmp_path / "x.png", pnginfo=texts)
    assert prepare_source(tmp_path / "x.png", TINY).image.tobytes() == picture.tobytes()


def test_exif_orientation_is_followed(tmp_path: Path) -> None:
    picture = gradient(96, 64)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "x.png", exif=exif)
    turned = prepare_source(tmp_path / "x.png", TINY).image
    assert np.array_equal(np.asarray(turned), np.asarray(picture.transpose(Image.Transpose.ROTATE_270)))


@pytest.mark.parametrize(("kind", "note"), [("gif animated", "first frame of 3"), ("tiff of pages", "first page of 2")])
def test_more_frames_are_mentioned(kind: str, note: str, tmp_path: Path) -> None:
    assert prepare_source(write_good(kind, tmp_path), TINY).notes[0] == note


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    gradient(64, 64).save(tmp_path / "x.png")
    shelf = SourceShelf()
    ref = shelf.take(tmp_path / "x.png", TINY).ref
    gradient(96, 64).save(tmp_path / "x.png")
    assert shelf.get(ref).image.size == (64, 64), "what was read once stays"
    with pytest.raises(BadImage, match="has changed since"):
        SourceShelf().get(ref)


def test_a_full_shelf_reads_again(tmp_path: Path) -> None:
    shelf = SourceShelf(capacity=1)
    refs = []
    for side in (64, 96):
        gradient(side, side).save(tmp_path / f"{side}.png")
        refs.append(shelf.take(tmp_path / f"{side}.png", TINY).ref)
    assert [shelf.get(ref).image.width for ref in refs] == [64, 96]


def test_random_damage_never_escapes(tmp_path: Path) -> None:
    """Files cut and struck at random are read or refused, never anything else."""
    random = np.random.default_rng(7)
    makers: list[Callable[[io.BytesIO], None]] = [
        lambda out, fmt=fmt: gradient(64, 64).save(out, format=fmt)  # type: ignore[misc]
        for fmt in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "TGA", "PPM", "PCX", "ICO")
    ]
    outcomes = {"read": 0, "refused": 0}
    for number in range(200):
        out = io.BytesIO()
        makers[number % len(makers)](out)
        raw = bytearray(out.getvalue())
        for place in random.integers(0, len(raw), 12):
            raw[place] = random.integers(0, 256)
        raw = raw[: int(random.integers(1, len(raw) + 1))] if number % 3 == 0 else raw
        path = tmp_path / "struck"
        path.write_bytes(raw)
        try:
            prepare_source(path, TINY)
            outcomes["read"] += 1
        except BadImage:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 10, outcomes


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadImage, match="is a pipe"):
        prepare_source(tmp_path / "pipe", TINY)


def test_damage_behind_the_first_frame_does_not_matter(tmp_path: Path) -> None:
    path = write_good("gif animated", tmp_path)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) * 2 // 3])
    assert "first frame" in prepare_source(path, TINY).notes[0]


def test_a_png_that_lies_about_its_size_is_not_unpacked(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + bytes(4) + b"IDAT" + bytes(4))
    with pytest.raises(BadImage, match="more than 178 million pixels"):
        prepare_source(tmp_path / "bomb.png", TINY)
