"""Answers with files: nginx spreads over many directives what is one table here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import _generated as gen

if TYPE_CHECKING:
    from buchner.nginx.scope import Scope

_ROOT = "/usr/share/nginx/html"
_UNLIMITED = (1 << 32) - 1


def files_of(scope: Scope) -> gen.Files:
    """Return the files of a location or server: below ``root``, or in place of the location's path in ``alias``."""
    alias = scope.values.get("alias")
    root = scope.value("root", _ROOT) if alias is None else alias
    coded = scope.value("gzip_static", "off")
    links, start = scope.value("disable_symlinks", ("off", None))
    files = gen.Files(
        root=root,
        alias=alias is not None,
        index=list(scope.value("index", ["index.html"])),
        types=scope.value("types", UNSET),
        default_type=scope.value("default_type", "text/plain"),
        etag=scope.value("etag", True),
        max_ranges=scope.value("max_ranges", _UNLIMITED),
        follow_symlinks=True,
        precompressed=[] if coded == "off" else ["gzip"],
        if_modified_since=scope.value("if_modified_since", "exact"),
    )
    if coded != "off":
        files.vary = coded == "on" and scope.value("gzip_vary", False)
        files.precompressed_always = coded == "always"
    if alias is not None and getattr(scope.table, "match", UNSET) in ("regex", "regex_nocase"):
        files.whole = True
    if scope.value("autoindex", False):
        files.autoindex = scope.value("autoindex_format", "html")
        files.autoindex_exact_size = scope.value("autoindex_exact_size", True)
    if scope.value("random_index", False):
        files.random_index = True
    if links != "off":
        files.disable_symlinks = links
        if start is not None:
            files.disable_symlinks_from = root if start == "$document_root" else start
    return files
