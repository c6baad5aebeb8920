"""The worker's end of its control socket: messages as plain dictionaries (docs/control-protocol.md).

The classes of `supervisor.messages` check what comes from a process that is not trusted, and a worker trusts its
supervisor. Without msgspec, which they need, a worker starts 25 ms sooner and is 2 MiB smaller; Flask imports `json`
anyway.
"""

from __future__ import annotations

import json
import socket
from typing import Any

from buchner.supervisor.packet import MAX_DESCRIPTORS, MAX_PACKET

Message = dict[str, Any]


def send(control: socket.socket, op: str, **fields: Any) -> None:
    """Send a message, waiting for room where the socket blocks.

    Raises:
        OSError: The supervisor is gone, or there is no room and the socket does not block.
        UnicodeEncodeError: A text cannot be written as UTF-8 (a file name that is none).
    """
    control.send(json.dumps({"op": op, **fields}, ensure_ascii=False).encode())


def receive(control: socket.socket) -> tuple[bytes, list[int], bool]:
    """Receive a packet: its bytes (none: the supervisor is gone), its descriptors, and whether some got lost."""
    payload, descriptors, flags, _address = socket.recv_fds(control, MAX_PACKET, MAX_DESCRIPTORS + 3)
    return payload, descriptors, bool(flags & socket.MSG_CTRUNC)


def decode(payload: bytes) -> Message:
    """The message of a packet; an empty one for what is none (of a newer supervisor, after an upgrade)."""
    try:
        message = json.loads(payload)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def number(message: Message, name: str, default: int | None = None) -> int:
    """A whole number in a message.

    Args:
        message: The message.
        name: The number's key.
        default: What an absent one is; None: it has to be there.

    Raises:
        ValueError: It is absent, or something else.
    """
    value = message.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}")  # noqa: TRY004 - of a message, not of an argument
    return value
