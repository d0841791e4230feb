"""Converts any pixel mode to 8-bit sRGB: profiles, transparency, 16 bits, floats, CMYK."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from glmimg.pictures import METADATA_FAULTS, open_picture

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageCms import ImageCmsTransform

WHITE = "#ffffff"
OPAQUE_MODES = {"LA": "L", "RGBA": "RGB"}
SRGB_GAMMA, SRGB_TOLERANCE = 1 / 2.2, 3
"""What a PNG says of sRGB, and by how much of 255 a profile's colours differ at most that is sRGB."""

PROFILED_MODES = ("L", "RGB", "CMYK", "LAB")
"""Modes a colour profile is written for; others are turned into RGB first."""


def read_rgb(path: Path, background: str = WHITE) -> Image:
    """Read a picture file as upright sRGB, transparent pixels over a background. Raises BadImage (exit 3)."""
    return to_srgb(open_picture(path).image, background)[0]


def to_srgb(image: Image, background: str) -> tuple[Image, tuple[str, ...]]:
    """Convert a picture of any mode to RGB in sRGB over a background. Returns it with notes on what was guessed.

    An RGB one without profile and transparency is returned as it is. background: `#rrggbb`
    """
    from PIL import Image as pillow

    info, depth_note, profile_note = image.info, "", ""
    if image.mode in ("I", "F") or image.mode.startswith(("I;16", "F;")):
        image, depth_note = _to_8_bit(image)
    opaque, alpha = _split_alpha(image)
    if info.get("icc_profile"):
        opaque, profile_note = _apply_profile(opaque, info["icc_profile"])
    if opaque.mode != "RGB":
        opaque = opaque.convert("RGB")
    if not info.get("icc_profile") and "srgb" not in info:
        opaque = _apply_gamma(opaque, info.get("gamma", SRGB_GAMMA))
    if alpha is not None:
        canvas = pillow.new("RGB", opaque.size, background)
        canvas.paste(opaque, mask=alpha)
        opaque = canvas
    return opaque, tuple(filter(None, (depth_note, profile_note)))


def _split_alpha(image: Image) -> tuple[Image, Image | None]:
    """The picture without its transparency, and the transparency as an L picture."""
    if image.has_transparency_data:
        if image.mode == "La":
            image = image.convert("LA")
        if image.mode != "LA":
            image = image.convert("RGBA")
        return image.convert(OPAQUE_MODES[image.mode]), image.getchannel("A")
    if image.mode == "1":
        image = image.convert("L")
    return (image if image.mode in PROFILED_MODES else image.convert("RGB")), None


def _apply_profile(image: Image, profile: bytes) -> tuple[Image, str]:
    """Convert from the embedded colour profile to sRGB; a picture that is already sRGB stays unchanged."""
    from PIL import ImageCms

    try:
        source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, target, image.mode, "RGB")
        if image.mode == "RGB" and _changes_little(transform):
            return image, ""
        return ImageCms.applyTransform(image, transform) or image, ""
    except (ImageCms.PyCMSError, *METADATA_FAULTS):
        return image, "its colour profile cannot be used; treated as sRGB"


def _changes_little(transform: ImageCmsTransform) -> bool:
    """Whether a transform is that of a profile that is sRGB, whatever it is called."""
    import numpy as np
    from PIL import Image as pillow
    from PIL import ImageCms

    levels = np.linspace(0, 255, 17).astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(17, -1, 3)
    seen = np.asarray(ImageCms.applyTransform(pillow.fromarray(colours), transform))
    return int(np.abs(seen.astype(int) - colours).max()) <= SRGB_TOLERANCE


def _apply_gamma(image: Image, gamma: float) -> Image:
    """From what a PNG's gAMA chunk says (samples are light to this power) to sRGB; one near sRGB's stays as it is."""
    if gamma <= 0 or abs(gamma / SRGB_GAMMA - 1) < 0.05:
        return image
    light = [(level / 255) ** (1 / gamma) for level in range(256)]
    encoded = [12.92 * each if each <= 0.0031308 else 1.055 * each ** (1 / 2.4) - 0.055 for each in light]
    return image.point([round(255 * each) for each in encoded] * 3)


def _to_8_bit(image: Image) -> tuple[Image, str]:
    """Convert single-channel 16-bit, 32-bit or float pictures to L.

    In 16-bit files white is 65535. For the others it is inferred from the values: 1 for floats up
    to 1, else 255, else 65535, else the largest value, and then the smallest is black.
    """
    import numpy as np
    from PIL import Image as pillow

    precise = np.float32 if image.mode.startswith("I;16") else np.float64
    values = np.nan_to_num(np.asarray(image).astype(precise), posinf=np.inf, neginf=-np.inf)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    black, note = 0.0, ""
    if image.mode.startswith("I;16"):
        white = 65535.0
    elif low >= 0 and high <= 65535:
        white = 1.0 if image.mode == "F" and high <= 1 else 255.0 if high <= 255 else 65535.0
    else:
        black, white = low, high
        note = f"values from {low:g} to {high:g}, taken as black to white"
    unit = np.clip((values - black) / max(white - black, 1e-300), 0, 1)
    return pillow.fromarray((unit * 255).round().astype(np.uint8)), note
