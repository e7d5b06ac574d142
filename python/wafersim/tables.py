"""Tables of answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

from ._native import PlanTable

if TYPE_CHECKING:
    import numpy
    import pandas
    import pyarrow


class Plan:
    """A table of answers: one row a point, in the order of the lists that were given.

    It has Arrow's C stream interface: ``pyarrow.table(plan)``, ``polars.from_arrow(plan)`` take its columns without
    copying them.
    """

    def __init__(self, native: PlanTable) -> None:
        self._native = native
        self._rows: list[dict[str, Any]] | None = None

    @property
    def model(self) -> str:
        """The model."""
        return self._native.model

    @property
    def wafer(self) -> str:
        """The wafer."""
        return self._native.wafer

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows as dictionaries, with the keys of ``simctl plan --format json``."""
        if self._rows is None:
            self._rows = json.loads(self._native.json())["rows"]
        return self._rows

    def __len__(self) -> int:
        return len(self._native)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._native.__arrow_c_stream__(requested_schema)

    def to_arrow(self) -> pyarrow.Table:
        """The columns as a ``pyarrow.Table``, which shares their memory."""
        import pyarrow

        return pyarrow.table(self)

    def to_pandas(self) -> pandas.DataFrame:
        """The columns as a data frame."""
        return self.to_arrow().to_pandas()

    def to_csv(self) -> str:
        """As ``simctl plan --format csv`` writes the rows."""
        return self._native.csv()

    def __str__(self) -> str:
        return self._native.text()

    def __repr__(self) -> str:
        return f"<Plan: {len(self)} points of {self.model} on {self.wafer}>"

    def to_numpy(self, column: str) -> numpy.ndarray:
        """A column as an array, which shares its memory where no value is missing; missing numbers are NaN."""
        return self.to_arrow().column(column).combine_chunks().to_numpy(zero_copy_only=False)

    def _repr_html_(self) -> str:
        keys = [key for key in _SHOWN if self.rows and key in self.rows[0]]
        head = "".join(f"<th>{escape(key.replace('_', ' '))}</th>" for key in keys)
        shown = self.rows[:_MOST_SHOWN]
        rows = "".join("<tr>" + "".join(f"<td>{_cell(row.get(key))}</td>" for key in keys) + "</tr>" for row in shown)
        left = len(self) - len(shown)
        more = f"<p>and {left:,} more</p>" if left else ""
        return f"<p>{escape(self.model)} on {escape(self.wafer)}</p><table><tr>{head}</tr>{rows}</table>{more}"


#: What a notebook shows of a table.
_SHOWN = ("users", "context", "wafers", "placement", "profile", "tokens_per_second_per_user", "time_to_first_token_ms", "limit")
_MOST_SHOWN = 60


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return "" if value is None else escape(str(value))
