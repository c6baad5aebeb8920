"""Whom processes run as: names to numbers, and giving up root."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from buchner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from buchner.config.model import AppSettings, ProcessSettings

UNPRIVILEGED = "nobody"
"""Whom the gateway process runs as when Buchner was started as root and no `user` is set."""


@dataclass(frozen=True)
class Identity:
    """A user, its group and its supplementary groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str

    def argument(self) -> str:
        """The identity as one command-line word, `uid:gid:group,group`."""
        return f"{self.uid}:{self.gid}:{','.join(map(str, self.groups))}"

    def may(self, path: str, mode: int) -> bool:
        """Whether this identity reaches `path` with `mode` (4 read, 2 write, 1 search), by the permission bits there.

        Access lists and security modules are not looked at.
        """
        target = Path(os.path.realpath(path))
        steps = [(parent, 1) for parent in target.parents] + [(target, mode)]
        try:
            return all(self._allowed(step.stat(), bits) for step, bits in steps)
        except OSError:
            return False

    def _allowed(self, status: os.stat_result, bits: int) -> bool:
        if self.uid == 0:
            return True
        if status.st_uid == self.uid:
            return status.st_mode >> 6 & bits == bits
        if status.st_gid == self.gid or status.st_gid in self.groups:
            return status.st_mode >> 3 & bits == bits
        return status.st_mode & bits == bits


def may_read(identity: Identity | None) -> Callable[[str], bool]:
    """Whether an identity reaches a folder and the files in it; None: the user of this process."""
    if identity is None:
        return lambda folder: os.access(folder, os.R_OK | os.X_OK)
    return lambda folder: identity.may(folder, 5)


def look_up(user: str, group: str | None = None) -> Identity:
    """Find a user by name or number.

    Args:
        user: Name or uid.
        group: Name or gid; the user's primary group when None.

    Raises:
        ConfigError: There is no such user or group.
    """
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        raise ConfigError(f'user: no user "{user}" on this machine; create it or name another one') from None
    gid = entry.pw_gid
    if group is not None:
        try:
            gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
        except KeyError:
            raise ConfigError(f'group: no group "{group}" on this machine; create it or name another one') from None
    groups = tuple(os.getgrouplist(entry.pw_name, gid))
    return Identity(entry.pw_name, entry.pw_uid, gid, groups, entry.pw_dir)


def of_gateway(process: ProcessSettings) -> Identity | None:
    """Whom the gateway runs as; None: as whom this process does.

    Raises:
        ConfigError: See `choose`.
    """
    if process.user is not None:
        return choose(process.user, process.group)
    if os.geteuid() != 0:
        return None
    identity = look_up(UNPRIVILEGED)
    return None if not_here(identity) else identity


def of_workers(settings: AppSettings, process: ProcessSettings) -> Identity | None:
    """Whom the workers of an app run as: its own user, else that of the process (an empty name: as this process).

    Raises:
        ConfigError: See `choose`.
    """
    user = process.user if settings.user is None else settings.user
    return choose(user or None, settings.group)


def choose(user: str | None, group: str | None) -> Identity | None:
    """Whom a process is to run as; None: as whom this one runs.

    Raises:
        ConfigError: The user is unknown, or this process may not become it.
    """
    if user is None:
        return None
    identity = look_up(user, group)
    if os.geteuid() != 0:
        if identity.uid == os.geteuid():
            return None
        raise ConfigError(f'user: only root may run processes as "{user}"; start Buchner as root or leave `user` out')
    if identity.uid != 0 and (why := not_here(identity)):
        raise ConfigError(f'user: no process can become "{user}" here: {why}; leave `user` out')
    return identity


def not_here(identity: Identity, proc: Path = Path("/proc/self")) -> str:
    """Why the user namespace of this process does not let it become an identity; empty: it does."""
    try:
        if not _maps(proc / "uid_map", identity.uid) or not _maps(proc / "gid_map", identity.gid):
            return (
                f"this user namespace (unshare -U, a rootless container) has no uid {identity.uid}, gid {identity.gid}"
            )
        if (proc / "setgroups").read_text().strip() == "deny":
            return "this user namespace does not permit to change groups (setgroups: deny)"
    except (OSError, ValueError):
        return ""
    return ""


def _maps(table: Path, number: int) -> bool:
    ranges = [[int(word) for word in line.split()] for line in table.read_text().splitlines()]
    return any(first <= number < first + count for first, _outside, count in ranges)
