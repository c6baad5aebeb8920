"""``load_module``: modules are not loaded, but it is known which may stand there without changing what is served."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from buchner.config.suggest import hint

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

_NGINX = "geoip image_filter js perl xslt_filter"
_OTHERS = (
    "auth_pam brotli_filter brotli_static cache_purge dav_ext echo fancyindex geoip2 headers_more_filter lua memc "
    "modsecurity passenger set_misc srcache_filter subs_filter uploadprogress upstream_fair zstd_filter zstd_static"
)
MODULES = (
    "ngx_mail_module",
    "ngx_stream_module",
    "ngx_stream_geoip_module",
    "ngx_stream_geoip2_module",
    "ngx_stream_js_module",
    "ngx_nchan_module",
    "ngx_rtmp_module",
    "ngx_otel_module",
    "ndk_http_module",
    *(f"ngx_http_{name}_module" for name in f"{_NGINX} {_OTHERS}".split()),
)
"""Modules that do nothing but bring directives and variables, which are refused by name where they are used."""
_FILE = re.compile(r"(?:.*/)?([^/]+)\.so")


def load_module(scope: Scope, directive: Directive) -> None:
    """Take a module that is known; what an unknown one would change nobody knows."""
    word = directive.words[0]
    found = _FILE.fullmatch(word)
    name = found[1] if found else word
    if name not in MODULES:
        scope.refuse(
            directive.args[0],
            f"load_module {word}",
            f"modules are not loaded, and this one is not known{hint(name, MODULES)}",
        )
