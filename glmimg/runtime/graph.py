"""CUDA graphs: work of one shape is captured once, then replayed without the host's help."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

Output = TypeVar("Output")


def capture(forward: Callable[[], Output], device: torch.device, warm_ups: int = 3) -> Callable[[], Output]:
    """A CUDA graph of `forward`: its buffers' present values in, always the same output tensors out.

    warm_ups: runs before the capture, which compile kernels and fill allocators; what they write into buffers
              has to be filled anew before use
    """
    import torch

    # The device is named throughout: what is recorded is the work of the present one. Another thread may be at work
    # on it meanwhile, which only a capture that listens to its own thread forgives.
    with torch.cuda.device(device):
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(warm_ups):
                forward()
        torch.cuda.current_stream(device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            output = forward()

    def replay() -> Output:
        graph.replay()
        return output

    return replay
