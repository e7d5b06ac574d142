"""Models, wafers and mappings: by name, from a file, or changed here."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from . import _native


@dataclass(frozen=True)
class Model:
    """A language model. ``Model("llama-3.1-8b")`` is built in, ``Model.read("config.json")`` a file of Hugging Face,
    ``Model.of(config)`` a dictionary with its keys. All functions but ``size`` take one as ``model=``.
    """

    #: A built-in name, or the text of a config.json.
    given: str
    #: Layers, parameters, bytes of the cache: the keys of ``simctl models --format json``.
    raw: dict[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "raw", json.loads(_native.models(self.given))["models"][0])

    @classmethod
    def read(cls, path: str | Path, name: str | None = None) -> Model:
        """From a config.json."""
        return cls.of(json.loads(Path(path).read_text(encoding="utf-8")), name)

    @classmethod
    def of(cls, config: dict[str, Any], name: str | None = None) -> Model:
        """From a dictionary with the keys of a config.json."""
        return cls(json.dumps(config if name is None else {**config, "_name_or_path": name}))

    @property
    def name(self) -> str:
        """Its name."""
        return self.raw["name"]

    @property
    def parameters(self) -> int:
        """Parameters in all."""
        return self.raw["parameters"]["total"]

    def __str__(self) -> str:
        return self.given

    def __repr__(self) -> str:
        return f"<Model {self.name}: {self.raw['layers']} layers, {self.parameters / 1e9:.1f} billion parameters>"


@dataclass(frozen=True)
class Wafer:
    """A wafer. ``Wafer("wse3")`` is built in, ``Wafer.read("mine.toml")`` a file; :meth:`with_` changes parameters. All
    functions but ``size`` take one as ``wafer=``.
    """

    #: A built-in name, or the text of a wafer file.
    given: str
    #: Every parameter with its range and source: the keys of ``simctl wafers NAME --format json``.
    raw: dict[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "raw", json.loads(_native.wafer(self.given)))

    @classmethod
    def read(cls, path: str | Path) -> Wafer:
        """From a file."""
        return cls(Path(path).read_text(encoding="utf-8"))

    @property
    def name(self) -> str:
        """Its name."""
        return self.raw["name"]

    @property
    def parameters(self) -> dict[str, float]:
        """Values by the paths of parameters."""
        return {one["path"]: one["value"] for one in self.raw["parameters"]}

    def __str__(self) -> str:
        return self.given

    def __repr__(self) -> str:
        return f"<Wafer {self.name}: {self.raw['title']}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(one['path'])}</td><td>{one['value']:g} {escape(one['unit'])}</td>"
            f"<td>{one['low']:g} to {one['high']:g}</td><td>{escape(one['evidence'])}</td></tr>"
            for one in self.raw["parameters"]
        )
        head = "<tr><th>parameter</th><th>value</th><th>range</th><th>evidence</th></tr>"
        return f"<p><b>{escape(self.raw['title'])}</b></p><table>{head}{rows}</table>"


@dataclass(frozen=True)
class Mapping:
    """A mapping as TOML: a recipe, or a resolved one."""

    toml: str
    wafers: int | None = None

    @classmethod
    def read(cls, path: str | Path) -> Mapping:
        """From a file."""
        return cls(Path(path).read_text(encoding="utf-8"))

    def write(self, path: str | Path) -> None:
        """To a file that ``simctl --mapping`` reads."""
        Path(path).write_text(self.toml, encoding="utf-8")

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.toml)}</pre>"


class Picture(str):
    """A picture as SVG; notebooks show it."""

    __slots__ = ()

    def _repr_svg_(self) -> str:
        return str(self)

    def write(self, path: str | Path) -> None:
        """To a file."""
        Path(path).write_text(self, encoding="utf-8")
