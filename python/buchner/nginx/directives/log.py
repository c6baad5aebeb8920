"""ngx_http_log_module: access logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.config.suggest import hint
from buchner.nginx import units
from buchner.nginx.lexer import Token
from buchner.nginx.rows import HTTP, HTTP_SERVER_LOCATION, UNBOUND, WITH_IF, WORDS, no_effect, supported, words

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_log_module"

_GZIP = 1
_MAX_GZIP = 9


def _log_format(scope: Scope, directive: Directive) -> None:
    name, *parts = directive.words
    if parts and parts[0].startswith("escape="):
        escape = parts[0].removeprefix("escape=")
        if escape not in ("default", "json", "none"):
            scope.error(directive.args[1], f'unknown log format escaping "{escape}": default, json and none are known')
        parts = parts[1:]
    else:
        escape = "default"
    if name in scope.state.formats or name == "combined":
        scope.error(directive.args[0], f'the log format "{name}" is defined already')
    scope.state.formats[name] = ("".join(parts), escape)
    first, last = directive.args[-len(parts)] if parts else directive.args[0], directive.args[-1]
    scope.state.places["log_format", name] = Token(first.text, False, first.source, first.start, last.end)


def _access_log(scope: Scope, directive: Directive) -> None:
    path, *rest = directive.args
    if path.text == "off":
        scope.put("access_log", False, path)
        return
    log = gen.AccessLog(path=_place(path.text))
    format_token: Token | None = None
    for position, arg in enumerate(rest):
        name, equals, value = arg.text.partition("=")
        if equals or name == "gzip":
            _parameter(scope, log, arg, name, value if equals else str(_GZIP))
        elif position == 0 and arg.text in scope.state.formats:
            log.format, escape = scope.state.formats[arg.text]
            format_token = scope.state.places["log_format", arg.text]
            if escape != "default":
                log.escape = escape  # type: ignore[assignment]
        elif position == 0 and arg.text != "combined":
            known = [*scope.state.formats, "combined"]
            scope.error(
                arg, f'unknown log format "{arg.text}"{hint(arg.text, known)}: a log_format stands before its use'
            )
        elif position:
            scope.error(arg, f'unknown parameter "{arg.text}" of "access_log"')
    if (path.text.startswith("syslog:") or "$" in path.text) and (log.buffer, log.flush, log.gzip) != (UNSET,) * 3:
        scope.error(path, "logs to syslog and logs with variables in their name cannot be buffered")
    if log.flush is not UNSET and (log.buffer, log.gzip) == (UNSET, UNSET):
        scope.error(path, "no buffer is defined for the access log with flush=")
    if scope.table.access_log is False:
        return  # "off" cancels all of the block, those behind it as well
    logs = scope.table.access_log if isinstance(scope.table.access_log, list) else []
    scope.table.access_log = [*logs, log]
    scope.state.places[(*scope.path, "access_log", len(logs))] = path
    if format_token is not None:
        scope.state.places[(*scope.path, "access_log", len(logs), "format")] = format_token
    scope.state.places.setdefault((*scope.path, "access_log"), directive.token)


def _place(path: str) -> str:
    if path == "/dev/stdout":
        return "-"
    if path.startswith("syslog:") and ",tag=" not in path:
        return f"{path},tag=nginx"
    return path


def _parameter(scope: Scope, log: gen.AccessLog, arg: Token, name: str, value: str) -> None:
    """Read `name=value` behind the format of an access log."""
    try:
        if name == "buffer":
            log.buffer = units.size(value)
        elif name == "flush":
            log.flush = units.milliseconds(value) / 1000
        elif name == "gzip":
            log.gzip = units.number(value)
            if not 1 <= log.gzip <= _MAX_GZIP:
                scope.error(arg, f'invalid compression level "{value}": 1 to {_MAX_GZIP} are')
        elif name == "if":
            log.if_ = value
        else:
            scope.error(arg, f'unknown parameter "{arg.text}" of "access_log"')
    except ValueError as error:
        scope.error(arg, str(error))


DIRECTIVES = [
    supported("log_format", HTTP, words(2, UNBOUND), _log_format, "access_log.format", repeat=True),
    supported("access_log", f"{WITH_IF} limit_except", WORDS, _access_log, "access_log", repeat=True),
    *no_effect(
        "open_log_file_cache",
        HTTP_SERVER_LOCATION,
        words(1, 4),
        "log files stay open; those with variables are opened once a second",
    ),
]
