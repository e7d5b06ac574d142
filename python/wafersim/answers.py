"""Answers as dataclasses. Every key of the JSON of ``simctl run`` is in :attr:`Answer.raw`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from html import escape
from typing import Any


def _known(cls: type, data: dict[str, Any]) -> dict[str, Any]:
    """Of a JSON object the keys that the dataclass has."""
    names = {one.name for one in fields(cls)}
    return {key: value for key, value in data.items() if key in names}


@dataclass(frozen=True)
class Limit:
    """What takes most of a token's time."""

    cause: str
    operator: str
    share: float


@dataclass(frozen=True)
class Verdict:
    """Whether the target is reached: ``reached``, ``not_found`` or ``excluded``."""

    state: str
    target: float
    margin: float
    limit: Limit
    clock_ghz: float


@dataclass(frozen=True)
class ProfileFigures:
    """One column: ``published``, ``best``, ``ideal``; and what ``no_mapping_beats``."""

    tokens_per_second_per_user: float
    tokens_per_second_total: float | None = None
    time_per_output_token_us: float | None = None
    time_to_first_token_ms: float | None = None
    users_at_full_speed: int | None = None
    reaches_target: bool | None = None


@dataclass(frozen=True)
class BreakdownRow:
    """An operator's part of one token's way. Shares of all rows add up to 1."""

    operator: str
    time_us: float
    share: float


@dataclass(frozen=True)
class Answer:
    """The answer to one question."""

    model: str
    wafer: str
    wafers: int
    users: int
    context: int
    profile: str
    tokens_per_second_per_user: float
    tokens_per_second_total: float
    time_per_output_token_us: float
    time_to_first_token_ms: float
    users_at_full_speed: int
    max_users: int
    verdict: Verdict
    profiles: dict[str, ProfileFigures]
    raw: dict[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, data: dict[str, Any]) -> Answer:
        """From the JSON object of an answer."""
        verdict = dict(data["verdict"])
        verdict["limit"] = Limit(**_known(Limit, verdict["limit"]))
        profiles = {name: ProfileFigures(**_known(ProfileFigures, one)) for name, one in data["profiles"].items()}
        own = {**_known(cls, data), "verdict": Verdict(**_known(Verdict, verdict)), "profiles": profiles}
        return cls(**{**own, "raw": data})

    @property
    def reached(self) -> bool:
        """Whether the target is reached."""
        return self.verdict.state == "reached"

    @property
    def breakdown(self) -> list[dict[str, Any]]:
        """One token's way by operator, as in the JSON."""
        return self.raw["breakdown"]

    @property
    def provenance(self) -> dict[str, Any]:
        """Version, hash of the inputs, known errors."""
        return self.raw["provenance"]

    def _repr_html_(self) -> str:
        titles = {"published": "published", "best": "best found", "ideal": "ideal hardware"}
        titles["no_mapping_beats"] = "no mapping beats"
        cells = [(titles[name], self.profiles[name].tokens_per_second_per_user) for name in titles if name in self.profiles]
        head = "".join(f"<th>{escape(title)}</th>" for title, _ in cells)
        row = "".join(f"<td>{speed:,.1f}</td>" for _, speed in cells)
        state = self.verdict.state.replace("_", " ").upper()
        said = f"{self.model} on {self.wafers} {self.wafer}: {self.users} user(s), {self.context:,} tokens of context"
        limit = f"limited by {self.verdict.limit.cause}, most of it in {self.verdict.limit.operator}"
        return (
            f"<p><b>{escape(state)}</b> target {self.verdict.target:,.0f} tok/s for each user. {escape(said)}; "
            f"{escape(limit)}; first token after {self.time_to_first_token_ms:,.1f} ms.</p>"
            f"<table><tr><th>tok/s each user</th>{head}</tr><tr><td></td>{row}</tr></table>"
        )
