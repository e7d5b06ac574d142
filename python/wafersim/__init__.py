"""LLM inference on wafer-scale machines: how fast, what limits it, how sure, and what it would take.

>>> import wafersim
>>> answer = wafersim.answer(users=4, context="32k", wafers=21, search="none")
>>> answer.verdict.state
'not_found'

Settings are those of ``simctl settings``. Wrong input raises :class:`WafersimError` with the message of ``simctl``.
"""

from ._native import WafersimError, __version__
from .answers import Answer, BreakdownRow, Goal, Lever, Limit, ProfileFigures, Run, Size, Validation, Verdict
from .asking import (
    answer,
    goal,
    models,
    plan,
    search,
    settings,
    size,
    stream,
    stream_settings,
    validate,
    wafer_map,
    wafers,
)
from .scenarios import Scenario
from .sweeps import sweep
from .tables import Plan
from .things import Mapping, Model, Picture, Wafer

__all__ = [
    "Answer",
    "BreakdownRow",
    "Goal",
    "Lever",
    "Limit",
    "Mapping",
    "Model",
    "Picture",
    "Plan",
    "ProfileFigures",
    "Run",
    "Scenario",
    "Size",
    "Validation",
    "Verdict",
    "Wafer",
    "WafersimError",
    "__version__",
    "answer",
    "goal",
    "models",
    "plan",
    "search",
    "settings",
    "size",
    "stream",
    "stream_settings",
    "sweep",
    "validate",
    "wafer_map",
    "wafers",
]
