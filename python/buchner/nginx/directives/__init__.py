"""The directives of nginx, one file per module; a module added here is read, checked and documented.

A file has `MODULE`, nginx's name of the module, and `DIRECTIVES`, its rows. Modules that Buchner has nothing of yet
are in ``later`` and ``never``: whoever adds one takes it out of there and gives it a file.
"""

from buchner.nginx.directives import (
    access,
    addition,
    auth_basic,
    auth_request,
    autoindex,
    browser,
    charset,
    core,
    empty_gif,
    gunzip,
    gzip,
    gzip_static,
    headers,
    http_core,
    later,
    log,
    mirror,
    never,
    other_backends,
    proxy,
    random_index,
    referer,
    rewrite,
    secure_link,
    stub_status,
    sub,
    tls,
    upstream,
    userid,
)
from buchner.nginx.directives import index as index_module
from buchner.nginx.rows import Row, Rows

MODULES: dict[str, list[Row]] = {
    module.MODULE: module.DIRECTIVES
    for module in (
        core,
        http_core,
        access,
        addition,
        auth_basic,
        auth_request,
        autoindex,
        browser,
        charset,
        empty_gif,
        gunzip,
        gzip,
        gzip_static,
        headers,
        index_module,
        log,
        mirror,
        proxy,
        random_index,
        referer,
        rewrite,
        secure_link,
        stub_status,
        sub,
        tls,
        upstream,
        userid,
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
