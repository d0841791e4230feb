"""`python -m glmimg.demo.train --out DIR`: the whole recipe on two CPU cores, one thread a trainer.

The codebook takes seconds. Then the AR stage trains on one core (it needs only codes), the VAE and after it the DiT on
the other, whose core then joins the AR stage. Every trainer keeps its state in DIR and goes on from there when the command is run again. At the end
DIR/model is a checkpoint folder; `tests/demo/measure.py --model DIR/model` scores it.
"""

import argparse
import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from glmimg.demo.train.codebook import build_codebook


def train_decoder(out: Path) -> None:
    """The VAE, then the DiT, in one process."""
    from glmimg.demo.train.dit import train_dit
    from glmimg.demo.train.vae import train_vae

    train_vae(out)
    train_dit(out)


def train_writer(out: Path, until: int, rank: int = 0, workers: int = 1) -> None:
    """The AR stage, up to step `until`, alone or as one of `workers` processes."""
    from glmimg.demo.train.ar import train_ar

    train_ar(out, until, rank, workers)


def run_side_by_side(*works: tuple[Callable[..., None], tuple[Any, ...]]) -> None:
    """Run each (function, arguments) in its own process; raises RuntimeError if one of them fails."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=arguments) for work, arguments in works]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("a trainer failed; its message is above, and running the command again goes on from there")


def train_all(out: Path) -> None:
    """The codebook; the AR stage beside VAE and DiT; then the AR stage on both cores."""
    from glmimg.demo.train.ar import ALONE_UNTIL, STEPS

    out.mkdir(parents=True, exist_ok=True)
    if not (out / "codebook.npz").exists():
        build_codebook().save(out / "codebook.npz")
    run_side_by_side((train_writer, (out, ALONE_UNTIL)), (train_decoder, (out,)))
    (out / "ar.meeting").unlink(missing_ok=True)
    run_side_by_side(*((train_writer, (out, STEPS, rank, 2)) for rank in range(2)))


def main() -> None:
    """Train, assemble, and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m glmimg.demo.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for training states and the finished model")
    parser.add_argument("--from-shipped", action="store_true", help="begin with the weights inside glmimg, not anew")
    options = parser.parse_args()
    out: Path = options.out
    if options.from_shipped and not (out / "ar.pt").exists():
        from glmimg.demo import demo_path
        from glmimg.demo.train.assemble import SHIPPED_STEPS, take_apart

        take_apart(demo_path(), out, SHIPPED_STEPS)
    train_all(out)
    from glmimg.demo.train.assemble import assemble, trained_steps

    size = assemble(out, out / "model")
    print(json.dumps({"model": str(out / "model"), "bytes": size, "steps": trained_steps(out)}))


if __name__ == "__main__":
    main()
