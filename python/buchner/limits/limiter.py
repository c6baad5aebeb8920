"""Flask-Limiter's interface: `from buchner.limits import Limiter` in place of `from flask_limiter import Limiter`.

Counts are those of `buchner.limits.limit`: shared by all workers, without a storage to set up. A rate is a bucket:
`10/minute` grants ten at once and one more every six seconds, where Flask-Limiter's default strategy grants ten more
when its minute is over.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Self, TypeVar

from flask import Blueprint, Flask, current_app, request

from buchner import counts
from buchner.limits.decorator import MARK, Current, current_limit
from buchner.limits.decorator import limit as Limit  # noqa: N812 - `Limiter.limit` is Flask-Limiter's name
from buchner.limits.util import get_remote_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flask import Response
    from werkzeug.wrappers import Response as AnyResponse

    Rates = str | Callable[[], str]
    Key = Callable[[], str | None]

Target = TypeVar("Target")
_LOCAL = ("", "memory://")


class Limiter:
    """Limits of an app, as Flask-Limiter declares them.

    Args:
        key_func: what is counted by. Default: the client's address.
        app: the app; `init_app` takes one later.
        default_limits: of every view that has none of its own, each view by itself.
        default_limits_exempt_when: says whether the defaults don't hold for the request.
        application_limits: of all views together.
        headers_enabled: responses have `X-RateLimit-Limit`, `-Remaining` and `-Reset`.
        enabled: without, nothing is counted.
        on_breach: called with the limit when a request is refused; a response it returns is sent.
        storage_uri: where Flask-Limiter counts; only `memory://` is taken, as workers share their counts.
        strategy: Flask-Limiter's word for how it counts; a bucket takes the place of all of them.
        key_prefix: goes before all keys.

    Raises:
        ValueError: a rate is none, or the storage is another one.

    """

    def __init__(  # noqa: PLR0913 - Flask-Limiter's arguments
        self,
        key_func: Key | Flask | None = None,
        *,
        app: Flask | None = None,
        default_limits: Iterable[Rates] = (),
        default_limits_exempt_when: Callable[[], bool] | None = None,
        application_limits: Iterable[Rates] = (),
        headers_enabled: bool = False,
        enabled: bool = True,
        on_breach: Callable[[Current], AnyResponse | None] | None = None,
        storage_uri: str | None = None,
        strategy: str | None = None,
        key_prefix: str = "",
    ) -> None:
        if isinstance(key_func, Flask):
            raise TypeError("the app is given by name, as Flask-Limiter has it since 3.0: Limiter(key_func, app=app)")
        if (storage_uri or "") not in _LOCAL:
            raise ValueError(f'storage_uri: "{storage_uri}" is not taken: workers share their counts without one')
        del strategy
        self._key: Key = key_func or get_remote_address
        self._prefix = key_prefix
        self._on_breach = on_breach
        self._headers = headers_enabled
        self.enabled = enabled
        exempt = default_limits_exempt_when
        when = None if exempt is None else lambda: not exempt()
        self._defaults = [self._limit(one, scope=_of_endpoint, when=when) for one in default_limits]
        self._application = [self._limit(one, scope="application") for one in application_limits]
        self._filters: list[Callable[[], bool]] = []
        self._exempt_views: set[str] = set()
        self._exempt_blueprints: set[str] = set()
        self._blueprints: dict[str, list[tuple[Limit, bool]]] = {}
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Count the requests of an app."""
        self.enabled = self.enabled and app.config.get("RATELIMIT_ENABLED", True)
        self._headers = app.config.get("RATELIMIT_HEADERS_ENABLED", self._headers)
        default = app.config.get("RATELIMIT_DEFAULT")
        if default and not self._defaults:
            self._defaults = [self._limit(default, scope=_of_endpoint)]
        app.before_request(self._before)
        app.after_request(self._after)
        app.extensions["limiter"] = {self}

    def limit(  # noqa: PLR0913 - Flask-Limiter's arguments
        self,
        limit_value: Rates,
        *,
        key_func: Key | None = None,
        per_method: bool = False,
        methods: Iterable[str] | None = None,
        error_message: str | Callable[[], str] | None = None,
        exempt_when: Callable[[], bool] | None = None,
        override_defaults: bool = True,
        deduct_when: Callable[[Response], bool] | None = None,
        on_breach: Callable[[Current], AnyResponse | None] | None = None,
        cost: Callable[[], int] | int = 1,
        scope: str | Callable[[str], str] | None = None,
    ) -> _Decorator:
        """Return a limit for a view, a blueprint or a `with` block."""
        exempt = exempt_when
        made = self._limit(
            limit_value,
            key=key_func,
            per_method=per_method,
            methods=methods,
            message=error_message,
            when=None if exempt is None else lambda: not exempt(),
            deduct_when=deduct_when,
            on_breach=on_breach,
            cost=cost,
            scope=scope,
        )
        return _Decorator(self, made, override_defaults)

    def shared_limit(self, limit_value: Rates, scope: str | Callable[[str], str], **options: Any) -> _Decorator:
        """Return a limit that all views with the same scope share."""
        return self.limit(limit_value, scope=scope, **options)

    def exempt(self, target: Target) -> Target:
        """Take a view or a blueprint out of the default and the application's limits."""
        if isinstance(target, Blueprint):
            self._exempt_blueprints.add(target.name)
        else:
            self._exempt_views.add(_name(target))
        return target

    def request_filter(self, function: Callable[[], bool]) -> Callable[[], bool]:
        """Count no request for which a function returns True."""
        self._filters.append(function)
        return function

    def check(self) -> None:
        """Count the request in the limits of its view."""
        self._before()

    def reset(self) -> None:
        """Forget all counts."""
        counts.table().clear()

    @property
    def current_limit(self) -> Current | None:
        """What the request has left."""
        return current_limit()

    def counts(self) -> bool:
        """Whether the request is counted."""
        return self.enabled and not any(passes() for passes in self._filters)

    def add(self, blueprint: str, made: Limit, *, overrides: bool) -> None:
        """Put a limit before a blueprint."""
        self._blueprints.setdefault(blueprint, []).append((made, overrides))

    def _limit(
        self,
        rates: Rates,
        *,
        key: Key | None = None,
        per_method: bool = False,
        scope: str | Callable[[str], str] | None = None,
        when: Callable[[], bool] | None = None,
        on_breach: Callable[[Current], AnyResponse | None] | None = None,
        **options: Any,
    ) -> Limit:
        function = key or self._key

        def prefixed() -> str | None:
            found = function()
            if not found:
                return None
            return "\1".join((self._prefix, request.method if per_method else "", str(found)))

        def holds() -> bool:
            return self.counts() and (when is None or when())

        breach = on_breach or self._on_breach
        return Limit(rates, prefixed, scope=scope, when=holds, on_breach=breach, headers=False, **options)

    def _before(self) -> AnyResponse | None:
        view = current_app.view_functions.get(request.endpoint or "")
        if view is None or request.endpoint == "static" or _name(view) in self._exempt_views:
            return None
        blueprints = request.blueprints
        if self._exempt_blueprints.intersection(blueprints):
            return None
        own = [pair for name in blueprints for pair in self._blueprints.get(name, ())]
        overridden = any(overrides for _, overrides in own) or any(
            getattr(one, "overrides_defaults", True) for one in getattr(view, MARK, ())
        )
        limits: list[Limit] = [*self._application, *(one for one, _ in own), *(() if overridden else self._defaults)]
        for one in limits:
            instead = one.check(f"{request.endpoint}")
            if instead is not None:
                return instead
        return None

    def _after(self, response: Response) -> Response:
        current = current_limit()
        if self._headers and current is not None:
            response.headers["X-RateLimit-Limit"] = str(current.requests)
            response.headers["X-RateLimit-Remaining"] = str(current.remaining)
            response.headers["X-RateLimit-Reset"] = str(math.ceil(time.time() + current.reset))
        return response


class _Decorator:
    """What `Limiter.limit` returns."""

    def __init__(self, limiter: Limiter, made: Limit, overrides: bool) -> None:
        self._limiter = limiter
        self._limit = made
        self._overrides = overrides

    def __call__(self, target: Target) -> Target:
        """Put the limit before a view or a blueprint."""
        if isinstance(target, Blueprint):
            self._limiter.add(target.name, self._limit, overrides=self._overrides)
            return target
        self._limit.overrides_defaults = self._overrides
        return self._limit(target)

    def __enter__(self) -> Self:
        """Count the request for a block of code."""
        self._limit.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is given back."""


def _of_endpoint(endpoint: str) -> str:
    return f"default {endpoint}"


def _name(view: Any) -> str:
    return f"{getattr(view, '__module__', '')}.{getattr(view, '__qualname__', type(view).__name__)}"
