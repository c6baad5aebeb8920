"""One end of a control socket: messages out with descriptors, messages in.

Sending never blocks: what the other side has not room for waits here, with its descriptors, until it has.
What comes in is not trusted: a worker runs the app, a gateway reads what clients send. Descriptors are not accepted
(closing one may block), a packet has to be a message of the protocol, one side cannot keep the loop from the others,
and who sent a packet is what the kernel says (SCM_CREDENTIALS).
"""

from __future__ import annotations

import array
import errno
import logging
import os
import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from buchner.supervisor.packet import MAX_PACKET

if TYPE_CHECKING:
    from buchner.supervisor.loop import Loop
    from buchner.supervisor.messages import Message

logger = logging.getLogger("buchner")

_RETRY_SECONDS = 0.02
_PACKETS_A_TURN = 64
"""Packets of one side that are handled before the loop looks at the others again."""
_PACKETS_AT_THE_END = 1024
_WINDOW = 10.0
"""Seconds over which a side's packets are counted."""
_CREDENTIALS = struct.Struct("3i")
"""struct ucred: pid, uid, gid."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Make a control socket pair: the supervisor's end (non-blocking) and the child's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours, theirs


def send_now(sock: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Send one packet; raises BlockingIOError where there is no room and the socket does not block."""
    ancillary = []
    if descriptors:
        ancillary.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors)))
    sock.sendmsg([msgspec.json.encode(message)], ancillary)


def _receive_message(sock: socket.socket) -> tuple[bytes, int, bool]:
    """Receive one packet: its bytes, the pid of its sender (0: not known) and whether it was longer than allowed.

    There is no room for descriptors, so the kernel drops them before they are ours.
    """
    payload, ancillary, flags, _ = sock.recvmsg(MAX_PACKET, socket.CMSG_SPACE(_CREDENTIALS.size))
    sender = 0
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and len(data) >= _CREDENTIALS.size:
            sender = _CREDENTIALS.unpack_from(data)[0]
    return payload, sender, bool(flags & socket.MSG_TRUNC)


class Channel:
    """The supervisor's end of a control socket.

    Args:
        loop: Where it is watched.
        sock: Our end, non-blocking.
        incoming: The type (a union of message classes) that packets decode to.
        on_message: Called with each message.
        on_end: Called once when the other side is gone.
        on_breach: Called with words for a packet that is no message, or one too many; logged when None.
        most: Packets the other side may send within 10 s; None: any number.
    """

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        incoming: Any,
        on_message: Callable[[Any], None],
        on_end: Callable[[], None],
        on_breach: Callable[[str], None] | None = None,
        most: int | None = None,
    ) -> None:
        self.sender = 0
        """Pid of the process that sent the message that is being handled, as the kernel says."""
        self._loop = loop
        self._sock = sock
        self._decoder = msgspec.json.Decoder(incoming)
        self._on_message = on_message
        self._on_end = on_end
        self._on_breach = on_breach or (lambda why: logger.warning("control message dropped: %s", why))
        self._most = most
        self._window = (0.0, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._queue: deque[tuple[Message, list[int], bool]] = deque()
        self._open = True
        loop.watch(sock.fileno(), self._ready)

    @property
    def is_open(self) -> bool:
        """Whether messages can still be sent."""
        return self._open

    @property
    def is_flushed(self) -> bool:
        """Whether everything sent has left this process."""
        return not self._queue

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._sock.fileno()

    def send(self, message: Message, descriptors: Sequence[int] = (), *, close: bool = True) -> None:
        """Send a message, now or when there is room.

        Args:
            message: The message.
            descriptors: Descriptors that travel with it, 250 at most.
            close: Close our copies once they are sent (also when the other side is gone).
        """
        self._queue.append((message, list(descriptors), close))
        if len(self._queue) == 1:
            self._flush()

    def _flush(self) -> None:
        while self._queue:
            message, descriptors, close = self._queue[0]
            try:
                if self._open:
                    send_now(self._sock, message, descriptors)
            except BlockingIOError:
                self._loop.watch(self._sock.fileno(), self._ready, selectors.EVENT_READ | selectors.EVENT_WRITE)
                return
            except OSError as error:
                if error.errno == errno.ETOOMANYREFS:
                    # Too many descriptors are in flight for this user: the receiver takes them in a moment.
                    self._loop.call_later(_RETRY_SECONDS, self._flush)
                    return
                logger.debug("control message %r was not sent: %s", message, error)
            self._queue.popleft()
            if close:
                for fd in descriptors:
                    os.close(fd)
        if self._open:
            self._loop.watch(self._sock.fileno(), self._ready)

    def _ready(self, events: int) -> None:
        if events & selectors.EVENT_READ:
            self._take(_PACKETS_A_TURN)
        if self._open and events & selectors.EVENT_WRITE:
            self._flush()

    def take(self) -> None:
        """Handle the packets that have arrived; for a process that has ended."""
        self._take(_PACKETS_AT_THE_END)

    def _take(self, most: int) -> None:
        for _ in range(most):
            if not self._open:
                return
            try:
                payload, self.sender, is_cut = _receive_message(self._sock)
            except BlockingIOError:
                return
            except OSError:
                payload, is_cut = b"", False
            if not payload:
                self.close()
                self._on_end()
                return
            if self._is_flood():
                self._on_breach(f"more than {self._most} control messages within {_WINDOW:g} s")
            elif is_cut:
                self._on_breach(f"a control message of more than {MAX_PACKET} bytes")
            else:
                self._handle(payload)

    def _handle(self, payload: bytes) -> None:
        try:
            message = self._decoder.decode(payload)
        except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
            self._on_breach(f"a control message that is not understood: {error}: {payload[:200]!r}")
        else:
            self._on_message(message)

    def _is_flood(self) -> bool:
        if self._most is None:
            return False
        now = time.monotonic()
        since, count = self._window
        self._window = (since, count + 1) if now - since < _WINDOW else (now, 1)
        return self._window[1] > self._most

    def close(self) -> None:
        """Close the socket and drop what was not sent; the other side sees the end of file."""
        if self._open:
            self._open = False
            self._loop.unwatch(self._sock.fileno())
            self._sock.close()
            self._flush()

    def detach(self) -> int:
        """Stop watching and return the descriptor, which the caller owns now (for an upgrade)."""
        self._open = False
        self._loop.unwatch(self._sock.fileno())
        return self._sock.detach()
