"""The core module: the process, and ``events``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.nginx.directives.values import accepted, ignored, on_off
from buchner.nginx.scope import UNBOUND, row

if TYPE_CHECKING:
    from buchner.nginx.lexer import Token
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope


def _put(scope: Scope, name: str, value: object, token: Token) -> None:
    if scope.state.document.gateway is UNSET:
        scope.state.document.gateway = gen.Gateway()
    setattr(scope.state.document.gateway, name, value)
    scope.state.places["gateway", name] = token


def _user(scope: Scope, directive: Directive) -> None:
    _put(scope, "user", directive.words[0], directive.args[0])
    if len(directive.args) > 1:
        _put(scope, "group", directive.words[1], directive.args[1])


def _worker_processes(scope: Scope, directive: Directive) -> None:
    word = directive.words[0]
    if word == "auto":
        return
    if not word.isdecimal() or int(word) == 0:
        scope.error(directive.args[0], f'"{word}" is neither a number from 1 nor "auto"')
        return
    _put(scope, "io_threads", int(word), directive.args[0])


def _pid(scope: Scope, directive: Directive) -> None:
    _put(scope, "pid_file", directive.words[0], directive.args[0])


def _error_log(scope: Scope, directive: Directive) -> None:
    target = directive.words[0]
    if target.startswith(("syslog:", "memory:")):
        scope.error(directive.args[0], f'"{target}": error logs go to a file or to stderr; this is not supported yet')
    elif scope.kind in ("main", "http") and (scope.kind == "main" or "error_log" not in (scope.parent or scope).seen):
        _put(scope, "error_log", "-" if target == "stderr" else target, directive.args[0])


def _master_process(scope: Scope, directive: Directive) -> None:
    on_off(scope, directive)


_TUNING = [
    "worker_rlimit_nofile",
    "worker_rlimit_core",
    "worker_cpu_affinity",
    "worker_priority",
    "worker_shutdown_timeout",
    "pcre_jit",
    "timer_resolution",
    "thread_pool",
    "lock_file",
]
_EVENTS = ["worker_connections", "use", "multi_accept", "accept_mutex", "accept_mutex_delay", "worker_aio_requests"]
_OWN_TUNING = "needs nothing: the gateway adapts by itself"

DIRECTIVES = [
    ("user", row("main", (1, 2), _user, "gateway.user, gateway.group")),
    ("worker_processes", row("main", 1, _worker_processes, "gateway.io_threads; `auto` is the default")),
    ("pid", row("main", 1, _pid, "gateway.pid_file")),
    ("daemon", row("main", 1, accepted, "nothing: `buchner run` stays in the foreground")),
    ("master_process", row("main", 1, _master_process, "nothing: there always is a supervisor")),
    ("error_log", row("main http server location", (1, 2), _error_log, "gateway.error_log", repeat=True)),
    (
        "load_module",
        row("main", 1, ignored("modules of nginx cannot be loaded"), "nothing, with a warning", repeat=True),
    ),
    *((name, row("main", (1, UNBOUND), accepted, _OWN_TUNING)) for name in _TUNING),
    *((name, row("events", (1, UNBOUND), accepted, _OWN_TUNING)) for name in _EVENTS),
]
