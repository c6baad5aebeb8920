"""The engine: rules that are loaded once and judge any number of requests, from any thread."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from buchner._native import WafRules
from buchner.errors import ConfigError
from buchner.waf import crs
from buchner.waf.judgement import Intervention, Match, Result, Scores

if TYPE_CHECKING:
    from buchner._native import WafTransaction
    from buchner.waf.message import Request, Response

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


class Engine:
    """Rules, compiled. Make one with `from_crs`, `from_files` or `from_text`; threads share it."""

    __slots__ = ("_rules",)

    def __init__(self, rules: WafRules) -> None:
        self._rules = rules

    @classmethod
    def from_sources(cls, sources: list[tuple[str, str | None]]) -> Engine:
        """Load files (path, None) and texts (name, text), in order.

        Raises:
            ConfigError: A rule cannot be used; file, line and the line itself.
        """
        try:
            return cls(WafRules(sources))
        except ValueError as error:
            raise ConfigError(str(error)) from None

    @classmethod
    def from_files(cls, files: Paths, *, mode: str | None = None) -> Engine:
        """Load files of rules, in order.

        Args:
            files: One or several paths.
            mode: ``block``, ``detect`` or ``off``. Default: what the files say (`SecRuleEngine`), which is off if they
                say nothing.

        Raises:
            ConfigError: A file is missing, or a rule cannot be used.
        """
        paths = [files] if isinstance(files, str | os.PathLike) else list(files)
        return cls.from_sources([*((os.fspath(path), None) for path in paths), *_mode(mode)])

    @classmethod
    def from_text(cls, text: str, *, mode: str | None = None, name: str = "rules") -> Engine:
        """Load rules from a text; files that it names are relative to the working directory.

        Raises:
            ConfigError: A rule cannot be used.
        """
        return cls.from_sources([(name, text), *_mode(mode)])

    @classmethod
    def from_crs(  # noqa: PLR0913 - settings, all by name
        cls,
        directory: str | os.PathLike[str] | None = None,
        *,
        mode: str = "block",
        paranoia: int | None = None,
        inbound_threshold: int | None = None,
        outbound_threshold: int | None = None,
        sampling: int | None = None,
        before: Paths = (),
        after: Paths = (),
    ) -> Engine:
        """Load the OWASP Core Rule Set.

        Args:
            directory: Where it is. Default: BUCHNER_CRS, the one installed, or the system's package.
            mode: ``block``, ``detect`` or ``off``.
            paranoia: Paranoia level, 1 to 4.
            inbound_threshold: Score of a request from which on it is blocked.
            outbound_threshold: The same for responses.
            sampling: Share of requests that is looked at, in percent.
            before: Files of rules before the Core Rule Set.
            after: Files of rules after it.

        Raises:
            ConfigError: There is no Core Rule Set, a setting is out of range, or a rule cannot be used.
        """
        tuning = crs.Tuning(
            mode, paranoia, inbound_threshold, outbound_threshold, sampling, _paths(before), _paths(after)
        )
        return cls.from_sources(crs.sources(crs.find(directory), tuning))

    def __len__(self) -> int:
        """How many rules there are; a chain counts once."""
        return len(self._rules)

    @property
    def without_effect(self) -> list[tuple[str, int, str]]:
        """Directives that were accepted and have no effect here: file, line, name."""
        return self._rules.without_effect()

    def transaction(self) -> Transaction:
        """Begin a judgement whose phases are called one by one."""
        return Transaction(self._rules.transaction())

    def check(self, request: Request, response: Response | None = None) -> Result:
        """Judge a request, and the response to it.

        Raises:
            ValueError: An address of the request is not an IP address.
        """
        transaction = self.transaction()
        found = transaction.request_head(request) or transaction.request_body(request.body)
        if response is not None and found is None and transaction.response_head(response) is None:
            transaction.response_body(response.body)
        return transaction.finish()


class Transaction:
    """One request: the phases in order. Each returns what to do instead of going on, or None."""

    __slots__ = ("_native", "intervention")

    def __init__(self, native: WafTransaction) -> None:
        self._native = native
        self.intervention: Intervention | None = None

    def request_head(self, request: Request) -> Intervention | None:
        """Phase 1: the request without its body.

        Raises:
            ValueError: An address is not an IP address.
        """
        return self._keep(self._native.request_head(request))

    def request_body(self, body: bytes) -> Intervention | None:
        """Phase 2: the body, or as much of it as `request_body_limit` says and one byte more."""
        return self._keep(self._native.request_body(body))

    def response_head(self, response: Response) -> Intervention | None:
        """Phase 3: the response without its body."""
        return self._keep(self._native.response_head(response))

    def response_body(self, body: bytes) -> Intervention | None:
        """Phase 4: the body, or as much of it as `response_body_limit` says and one byte more."""
        return self._keep(self._native.response_body(body))

    @property
    def request_body_limit(self) -> int:
        """Bytes of the request's body that rules look at; 0: they look at none."""
        wanted, limit = self._native.wants_request_body()
        return limit if wanted else 0

    @property
    def response_body_limit(self) -> int:
        """Bytes of the response's body that rules look at, by its media type; 0: they look at none."""
        wanted, limit = self._native.wants_response_body()
        return limit if wanted else 0

    def result(self) -> Result:
        """What is known so far."""
        matches = tuple(map(Match.of, self._native.matches()))
        return Result(self.intervention, matches, Scores.read(self._native.number))

    def finish(self) -> Result:
        """Phase 5, and the judgement."""
        self._native.finish()
        return self.result()

    def _keep(self, outcome: tuple[str, int, int, int, bytes | None] | None) -> Intervention | None:
        found = Intervention.of(outcome)
        self.intervention = self.intervention or found
        return found


def _mode(mode: str | None) -> list[tuple[str, str | None]]:
    if mode is None:
        return []
    if mode not in crs.MODES:
        raise ConfigError(f"mode is {mode!r}; it is one of {', '.join(crs.MODES)}")
    return [("mode", f"SecRuleEngine {crs.MODES[mode]}\n")]


def _paths(files: Paths) -> tuple[Path, ...]:
    return tuple(map(Path, [files] if isinstance(files, str | os.PathLike) else files))
