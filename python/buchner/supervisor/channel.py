"""One end of a control socket: messages out with descriptors, messages in.

Sending never blocks: what the other side has not room for waits here, with its descriptors, until it has.
"""

from __future__ import annotations

import array
import errno
import logging
import os
import selectors
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from buchner.supervisor.loop import Loop
from buchner.supervisor.messages import Message

logger = logging.getLogger("buchner")

MAX_PACKET = 1 << 18
"""Bytes of one packet; larger documents travel in a memfd."""
MAX_DESCRIPTORS = 250
"""Descriptors of one packet (the kernel's SCM_MAX_FD is 253)."""
_RETRY_SECONDS = 0.02


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


def receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Receive one packet and its descriptors; no bytes means the other side is gone."""
    payload, descriptors, _flags, _address = socket.recv_fds(sock, MAX_PACKET, MAX_DESCRIPTORS + 3)
    return payload, descriptors


class Channel:
    """The supervisor's end of a control socket.

    Args:
        loop: Where it is watched.
        sock: Our end, non-blocking.
        incoming: The type (a union of message classes) that packets decode to.
        on_message: Called with each message.
        on_end: Called once when the other side is gone.
    """

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        incoming: Any,
        on_message: Callable[[Any], None],
        on_end: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._decoder = msgspec.json.Decoder(incoming)
        self._on_message = on_message
        self._on_end = on_end
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
            self.take()
        if self._open and events & selectors.EVENT_WRITE:
            self._flush()

    def take(self) -> None:
        """Handle every packet that has arrived."""
        while self._open:
            try:
                payload, descriptors = receive(self._sock)
            except BlockingIOError:
                return
            except OSError:
                payload, descriptors = b"", []
            for fd in descriptors:
                os.close(fd)
            if not payload:
                self.close()
                self._on_end()
                return
            try:
                message = self._decoder.decode(payload)
            except msgspec.DecodeError as error:
                logger.warning("control message not understood: %s: %.200r", error, payload)
                continue
            self._on_message(message)

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
