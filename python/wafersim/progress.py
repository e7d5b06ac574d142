"""How far a computation is: told to a callable, or shown as a bar in a notebook or a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: A callable that is told how many pieces are done of how many; true for a bar; nothing.
Progress = Callable[[int, int], object] | bool | None


def _notebook() -> Any:
    """What a notebook shows things with, in one."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import HTML, display

    handle = display(HTML(""), display_id=True)
    return lambda text, part: handle.update(HTML(f"<progress value='{part:.3f}'></progress> {text}"))


@contextmanager
def shown(progress: Progress, what: str) -> Iterator[Callable[[int, int], object] | None]:
    """What a computation tells its progress to."""
    if progress is None or progress is False:
        yield None
        return
    if progress is not True:
        yield progress
        return
    show = _notebook()
    if show is not None:
        yield lambda done, all: show(f"{done:,} of {all:,} {what}", done / max(all, 1))
        return
    if not sys.stderr.isatty():
        yield None
        return
    try:
        yield lambda done, all: print(f"\r{done:,} of {all:,} {what}", end="", file=sys.stderr, flush=True)
    finally:
        print(file=sys.stderr)
