"""The directives of nginx, one file per module; a module added here is read, checked and documented.

A file has `MODULE`, nginx's name of the module, and `DIRECTIVES`, its rows. Modules that Buchner has nothing of yet
are in ``later`` and ``never``: whoever adds one takes it out of there and gives it a file.
"""

from buchner.nginx.directives import (
    access,
    auth_basic,
    auth_request,
    browser,
    core,
    headers,
    http_core,
    later,
    log,
    mirror,
    never,
    other_backends,
    proxy,
    referer,
    rewrite,
    secure_link,
    stub_status,
    tls,
    upstream,
)
from buchner.nginx.directives import index as index_module
from buchner.nginx.rows import Row, Rows

MODULES: dict[str, list[Row]] = {
    module.MODULE: module.DIRECTIVES
    for module in (
        core,
        http_core,
        access,
        auth_basic,
        auth_request,
        browser,
        headers,
        index_module,
        log,
        mirror,
        proxy,
        referer,
        rewrite,
        secure_link,
        stub_status,
        tls,
        upstream,
    )
}
"""Rows by module."""
MODULES |= later.MODULES | never.MODULES | other_backends.MODULES
MODULES = {
    name: MODULES[name]
    for name in sorted(MODULES, key=lambda name: (name != core.MODULE, name != http_core.MODULE, name))
}
ROWS = Rows(MODULES.values())

__all__ = ["MODULES", "ROWS"]
