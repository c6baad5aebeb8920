"""Memory of the control group this process is in (cgroups(7), version 2), or of the machine."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def limit(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int | None:
    """Bytes this process and its like may use together: the lowest limit above it, at most what the machine has.

    Args:
        root: Where control groups are mounted.
        membership: The file that names this process's group.
    """
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for group in _groups(root, membership):
        with contextlib.suppress(OSError, ValueError):
            found.append(int((group / "memory.max").read_text()))
    return min(found)


def used(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int | None:
    """Bytes the group with a limit uses, without what the kernel can drop; None where there is no such group."""
    for group in _groups(root, membership):
        with contextlib.suppress(OSError, ValueError, KeyError):
            int((group / "memory.max").read_text())
            counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            return int((group / "memory.current").read_text()) - int(counts["inactive_file"])
    return None


def _groups(root: Path, membership: Path) -> list[Path]:
    """The group's directory and those above it."""
    name = ""
    with contextlib.suppress(OSError):
        for line in membership.read_text().splitlines():
            if line.startswith("0::"):
                name = line.removeprefix("0::").strip("/")
    path = root / name
    return [path, *(parent for parent in path.parents if parent.is_relative_to(root))]
