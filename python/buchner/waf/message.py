"""What is judged: a request, a response."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from buchner.errors import BuchnerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Text = str | bytes
    Fields = Mapping[str, str] | Iterable[tuple[Text, Text]]

_BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
}


def _bytes(text: Text) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def _fields(fields: Fields) -> list[tuple[bytes, bytes]]:
    pairs: Iterable[tuple[Text, Text]] = fields.items() if hasattr(fields, "items") else fields
    return [(_bytes(name), _bytes(value)) for name, value in pairs]


@dataclass(init=False, slots=True)
class Request:
    """A request as it came.

    Args:
        method: The method.
        target: The request target, undecoded, such as ``/a%20b?c=d``.
        headers: Names and values, in order.
        body: The body, without its transfer coding.
        client: The client's address and port.
        server: The address and port it came to.
        server_name: The server's name. Default: that of the Host header.
        protocol: The protocol.
        id: A name for logs. Default: a random one.
        user: The authenticated user.
    """

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    client: tuple[str, int]
    server: tuple[str, int]
    server_name: bytes
    protocol: bytes
    id: bytes
    user: bytes

    def __init__(  # noqa: PLR0913 - a request has as many parts
        self,
        method: Text,
        target: Text,
        headers: Fields = (),
        body: Text = b"",
        *,
        client: tuple[str, int] = ("127.0.0.1", 0),
        server: tuple[str, int] = ("127.0.0.1", 80),
        server_name: Text | None = None,
        protocol: Text = "HTTP/1.1",
        id: Text | None = None,  # noqa: A002 - its name in logs
        user: Text = "",
    ) -> None:
        self.method, self.target, self.protocol, self.user = map(_bytes, (method, target, protocol, user))
        self.headers = _fields(headers)
        self.body = _bytes(body)
        self.client, self.server = client, server
        self.server_name = _bytes(server_name) if server_name is not None else host_of(self.header(b"host"))
        self.id = _bytes(id) if id is not None else uuid.uuid4().hex.encode()

    def header(self, name: bytes) -> bytes:
        """Return the first value of a header; empty without one."""
        return next((value for known, value in self.headers if known.lower() == name), b"")

    @property
    def path(self) -> str:
        """The target without its query, for people."""
        return readable(self.target.partition(b"?")[0])

    @classmethod
    def from_url(cls, url: str, method: str = "GET", headers: Fields = (), body: Text = b"") -> Request:
        """Make the request that a browser would send for a URL; nothing is sent.

        Raises:
            BuchnerError: The URL is none.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise BuchnerError(f"{url} is not a URL: write it as http://host/path")
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
        if parts.query:
            target += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?<>[]{}|\\^`\"")
        own = _fields(headers)
        named = {name.lower() for name, _ in own}
        first = {"Host": parts.netloc.rpartition("@")[2], **_BROWSER}
        body = _bytes(body)
        if body:
            first |= {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(body))}
        given = [pair for pair in _fields(first) if pair[0].lower() not in named]
        return cls(method, target, [*given, *own], body)

    @classmethod
    def from_bytes(cls, raw: bytes, origin: str = "the request") -> Request:
        """Read a request as it goes over the wire: request line, headers, an empty line, the body.

        Lines may end in LF alone, as editors save them. Without Content-Length the body is what follows.

        Raises:
            BuchnerError: It is no request; the line is named.
        """
        raw = raw.lstrip(b"\r\n")
        crlf, lf = raw.find(b"\r\n\r\n"), raw.find(b"\n\n")
        if crlf >= 0 and (lf < 0 or crlf < lf):
            head, body = raw[:crlf], raw[crlf + 4 :]
        elif lf >= 0:
            head, body = raw[:lf], raw[lf + 2 :]
        else:
            head, body = raw.rstrip(b"\r\n"), b""
        lines = [line.removesuffix(b"\r") for line in head.split(b"\n")]
        words = lines[0].split(b" ")
        if len(words) < 3 or not words[-1].startswith(b"HTTP/"):  # noqa: PLR2004 - method, target, protocol
            shown = readable(lines[0][:100])
            raise BuchnerError(f"{origin}:1: not a request line: {shown!r}; write it as GET /path HTTP/1.1")
        headers = []
        for number, line in enumerate(lines[1:], 2):
            name, colon, value = line.partition(b":")
            if not colon:
                raise BuchnerError(f"{origin}:{number}: a header without a colon: {readable(line[:100])!r}")
            headers.append((name, value.strip()))
        request = cls(words[0], b" ".join(words[1:-1]), headers, body, protocol=words[-1])
        length = request.header(b"content-length")
        if length.isdigit():
            request.body = body[: int(length)]
        return request


@dataclass(init=False, slots=True)
class Response:
    """A response.

    Args:
        status: The status.
        headers: Names and values, in order.
        body: The body, without codings.
        reason: The words after the status.
        protocol: The protocol.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    reason: bytes
    protocol: bytes

    def __init__(
        self, status: int, headers: Fields = (), body: Text = b"", *, reason: Text = "", protocol: Text = "HTTP/1.1"
    ) -> None:
        self.status = status
        self.headers = _fields(headers)
        self.body, self.reason, self.protocol = map(_bytes, (body, reason, protocol))


def readable(value: bytes) -> str:
    """Bytes as text; what is no UTF-8 is escaped."""
    return value.decode("utf-8", "backslashreplace")


def host_of(header: bytes) -> bytes:
    """A Host header without its port."""
    if header.startswith(b"["):
        return header.partition(b"]")[0] + b"]"
    return header.partition(b":")[0]
