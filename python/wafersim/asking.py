"""What can be asked."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from . import _native
from .answers import Answer, Goal, Run, Size, Validation
from .progress import Progress, shown
from .scenarios import Scenario, as_text
from .tables import Plan
from .things import Mapping, Model, Picture, Wafer

def _toml(mapping: Mapping | str | None) -> str | None:
    return mapping.toml if isinstance(mapping, Mapping) else mapping


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
    return {
        "settings": whole.pairs(),
        "mapping": _toml(mapping),
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
    said, text = _native.answer(asked)
    return Answer.of(json.loads(said), text)


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
    progress: Progress = None,
    **settings: Any,
) -> Plan:
    """A table of answers over the product of lists; a list that is left out is the scenario's own value.

    ``progress``: a callable, which is told how many points are done of how many; or true for a bar.
    """
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
    with shown(progress, "points") as tell:
        return Plan(_native.plan(asked, lists, tell))


def search(scenario: Scenario | None = None, *, effort: str = "quick", **settings: Any) -> Mapping | None:
    """The best mapping found, as a recipe that :func:`answer` takes; nothing where the model does not fit."""
    found = _native.search(_asked(scenario, settings, search=effort))
    return None if found is None else Mapping(*found)


def _loaded(
    scenario: str | None, given: dict[str, Any] | None, mapping: Mapping | str | None, search: str | None
) -> dict[str, Any]:
    sets = [(path, as_text(value)) for path, value in (given or {}).items() if value is not None]
    return {"scenario": scenario, "sets": sets, "mapping": _toml(mapping), "search": search}


def stream(
    scenario: str,
    *,
    model: Model | str | None = None,
    wafer: Wafer | str | None = None,
    mapping: Mapping | str | None = None,
    search: str | None = "quick",
    set: dict[str, Any] | None = None,
    progress: Progress = None,
) -> Run:
    """Runs a load: the text of a stream scenario, with ``set`` on top, and with a model and a wafer of one's own."""
    named = {"machine.model": model, "machine.wafer": wafer, **(set or {})}
    with shown(progress, "of the run") as tell:
        said, text = _native.stream(_loaded(scenario, named, mapping, search), tell)
    return Run.of(json.loads(said), text)


def goal(
    scenario: Scenario | None = None,
    *,
    vary: Iterable[str] = (),
    fix: Iterable[str] = (),
    mapping: Mapping | str | None = None,
    search: str | None = "quick",
    progress: Progress = None,
    **settings: Any,
) -> Goal:
    """What must be true for a target (``target=2000``): for each parameter alone the value that reaches it.

    ``vary`` and ``fix``: paths of parameters, or their beginnings (``wafer.link``); all where left out.
    """
    asked = _asked(scenario, settings, mapping=mapping, search=search)
    with shown(progress, "levers") as tell:
        said, text = _native.goal(asked, _listed(vary), _listed(fix), tell)
    return Goal.of(json.loads(said), text)


def size(
    scenario: str | None = None,
    *,
    users: int | None = None,
    context: int | None = None,
    model: str | None = None,
    wafer: str | None = None,
    wafers: int | str | None = None,
    plan: str | None = None,
    organisation: int = 1,
    mapping: Mapping | str | None = None,
    search: str | None = "quick",
    seeds: int = 5,
    availability: float = 0.999,
    growth: float | None = None,
    months: int = 24,
    price_kwh: float | None = None,
    occupancy: float | None = None,
    years: float | None = None,
    set: dict[str, Any] | None = None,
    **levels: Any,
) -> Size:
    """How many machines a load needs, so that its users see what was promised.

    ``scenario``: the text of a stream scenario; without one coding agents ask. ``levels``: what is promised, by the names
    of the flags of ``simctl size``: ``ttft_p95="1s"``, ``speed_p5=300``.
    """
    named = {
        "machine.model": model,
        "machine.wafer": wafer,
        "machine.wafers": wafers,
        "service.plan": plan,
        "load.users": users,
        **(set or {}),
    }
    system = {
        "levels": [(name, as_text(bound)) for name, bound in levels.items()],
        "context": context,
        "organisation": organisation,
        "seeds": seeds,
        "availability": availability,
        "growth": growth,
        "months": months,
        "price_kwh": price_kwh,
        "occupancy": occupancy,
        "years": years,
    }
    said, text = _native.size(_loaded(scenario, named, mapping, search), system)
    return Size.of(json.loads(said), text)


def validate() -> Validation:
    """Every row of the built-in measurements, predicted."""
    said, text = _native.validation()
    return Validation.of(json.loads(said), text)


def wafer_map(scenario: Scenario | None = None, *, title: str = "", search: str | None = "quick", **settings: Any) -> Picture:
    """What lives where on the wafers, as SVG."""
    return Picture(_native.wafer_map(_asked(scenario, settings, search=search), title))


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
