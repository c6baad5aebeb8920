"""Loads a configuration: reads it, checks it, resolves it."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from buchner.config import toml
from buchner.config.overrides import OverriddenPlaces, merged
from buchner.config.places import NamedPlaces, Report
from buchner.config.resolve import Resolver
from buchner.config.validate import decode
from buchner.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buchner.config.model import Loaded


def load(path: str | Path, overrides: dict[str, Any] | None = None) -> Loaded:
    """Load gateway.toml or nginx.conf.

    Args:
        path: the file; anything but ``.toml`` is looked into to tell which of both it is.
        overrides: settings in the shape of gateway.toml that win over the file's, such as those of the command line.
            Tables are merged, everything else is replaced.

    Raises:
        ConfigError: it cannot be used; every problem with its place.

    """
    with without_collection():
        return _load(Path(path), overrides)


def _load(path: Path, overrides: dict[str, Any] | None) -> Loaded:
    content = read_bytes(path)
    if not is_toml(path, content):
        from buchner.nginx.adapt import load_nginx  # noqa: PLC0415 - only who has such a file pays for it

        return load_nginx(path, content.decode(errors="surrogateescape"), overrides)
    text = decoded(path, content)
    source = toml.TomlPlaces(text, str(path))
    report = Report(source)
    data: str | dict[str, Any]
    if not overrides:
        data = toml.parse(text, source)
    else:
        report = Report(OverriddenPlaces(source, overrides))
        data = merged(msgspec.json.decode(toml.parse(text, source)), overrides)
    loaded = Resolver(decode(data, report), path.resolve().parent, report).resolve()
    return replace(loaded, files=[path])


def load_dict(document: dict[str, Any], origin: str, base: str | Path = ".") -> Loaded:
    """Load a configuration given as a dict in the shape of gateway.toml.

    Args:
        document: the configuration.
        origin: what to call it in messages (``command line``, ``Gateway()``).
        base: directory that relative paths start from.

    Raises:
        ConfigError: it cannot be used; every problem with its place.

    """
    report = Report(NamedPlaces(origin))
    return Resolver(decode(document, report), Path(base).resolve(), report).resolve()


@contextmanager
def without_collection() -> Iterator[None]:
    """Keep the cycle collector off: a big configuration is many objects and no cycles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def read_bytes(path: Path) -> bytes:
    """Return what stands in a configuration file.

    Raises:
        ConfigError: it cannot be read.

    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError([Problem(f"cannot be read: {error.strerror}", file=str(path))]) from error


def decoded(path: Path, data: bytes) -> str:
    """Return the text of a configuration file.

    Raises:
        ConfigError: it is not UTF-8.

    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(f"is not UTF-8 text: byte {error.start + 1}", file=str(path))]) from error


def is_toml(path: Path, data: bytes) -> bool:
    """Tell gateway.toml from nginx.conf: by the ending, or by what its first lines with text look like."""
    if path.suffix == ".toml":
        return True
    if path.suffix == ".conf":
        return False
    for line in data.decode(errors="replace").splitlines():
        line = line.split("#", 1)[0].strip()  # noqa: PLW2901
        if line:
            return line.startswith("[") or ("=" in line and not line.endswith((";", "{", "}")))
    return False
