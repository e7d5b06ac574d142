"""What is asked, as settings by their paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: Settings that have a table of their own, by the keyword that gives them.
_TABLES = {
    "precision": "precision.",
    "speculation": "speculation.",
    "prefill": "prefill.",
    "wafer_parameters": "wafer.",
}


def as_text(value: Any) -> str:
    """A value as a setting is written: lists with commas, truth in small letters."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(as_text(part) for part in value)
    return str(value)


class Scenario(Mapping[str, str]):
    """Settings by their paths, as ``simctl settings`` lists them; what is left out is the default.

    ``Scenario(users=4, context="32k", precision={"weights": "fp4"}, wafer_parameters={"link.latency": 1.0})``.
    It does not change; :meth:`with_` makes another one.
    """

    def __init__(self, **given: Any) -> None:
        self._settings: dict[str, str] = {}
        for name, value in given.items():
            if value is None:
                continue
            if name in _TABLES:
                inner = {f"{_TABLES[name]}{path}": as_text(one) for path, one in dict(value).items()}
                self._settings.update(inner)
            else:
                self._settings[name] = as_text(value)

    def with_(self, **given: Any) -> Scenario:
        """The same with other settings on top."""
        other = Scenario(**given)
        other._settings = {**self._settings, **other._settings}
        return other

    def pairs(self) -> list[tuple[str, str]]:
        """Paths and values, in the order in which they were given."""
        return list(self._settings.items())

    def __getitem__(self, path: str) -> str:
        return self._settings[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._settings)

    def __len__(self) -> int:
        return len(self._settings)

    def __repr__(self) -> str:
        return f"Scenario({self._settings})"
