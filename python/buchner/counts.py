"""Counts of rates by key, shared by the threads and workers of a service: what `buchner.limits` counts in.

A table in a memfd that the supervisor makes and every worker inherits. It has sets of eight entries; an entry is the
hash of a key (keyed, so that nobody can choose two that meet) and the time at which its bucket is empty again. A set
that is full gives up the entry that is empty first. A process without one (pytest, `flask run`) has a table of its
own.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
import secrets
import struct
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from buchner.supervisor.memfd import claims
from buchner.worker.inherited import INHERITED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_HEADER = 4096
_SECRET = 32
_ENTRY = struct.Struct("=16sq")
_WAYS = 8
_SET = _ENTRY.size * _WAYS
_SETS = 1 << 15
_LOCKS = 64
SIZE = _HEADER + _SETS * _SET
"""Bytes of the table; memory is taken as keys come."""
_MICRO = 1_000_000


class Count(NamedTuple):
    """What is counted: a key, at a rate.

    Args:
        key: the key.
        requests: how many are granted in `period`, and at once.
        period: seconds.
        cost: how many this one is.
    """

    key: bytes
    requests: int
    period: int
    cost: int = 1


class Left(NamedTuple):
    """What is left of a rate after a request.

    Args:
        granted: the request is within it.
        remaining: requests that are left.
        reset: seconds until all are available again.
        wait: seconds until a refused one would be granted; 0 if it was.
    """

    granted: bool
    remaining: int
    reset: float
    wait: float


def create() -> int:
    """Return the descriptor of a new table, for `attach`."""
    fd = claims(SIZE)
    os.pwrite(fd, secrets.token_bytes(_SECRET), 0)
    return fd


class Table:
    """A table of counts.

    Args:
        fd: descriptor of one that `create` made.
        now: microseconds on a clock that all processes share.
    """

    def __init__(self, fd: int, now: Callable[[], int] = lambda: time.monotonic_ns() // 1000) -> None:
        self._fd = fd
        self._map = mmap.mmap(fd, SIZE)
        self._secret = self._map[:_SECRET]
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        self._now = now

    def hit(self, counts: Sequence[Count], *, peek: bool = False) -> list[Left]:
        """Count a request in all of them, or in none if one refuses it; with `peek` in none at all."""
        digests = [hashlib.blake2b(count.key, key=self._secret, digest_size=16).digest() for count in counts]
        sets = [int.from_bytes(digest[:4], "little") % _SETS for digest in digests]
        with self._locked(sorted({number % _LOCKS for number in sets})):
            now = self._now()
            found: list[tuple[int, int, Left]] = []
            for count, digest, number in zip(counts, digests, sets, strict=True):
                place, until = self._find(digest, number)
                found.append((place, *_add(count, max(until, now), now)))
            if not peek and all(left.granted for _, _, left in found):
                for (place, until, _), digest in zip(found, digests, strict=True):
                    _ENTRY.pack_into(self._map, place, digest, until)
            return [left for _, _, left in found]

    def clear(self) -> None:
        """Forget all counts."""
        with self._locked(range(_LOCKS)):
            self._map[_HEADER:] = bytes(SIZE - _HEADER)

    def _find(self, digest: bytes, number: int) -> tuple[int, int]:
        """Return where the entry of a key is or belongs, and when its bucket is empty."""
        start = _HEADER + number * _SET
        first, oldest = start, 1 << 62
        for place in range(start, start + _SET, _ENTRY.size):
            key, until = _ENTRY.unpack_from(self._map, place)
            if key == digest:
                return place, until
            if until < oldest:
                first, oldest = place, until
        return first, 0

    @contextlib.contextmanager
    def _locked(self, numbers: Sequence[int]) -> Iterator[None]:
        """Keep other threads, and other processes, from some parts; they are in order, so nobody waits in a circle."""
        with contextlib.ExitStack() as stack:
            for number in numbers:
                stack.enter_context(self._locks[number])
                # A process that dies gives it back.
                fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, number)
                stack.callback(fcntl.lockf, self._fd, fcntl.LOCK_UN, 1, number)
            yield


def _add(count: Count, until: int, now: int) -> tuple[int, Left]:
    """Return when a bucket would be empty with a request more, and what that leaves."""
    period = count.period * _MICRO
    each = period / count.requests
    after = until + round(each * count.cost)
    over = after - now - period
    if over > 0:
        used = until - now
        return until, Left(False, max(0, int((period - used) / each)), used / _MICRO, over / _MICRO)
    return after, Left(True, int((period - (after - now)) / each + 1e-6), (after - now) / _MICRO, 0.0)


class _Shared:
    """The table of this process."""

    def __init__(self) -> None:
        self.table: Table | None = None
        self.lock = threading.Lock()


_shared = _Shared()


def table() -> Table:
    """Return the table of the service, or of this process if it has none."""
    if _shared.table is None:
        with _shared.lock:
            if _shared.table is None:
                fd = INHERITED.counts
                _shared.table = Table(create() if fd < 0 else fd)
    return _shared.table


def _after_fork() -> None:
    """Give a child its own locks: a thread that held one is not in it."""
    _shared.lock = threading.Lock()
    _shared.table = None


os.register_at_fork(after_in_child=_after_fork)
