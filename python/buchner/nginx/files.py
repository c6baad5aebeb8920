"""Answers with files: nginx spreads over many directives what is one table here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buchner.config import _generated as gen

if TYPE_CHECKING:
    from pathlib import Path

    from buchner.nginx.scope import Scope

_ROOT = "html"
_PACKAGED = "/usr/share/nginx/html"


def default_root(prefix: Path, *, given: bool) -> str:
    """Return the default of `root`: a directory of the prefix, as all relative names are.

    Args:
        prefix: directory that relative names start from.
        given: it was asked for. If not, nginx would have the prefix of its package, which counts if there is none here.

    """
    return _ROOT if given or (prefix / _ROOT).is_dir() else _PACKAGED


_REGEX = ("regex", "regex_nocase")
_UNLIMITED = (1 << 32) - 1


def files_of(scope: Scope) -> gen.Files:
    """Return the files of a location or server: below ``root``, or in place of the location's path in ``alias``."""
    coded = scope.value("gzip_static", "off")
    links, start = scope.value("disable_symlinks", ("off", None))
    files = gen.Files(
        root=scope.state.root,
        index=list(scope.value("index", ["index.html"])),
        etag=scope.value("etag", True),
        etag_precision="seconds",
        max_ranges=scope.value("max_ranges", _UNLIMITED),
        follow_symlinks=True,
        precompressed=[] if coded == "off" else ["gzip"],
        if_modified_since=scope.value("if_modified_since", "exact"),
    )
    _place(scope, files)
    if coded != "off":
        files.precompressed_stale = True
        files.vary = coded == "on" and scope.value("gzip_vary", False)
        files.precompressed_always = coded == "always"
    if scope.value("autoindex", False):
        files.autoindex = scope.value("autoindex_format", "html")
        files.autoindex_exact_size = scope.value("autoindex_exact_size", True)
        files.autoindex_localtime = scope.value("autoindex_localtime", False)
    if scope.value("random_index", False):
        files.random_index = True
    if links != "off":
        files.disable_symlinks = links
        if start is not None:
            files.disable_symlinks_from = files.root if start == "$document_root" else start
    return files


def _place(scope: Scope, files: gen.Files) -> None:
    """Set the directory that holds for a block, and what of a path it stands for."""
    around: Scope | None = scope
    while around is not None and "root" not in around.values and "alias" not in around.values:
        around = around.parent
    location = scope.around("location")
    if around is None or "root" in around.values or location is None:
        files.alias = False
        if around is not None:
            files.root = str(around.values.get("root", around.values.get("alias")))
        return
    files.root, files.alias = around.values["alias"], True
    outer = around.around("location") or location
    if outer.table.match in _REGEX:
        files.whole = True
    elif outer is not location:
        # What comes behind the directory is all behind the path of the location with the alias.
        files.alias_of = outer.table.path
