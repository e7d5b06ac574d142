"""Results as dataclasses. Every key of the JSON of the command of the same name is in ``raw``; ``str`` is what the
command prints.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from html import escape
from typing import Any


def _known(cls: type, data: dict[str, Any]) -> dict[str, Any]:
    """Of a JSON object the keys that the dataclass has."""
    names = {one.name for one in fields(cls)}
    return {key: value for key, value in data.items() if key in names}


class _Said:
    """A result that ``result["key"]`` reads by the keys of its JSON, and that notebooks show."""

    raw: dict[str, Any]
    text: str

    def __getitem__(self, key: str) -> Any:
        return self.raw[key]

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.text)}</pre>"


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
    """An operator's part of one token's way, in cycles, and what causes them. Shares of all rows add up to 1."""

    operator: str
    cycles: float
    share: float
    causes: dict[str, float]


@dataclass(frozen=True)
class Answer(_Said):
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
    text: str = field(default="", repr=False, compare=False)

    @classmethod
    def of(cls, data: dict[str, Any], text: str = "") -> Answer:
        """From the JSON object of an answer."""
        verdict = dict(data["verdict"])
        verdict["limit"] = Limit(**_known(Limit, verdict["limit"]))
        profiles = {name: ProfileFigures(**_known(ProfileFigures, one)) for name, one in data["profiles"].items()}
        own = {**_known(cls, data), "verdict": Verdict(**_known(Verdict, verdict)), "profiles": profiles}
        return cls(**{**own, "raw": data, "text": text})

    @property
    def reached(self) -> bool:
        """Whether the target is reached."""
        return self.verdict.state == "reached"

    @property
    def breakdown(self) -> list[BreakdownRow]:
        """One token's way by operator."""
        return [BreakdownRow(**_known(BreakdownRow, row)) for row in self.raw["breakdown"]]

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


@dataclass(frozen=True)
class Lever:
    """One parameter by itself: the value that reaches the target with the least change, or that none does."""

    path: str
    current: Any
    value: Any
    reached: bool
    state: str
    limit: Any
    speed_at_limit: float
    octaves: float | None = None


@dataclass(frozen=True)
class Goal(_Said):
    """What must be true for a target: levers, those that have to move least first."""

    target: float
    current: float
    reached: bool
    wafers: int
    levers: list[Lever]
    raw: dict[str, Any] = field(repr=False, compare=False)
    text: str = field(repr=False, compare=False)

    @classmethod
    def of(cls, data: dict[str, Any], text: str) -> Goal:
        """From the JSON object of ``simctl goal``."""
        levers = [Lever(**_known(Lever, one)) for one in data["levers"]]
        return cls(**{**_known(cls, data), "levers": levers, "raw": data, "text": text})


@dataclass(frozen=True)
class Size(_Said):
    """How many machines a load needs. What is not feasible has no machines, and says why in ``raw["nearest"]``."""

    feasible: bool
    machines: int | None
    wafers_per_machine: int | None
    users_per_machine: float | None
    binds: str | None
    ttft_p95_s: float | None
    speed_p5: float | None
    users: float
    usd_per_user_and_month: float | None
    raw: dict[str, Any] = field(repr=False, compare=False)
    text: str = field(repr=False, compare=False)

    @classmethod
    def of(cls, data: dict[str, Any], text: str) -> Size:
        """From the JSON object of ``simctl size``."""
        return cls(**{**_known(cls, data), "raw": data, "text": text})


@dataclass(frozen=True)
class Run(_Said):
    """A run of many users. What came out is in ``raw["outcome"]``."""

    users_speed: dict[str, float] | None
    first_token: dict[str, float] | None
    tokens_per_second: float | None
    raw: dict[str, Any] = field(repr=False, compare=False)
    text: str = field(repr=False, compare=False)

    @classmethod
    def of(cls, data: dict[str, Any], text: str) -> Run:
        """From the JSON object of ``simctl stream``."""
        outcome = data["outcome"]
        pace = outcome.get("tokens_per_second")
        return cls(outcome.get("user_speed"), outcome.get("first_token"), pace and pace["mean"], data, text)


@dataclass(frozen=True)
class Validation(_Said):
    """Every row of the built-in measurements, predicted."""

    mape_percent: float
    rows: int
    raw: dict[str, Any] = field(repr=False, compare=False)
    text: str = field(repr=False, compare=False)

    @classmethod
    def of(cls, data: dict[str, Any], text: str) -> Validation:
        """From the JSON object of ``simctl validate``."""
        return cls(**{**_known(cls, data), "raw": data, "text": text})
