"""Checks for NaN and infinity, which end a job and never become a picture.

Looking costs one sum and never waits for an accelerator: there the first bad step is kept in a flag on the device,
which is read together with a grid's last token or with the finished latents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from glmimg.errors import NotFinite

if TYPE_CHECKING:
    import torch

NONE_YET = 1 << 30


class FiniteCheck:
    """Checks the values of one step after the other.

    describe: what the values of a step are, for the message, such as "the logits of token 3"
    """

    def __init__(self, describe: Callable[[int], str]) -> None:
        self.describe = describe
        self._first: torch.Tensor | None = None

    def look(self, values: torch.Tensor, step: int) -> None:
        """Check the values of a step. On the CPU, where this is free, raises NotFinite (exit 1) at once."""
        import torch

        total = values.sum(dtype=torch.float32)
        if values.device.type == "cpu":
            if not total.isfinite():
                raise NotFinite(self.describe(step))
            return
        if self._first is None:
            self._first = torch.full((), NONE_YET, dtype=torch.int32, device=values.device)
        self._first = torch.where(total.isfinite(), self._first, self._first.clamp(max=step))

    def check(self) -> None:
        """Read the flag, which waits for the device. Raises NotFinite (exit 1) for the first bad step."""
        if self._first is not None and (step := int(self._first)) < NONE_YET:
            raise NotFinite(self.describe(step))


def check_finite(values: torch.Tensor, what: str) -> None:
    """Check values that the host is about to read. Raises NotFinite (exit 1)."""
    check = FiniteCheck(lambda step: what)
    check.look(values, 0)
    check.check()
