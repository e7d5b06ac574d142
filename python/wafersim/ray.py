"""The same sweeps on a Ray cluster (``pip install wafersim[ray]``).

Every chunk is a task that is tried again where its worker is lost. Workers must see the folder: a shared file system,
or one machine.
"""

from __future__ import annotations

import os
from itertools import islice
from typing import Any

import ray

from .progress import Progress, shown
from .scenarios import Scenario
from .sweeps import Chunk, chunks


@ray.remote(max_retries=5)
def _computed(chunk: Chunk) -> int:
    return chunk.compute()


def sweep(
    folder: str | os.PathLike[str],
    scenario: Scenario | None = None,
    *,
    cpus_per_chunk: float = 1.0,
    progress: Progress = None,
    **given: Any,
) -> int:
    """Computes what is missing of a sweep on the cluster that ``ray.init`` has reached; gives the number of points.

    The files are those of :func:`wafersim.sweep`, byte for byte.
    """
    missing = chunks(folder, scenario, **given)
    # A task has the threads that it was given: rayon would take all cores of its machine for each.
    task = _computed.options(
        num_cpus=cpus_per_chunk,
        runtime_env={"env_vars": {"RAYON_NUM_THREADS": str(max(1, int(cpus_per_chunk)))}},
    )
    # A few tasks a core wait at any time: a list of all of them would be looked through again for each that ends.
    ahead = max(16, int(4 * ray.cluster_resources().get("CPU", 1) / cpus_per_chunk))
    left = iter(missing)
    waiting = [task.remote(chunk) for chunk in islice(left, ahead)]
    points, done = 0, 0
    with shown(progress, "chunks") as tell:
        while waiting:
            ready, waiting = ray.wait(waiting, num_returns=1)
            points += sum(ray.get(ready))
            done += len(ready)
            waiting += [task.remote(chunk) for chunk in islice(left, len(ready))]
            if tell is not None:
                tell(done, len(missing))
    return points
