"""A batch killed with SIGKILL at 30 random moments, each time resumed: what is lost, done twice, or half.

    python -m tests.bench.batch_survival [--kills 30] [--seed 1] [--out tests/bench/results/batch_survival.json]
    python -m tests.bench.batch_survival --model demo --kills 10

Stages without weights, so that kills come often; with `--model` the real command over real weights.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.batch.test_survival import prepare, start
from tests.bench.batch_ray import different
from tests.bench.batch_speed import prompt_list
from tests.bench.processes import glmimg


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        run = survive_with_weights if arguments.model else survive
        results = {"wanted_kills": arguments.kills, "seed": arguments.seed} | run(Path(name), arguments)
    text = json.dumps(results, indent=1)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    sys.stdout.write(text + "\n")


def survive_with_weights(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The same with the command itself: each run is killed up to two events and some seconds after it begins to load.

    At the end the same list is drawn in one go elsewhere: every pixel has to be the same.
    """
    jobs = max(4, arguments.kills)
    (folder / "jobs.txt").write_text("\n".join(prompt_list(jobs)))
    command = glmimg("batch", folder / "jobs.txt", "-m", arguments.model, "--steps", "4", "--ar-batch", "2", "--json")
    generator = random.Random(arguments.seed)
    moments: Counter[str] = Counter()
    while moments.total() < arguments.kills:
        with subprocess.Popen([*command, "-o", str(folder / "out")], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            events = (json.loads(line)["event"] for line in process.stdout)
            last = next((event for event in events if event == "loading"), "end")
            for _ in range(generator.randrange(3)):
                last = next(events, "end")
            time.sleep(generator.uniform(0, 1.5))
            process.kill()
        if process.returncode != -signal.SIGKILL:
            break
        moments[last] += 1
    for place in ("out", "whole"):
        subprocess.run([*command, "-o", str(folder / place)], check=True, stdout=subprocess.DEVNULL)
    found = count(folder, jobs) | {"differing_pictures": different(folder / "whole", folder / "out")}
    return found | {"jobs": jobs, "killed": moments.total(), "model": arguments.model, "last_event": dict(moments)}


def survive(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    jobs = arguments.kills * 3
    prepare(folder, "\n".join(f'{{"prompt": "p{n}", "seed": {n}}}' for n in range(jobs)))
    generator = random.Random(arguments.seed)
    kills = 0
    while kills < arguments.kills:
        process = start(folder)
        for _ in range(generator.randrange(4)):
            process.one_more()
        time.sleep(generator.uniform(0, 0.1))
        process.process.kill()
        if process.wait() == -signal.SIGKILL:
            kills += 1
        else:
            break
    start(folder).wait()
    units = Counter((folder / "log").read_text().splitlines())
    again = {"units_begun_again_because_killed_in_them": sum(units.values()) - len(units)}
    return count(folder, jobs) | again | {"jobs": jobs, "killed": kills}


def count(folder: Path, jobs: int) -> dict[str, int]:
    """What a batch should never have: jobs lost, recorded twice, files that are not whole, leftovers."""
    from glmimg.engine.batch.folder import open_store
    from glmimg.engine.batch.gallery import last_records
    from glmimg.errors import GlmimgError
    from glmimg.image_io import read_provenance
    from glmimg.tokens.dump_file import read_dump

    out = folder / "out"
    done = [record for record in last_records(open_store(str(out))).values() if record.status == "done"]
    lines = Counter(json.loads(line)["name"] for line in out.joinpath("results.jsonl").read_bytes().splitlines())
    half = 0
    for record in done:
        try:
            read_dump(out / str(record.tokens))
            read_provenance(out / str(record.picture))
        except GlmimgError:
            half += 1
    return {
        "lost": jobs - len(done),
        "recorded_twice": sum(number > 1 for number in lines.values()),
        "half_files": half + len(list(out.glob(".*.part"))),
    }


if __name__ == "__main__":
    main()
