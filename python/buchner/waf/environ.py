"""The request in a WSGI environ."""

from __future__ import annotations

import ipaddress
import uuid
from typing import TYPE_CHECKING, Any

from buchner.waf.message import Request

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment


def request_of(environ: WSGIEnvironment) -> Request:
    """The request as the server hands it on (PEP 3333)."""
    path = (environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1")
    query = environ.get("QUERY_STRING", "").encode("latin-1")
    raw = environ.get("REQUEST_URI") or environ.get("RAW_URI")
    target = raw.encode("latin-1") if raw else _quoted(path) + (b"?" + query if query else b"")
    headers = [
        (name[5:].replace("_", "-").title(), value)
        for name, value in environ.items()
        if name.startswith("HTTP_") and isinstance(value, str)
    ]
    headers += [
        (name, environ[key])
        for key, name in (("CONTENT_TYPE", "Content-Type"), ("CONTENT_LENGTH", "Content-Length"))
        if environ.get(key)
    ]
    return Request(
        environ["REQUEST_METHOD"].encode("latin-1"),
        target,
        [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        client=(_address(environ.get("REMOTE_ADDR")), _port(environ.get("REMOTE_PORT"))),
        server=("127.0.0.1", _port(environ.get("SERVER_PORT"))),
        server_name=environ.get("SERVER_NAME", "").encode("latin-1"),
        protocol=environ.get("SERVER_PROTOCOL", "HTTP/1.1").encode("latin-1"),
        id=uuid.uuid4().hex,
        user=environ.get("REMOTE_USER") or "",
    )


_UNQUOTED = frozenset(b"/:@!$&'()*+,;=~-._" + bytes(range(48, 58)) + bytes(range(65, 91)) + bytes(range(97, 123)))


def _quoted(path: bytes) -> bytes:
    # A server without REQUEST_URI decoded the path once: a percent sign in it was %25.
    return b"".join(bytes([byte]) if byte in _UNQUOTED else b"%%%02X" % byte for byte in path)


def _address(text: Any) -> str:
    try:
        return str(ipaddress.ip_address(str(text)))
    except ValueError:
        return "0.0.0.0"


def _port(text: Any) -> int:
    number = int(text) if str(text or "").isdigit() else 0
    return number if number < 1 << 16 else 0


def length(environ: WSGIEnvironment) -> int | None:
    """Bytes of the body; None if it has no Content-Length."""
    text = environ.get("CONTENT_LENGTH") or ""
    return int(text) if text.isdigit() else None


def has_body(environ: WSGIEnvironment) -> bool:
    """A body without length is read only if the server says that its end can be seen."""
    known = length(environ)
    return bool(known) or (known is None and bool(environ.get("wsgi.input_terminated")))
