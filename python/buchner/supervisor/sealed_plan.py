"""A plan as the gateway takes it.

The supervisor keeps this and not the plan: ten thousand servers are a document of 4 MB, and forty as Python objects.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self

import msgspec

from buchner.supervisor.memfd import sealed

if TYPE_CHECKING:
    from collections.abc import Mapping


def log_files(plan: Mapping[str, Any]) -> list[str]:
    """Return the files a plan's access logs and the error logs of its servers and routes go to, each once."""
    logs = list(plan.get("access_log", []))
    for settings in plan.get("settings", []):
        logs += settings.get("error_log", [])
    paths = dict.fromkeys(log["path"] for log in logs)
    # A name with variables is made anew for each request.
    return [path for path in paths if not path.startswith("syslog:") and "$" not in path]


class SealedPlan(msgspec.Struct):
    """The document in a sealed memfd, and what the supervisor itself has to know of it.

    Args:
        fd: The memfd; this object owns it.
        io_threads: The I/O threads it asks for.
        logs: Paths of its logs.
    """

    fd: int
    io_threads: int
    logs: list[str]

    @classmethod
    def seal(cls, plan: Mapping[str, Any]) -> Self:
        """Write a plan down for good."""
        return cls(sealed("plan", msgspec.json.encode(plan)), io_threads(plan), log_files(plan))

    def with_policies(self, policies: Mapping[tuple[str, int], Mapping[str, Any]]) -> Self:
        """Write down the same with other contents of TLS policies.

        Args:
            policies: By table of the plan (`tls`, `upstream_tls`) and index in it, what of a policy is another.
        """
        document = os.pread(self.fd, os.fstat(self.fd).st_size, 0)
        plan = msgspec.json.decode(document, type=dict[str, msgspec.Raw])
        for table in {table for table, _ in policies}:
            listed = msgspec.json.decode(plan[table], type=list[dict[str, Any]])
            for (of, index), changed in policies.items():
                if of == table:
                    listed[index].update(changed)
            plan[table] = msgspec.Raw(msgspec.json.encode(listed))
        return type(self)(sealed("plan", msgspec.json.encode(plan)), self.io_threads, self.logs)

    def duplicate(self) -> int:
        """A descriptor to give away. It shares its offset with all others, so read it with pread(2)."""
        return os.dup(self.fd)

    def close(self) -> None:
        """Let go of the document; a gateway that was given it keeps it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def io_threads(plan: Mapping[str, Any]) -> int:
    """The I/O threads a plan asks for."""
    return int(plan.get("gateway", {}).get("io_threads", 1))
