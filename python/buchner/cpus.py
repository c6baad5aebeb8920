"""How many cores this process may use: its affinity and the quota of its control group, not what the machine has."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path


def usable(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int:
    """Cores, at least 1; a quota of 1.5 cores counts as 2.

    Args:
        root: Where control groups are mounted.
        membership: The file that names this process's groups (cgroups(7)).
    """
    cores = float(len(os.sched_getaffinity(0)))
    for quota in _quotas(root, membership):
        cores = min(cores, quota)
    return max(1, math.ceil(cores))


def _quotas(root: Path, membership: Path) -> list[float]:
    groups = {"": "/"}
    with contextlib.suppress(OSError):
        for line in membership.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            for controller in controllers.split(","):
                groups[controller] = group
    found = []
    # A container often sees its own group at the root of the mount; outside, limits apply at every level above.
    for group in _with_parents(groups[""]):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (root / group / "cpu.max").read_text().split()
            found.append(int(quota) / int(period))
    for group in _with_parents(groups.get("cpu", "/")):
        with contextlib.suppress(OSError, ValueError):
            microseconds = int((root / "cpu" / group / "cpu.cfs_quota_us").read_text())
            period_us = int((root / "cpu" / group / "cpu.cfs_period_us").read_text())
            if microseconds > 0:
                found.append(microseconds / period_us)
    return found


def _with_parents(group: str) -> list[str]:
    path = Path(group.lstrip("/"))
    return [str(path), *map(str, path.parents)] if str(path) != "." else ["."]
