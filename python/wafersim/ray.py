"""The same sweeps on a Ray cluster (``pip install wafersim[ray]``).

Every chunk is a task that is tried again where its worker is lost. Workers must see the folder: a shared file system,
or one machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import ray

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
    progress: Callable[[int, int], object] | None = None,
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
    waiting = [task.remote(chunk) for chunk in missing]
    points, done = 0, 0
    while waiting:
        ready, waiting = ray.wait(waiting, num_returns=1)
        points += sum(ray.get(ready))
        done += len(ready)
        if progress is not None:
            progress(done, len(missing))
    return points
