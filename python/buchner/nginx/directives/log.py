"""ngx_http_log_module: access logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buchner.config import _generated as gen
from buchner.config.suggest import hint
from buchner.nginx import units
from buchner.nginx.rows import HTTP, HTTP_SERVER_LOCATION, UNBOUND, WITH_IF, WORDS, no_effect, supported, words

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_log_module"


def _log_format(scope: Scope, directive: Directive) -> None:
    name, *parts = directive.words
    if parts and parts[0].startswith("escape="):
        if parts[0] != "escape=default":
            scope.error(directive.args[1], f'"{parts[0]}" is not supported yet; the format "json" is built in')
        parts = parts[1:]
    if name in scope.state.formats or name == "combined":
        scope.error(directive.args[0], f'the log format "{name}" is defined already')
    scope.state.formats[name] = "".join(parts)
    scope.state.places["log_format", name] = directive.args[0]


def _access_log(scope: Scope, directive: Directive) -> None:
    path, *rest = directive.args
    if path.text == "off":
        scope.put("access_log", False, path)
        return
    if path.text.startswith("syslog:") or "$" in path.text:
        scope.error(path, f'"{path.text}": access logs go to a file; this is not supported yet')
    log = gen.AccessLog(path="-" if path.text == "/dev/stdout" else path.text)
    for position, arg in enumerate(rest):
        name, equals, value = arg.text.partition("=")
        if equals and name in ("buffer", "flush"):
            try:  # lines are always buffered and written within a second
                units.size(value) if name == "buffer" else units.milliseconds(value)
            except ValueError as error:
                scope.error(arg, str(error))
            continue
        if name in ("gzip", "if"):
            scope.error(arg, f'"{name}" of "access_log" is not supported yet')
        elif position == 0 and arg.text in scope.state.formats:
            log.format = scope.state.formats[arg.text]
        elif position == 0 and arg.text != "combined":
            known = [*scope.state.formats, "combined"]
            scope.error(
                arg, f'unknown log format "{arg.text}"{hint(arg.text, known)}: a log_format stands before its use'
            )
        elif position:
            scope.error(arg, f'unknown parameter "{arg.text}" of "access_log"')
    logs = scope.table.access_log if isinstance(scope.table.access_log, list) else []
    scope.table.access_log = [*logs, log]
    scope.state.places[(*scope.path, "access_log", len(logs))] = path
    scope.state.places.setdefault((*scope.path, "access_log"), directive.token)


DIRECTIVES = [
    supported("log_format", HTTP, words(2, UNBOUND), _log_format, "access_log.format", repeat=True),
    supported("access_log", f"{WITH_IF} limit_except", WORDS, _access_log, "access_log", repeat=True),
    *no_effect("open_log_file_cache", HTTP_SERVER_LOCATION, words(1, 4), "log files stay open anyway"),
]
