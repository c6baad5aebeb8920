"""A client of HTTP/2 by prior knowledge, over the sans-I/O `h2` of PyPI; raw frames go beside it."""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import h2.config
import h2.connection
import h2.events
import h2.settings

from helpers.raw import Reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
ENHANCE_YOUR_CALM = 11
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    """A frame as it is on the wire (RFC 9113 section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


class ResetError(Exception):
    """The server reset a stream; `code` says why."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the stream was reset with {code}")
        self.code = code


@dataclass
class Stream:
    """What came on a stream so far."""

    status: int = 0
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    trailers: list[tuple[str, str]] = field(default_factory=list)
    interim: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None
    frames: list[int] = field(default_factory=list)
    """Bytes of each DATA frame."""


class Http2:
    """A connection. Windows open as data comes unless `takes` is false.

    Args:
        port: of 127.0.0.1.
        timeout: Seconds to wait for anything.
        takes: The windows open again as data comes.
        settings: Sent at the beginning.
        drips: So many bytes are sent one by one at the beginning.
    """

    def __init__(
        self,
        port: int,
        timeout: float = 15.0,
        *,
        takes: bool = True,
        settings: dict[int, int] | None = None,
        drips: int = 0,
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.timeout, self.takes = timeout, takes
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding="latin-1",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = h2.connection.H2Connection(config)
        machine = self.h2.state_machine
        # To `h2` nothing may follow GOAWAY, where streams go on after it (RFC 9113 section 6.8).
        stays = (None, h2.connection.ConnectionState.CLIENT_OPEN)
        goaway = (h2.connection.ConnectionState.CLIENT_OPEN, h2.connection.ConnectionInputs.RECV_GOAWAY)
        machine._transitions = {**machine._transitions, goaway: stays}
        if settings:
            self.h2.local_settings.update(settings)
        self.h2.initiate_connection()
        self.streams: dict[int, Stream] = {}
        self.goaway: tuple[int, int] | None = None
        self.closed = False
        self.settled = False
        begin = self.h2.data_to_send()
        for byte in begin[:drips]:
            self.socket.sendall(bytes([byte]))
            time.sleep(0.001)
        self.socket.sendall(begin[drips:])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.socket.close()

    def flush(self) -> None:
        """Send what `h2` has to send."""
        if data := self.h2.data_to_send():
            self.socket.sendall(data)

    def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self.socket.sendall(data)

    def ask(
        self,
        target: str = "/",
        method: str = "GET",
        fields: list[tuple[str, str]] | None = None,
        *,
        body: bytes | None = None,
        end: bool = True,
        authority: str | None = "test",
        pseudo: list[tuple[str, str]] | None = None,
    ) -> int:
        """Send a request, and its body as far as the windows let it; returns the stream."""
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "http"), (":path", target)]
        if authority is not None:
            head.append((":authority", authority))
        head = (pseudo if pseudo is not None else head) + (fields or [])
        self.h2.send_headers(stream, head, end_stream=end and body is None)
        self.streams[stream] = Stream()
        self.flush()
        if body is not None:
            self.upload(stream, body, end=end)
        return stream

    def upload(self, stream: int, body: bytes, *, end: bool = True) -> None:
        """Send a body, waiting for the windows; a stream that is reset on the way takes no more."""
        while body:
            self.until(lambda: self.h2.local_flow_control_window(stream) > 0 or self.streams[stream].reset is not None)
            if self.streams[stream].reset is not None:
                return
            size = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(body))
            self.h2.send_data(stream, body[:size])
            body = body[size:]
            self.flush()
        if end:
            self.h2.end_stream(stream)
            self.flush()

    def until(self, true: Callable[[], object], seconds: float | None = None) -> None:
        """Take what comes until something holds."""
        deadline = time.monotonic() + (seconds or self.timeout)
        while not true():
            left = deadline - time.monotonic()
            assert left > 0, "nothing more came in time"
            self.socket.settimeout(left)
            self.take()

    def take(self) -> None:
        """Take what comes next."""
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        except TimeoutError:
            return
        if not data:
            if self.closed:
                raise EOFError("the server closed the connection")
            self.closed = True
            return
        for event in self.h2.receive_data(data):
            self._event(event)
        try:
            self.flush()
        except OSError:  # the server has gone
            self.closed = True

    def _event(self, event: h2.events.Event) -> None:
        stream = self.streams.get(getattr(event, "stream_id", None) or 0, Stream())
        match event:
            case h2.events.ResponseReceived():
                head = [(str(name), str(value)) for name, value in event.headers]
                stream.status, stream.fields = int(dict(head)[":status"]), head[1:]
            case h2.events.InformationalResponseReceived():
                found = {str(name): str(value) for name, value in event.headers}
                stream.interim.append((int(found.pop(":status")), found))
            case h2.events.DataReceived():
                stream.body += event.data
                stream.frames.append(len(event.data))
                if self.takes and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                stream.trailers = [(str(name), str(value)) for name, value in event.headers]
            case h2.events.StreamEnded():
                stream.ended = True
            case h2.events.StreamReset():
                stream.reset = int(event.error_code)
            case h2.events.ConnectionTerminated():
                self.goaway = (int(event.error_code or 0), int(event.last_stream_id or 0))
            case h2.events.SettingsAcknowledged():
                self.settled = True
            case _:
                pass

    def reply(self, stream: int, seconds: float | None = None) -> Reply:
        """Wait for the whole response.

        Raises:
            ResetError: the stream was reset before its end.
        """
        found = self.streams[stream]
        self.until(lambda: found.ended or found.reset is not None, seconds)
        if not found.ended:
            raise ResetError(found.reset or 0)
        return Reply(found.status, found.fields, bytes(found.body), found.trailers)

    def get(self, target: str = "/", method: str = "GET", *fields: tuple[str, str], body: bytes | None = None) -> Reply:
        """A request, and its whole response."""
        return self.reply(self.ask(target, method, [*fields], body=body))

    def ends(self, seconds: float | None = None) -> bool:
        """Whether the server closes the connection."""
        self.until(lambda: self.closed, seconds)
        return self.closed


def get(port: int, target: str = "/") -> Reply:
    """One request on a connection of its own."""
    with Http2(port) as client:
        return client.get(target)
