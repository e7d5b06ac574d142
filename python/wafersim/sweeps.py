"""Tables too long for one call: cut into chunks, each a Parquet file; what is there is not computed again.

``sweep`` runs the chunks one after the other, each on all cores; :mod:`wafersim.ray` runs the same chunks on a cluster.
Files are the same bytes either way, since a chunk knows nothing of where it runs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._native import WafersimError, __version__
from .asking import _listed, _toml, plan
from .progress import Progress, shown
from .scenarios import Scenario
from .things import Mapping

#: Lists of a plan, the outermost first: as ``simctl plan`` orders its rows.
LISTS = ("wafers", "placement", "weights", "kv_cache", "profile", "context", "users")

#: What says which sweep a folder holds.
_HEAD = "_sweep.json"


@dataclass(frozen=True)
class Chunk:
    """A part of a sweep: a plan of its own, and the file that it becomes."""

    number: int
    lists: dict[str, Any]
    settings: dict[str, str]
    search: str | None
    mapping: str | None
    file: str

    def compute(self) -> int:
        """Computes and writes the chunk, whole or not at all; gives its number of points."""
        import pyarrow
        import pyarrow.parquet

        by_path = Scenario()
        by_path._settings.update(self.settings)
        table = pyarrow.table(plan(by_path, **self.lists, search=self.search, mapping=self.mapping))
        os.makedirs(os.path.dirname(self.file), exist_ok=True)
        unfinished = f"{self.file}.part-{os.getpid()}"
        pyarrow.parquet.write_table(table, unfinished)
        os.replace(unfinished, self.file)
        return table.num_rows


def _slices(lists: dict[str, list[str]], most: int) -> Iterator[dict[str, list[str]]]:
    """Grids of at most ``most`` points that make up the whole grid in its order."""
    names = [name for name in LISTS if len(lists[name]) > 1]
    inner = 1
    whole: list[str] = []
    cut = None
    for name in reversed(names):
        if inner * len(lists[name]) <= most:
            inner *= len(lists[name])
            whole.append(name)
        else:
            cut = name
            break
    if cut is None:
        yield lists
        return
    length = max(1, most // inner)
    values = lists[cut]
    outer = names[: names.index(cut)]

    def combinations(left: list[str], fixed: dict[str, list[str]]) -> Iterator[dict[str, list[str]]]:
        if left:
            for value in lists[left[0]]:
                yield from combinations(left[1:], {**fixed, left[0]: [value]})
            return
        for start in range(0, len(values), length):
            yield {**lists, **fixed, cut: values[start : start + length]}

    yield from combinations(outer, {})


def usual_points(search: str | None, mapping: str | None) -> int:
    """Points of a chunk: as many as take a few seconds on one core. It depends on what is asked alone, so that a sweep is
    cut the same way wherever it runs.
    """
    if mapping is not None:
        return 2000
    return {"quick": 20, "normal": 4, "thorough": 1}.get(search or "none", 500)


def chunks(
    folder: str | os.PathLike[str],
    scenario: Scenario | None = None,
    *,
    search: str | None = "none",
    mapping: Mapping | str | None = None,
    points_per_chunk: int | None = None,
    partition_by: str | None = None,
    shard: str | None = None,
    **given: Any,
) -> list[Chunk]:
    """The chunks of a sweep that are not in ``folder`` yet. Lists, settings and mapping are those of
    :func:`wafersim.plan`.

    ``points_per_chunk``: as many as take some seconds where left out (:func:`usual_points`). ``partition_by``: a list
    (``"wafers"``) whose values each get a folder, ``by_wafers=21``; readers of datasets know what it means. ``shard``:
    ``"2/8"`` is the second of eight parts, as of ``simctl plan --shard``; the folder is the same for all of them, which
    together make what one process makes.

    Raises :class:`WafersimError` where the folder holds another sweep.
    """
    text_of_mapping = _toml(mapping)
    part, parts_in_all = _part(shard)
    if points_per_chunk is None:
        points_per_chunk = usual_points(search, text_of_mapping)
    if points_per_chunk < 1:
        raise WafersimError(f"points_per_chunk is {points_per_chunk}; allowed: 1 and more")
    if partition_by is not None and partition_by not in LISTS:
        raise WafersimError(f"partition_by is '{partition_by}'; allowed: {', '.join(LISTS)}")
    lists = {name: _listed(given.pop(name, None)) for name in LISTS}
    settings = dict((scenario or Scenario()).with_(**given).pairs())
    asked = {"lists": lists, "settings": settings, "search": search, "points_per_chunk": points_per_chunk}
    asked |= {"mapping": text_of_mapping, "partition_by": partition_by}
    asked["version"] = __version__
    text = json.dumps(asked, indent=2, sort_keys=True) + "\n"
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    head = place / _HEAD
    if not head.exists():
        unfinished = place / f"{_HEAD}.part-{os.getpid()}"
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, head)
    elif head.read_text(encoding="utf-8") != text:
        raise WafersimError(f"{place} holds another sweep (see {head}); allowed: an empty folder, or the same sweep")
    name = hashlib.sha256(text.encode()).hexdigest()[:8]
    if partition_by is None:
        parts = ((place, part) for part in _slices(lists, points_per_chunk))
    else:
        parts = (
            (place / f"by_{partition_by}={value}", part)
            for value in lists[partition_by]
            for part in _slices({**lists, partition_by: [value]}, points_per_chunk)
        )
    made = [
        Chunk(number, part, settings, search, text_of_mapping, str(inside / f"part-{name}-{number:06}.parquet"))
        for number, (inside, part) in enumerate(parts)
    ]
    own = (chunk for chunk in made if chunk.number % parts_in_all == part)
    return [chunk for chunk in own if not os.path.exists(chunk.file)]


def _part(shard: str | None) -> tuple[int, int]:
    """Which part, counted from 0, of how many."""
    if shard is None:
        return 0, 1
    part, _, count = shard.partition("/")
    if not (part.isascii() and part.isdigit() and count.isascii() and count.isdigit() and 1 <= int(part) <= int(count)):
        raise WafersimError(f"shard is '{shard}'; allowed: I/N with I from 1 to N, such as 2/8")
    return int(part) - 1, int(count)


def sweep(
    folder: str | os.PathLike[str],
    scenario: Scenario | None = None,
    *,
    progress: Progress = None,
    **given: Any,
) -> int:
    """Computes what is missing of a sweep, on this machine; gives the number of points computed.

    ``pyarrow.parquet.read_table(folder)`` reads the whole table, its rows in the order of the lists.
    """
    missing = chunks(folder, scenario, **given)
    points = 0
    with shown(progress, "chunks") as tell:
        for done, chunk in enumerate(missing):
            points += chunk.compute()
            if tell is not None:
                tell(done + 1, len(missing))
    return points
