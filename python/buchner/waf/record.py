"""The audit log: one JSON object a line, one line a request that a rule matched.

The log of libmodsecurity (`SecAuditLogFormat JSON`) is read too.

| key | |
|---|---|
| `id`, `time` | the request's id; when it came, RFC 3339 |
| `client`, `host`, `method`, `path` | the request; its path has no query |
| `status` | of the response; 0 if none was sent |
| `mode`, `blocked` | `block` or `detect`; whether it was refused |
| `score`, `threshold`, `outbound_score`, `outbound_threshold` | the anomaly scores |
| `matches` | `rule`, `message`, `variable`, `value`, `part`, `data`, `severity`, `phase`, `tags`, `file`, `line` |
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buchner.errors import BuchnerError
from buchner.waf.judgement import SEVERITIES, Match, Scores

if TYPE_CHECKING:
    from collections.abc import Iterator

_AGAINST = re.compile(r"against variable `(.*?)' \(Value: `(.*)' ?\)", re.DOTALL)
_TOTAL = re.compile(r"Total (?:Inbound |Outbound )?Score: (\d+)")


@dataclass(frozen=True, slots=True)
class Record:
    """A line of the audit log."""

    id: str
    time: float = 0.0
    client: str = ""
    host: str = ""
    method: str = ""
    path: str = ""
    status: int = 0
    mode: str = "block"
    blocked: bool = False
    scores: Scores = field(default_factory=Scores)
    matches: tuple[Match, ...] = ()

    @property
    def would_block(self) -> bool:
        """It was refused, or would have been in block mode."""
        return self.blocked or self.scores.reached or any(match.rule in _BLOCKING for match in self.matches)

    @property
    def counted(self) -> list[Match]:
        """The matches without those that only compare or report the score."""
        return [match for match in self.matches if not match.total]

    def line(self) -> str:
        """The line, without its end."""
        scores = self.scores
        document = {
            "id": self.id,
            "time": datetime.fromtimestamp(self.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "client": self.client,
            "host": self.host,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "mode": self.mode,
            "blocked": self.blocked,
            "score": scores.inbound,
            "threshold": scores.inbound_threshold,
            "outbound_score": scores.outbound,
            "outbound_threshold": scores.outbound_threshold,
            "matches": [asdict(match) for match in self.matches],
        }
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def parse(cls, line: str) -> Record:
        """Read a line.

        Raises:
            ValueError: It is none.
        """
        document = json.loads(line)
        if not isinstance(document, dict):
            raise ValueError("not an object")  # noqa: TRY004 - the text is wrong, not its type
        if isinstance(document.get("transaction"), dict):
            return _modsecurity(document["transaction"])
        if not isinstance(document.get("id"), str) or not isinstance(document.get("matches"), list):
            raise ValueError("an object without id and matches")  # noqa: TRY004 - as above
        return cls(
            id=document["id"],
            time=_moment(document.get("time")),
            **{name: str(document.get(name) or "") for name in ("client", "host", "method", "path")},
            status=_number(document.get("status")),
            mode=str(document.get("mode") or "block"),
            blocked=document.get("blocked") is True,
            scores=Scores(
                *(
                    _number(document.get(name))
                    for name in ("score", "threshold", "outbound_score", "outbound_threshold")
                )
            ),
            matches=tuple(_match(found) for found in document["matches"]),
        )


_BLOCKING = {949110, 949111, 959100, 959101}
"""The rules of the Core Rule Set that block."""


def _number(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0


def _moment(value: Any) -> float:
    try:
        return datetime.fromisoformat(value).timestamp()
    except (TypeError, ValueError):
        return 0.0


def _match(found: Any) -> Match:
    if not isinstance(found, dict) or not isinstance(found.get("rule"), int):
        raise ValueError("a match without a rule")  # noqa: TRY004 - as above
    texts = {name: str(found.get(name) or "") for name in ("message", "variable", "value", "data", "severity", "file")}
    part = found.get("part")
    return Match(
        found["rule"],
        part=part if isinstance(part, str) else None,
        phase=_number(found.get("phase")),
        line=_number(found.get("line")),
        tags=tuple(map(str, found.get("tags") or ())),
        **texts,
    )


def _modsecurity(document: dict[str, Any]) -> Record:
    """A line of libmodsecurity's audit log (`SecAuditLogFormat JSON`)."""
    request, response = document.get("request") or {}, document.get("response") or {}
    matches = tuple(map(_detail, document.get("messages") or ()))
    totals = [match for match in matches if match.rule in _BLOCKING]
    score = max((int(found[1]) for match in totals if (found := _TOTAL.search(match.message))), default=0)
    try:
        moment = datetime.strptime(str(document.get("time_stamp")), "%a %b %d %H:%M:%S %Y").astimezone().timestamp()
    except ValueError:
        moment = 0.0
    headers = request.get("headers") or {}
    status = _number(response.get("http_code"))
    return Record(
        id=str(document.get("unique_id") or ""),
        time=moment,
        client=str(document.get("client_ip") or ""),
        host=str(next((value for name, value in headers.items() if name.lower() == "host"), "")),
        method=str(request.get("method") or ""),
        path=str(request.get("uri") or "").partition("?")[0],
        status=status,
        mode="block" if totals and status == 403 else "detect",  # noqa: PLR2004 - Forbidden
        blocked=bool(totals) and status == 403,  # noqa: PLR2004
        scores=Scores(score),
        matches=matches,
    )


def _detail(message: dict[str, Any]) -> Match:
    details = message.get("details") or {}
    against = _AGAINST.search(str(details.get("match") or ""))
    severity = str(details.get("severity") or "")
    known = severity.isdigit() and int(severity) < len(SEVERITIES)
    return Match(
        _number(details.get("ruleId")),
        message=str(message.get("message") or ""),
        variable=against[1] if against else "",
        value=against[2] if against else "",
        data=str(details.get("data") or ""),
        # 0 stands for a rule without one.
        severity=SEVERITIES[int(severity)] if known and severity != "0" else "",
        tags=tuple(map(str, details.get("tags") or ())),
        file=str(details.get("file") or ""),
        line=_number(details.get("lineNumber")),
    )


def read(path: str | os.PathLike[str]) -> Iterator[Record]:
    """Read an audit log. A last line without its end is still being written, and left out.

    Raises:
        BuchnerError: The file cannot be read, or a line is no record.
    """
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    yield Record.parse(line)
                except (ValueError, AttributeError, TypeError, RecursionError) as error:
                    if not line.endswith("\n"):
                        return
                    shown = line.strip()[:100]
                    raise BuchnerError(
                        f"{os.fspath(path)}:{number}: not a line of an audit log in JSON ({error}): {shown!r}"
                    ) from None
    except OSError as error:
        raise BuchnerError(f"cannot read {os.fspath(path)}: {error.strerror}") from error


class AuditLog:
    """Appends records to a file, which only its owner can read: values of requests stand in it.

    A record is one write, so threads and processes may share the file. It is opened for each, so it can be moved away.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def write(self, record: Record) -> None:
        """Append a record.

        Raises:
            OSError: The file cannot be written.
        """
        line = (record.line() + "\n").encode("utf-8", "backslashreplace")
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)
