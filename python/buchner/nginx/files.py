"""Answers with files: nginx spreads over many directives what is one table here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import _generated as gen

if TYPE_CHECKING:
    from buchner.nginx.scope import Scope

_ROOT = "/usr/share/nginx/html"
_REGEX = ("regex", "regex_nocase")
_UNLIMITED = (1 << 32) - 1


def files_of(scope: Scope) -> gen.Files:
    """Return the files of a location or server: below ``root``, or in place of the location's path in ``alias``."""
    root, alias = _root(scope)
    coded = scope.value("gzip_static", "off")
    links, start = scope.value("disable_symlinks", ("off", None))
    files = gen.Files(
        root=root,
        alias=alias,
        index=list(scope.value("index", ["index.html"])),
        etag=scope.value("etag", True),
        etag_precision="seconds",
        max_ranges=scope.value("max_ranges", _UNLIMITED),
        follow_symlinks=True,
        precompressed=[] if coded == "off" else ["gzip"],
        if_modified_since=scope.value("if_modified_since", "exact"),
    )
    if coded != "off":
        files.vary = coded == "on" and scope.value("gzip_vary", False)
        files.precompressed_always = coded == "always"
    if alias and getattr(scope.table, "match", UNSET) in _REGEX:
        files.whole = True
    if scope.value("autoindex", False):
        files.autoindex = scope.value("autoindex_format", "html")
        files.autoindex_exact_size = scope.value("autoindex_exact_size", True)
        files.autoindex_localtime = scope.value("autoindex_localtime", False)
    if scope.value("random_index", False):
        files.random_index = True
    if links != "off":
        files.disable_symlinks = links
        if start is not None:
            files.disable_symlinks_from = root if start == "$document_root" else start
    return files


def _root(scope: Scope) -> tuple[str, bool]:
    """Return the directory that holds for a block, and whether it stands for the path of the block's location."""
    around: Scope | None = scope
    while around is not None and "root" not in around.values and "alias" not in around.values:
        around = around.parent
    if around is None:
        return _ROOT, False
    location = scope.around("location")
    if "root" in around.values or location is None:
        return str(around.values.get("root", around.values.get("alias"))), False
    directory, outer = around.values["alias"], around.around("location") or location
    if location is outer:
        return directory, True
    if location.table.match in _REGEX or outer.table.match in _REGEX:
        scope.error(around.tokens["alias"], '"alias" around a location by regular expression is not supported yet')
    # What a location within one with an alias adds to the path comes behind the directory.
    return directory + location.table.path[len(outer.table.path) :], True
