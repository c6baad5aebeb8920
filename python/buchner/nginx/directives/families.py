"""ngx_http_uwsgi_module, ngx_http_fastcgi_module, ngx_http_scgi_module: applications that get CGI variables.

What their directives say has settings of ``proxy_…``, which gateway.toml has once. So each family keeps what it says
apart, block by block, and where a ``…_pass`` of it stands that is put together: what is said in no block around is as
nginx has it, whatever ``proxy_…`` says there.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.config import upstreams
from buchner.nginx.directives import proxy
from buchner.nginx.inherit import effective
from buchner.nginx.rows import (
    FLAG,
    HTTP,
    HTTP_SERVER_LOCATION,
    WORD,
    WORDS,
    Inherit,
    Kind,
    Row,
    no_effect,
    put,
    refused,
    supported,
    words,
)

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.rows import Handler
    from buchner.nginx.scope import Scope

_ALL = HTTP_SERVER_LOCATION
_SHARED = (
    "connect_timeout send_timeout read_timeout buffering request_buffering intercept_errors pass_request_headers "
    "pass_request_body hide_header pass_header ignore_headers next_upstream next_upstream_timeout next_upstream_tries "
    "bind limit_rate force_ranges ignore_client_abort socket_keepalive buffer_size busy_buffers_size "
    "temp_file_write_size buffers temp_path max_temp_file_size socket_rcvbuf socket_sndbuf cache store "
    "cache_background_update cache_lock cache_revalidate cache_bypass no_cache cache_valid cache_purge cache_use_stale "
    "cache_methods cache_key cache_min_uses cache_max_range_offset cache_lock_age cache_lock_timeout store_access "
    "allow_upstream bind_dynamic request_dynamic"
)
"""What each family has as ``proxy_…`` has it."""
_AS_NGINX = {
    "connect_timeout": 60,
    "upstream_send_timeout": 60,
    "read_timeout": 60,
    "buffering": True,
    "request_buffering": True,
    "intercept_errors": False,
    "proxy_pass_request_headers": True,
    "proxy_pass_request_body": True,
    "proxy_hide_headers": [],
    "proxy_pass_headers": [],
    "proxy_ignore_headers": [],
    "proxy_next_upstream": ["error", "timeout"],
    "proxy_next_upstream_timeout": 0,
    "proxy_next_upstream_tries": 0,
    "proxy_bind": "",
    "proxy_limit_rate": "0",
    "proxy_force_ranges": False,
    "proxy_ignore_client_abort": False,
    "proxy_socket_keepalive": False,
    "buffer_spool": 1 << 30,
    "proxy_method": UNSET,
    "proxy_set_body": UNSET,
    "cgi_params": {},
    "uwsgi_modifier1": UNSET,
    "uwsgi_modifier2": UNSET,
    "fastcgi_keep_conn": UNSET,
    "fastcgi_index": UNSET,
    "fastcgi_split_path_info": UNSET,
    "fastcgi_catch_stderr": UNSET,
}
"""The settings of a family, and what they are where no directive says anything."""


def _apart(family: str, handler: Handler) -> Handler:
    """Return a handler that does the same to what a family says in this block."""

    def handle(scope: Scope, directive: Directive) -> None:
        own = copy.copy(scope)
        own.table = scope.families.setdefault(family, gen.Route(path=""))
        handler(own, directive)

    return handle


def _together(scope: Scope, family: str) -> None:
    """Give a block with a ``…_pass`` what its family says in it and in the blocks around it."""
    scope.table.cgi_default_params = False
    for setting, default in _AS_NGINX.items():
        around: Scope | None = scope
        value: Any = UNSET
        while around is not None and value is UNSET:
            value = getattr(around.families.get(family), setting, UNSET)
            around = around.parent
        if value is UNSET and effective(scope, setting) is not UNSET:
            value = default
        if value is not UNSET:
            setattr(scope.table, setting, value)


def _pass(family: str) -> Handler:
    def handle(scope: Scope, directive: Directive) -> None:
        arg = directive.args[0]
        url = arg.text if "://" in arg.text else f"{family}://{arg.text}"
        scope.finish.append(lambda: _together(scope, family))
        if "$" in url:
            scope.put("proxy", gen.Proxy(url=url), arg)
            return
        try:
            target = upstreams.target(url)
            if target.language != family or target.tls:
                raise ValueError(f'"{arg.text}" is not spoken to in {family} without TLS')  # noqa: TRY301
        except ValueError as error:
            scope.error(arg, str(error))
            return
        scope.state.proxied.setdefault((target.authority, target.tls, family), arg)
        scope.put("proxy", url, arg)

    return handle


def _param(scope: Scope, directive: Directive) -> None:
    params = {} if scope.table.cgi_params is UNSET else scope.table.cgi_params
    name, value, *flags = directive.words
    if flags and flags != ["if_not_empty"]:
        scope.error(directive.args[2], f'"{flags[0]}" is not "if_not_empty"')
        return
    param = gen.CgiParamTable(value=value, if_not_empty=True) if flags else value
    scope.put("cgi_params", {**params, name: param}, directive.args[0])


def _modifier(setting: str) -> Handler:
    def handle(scope: Scope, directive: Directive) -> None:
        word = directive.words[0]
        if not word.isdecimal() or int(word) > 255:  # noqa: PLR2004 - a byte
            scope.error(directive.args[0], f'"{word}" is not a number from 0 to 255')
            return
        scope.put(setting, int(word), directive.args[0])

    return handle


def _catch(scope: Scope, directive: Directive) -> None:
    own = scope.table.fastcgi_catch_stderr
    scope.put("fastcgi_catch_stderr", [*(() if own is UNSET else own), directive.words[0]], directive.args[0])


def _shared(family: str) -> list[Row]:
    """Return the rows that are those of ``proxy_…`` under other names."""
    rows = {row.name: row for row in proxy.DIRECTIVES}
    found = (rows[f"proxy_{name}"] for name in _SHARED.split())
    return [
        dataclasses.replace(
            row, name=row.name.replace("proxy", family, 1), handler=_apart(family, row.handler), sets=()
        )
        for row in found
    ]


def _own(family: str, name: str, kind: Kind, handler: Handler, becomes: str, *, repeat: bool = False) -> Row:
    return supported(f"{family}_{name}", _ALL, kind, _apart(family, handler), becomes, repeat=repeat)


def _family(family: str) -> list[Row]:
    return [
        supported(f"{family}_pass", "location location_if", WORD, _pass(family), "route.proxy", inherit=Inherit.BLOCKS),
        *_shared(family),
        _own(family, "param", words(2, 3), _param, "cgi_params", repeat=True),
        *refused(f"{family}_cache_path", HTTP, "caching is not supported yet"),
    ]


_TLS = "no application is spoken to in TLS: `uwsgi_pass suwsgi://…` is refused"
_TLS_NAMES = (
    "ssl_certificate ssl_certificate_cache ssl_certificate_key ssl_ciphers ssl_conf_command ssl_crl ssl_key_log "
    "ssl_name ssl_password_file ssl_protocols ssl_server_name ssl_session_reuse ssl_trusted_certificate ssl_verify "
    "ssl_verify_depth"
)

MODULES = {
    "ngx_http_uwsgi_module": [
        *_family("uwsgi"),
        _own("uwsgi", "modifier1", WORD, _modifier("uwsgi_modifier1"), "uwsgi_modifier1"),
        _own("uwsgi", "modifier2", WORD, _modifier("uwsgi_modifier2"), "uwsgi_modifier2"),
        *no_effect(" ".join(f"uwsgi_{name}" for name in _TLS_NAMES.split()), _ALL, WORDS, _TLS, repeat=True),
    ],
    "ngx_http_fastcgi_module": [
        *_family("fastcgi"),
        _own("fastcgi", "keep_conn", FLAG, put("fastcgi_keep_conn"), "fastcgi_keep_conn"),
        _own("fastcgi", "index", WORD, put("fastcgi_index"), "fastcgi_index"),
        _own("fastcgi", "catch_stderr", WORD, _catch, "fastcgi_catch_stderr", repeat=True),
        supported(
            "fastcgi_split_path_info",
            "location",
            WORD,
            _apart("fastcgi", put("fastcgi_split_path_info")),
            "fastcgi_split_path_info",
        ),
        *no_effect("fastcgi_send_lowat", _ALL, WORDS, "left to the kernel"),
    ],
    "ngx_http_scgi_module": _family("scgi"),
}
"""Rows by module."""
