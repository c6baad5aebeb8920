"""Groups of servers, named in `[upstream]` or implied by a URL."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import UNSET

from buchner.config import addresses
from buchner.config._generated import Upstream, UpstreamServer
from buchner.config.suggest import closest, hint
from buchner.config.values import convert

if TYPE_CHECKING:
    from collections.abc import Callable

    from buchner.config.places import Path, Report

_FLAGS = ("backup", "down")
_NUMBERS = ("weight", "max_fails", "max_conns")
_SETTINGS = ("balance", "key", "host", "keepalive", "keepalive_timeout", "keepalive_requests", "keepalive_time")
_KEYED = ("hash", "consistent_hash")
_HTTP_PORT, _HTTPS_PORT = 80, 443
HTTP = "http"
SCHEMES = {
    HTTP: (HTTP, False),
    "https": (HTTP, True),
    "uwsgi": ("uwsgi", False),
    "suwsgi": ("uwsgi", True),
    "fastcgi": ("fastcgi", False),
    "fastcgis": ("fastcgi", True),
    "scgi": ("scgi", False),
    "scgis": ("scgi", True),
}
"""What URLs of upstreams begin with: the language that is spoken there, and whether inside TLS."""
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)


class Target(NamedTuple):
    """Where a proxy URL leads.

    Args:
        authority: ``name``, ``host:port``, ``unix:/path``.
        uri: the URI, if it has one.
        tls: it is spoken to in TLS.
        language: what is spoken there.
    """

    authority: str
    uri: str | None
    tls: bool = False
    language: str = HTTP


@lru_cache(4096)
def target(url: str) -> Target:
    """Read the URL of a proxy: ``http://name``, ``https://host:port/uri``, ``http://unix:/path:/uri``, ``uwsgi://host:port``.

    Raises:
        ValueError: it is no such URL; the message says what is.

    """
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError(f'"{url}" is not a URL: write http://{url}' if url else "is empty: http://host:port is a URL")
    scheme, rest = found["scheme"].lower(), found["rest"]
    if scheme not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise ValueError(f'"{found["scheme"]}://" is not supported as an upstream; {known} are')
    language, tls = SCHEMES[scheme]
    if rest.startswith("unix:"):
        path, colon, uri = rest[len("unix:") :].partition(":")
        if colon and language != HTTP:
            raise ValueError(f'"{url}" has a URI, which {language} knows nothing of: take ":{uri}" away')
        return Target(addresses.unix(f"unix:{path}"), (uri or "/") if colon else None, tls, language)
    cut = re.search(r"[/?#]", rest)
    authority, uri = (rest[: cut.start()], rest[cut.start() :]) if cut else (rest, "")
    if uri and language != HTTP:
        raise ValueError(f'"{url}" has a URI, which {language} knows nothing of: take "{uri}" away')
    if not authority:
        raise ValueError(f'"{url}" names no server: {language}://host:port does')
    if "@" in authority:
        raise ValueError(f'"{url}": a user name is not allowed in the URL of an upstream')
    return Target(authority, (uri if uri.startswith("/") else f"/{uri}") if uri else None, tls, language)


def implied(authority: str, *, tls: bool, language: str = HTTP) -> str:
    """Return the name of the upstream that a URL stands for, if no `[upstream]` has the name of its authority.

    Raises:
        ValueError: the authority is no address.

    """
    named = next(scheme for scheme, spoken in SCHEMES.items() if spoken == (language, tls))
    if not authority.startswith("unix:"):
        authority = addresses.upstream(authority, _HTTPS_PORT if named == "https" else _HTTP_PORT)
    return authority if named == HTTP else f"{named}://{authority}"


class Upstreams:
    """The upstreams of the plan; those that only URLs name are added as they are met.

    Args:
        tables: `[upstream]` as written.
        report: takes the problems.
    """

    def __init__(self, tables: dict[str, Upstream], report: Report) -> None:
        self.report = report
        self.named = tables
        self.plan: dict[str, dict[str, Any]] = {name: self._upstream(name, table) for name, table in tables.items()}
        self.used: set[str] = set()
        self.encrypted = False
        """Servers may be spoken to in TLS."""
        self.languages: dict[str, str] = {}
        """What is spoken to each upstream: a kept connection cannot change its language."""

    def by_url(self, url: str, path: Path) -> dict[str, Any] | None:
        """Return the plan's `Proxy` for a URL, or None after reporting what is wrong."""
        try:
            authority, uri, tls, language = target(url)
            name = authority if authority in self.named else self._implied(authority, tls=tls, language=language)
            self._speak(name, language)
        except ValueError as error:
            self.report.error(path, str(error))
            return None
        self.used.add(name)
        plan: dict[str, Any] = {"upstream": name}
        if language != HTTP:
            plan["language"] = language
        if tls:
            plan["tls"] = self.encrypted = True
        if uri is not None:
            plan["uri"] = uri
        if authority != name:
            plan["authority"] = authority
        return plan

    def by_variables(self, url: str) -> None:
        """Note that a URL with variables may lead to any upstream."""
        self.encrypted = self.encrypted or not url.lower().startswith("http://")
        self.used.update(self.named)

    def _speak(self, name: str, language: str) -> None:
        before = self.languages.setdefault(name, language)
        if before != language:
            raise ValueError(f'"{name}" is spoken to in {before} by another route: it needs an upstream for {language}')

    def by_name(self, name: str, path: Path, language: str = HTTP) -> None:
        """Check that `name` is an upstream, and spoken to in one language."""
        if name in self.named:
            self.used.add(name)
            try:
                self._speak(name, language)
            except ValueError as error:
                self.report.error(path, str(error))
        else:
            known = f"; known are {', '.join(sorted(self.named))}" if self.named else "; no [upstream] is defined"
            self.report.error(path, f'unknown upstream "{name}"{hint(name, self.named) or known}')

    def check_keys(self, check: Callable[[str, Path], None]) -> None:
        """Have the variables of the keys checked, now that all are known."""
        for name, table in self.named.items():
            if isinstance(table.key, str):
                check(table.key, ("upstream", name, "key"))

    def warn_unused(self) -> None:
        """Warn of upstreams no route leads to."""
        for name in self.named:
            if name not in self.used:
                self.report.warn(("upstream", name), f'no route uses the upstream "{name}"', key=True)

    def _implied(self, authority: str, *, tls: bool, language: str) -> str:
        if authority.startswith("unix:"):
            name = implied(authority, tls=tls, language=language)
            self.plan.setdefault(name, {"server": [{"address": authority}], "host": "localhost"})
            return name
        host, port = addresses.split(authority)
        if port is None and "." not in host and closest(host, self.named):
            raise ValueError(f'unknown upstream "{host}"{hint(host, self.named)}')
        if port is None and language != HTTP:
            raise ValueError(f'"{authority}" has no port: {language}://{authority}:9000 has one')
        name = implied(authority, tls=tls, language=language)
        if port == 0:
            raise ValueError(f'"{authority}" has no usable port')
        if name not in self.plan:
            shown = host if port in (None, _HTTPS_PORT if tls else 80) else authority
            self.plan[name] = {"server": [{"address": name.rpartition("://")[2]}], "host": shown}
        return name

    def _upstream(self, name: str, table: Upstream) -> dict[str, Any]:
        path: Path = ("upstream", name)
        plan = convert(table, _SETTINGS, path, self.report)
        plan["server"] = [self._server(server, (*path, "servers", index)) for index, server in enumerate(table.servers)]
        self._check_key(table, path)
        if not table.servers:
            self.report.error(path, f'the upstream "{name}" has no server')
        elif all(server.get("down") for server in plan["server"]):
            self.report.warn(path, f'all servers of the upstream "{name}" are down', key=True)
        return plan

    def _check_key(self, table: Upstream, path: Path) -> None:
        """A key is what hashes choose by, and nothing else does."""
        keyed = table.balance in _KEYED
        if keyed and not table.key:
            self.report.error((*path, "balance"), f'"{table.balance}" needs a `key`, such as "$request_uri"')
        elif table.key is not UNSET and not keyed:
            words = " and ".join(f'"{word}"' for word in _KEYED)
            self.report.error((*path, "key"), f"only the balances {words} have a key")

    def _server(self, server: str | UpstreamServer, path: Path) -> dict[str, Any]:
        if isinstance(server, str):
            server = self._short_form(server, path)
        plan = convert(server, (), path, self.report)
        if plan.get("weight") == 0:
            self.report.error(path, "a weight is at least 1; `down` keeps a server from being used")
        try:
            plan["address"] = addresses.upstream(server.address)
        except ValueError as error:
            self.report.error(path, str(error))
        return plan

    def _short_form(self, text: str, path: Path) -> UpstreamServer:
        """Read ``127.0.0.1:5000 weight=2 backup``."""
        address, *options = text.split() or [""]
        server = UpstreamServer(address=address)
        for option in options:
            name, equals, value = option.partition("=")
            if name in _FLAGS and not equals:
                setattr(server, name, True)
            elif name in _NUMBERS and value.isdecimal():
                setattr(server, name, int(value))
            elif name == "fail_timeout" and value:
                server.fail_timeout = value
            elif name in (*_FLAGS, *_NUMBERS, "fail_timeout"):
                self.report.error(path, f'"{option}" is not valid: {name}{"" if name in _FLAGS else "=NUMBER"} is')
            else:
                known = (*_FLAGS, *_NUMBERS, "fail_timeout")
                self.report.error(path, f'unknown option "{name}" of an upstream server{hint(name, known)}')
        return server


def tables(upstream: object) -> dict[str, Upstream]:
    """Return `[upstream]`, empty if it is not written."""
    return {} if upstream is UNSET or not isinstance(upstream, dict) else upstream
