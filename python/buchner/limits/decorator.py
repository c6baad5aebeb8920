"""`@limit("10/minute", key=…)`: a rate of one view, of a blueprint, or of a block of code."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from flask import Blueprint, after_this_request, has_request_context, request
from werkzeug.exceptions import TooManyRequests

from buchner import counts
from buchner.limits.util import get_remote_address
from buchner.rates import rate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from flask import Response
    from werkzeug.wrappers import Response as AnyResponse

    Key = Callable[[], str | None] | str
    Cost = Callable[[], int] | int

Target = TypeVar("Target")
MARK = "__buchner_limits__"
"""Attribute of a view that has limits of its own."""
_NOTED = "buchner.limits"
_SPLIT = re.compile(r"[;,|]")
_VARIABLE = re.compile(r"\$\{?(\w+)\}?", re.ASCII)
_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def _host() -> str:
    """Return the host that the request is for, without its port."""
    return request.host.partition(":")[0].lower()


_PLAIN: dict[str, Callable[[], str]] = {
    "remote_addr": get_remote_address,
    "binary_remote_addr": get_remote_address,
    "host": _host,
    "uri": lambda: request.path,
    "request_method": lambda: request.method,
    "remote_user": lambda: str(request.environ.get("REMOTE_USER") or ""),
}
"""Variables with a fixed name."""


class Current(NamedTuple):
    """What a request has left of the rate that it has used most.

    Args:
        limit: the rate in words.
        requests: how many it grants.
        period: in how many seconds.
        remaining: how many are left.
        reset: seconds until all are available again.
        breached: this request was refused by it.
    """

    limit: str
    requests: int
    period: int
    remaining: int
    reset: float
    breached: bool


@dataclass(frozen=True)
class Rule:
    """A rate, and what it counts.

    Args:
        requests: how many are granted.
        period: in how many seconds.
    """

    requests: int
    period: int

    def __str__(self) -> str:
        """Return it in Flask-Limiter's words: `10 per 1 minute`."""
        several, unit = next((self.period // size, unit) for size, unit in _UNITS if self.period % size == 0)
        return f"{self.requests} per {several} {unit}"


def rules(text: str) -> list[Rule]:
    """Read one or several rates: `10/minute;100/day`.

    Raises:
        ValueError: one is none.

    """
    found = [rate(part) for part in _SPLIT.split(text) if part.strip()]
    if not found:
        raise ValueError(f'"{text}" is no rate: "5/minute" is')
    return [Rule(max(one.milli // 1000, 1), one.period) for one in found]


def _key_text(key: Key) -> str:
    """Return the key of the request; empty if it has none."""
    if not isinstance(key, str):
        return str(key() or "")
    return _VARIABLE.sub(lambda found: _variable(found[1]), key) if "$" in key else key


def _variable(name: str) -> str:
    """Return a variable of the request, under the gateway's name for it."""
    plain = _PLAIN.get(name)
    if plain is not None:
        return plain()
    kind, _, rest = name.partition("_")
    if kind == "http":
        return request.headers.get(rest.replace("_", "-"), "")
    return request.args.get(rest, "") if kind == "arg" else request.cookies.get(rest, "")


def _check_key(key: Key) -> None:
    for name in _VARIABLE.findall(key) if isinstance(key, str) else ():
        if name not in _PLAIN and not name.startswith(("http_", "arg_", "cookie_")):
            raise ValueError(
                f"${name} is no variable to count by: ${', $'.join(_PLAIN)}, $http_…, $arg_… and $cookie_… are"
            )


def _noted() -> dict[str, Any]:
    """What limits have said of the request so far."""
    noted: dict[str, Any] = request.environ.setdefault(_NOTED, {"seen": set(), "current": []})
    return noted


def current_limit() -> Current | None:
    """Return what the request has left of the rate it has used most, if it has one."""
    if not has_request_context():
        return None
    found: list[Current] = _noted()["current"]
    return min(found, key=lambda one: (not one.breached, one.remaining / one.requests), default=None)


class limit:  # noqa: N801 - it is used as a decorator
    """A rate of a view, a blueprint or a block of code.

    Args:
        rates: `"10/minute"`, several with `;` between them, or a callable that returns that for the request.
        key: what is counted by: a callable, or a text with variables such as `$http_x_api_key`; if it is empty nothing
            is counted. Default: the client's address.
        cost: how many requests this one is, or a callable that says it. Default: 1.
        when: says whether the limit holds for the request. Default: always.
        methods: the methods it holds for. Default: all.
        scope: what has the same scope shares the count. Default: the view.
        message: what a refused client is told. Default: the rate.
        deduct_when: says of a response whether the request counts. Default: always.
        on_breach: called with the limit when a request is refused; a response it returns is sent.
        headers: responses have `RateLimit` and `RateLimit-Policy`. Default: true.

    Raises:
        ValueError: the rate or the key is none.

    Example::

        @app.post("/login")
        @limit("5/minute")
        def login(): ...

    """

    def __init__(  # noqa: PLR0913 - they are given by name
        self,
        rates: str | Callable[[], str],
        key: Key = get_remote_address,
        *,
        cost: Cost = 1,
        when: Callable[[], bool] | None = None,
        methods: Iterable[str] | None = None,
        scope: str | Callable[[str], str] | None = None,
        message: str | Callable[[], str] | None = None,
        deduct_when: Callable[[Response], bool] | None = None,
        on_breach: Callable[[Current], AnyResponse | None] | None = None,
        headers: bool = True,
    ) -> None:
        self._rates = rules(rates) if isinstance(rates, str) else rates
        _check_key(key)
        self._key = key
        self._cost = cost
        self._when = when
        self._methods = None if methods is None else {method.upper() for method in methods}
        self._scope = scope
        self._message = message
        self._deduct_when = deduct_when
        self._on_breach = on_breach
        self._headers = headers
        self.overrides_defaults = True
        """The view's other limits, those of a `Limiter` for all views, don't hold beside it."""

    def __call__(self, target: Target) -> Target:
        """Put the limit before a view or a blueprint."""
        if isinstance(target, Blueprint):
            name = target.name
            target.before_request(lambda: self.check(f"blueprint {name}"))
            return target
        if not callable(target):
            raise TypeError(f"limit() is for views and blueprints, not for {target!r}")
        view: Any = target
        name = f"{view.__module__}.{view.__qualname__}"

        @functools.wraps(view)
        def limited(*args: Any, **kwargs: Any) -> Any:
            instead = self.check(name)
            return view(*args, **kwargs) if instead is None else instead

        setattr(limited, MARK, (*getattr(view, MARK, ()), self))
        return limited  # type: ignore[return-value]

    def __enter__(self) -> Self:
        """Count the request for a block of code."""
        refused = self.check(f"block {request.endpoint}")
        if refused is not None:
            raise TooManyRequests(response=refused)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing is given back."""

    def check(self, name: str) -> AnyResponse | None:
        """Count the request, once.

        Args:
            name: what the limit stands before.

        Raises:
            TooManyRequests: it is above a rate.

        """
        noted = _noted()
        if id(self) in noted["seen"]:
            return None
        if (self._methods and request.method not in self._methods) or (self._when and not self._when()):
            return None
        noted["seen"].add(id(self))
        return self._count(noted, name)

    def _count(self, noted: dict[str, Any], name: str) -> AnyResponse | None:
        key = _key_text(self._key)
        if not key:
            return None
        scope = self._scope(request.endpoint or "") if callable(self._scope) else self._scope
        found = rules(self._rates()) if callable(self._rates) else self._rates
        cost = self._cost() if callable(self._cost) else self._cost
        wanted = [
            counts.Count("\0".join((scope or name, key, str(rule))).encode(), rule.requests, rule.period, cost)
            for rule in found
        ]
        left = counts.table().hit(wanted, peek=self._deduct_when is not None)
        current = [
            Current(str(rule), rule.requests, rule.period, one.remaining, one.reset, not one.granted)
            for rule, one in zip(found, left, strict=True)
        ]
        noted["current"] += current
        if self._headers:
            _tell(noted)
        refused = [(one, now) for one, now in zip(left, current, strict=True) if not one.granted]
        if refused:
            return self._refuse(max(refused, key=lambda pair: pair[0].wait))
        if self._deduct_when is not None:
            self._deduct_later(self._deduct_when, wanted)
        return None

    def _deduct_later(self, deducts: Callable[[Response], bool], wanted: list[counts.Count]) -> None:
        @after_this_request
        def deduct(response: Response) -> Response:
            if deducts(response):
                counts.table().hit(wanted)
            return response

    def _refuse(self, worst: tuple[counts.Left, Current]) -> AnyResponse | None:
        left, current = worst
        if self._on_breach is not None and (instead := self._on_breach(current)) is not None:
            return instead
        message = self._message() if callable(self._message) else self._message
        raise TooManyRequests(message or current.limit, retry_after=max(1, math.ceil(left.wait)))


def _tell(noted: dict[str, Any]) -> None:
    """Say in the response what is left (draft-ietf-httpapi-ratelimit-headers-10)."""
    if noted.get("told"):
        return
    noted["told"] = True

    @after_this_request
    def tell(response: Response) -> Response:
        found: list[Current] = noted["current"]
        response.headers["RateLimit-Policy"] = ", ".join(
            f'"{one.limit}";q={one.requests};w={one.period}' for one in found
        )
        response.headers["RateLimit"] = ", ".join(
            f'"{one.limit}";r={one.remaining};t={math.ceil(one.reset)}' for one in found
        )
        return response
