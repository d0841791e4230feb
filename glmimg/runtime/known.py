"""Published checkpoints that are not on this machine: their shapes, and such shapes filled with noise.

The shapes serve for planning before 36 GB are downloaded; with noise for weights a machine is timed, nothing fetched.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

from glmimg.errors import ModelUnfit
from glmimg.runtime.checkpoint import BACKBONES, PARTS, Checkpoint, Half
from glmimg.runtime.estimate import ar_need, dit_need
from glmimg.runtime.layout import Layout
from glmimg.runtime.plan import Planner
from glmimg.runtime.resolve import DEMO, resolve
from glmimg.sources.prepare import SourceBounds

PREFIXES = {"vision_language_encoder": "model.language_model.layers.", "transformer": "transformer_blocks."}
"""What the names of weights of each stack of layers begin with."""

SHARE = 0.85
"""Of the free memory, that noise may take: what is measured beside it needs some."""


@dataclass(frozen=True)
class KnownCheckpoint(Checkpoint):
    """A checkpoint that is not on this machine, but whose shapes are known."""

    def config(self, part: str) -> dict[str, Any]:
        """The known values of one part. Raises KeyError for parts without weights."""
        return dict(_known()[self.id]["parts"][part])

    def parameters(self, part: str) -> dict[str, int]:
        """Parameters of a part by what their names begin with."""
        return dict(_known()[self.id]["parameters"][part])

    @cached_property
    def source_bounds(self) -> SourceBounds:
        return SourceBounds.of_pixels(*_known()[self.id]["source_pixels"])


def known_checkpoint(hub_id: str) -> KnownCheckpoint | None:
    """The known shapes of a hub model, None for one that is not known."""
    entry = _known().get(hub_id)
    return KnownCheckpoint(hub_id, Path(hub_id), entry["revision"]) if entry else None


@cache
def _known() -> dict[str, Any]:
    return json.loads((files("glmimg.runtime") / "known_shapes.json").read_bytes())  # type: ignore[no-any-return]


@dataclass(frozen=True)
class NoiseCheckpoint(Checkpoint):
    """A folder of configurations and tokenizers; the weights are made as they are loaded, where they shall lie.

    whole: parameters by what their names begin with, of each part, with all layers
    depth: share of the layers that are there, of each stack
    """

    is_noise: ClassVar[bool] = True
    whole: dict[str, dict[str, int]] = field(default_factory=dict)
    depth: dict[str, float] = field(default_factory=dict)

    def parameters(self, part: str) -> dict[str, int]:
        counts, stack = self.whole[part], PREFIXES.get(part)
        return {name: round(count * (self.depth[part] if name == stack else 1)) for name, count in counts.items()}

    def problems(self, *halves: Half) -> Any:
        """None: what is made here is whole."""
        return iter(list[ModelUnfit]())


def make_noise(folder: Path, known: KnownCheckpoint, depths: dict[Half, int]) -> NoiseCheckpoint:
    """The shapes of `known` with so many layers in each half; words and their ids are the demo's.

    folder: one that is not there yet
    """
    demo, depth = resolve(DEMO), dict[str, float]()
    shutil.copytree(demo.folder, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    whole = {part: known.parameters(part) for part in ("vision_language_encoder", "text_encoder", "transformer", "vae")}
    for part in whole:
        config = _over(demo.config(part), known.config(part))
        for half, layers in depths.items():
            if BACKBONES[half] == part:
                home, name = (config["text_config"], "num_hidden_layers") if half == "ar" else (config, "num_layers")
                depth[part], home[name] = layers / home[name], layers
        (folder / part / PARTS[part].config_file).write_text(json.dumps(config))
    return NoiseCheckpoint(f"noise in the shapes of {known.id}", folder, whole=whole, depth=depth)


def depths_that_fit(planner: Planner, free_bytes: float, most: dict[Half, int]) -> dict[Half, int]:
    """How many layers of each half the device has room for, at most so many and one at least."""
    ar, dit, request = planner.ar, planner.dit, planner.request

    def peak(half: Half, layers: int) -> float:
        if half == "ar":
            return ar_need(replace(ar, layers=layers), request, Layout()).peak
        return dit_need(replace(dit, blocks=layers), request, Layout()).peak

    fitting: dict[Half, int] = {}
    for half, limit in most.items():
        room = [layers for layers in range(1, limit + 1) if peak(half, layers) <= SHARE * free_bytes]
        fitting[half] = max(room, default=1)
    return fitting


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both configurations as one; what `above` says wins, and a rotary table is taken whole."""
    joined = below | above
    for name, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(name), dict) and name != "rope_parameters":
            joined[name] = _over(below[name], value)
    return joined
