"""What the engine says of a request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from buchner.waf.message import readable

if TYPE_CHECKING:
    from collections.abc import Callable

SEVERITIES = ("EMERGENCY", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG")
POINTS = {"CRITICAL": 5, "ERROR": 4, "WARNING": 3, "NOTICE": 2}
"""What a match adds to the score: crs-setup.conf, `tx.critical_anomaly_score` and its like."""
_TOTALS = (949, 959, 980)
"""Files of the Core Rule Set whose rules compare and report totals; they add nothing."""


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that matched a value."""

    rule: int
    message: str = ""
    variable: str = ""
    """Where the value was, such as ``ARGS:q``; empty if the rule looks at none."""
    value: str = ""
    """The value after the rule's transformations, at most 1024 bytes of it."""
    part: str | None = None
    """The part of it that matched, if the rule says."""
    data: str = ""
    severity: str = ""
    phase: int = 0
    tags: tuple[str, ...] = ()
    file: str = ""
    line: int = 0

    @property
    def total(self) -> bool:
        """It compares or reports the score, and adds nothing."""
        return self.rule // 1000 in _TOTALS or "anomaly-evaluation" in self.tags or "reporting" in self.tags

    @property
    def points(self) -> int:
        """What it adds to the score, by its severity and the Core Rule Set's defaults."""
        return 0 if self.total else POINTS.get(self.severity, 0)

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Match:
        """Take over what the engine recorded."""
        severity, part = raw["severity"], raw["part"]
        return cls(
            rule=raw["rule"],
            message=readable(raw["message"]),
            variable=readable(raw["variable"]),
            value=readable(raw["value"]),
            part=None if part is None else readable(part),
            data=readable(raw["data"]),
            severity=SEVERITIES[severity] if severity is not None else "",
            phase=raw["phase"],
            tags=tuple(readable(tag) for tag in raw["tags"]),
            file=raw["file"],
            line=raw["line"],
        )


@dataclass(frozen=True, slots=True)
class Scores:
    """The anomaly scores of the Core Rule Set, and from which on it blocks; 0 without it."""

    inbound: int = 0
    inbound_threshold: int = 0
    outbound: int = 0
    outbound_threshold: int = 0

    @property
    def reached(self) -> bool:
        """A threshold is reached."""
        return (0 < self.inbound_threshold <= self.inbound) or (0 < self.outbound_threshold <= self.outbound)

    @classmethod
    def read(cls, number: Callable[[str], int | None]) -> Scores:
        """Ask for the variables by the names of versions 4 and 3."""

        def first(*names: str) -> int:
            return next((found for name in names if (found := number(name)) is not None), 0)

        return cls(
            first("blocking_inbound_anomaly_score", "anomaly_score"),
            first("inbound_anomaly_score_threshold"),
            first("blocking_outbound_anomaly_score", "outbound_anomaly_score"),
            first("outbound_anomaly_score_threshold"),
        )


@dataclass(frozen=True, slots=True)
class Intervention:
    """What is to be done instead of going on."""

    action: str
    """``deny``, ``drop`` or ``redirect``."""
    status: int
    rule: int
    """The rule; 0 if a limit of the configuration was exceeded."""
    phase: int
    url: str = ""

    @classmethod
    def of(cls, outcome: tuple[str, int, int, int, bytes | None] | None) -> Intervention | None:
        """Take over what the engine returned."""
        if outcome is None:
            return None
        action, status, rule, phase, url = outcome
        return cls(action, status, rule, phase, readable(url or b""))


@dataclass(frozen=True, slots=True)
class Result:
    """The judgement of one request."""

    intervention: Intervention | None = None
    matches: tuple[Match, ...] = ()
    scores: Scores = field(default_factory=Scores)

    @property
    def blocked(self) -> bool:
        """The request, or its response, is to be refused."""
        return self.intervention is not None

    @property
    def would_block(self) -> bool:
        """It is refused, or would be if the engine blocked (``SecRuleEngine DetectionOnly``)."""
        return self.blocked or self.scores.reached

    @property
    def score(self) -> int:
        """The inbound anomaly score."""
        return self.scores.inbound

    @property
    def rules(self) -> tuple[int, ...]:
        """The rules that matched, each once, in order."""
        return tuple(dict.fromkeys(match.rule for match in self.matches))
