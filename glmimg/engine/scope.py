"""The most a run asks of its stages, which decides how the weights are laid out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from glmimg.job import Job, SourceRef

Sizes = tuple[tuple[int, int], ...]
"""(height, width) in pixels, one of each source picture."""


@dataclass(frozen=True)
class Scope:
    """Its largest picture in pixels, guidance, source pictures, steps.

    sources: of the job that has most of them
    steps:   their mean
    """

    height: int
    width: int
    guided: bool = True
    sources: Sizes = ()
    one_batch: bool = False
    steps: float = 50

    @classmethod
    def of(cls, jobs: Sequence[Job]) -> Scope:
        """The demands of these jobs, of which there must be at least one."""
        size = max((job.scene.size for job in jobs), key=lambda size: size.height * size.width)
        return cls(
            *size,
            guided=any(job.painting.guidance > 1 for job in jobs),
            sources=largest_sources(job.scene.sources for job in jobs),
            one_batch=any(job.painting.guidance_batch for job in jobs),
            steps=sum(job.painting.steps for job in jobs) / len(jobs),
        )

    def joined(self, other: Scope) -> Scope:
        largest = max(self, other, key=lambda scope: scope.height * scope.width)
        return Scope(
            *(largest.height, largest.width),
            guided=self.guided or other.guided,
            sources=max(self.sources, other.sources, key=_area),
            one_batch=self.one_batch or other.one_batch,
            steps=self.steps,
        )


def largest_sources(several: Iterable[Sequence[SourceRef]]) -> Sizes:
    """Sizes of the source pictures of the job that has most of them."""
    return max((tuple((ref.height, ref.width) for ref in refs) for refs in several), key=_area)


def _area(sizes: Sizes) -> int:
    return sum(height * width for height, width in sizes)
