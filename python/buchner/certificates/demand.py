"""Which names may have a certificate because a client asked for one.

Without a rule, anybody who points a name here could use up the rate limits of this machine.
"""

from __future__ import annotations

import logging
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from buchner.certificates.clock import Clock, WallClock
from buchner.certificates.names import as_address, covers, normalise
from buchner.certificates.settings import Wanted
from buchner.errors import ConfigError

logger = logging.getLogger("buchner")

_REMEMBERED = 10000
_YES, _NO = 600.0, 60.0
"""Seconds an answer holds."""


class Permission(Protocol):
    """Decides which names may have a certificate."""

    def may(self, name: str) -> bool:
        """Whether a normalised name may have one; may take seconds, and is asked in a thread of its own."""


@dataclass(frozen=True, slots=True)
class AllowList:
    """Permits names that a list has, `*.` for any one label.

    Args:
        patterns: Normalised names.
    """

    patterns: Sequence[str]

    def may(self, name: str) -> bool:
        """See `Permission`."""
        return any(covers(pattern, name) for pattern in self.patterns)


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow no redirect: it is not a yes."""


@dataclass
class Ask:
    """Asks a URL of the operator's: `GET URL?domain=NAME`, of which 200 is a yes and all else a no.

    Args:
        url: http or https.
        timeout: Seconds it may take.
        clock: The time.

    Raises:
        ConfigError: The URL is none.
    """

    url: str
    timeout: float = 5.0
    clock: Clock = field(default_factory=WallClock)
    _known: dict[str, tuple[bool, float]] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        """Check the URL."""
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f'"{self.url}" cannot be asked which names may have a certificate: it is no http:// URL')
        self._open: Callable[..., Any] = urllib.request.build_opener(_Stay()).open

    def may(self, name: str) -> bool:
        """See `Permission`; an answer holds ten minutes, a no for one."""
        now = self.clock.now()
        with self._lock:
            said, until = self._known.get(name, (False, 0.0))
        if now < until:
            return said
        said = self._ask(name)
        with self._lock:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[name] = said, now + (_YES if said else _NO)
        return said

    def _ask(self, name: str) -> bool:
        url = f"{self.url}{'&' if '?' in self.url else '?'}domain={urllib.parse.quote(name)}"
        try:
            with self._open(url, timeout=self.timeout) as response:
                return bool(response.status == 200)  # noqa: PLR2004 - OK
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except (OSError, ValueError) as error:
            logger.warning("certificates: %s cannot be asked about %s: %s", self.url, name, error)
            return False


@dataclass
class Demand:
    """Certificates for names that clients ask for in their handshakes.

    Args:
        template: As what they are ordered; its names do not matter.
        permission: Which names may have one.
        limit: New names within `span`; more are refused until it is over.
        span: In seconds.
        clock: The time.
    """

    template: Wanted
    permission: Permission
    limit: int = 10
    span: float = 60.0
    clock: Clock = field(default_factory=WallClock)
    _recent: deque[float] = field(default_factory=deque, init=False)

    def wanted(self, name: str) -> Wanted | None:
        """What to order for a server name of a client's; None if that is not permitted."""
        try:
            normal = normalise(name)
        except ConfigError:
            return None
        if as_address(normal) or "." not in normal or normal.startswith("*.") or not self.permission.may(normal):
            return None
        return replace(self.template, names=(normal,), on_demand=True)

    def take(self) -> bool:
        """Count a new name; False if there were too many of late."""
        now = self.clock.now()
        while self._recent and self._recent[0] <= now - self.span:
            self._recent.popleft()
        if len(self._recent) >= self.limit:
            return False
        self._recent.append(now)
        return True
