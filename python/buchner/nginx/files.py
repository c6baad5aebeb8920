"""Answers with files: nginx spreads over many directives what is one table here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import _generated as gen

if TYPE_CHECKING:
    from buchner.nginx.scope import Scope

_ROOT = "/usr/share/nginx/html"


def files_of(scope: Scope) -> gen.Files:
    """Return the files of a location or server: below ``root``, or in place of the location's path in ``alias``."""
    alias = scope.values.get("alias")
    cache_control = scope.value("expires")
    return gen.Files(
        root=scope.value("root", _ROOT) if alias is None else alias,
        alias=alias is not None,
        index=list(scope.value("index", ["index.html"])),
        types=scope.value("types", UNSET),
        default_type=scope.value("default_type", "text/plain"),
        cache_control=UNSET if cache_control is None else cache_control,
        etag=scope.value("etag", True),
        follow_symlinks=True,
        precompressed=[],
    )
