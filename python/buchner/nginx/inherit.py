"""Inheritance that gateway.toml does not know: nested locations, and what nginx keeps per level for files."""

from __future__ import annotations

from dataclasses import dataclass, replace

from msgspec import UNSET

from buchner.config import _generated as gen


@dataclass(frozen=True, slots=True)
class FileSettings:
    """What answers with files depend on; each level inherits it and replaces parts.

    Args:
        root: directory the whole path is appended to (nginx: root).
        index: names tried for a directory.
        types: media types by extension.
        default_type: media type of other extensions.
        cache_control: value of Cache-Control (nginx: expires).
        etag: send an ETag.
    """

    root: str = "/usr/share/nginx/html"
    index: tuple[str, ...] = ("index.html",)
    types: dict[str, str] | None = None
    default_type: str = "text/plain"
    cache_control: str | None = None
    etag: bool = True

    def with_(self, **changes: object) -> FileSettings:
        """Return the settings with some replaced."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def files(self, alias: str | None) -> gen.Files:
        """Return the files of a location: below `root`, or in place of its path in `alias`."""
        return gen.Files(
            root=self.root if alias is None else alias,
            alias=alias is not None,
            index=list(self.index),
            types=UNSET if self.types is None else self.types,
            default_type=self.default_type,
            cache_control=UNSET if self.cache_control is None else self.cache_control,
            etag=self.etag,
            follow_symlinks=True,
            precompressed=[],
        )


def inherit(parent: gen.Route, child: gen.Route) -> None:
    """Give a nested location the settings of the one around it, where it has none of its own."""
    for name in gen.SETTINGS:
        if getattr(child, name) is UNSET:
            setattr(child, name, getattr(parent, name))
