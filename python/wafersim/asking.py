"""What can be asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from . import _native
from .answers import Answer
from .scenarios import Scenario, as_text
from .tables import Plan

#: Called with the number of finished pieces and of all.
Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Mapping:
    """A mapping as TOML: a recipe, or a resolved one."""

    toml: str
    wafers: int | None = None

    @classmethod
    def read(cls, path: str) -> Mapping:
        """From a file."""
        with open(path, encoding="utf-8") as file:
            return cls(file.read())


def _asked(
    scenario: Scenario | None,
    given: dict[str, Any],
    *,
    mapping: Mapping | str | None = None,
    search: str | None = "quick",
    ranges: str = "none",
    samples: int = 1000,
    seed: int = 1,
) -> dict[str, Any]:
    whole = (scenario or Scenario()).with_(**given)
    text = mapping.toml if isinstance(mapping, Mapping) else mapping
    return {
        "settings": whole.pairs(),
        "mapping": text,
        "search": search,
        "ranges": ranges,
        "samples": samples,
        "seed": seed,
    }


def answer(
    scenario: Scenario | None = None,
    *,
    mapping: Mapping | str | None = None,
    search: str | None = "quick",
    ranges: str = "corner",
    samples: int = 1000,
    seed: int = 1,
    **settings: Any,
) -> Answer:
    """Answers one question; without arguments Qwen3-Coder-480B on WSE-3, one user, 32k of context, 2,000 tok/s."""
    asked = _asked(scenario, settings, mapping=mapping, search=search, ranges=ranges, samples=samples, seed=seed)
    return Answer.of(json.loads(_native.answer(asked)))


def _listed(values: Any) -> list[str]:
    if values is None:
        return []
    if isinstance(values, str) or not isinstance(values, Iterable):
        return [as_text(values)]
    return [as_text(value) for value in values]


def plan(
    scenario: Scenario | None = None,
    *,
    users: Any = None,
    context: Any = None,
    wafers: Any = None,
    weights: Any = None,
    kv_cache: Any = None,
    profile: Any = None,
    placement: Any = None,
    mapping: Mapping | str | None = None,
    search: str | None = "quick",
    ranges: str = "none",
    progress: Progress | None = None,
    **settings: Any,
) -> Plan:
    """A table of answers over the product of lists; a list that is left out is the scenario's own value."""
    lists = {
        "users": _listed(users),
        "context": _listed(context),
        "wafers": _listed(wafers),
        "weights": _listed(weights),
        "kv_cache": _listed(kv_cache),
        "profile": _listed(profile),
        "placement": _listed(placement),
    }
    asked = _asked(scenario, settings, mapping=mapping, search=search, ranges=ranges)
    return Plan(_native.plan(asked, lists, progress))


def search(scenario: Scenario | None = None, *, effort: str = "quick", **settings: Any) -> Mapping | None:
    """The best mapping found, as a recipe that :func:`answer` takes; nothing where the model does not fit."""
    found = _native.search(_asked(scenario, settings, search=effort))
    return None if found is None else Mapping(*found)


def stream(scenario: str, *, search: str | None = "quick", set: dict[str, Any] | None = None) -> dict[str, Any]:
    """Runs a load: the text of a stream scenario, with ``set`` on top; the keys of ``simctl stream --format json``."""
    sets = [(path, as_text(value)) for path, value in (set or {}).items()]
    return json.loads(_native.stream(scenario, sets, search))


def validate() -> dict[str, Any]:
    """Every row of the built-in measurements, predicted; the keys of ``simctl validate --format json``."""
    return json.loads(_native.validation())


def wafer_map(scenario: Scenario | None = None, *, title: str = "", search: str | None = "quick", **settings: Any) -> str:
    """What lives where on the wafers, as SVG."""
    return _native.wafer_map(_asked(scenario, settings, search=search), title)


def models(name: str | None = None) -> list[dict[str, Any]]:
    """The built-in models, or one by its name or config.json."""
    return json.loads(_native.models(name))["models"]


def wafers(name: str | None = None) -> list[dict[str, Any]]:
    """The built-in wafers, or one by its name or file."""
    return json.loads(_native.wafers(name))["wafers"]


def settings() -> list[dict[str, Any]]:
    """Everything that can be set, with what is allowed and what it means."""
    return json.loads(_native.settings())["settings"]


def stream_settings() -> list[dict[str, Any]]:
    """What stream scenarios have beside them."""
    return json.loads(_native.settings())["stream_settings"]
