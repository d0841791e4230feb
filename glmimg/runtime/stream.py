"""Streaming: layers that are on the device only while they compute.

Some layers of a stack stay, the others are read from the checkpoint when their turn comes, each in the background
while the one before it computes. With enough host memory, the system's file cache reads the disk only once. A card
fetches them from page-locked memory, at the full speed of its bus; where the host has plenty, they stay there. Results
are the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING

from glmimg.runtime.device import Placement
from glmimg.runtime.machine import free_host_bytes
from glmimg.runtime.weights import WeightFiles, put_parameter, read_like

if TYPE_CHECKING:
    import torch
    from torch import nn

Weights = dict[str, "torch.Tensor"]

WINDOW = 2
"""Streamed layers in memory at one time: the one that computes and the one being read."""

KEPT_SHARE = 0.5
"""Of the host's free memory, how much layers may take that stay page-locked."""

ALIGNMENT = 512
"""Bytes, of the place of a tensor within the room of its layer."""


def choose_streamed(layers: int, resident: int) -> list[int]:
    """Which layers to stream so that `resident` stay: evenly spread, so that reading hides behind computing."""
    streamed = layers - max(0, min(resident, layers))
    return sorted({index * layers // streamed for index in range(streamed)})


class StreamedLayers:
    """Streams the layers of a module whose parameters have no storage yet.

    A layer is read when it is called, or when a loop over such layers reaches it: some loops call only parts of it.

    layers:  the stack, which is run through in order, many times; `prefix` is its name within the part
    indices: which layers to stream
    """

    def __init__(
        self, layers: nn.ModuleList, prefix: str, indices: list[int], files: WeightFiles, placement: Placement
    ) -> None:
        import torch

        self.files, self.placement = files, placement
        self.layers = {index: layers[index] for index in indices}
        self.names = {index: f"{prefix}.{index}." for index in indices}
        self.shapes = {
            index: {name: like.data for name, like in layer.named_parameters()} for index, layer in self.layers.items()
        }
        self.side_stream = torch.Stream(placement.device) if placement.device.type in ("cuda", "xpu") else None
        self.rooms = [self._make_room(index) for index in indices[:WINDOW]]
        self.kept: dict[int, Weights] = {}
        self.may_keep = free_host_bytes() * KEPT_SHARE
        self.after = dict(zip(indices, indices[1:] + indices[:1], strict=True))
        self.reader = ThreadPoolExecutor(1, thread_name_prefix="layers")
        self.reading: tuple[int, Future[Weights]] | None = None
        self.present: int | None = None
        for index, layer in self.layers.items():
            layer.register_forward_pre_hook(lambda module, arguments, index=index: self.bring(index))

    def bring(self, index: int) -> None:
        """Give layer `index` its weights; does nothing for a layer that is not streamed."""
        if index in self.layers and self.present != index:
            self._swap_in(index)

    def close(self) -> None:
        """Stop reading ahead."""
        self.reader.shutdown(wait=True, cancel_futures=True)
        self.reading = None

    def _swap_in(self, index: int) -> None:
        """Free the streamed layer before, put this one in its place, and start reading the one after."""
        if self.present is not None:
            self._put(self.present, self.shapes[self.present])
            self.present = None
        expected, future = self.reading or (index, None)
        weights = future.result() if future is not None and expected == index else self._read(index, self._next_room())
        self._own(weights)
        self._put(index, weights)
        self.present = index
        following = self.after[index]
        if following != index:
            self.reading = following, self.reader.submit(self._read, following, self._next_room())

    def _put(self, index: int, weights: Weights) -> None:
        for name, tensor in weights.items():
            put_parameter(self.layers[index], name, tensor)

    def _next_room(self) -> Weights:
        """The room of the layer that has just been freed; the two take turns."""
        self.rooms.reverse()
        return self.rooms[0]

    def _read(self, index: int, room: Weights) -> Weights:
        import torch

        with torch.no_grad(), self.side_stream or nullcontext():
            weights = {
                name: tensor.to(self.placement.device, non_blocking=True) for name, tensor in self._on_host(index, room)
            }
        if self.side_stream is not None:
            self.side_stream.synchronize()
        return weights

    def _on_host(self, index: int, room: Weights) -> Iterator[tuple[str, torch.Tensor]]:
        """Each weight of a layer where the device gets it from: kept, or read now, beside the one before on its way."""
        if index in self.kept:
            yield from self.kept[index].items()
            return
        size = sum(tensor.nbytes for tensor in room.values())
        if self.side_stream is not None and room and size <= self.may_keep and (own := self._make_room(index)):
            self.may_keep -= size
            self.kept[index] = room = own
        for name, like in self.shapes[index].items():
            yield name, read_like(self.files, self.names[index] + name, like, self.placement, room.get(name))

    def _make_room(self, index: int) -> Weights:
        """Host memory for a layer's weights: on the CPU for those that are converted, for a card page-locked for all.

        The former is reused for layer after layer: fresh memory for each leaves holes in the C library's heap, in the
        end as large as several layers. A card does without where its memory cannot be locked.
        """
        import torch

        on_cpu, dtype = self.placement.device.type == "cpu", self.placement.dtype
        if not on_cpu and (self.side_stream is None or self.files.are_made_up):
            return {}
        shapes = {
            name: like.shape
            for name, like in self.shapes[index].items()
            if not on_cpu or self.files.is_converted(self.names[index] + name, self.placement)
        }
        step = ALIGNMENT // dtype.itemsize
        places = [-(-shape.numel() // step) * step for shape in shapes.values()]
        # The reader fills it, and is no part of the inference mode this may run in.
        with torch.inference_mode(False):
            try:
                whole = torch.empty(sum(places), dtype=dtype, pin_memory=not on_cpu)
            except RuntimeError:
                return {}
        parts = zip(shapes.items(), torch.split(whole, places), strict=True)
        return {name: part[: shape.numel()].view(shape) for (name, shape), part in parts}

    def _own(self, weights: Weights) -> None:
        """Tell the allocator that tensors filled on the side stream are used on the one that computes."""
        import torch

        if self.side_stream is not None:
            computing = torch.accelerator.current_stream(self.placement.device)
            for tensor in weights.values():
                tensor.record_stream(computing)


def as_streamed(layers: nn.ModuleList, streamed: StreamedLayers) -> nn.ModuleList:
    """The same layers as a list that brings the weights of each before a loop gets to it."""
    from torch import nn

    class StreamedList(nn.ModuleList):
        def __iter__(self) -> Iterator[nn.Module]:
            for index, layer in enumerate(super().__iter__()):
                streamed.bring(index)
                yield layer

    return StreamedList(layers)
