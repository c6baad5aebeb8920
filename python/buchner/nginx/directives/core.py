"""ngx_core_module and ngx_events_module: the process and its connections."""

from __future__ import annotations

import grp
import os
import pwd
from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.config.suggest import hint
from buchner.nginx import blocks, units
from buchner.nginx.directives.modules import load_module
from buchner.nginx.rows import (
    EVENTS,
    FILE_SIZE,
    FLAG,
    HTTP_SERVER_LOCATION,
    MAIN,
    NOTHING,
    NUMBER,
    ONE,
    TIME,
    WORD,
    WORDS,
    Kind,
    keep,
    no_effect,
    one_of,
    supported,
    words,
)

if TYPE_CHECKING:
    from buchner.nginx.lexer import Token
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_core_module"


def _put(scope: Scope, name: str, value: object, token: Token) -> None:
    if scope.state.document.gateway is UNSET:
        scope.state.document.gateway = gen.Gateway()
    setattr(scope.state.document.gateway, name, value)
    scope.state.places["gateway", name] = token


def _user(scope: Scope, directive: Directive) -> None:
    if os.geteuid() != 0:
        scope.warn(directive.token, '"user" has no effect: only root can become another user')
        return
    for arg, look_up, what in zip(directive.args, (pwd.getpwnam, grp.getgrnam), ("user", "group"), strict=False):
        try:
            look_up(arg.text)
        except KeyError:
            scope.error(arg, f'there is no {what} "{arg.text}" on this machine')
            return
    _put(scope, "user", directive.words[0], directive.args[0])
    if len(directive.args) > 1:
        _put(scope, "group", directive.words[1], directive.args[1])


def _worker_processes(scope: Scope, directive: Directive) -> None:
    word = directive.words[0]
    if word == "auto":
        return
    if not (word.isascii() and word.isdecimal()) or int(word) == 0:
        scope.error(directive.args[0], f'"{word}" is neither a number from 1 nor "auto"')
        return
    _put(scope, "io_threads", int(word), directive.args[0])


def _pid(scope: Scope, directive: Directive) -> None:
    _put(scope, "pid_file", directive.words[0], directive.args[0])


def _error_log(scope: Scope, directive: Directive) -> None:
    target, level = directive.words[0], "error"
    for arg in directive.args[1:]:
        if arg.text not in LEVELS:
            scope.error(arg, f'"{arg.text}" is no level of a log: {", ".join(LEVELS)} are{hint(arg.text, LEVELS)}')
            return
        level = arg.text
    if target.startswith("memory:"):
        scope.refuse(
            directive.args[0], target, "error logs go to files, stderr and syslog; a ring in memory is nobody's"
        )
        return
    if target.startswith("syslog:") and ",tag=" not in target:
        target = f"{target},tag=nginx"
    path = "-" if target == "stderr" else target
    logs = scope.values.setdefault("error_log", [])
    logs.append(gen.ErrorLog(path=path, level=level))  # type: ignore[arg-type] # one of LEVELS
    outermost = scope.kind == "main" or (scope.kind == "http" and "error_log" not in (scope.parent or scope).seen)
    if outermost and len(logs) == 1 and not path.startswith("syslog:"):
        # The process's own; requests have no others then.
        _put(scope, "error_log", path, directive.args[0])
        _put(scope, "error_level", level, directive.args[0])
    else:
        scope.put("error_log", list(logs), directive.args[0])


def _shutdown_timeout(scope: Scope, directive: Directive) -> None:
    _put(scope, "shutdown_timeout", directive.values[0] / 1000, directive.args[0])


def _open_files(scope: Scope, directive: Directive) -> None:
    _put(scope, "open_files", directive.values[0], directive.args[0])


def _thread_pool(text: str) -> str:
    name, equals, value = text.partition("=")
    if equals and (name not in ("threads", "max_queue") or units.number(value) == 0):
        raise ValueError(f'"{text}" is neither threads=NUMBER nor max_queue=NUMBER')
    return text


def _priority(text: str) -> int:
    return units.number(text.removeprefix("-"))


LEVELS = ("debug", "info", "notice", "warn", "error", "crit", "alert", "emerg")
"""Levels of an error log, from what is said most often to what is never kept back."""
_METHODS = ("select", "poll", "epoll")
_ADAPTS = "the gateway adapts by itself"
_KERNEL = "there is one process, woken by the kernel in the order of arrival"

_ERROR_LOG = "gateway.error_log and gateway.error_level for the process; error_log for what concerns requests"

DIRECTIVES = [
    supported("user", MAIN, words(1, 2), _user, "gateway.user, gateway.group"),
    supported("worker_processes", MAIN, WORD, _worker_processes, "gateway.io_threads; `auto` is the default"),
    supported("pid", MAIN, WORD, _pid, "gateway.pid_file"),
    supported("error_log", f"{MAIN} {HTTP_SERVER_LOCATION}", WORDS, _error_log, _ERROR_LOG, repeat=True),
    supported("events", MAIN, NOTHING, blocks.events, "nothing: a block", block=True),
    supported("daemon", MAIN, FLAG, keep, "gateway.daemon; `buchner run` stays in the foreground"),
    *no_effect("master_process", MAIN, FLAG, "there always is a supervisor"),
    supported(
        "load_module", MAIN, WORD, load_module, "nothing: what a module brings is refused where it is used", repeat=True
    ),
    *no_effect("include", "", WORD, "carried out by the parser, everywhere"),
    supported("worker_rlimit_nofile", MAIN, NUMBER, _open_files, "gateway.open_files"),
    *no_effect("worker_rlimit_core", MAIN, FILE_SIZE, "the limit of whoever starts Buchner holds"),
    *no_effect("worker_cpu_affinity", MAIN, WORDS, "threads are left to the kernel's scheduler"),
    *no_effect("worker_priority", MAIN, Kind(ONE, (_priority,)), "start Buchner with nice(1)"),
    supported("worker_shutdown_timeout", MAIN, TIME, _shutdown_timeout, "gateway.shutdown_timeout"),
    *no_effect("pcre_jit", MAIN, FLAG, "regular expressions are always compiled to machine code where PCRE2 can"),
    *no_effect("timer_resolution", MAIN, TIME, "the clock is read once per turn of the event loop"),
    *no_effect(
        "thread_pool", MAIN, Kind(range(2, 4), (str, _thread_pool)), "file I/O has threads of its own", repeat=True
    ),
    *no_effect("lock_file", MAIN, WORD, "no lock file is needed"),
    *no_effect("ssl_engine", MAIN, WORD, "keys are used by this process itself, never by an engine"),
    *no_effect("ssl_object_cache_inheritable", MAIN, FLAG, "certificates are read again when their files have changed"),
    *no_effect("debug_points", MAIN, one_of("stop", "abort"), "debugging nginx's own code"),
    *no_effect("env", MAIN, WORD, "nothing in the gateway reads it; apps have their own `env`", repeat=True),
    *no_effect("working_directory", MAIN, WORD, "relative names do not start from it, and no core files are made"),
    *no_effect("worker_connections", EVENTS, NUMBER, _ADAPTS),
    *no_effect("use", EVENTS, one_of(*_METHODS), "the best method of the system is used"),
    *no_effect("multi_accept accept_mutex", EVENTS, FLAG, _KERNEL),
    *no_effect("accept_mutex_delay", EVENTS, TIME, _KERNEL),
    *no_effect("worker_aio_requests", EVENTS, NUMBER, "file I/O has threads of its own"),
    *no_effect("debug_connection", EVENTS, WORD, "debugging nginx's own code", repeat=True),
    *no_effect("stall_threshold", EVENTS, TIME, "a measurement of nginx's own event loop"),
]
