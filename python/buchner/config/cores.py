"""How many cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available() -> int:
    """Return the cores this process may use, by affinity and by the cgroup's quota (v2 and v1), at least 1."""
    cores = len(os.sched_getaffinity(0))
    quota = _quota()
    return max(1, min(cores, quota)) if quota else cores


def _quota() -> int:
    try:
        limit, period = (_CGROUP / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (_CGROUP / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (_CGROUP / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return 0
    if not limit.isdecimal() or not period.isdecimal() or int(period) == 0:
        return 0  # "max" and -1: no quota
    return -(-int(limit) // int(period))


def io_threads() -> int:
    """Return the default number of I/O threads: 1 on up to 4 cores, then a quarter of the cores."""
    return max(1, available() // 4)
