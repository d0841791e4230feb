"""The AR model's embedding table: most of its rows are words, and a job reads a few dozen of those."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from glmimg.runtime.device import Placement


class EmbeddingRows(nn.Module):
    """Looks ids up in two tables: visual rows on the device, all rows in the checkpoint's file.

    Rows stay in the file's precision where that is the narrower one, and widen as they are looked up, which
    changes no value.
    table:  [vocabulary, width], mapped from its file; only rows that are asked for are read
    visual: ids below this number are what the model itself writes
    """

    def __init__(self, table: torch.Tensor, visual: int, placement: Placement) -> None:
        super().__init__()
        self.table = table
        self.placement = placement
        narrower = table.dtype if table.dtype.itemsize < placement.dtype.itemsize else placement.dtype
        rows = table[:visual].to(placement.device, narrower)
        self.visual = nn.Parameter(rows, requires_grad=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings of a prompt, [rows, length], or of written tokens, [rows, 1]: [..., width].

        A single id a row is a written token, hence visual; looking at its value would stall the device.
        """
        if ids.shape[-1] == 1:
            return F.embedding(ids, self.visual).to(self.placement.dtype)
        words = F.embedding(ids.cpu(), self.table)
        return words.to(self.placement.device, self.placement.dtype)
