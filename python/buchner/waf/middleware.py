"""The firewall before a WSGI app that another server runs.

::

    app.wsgi_app = Middleware(app.wsgi_app, Engine.from_crs(mode="detect"), audit_log="waf.json")

Mode block: nothing of a request reaches the app before phase 2 has agreed, so bodies are read first, in memory up to
1 MiB and then in a temporary file. A response is held if rules look at its body, up to `SecResponseBodyLimit`; event
streams are not. Mode detect: nothing waits and nothing changes; the body is judged as far as the app reads it.
"""

from __future__ import annotations

import io
import json
import logging
import tempfile
import time
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from buchner.waf.bodies import Joined, Recorder
from buchner.waf.environ import has_body, length, request_of
from buchner.waf.message import Response
from buchner.waf.record import AuditLog, Record

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from buchner.waf.engine import Engine, Transaction
    from buchner.waf.judgement import Intervention, Result
    from buchner.waf.message import Request

log = logging.getLogger("buchner.waf")
_MEMORY = 1 << 20
_PIECE = 64 << 10
_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
    "<h1>{title}</h1><p>This request was refused. If you think it should not be, give its number to the site's "
    "owner: <code>{id}</code></p></html>\n"
)
_TITLES = {400: "Bad Request", 403: "Forbidden", 413: "Content Too Large", 500: "Internal Server Error"}


class Middleware:
    """Judges requests and responses of a WSGI app.

    Args:
        app: The app.
        engine: The rules.
        mode: ``block`` or ``detect``. An engine that was loaded to detect blocks nothing in either.
        audit_log: A file, or a log, for requests that a rule matched. Default: none.
    """

    def __init__(
        self,
        app: WSGIApplication,
        engine: Engine,
        *,
        mode: str = "block",
        audit_log: AuditLog | str | os.PathLike[str] | None = None,
    ) -> None:
        if mode not in {"block", "detect"}:
            raise ValueError(f"mode is {mode!r}; it is block or detect")
        self.app, self.engine, self.mode = app, engine, mode
        self.audit = audit_log if isinstance(audit_log, AuditLog | None) else AuditLog(audit_log)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request (PEP 3333)."""
        request = request_of(environ)
        call = _Call(self, request, self.engine.transaction())
        found = call.transaction.request_head(request)
        if self.mode == "detect":
            recorder = Recorder(environ["wsgi.input"], call.transaction.request_body_limit)
            environ["wsgi.input"] = recorder
            call.recorder = recorder
        elif found is None:
            found = call.judge_body(environ)
        call.tell(environ)
        if found is not None and self.mode == "block":
            return call.refuse(found, start_response, environ)
        return call.run(environ, start_response)

    def record(self, request: Request, result: Result, status: int) -> None:
        """Write the audit log. A log that cannot be written is no reason to refuse a request."""
        if self.audit is None or not result.matches:
            return
        record = Record(
            id=request.id.decode("latin-1"),
            time=time.time(),
            client=request.client[0],
            host=request.header(b"host").decode("latin-1"),
            method=request.method.decode("latin-1"),
            path=request.path,
            status=status,
            mode=self.mode,
            blocked=result.blocked and self.mode == "block",
            scores=result.scores,
            matches=result.matches,
        )
        try:
            self.audit.write(record)
        except OSError as error:
            log.error("the audit log %s cannot be written: %s", self.audit.path, error)  # noqa: TRY400 - no traceback


class _Call:
    """One request on its way through the app."""

    def __init__(self, middleware: Middleware, request: Request, transaction: Transaction) -> None:
        self.middleware, self.request, self.transaction = middleware, request, transaction
        self.recorder: Recorder | None = None
        self.kept: BinaryIO | None = None
        self.ended = False

    def judge_body(self, environ: WSGIEnvironment) -> Intervention | None:
        """Phase 2, for which the body is read; the app gets it from where it was kept."""
        limit = self.transaction.request_body_limit
        if not limit or not has_body(environ):
            return self.transaction.request_body(b"")
        kept = cast("BinaryIO", tempfile.SpooledTemporaryFile(_MEMORY))  # noqa: SIM115 - closed at the end of the response
        self.kept = kept
        source, left = environ["wsgi.input"], length(environ)
        while left is None or left > 0:
            piece = source.read(_PIECE if left is None else min(_PIECE, left))
            if not piece:
                break
            left = None if left is None else left - len(piece)
            kept.write(piece)
            if kept.tell() > limit:
                break
        kept.seek(0)
        found = self.transaction.request_body(kept.read(limit + 1))
        kept.seek(0)
        environ["wsgi.input"] = io.BufferedReader(cast("io.RawIOBase", Joined(kept, source, left)))
        return found

    def tell(self, environ: WSGIEnvironment) -> None:
        """What the app sees. Headers of clients are HTTP_…, so no client can send these."""
        result = self.transaction.result()
        environ["buchner.waf.id"] = self.request.id.decode("latin-1")
        environ["buchner.waf.score"] = result.score
        environ["buchner.waf.rules"] = result.rules

    def run(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        started = _Started(self, start_response, environ)
        try:
            body = self.middleware.app(environ, started)
        except BaseException:
            self.end(500)
            raise
        return _Body(self, started, body)

    def late_body(self) -> None:
        """Phase 2 in detect mode, when the app has read what it wants."""
        if self.recorder is not None:
            recorder, self.recorder = self.recorder, None
            self.transaction.request_body(bytes(recorder.seen))

    def refuse(self, found: Intervention, start_response: StartResponse, environ: WSGIEnvironment) -> list[bytes]:
        """The response instead of the app's. It has the request's id and never a rule."""
        if found.action == "redirect":
            start_response(f"{found.status} Found", [("Location", found.url), ("Content-Length", "0")])
            self.end(found.status)
            return [b""]
        status = found.status
        title, number = _TITLES.get(status, "Refused"), self.request.id.decode("latin-1")
        if "json" in environ.get("HTTP_ACCEPT", ""):
            kind, text = "application/json", json.dumps({"status": status, "error": title, "request_id": number}) + "\n"
        else:
            kind, text = "text/html; charset=utf-8", _PAGE.format(title=title, id=number)
        page = text.encode()
        headers = [("Content-Type", kind), ("Content-Length", str(len(page))), ("Cache-Control", "no-store")]
        start_response(f"{status} {title}", headers)
        self.end(status)
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else page]

    def end(self, status: int) -> None:
        """Phase 5 and the audit log, once."""
        if self.ended:
            return
        self.ended = True
        self.late_body()
        self.middleware.record(self.request, self.transaction.finish(), status)
        if self.kept is not None:
            self.kept.close()


class _Started:
    """The app's `start_response`: keeps the head of the response until phase 3, or 4, has agreed."""

    def __init__(self, call: _Call, start_response: StartResponse, environ: WSGIEnvironment) -> None:
        self.call, self.start_response, self.environ = call, start_response, environ
        self.head: tuple[str, list[tuple[str, str]], Any] | None = None
        self.status = 0
        self.limit = 0
        self.sent = False
        self.instead: list[bytes] | None = None

    def __call__(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], object]:
        if self.head is not None and exc_info is None:
            raise AssertionError("start_response was called twice without exc_info (PEP 3333)")
        if self.sent:
            return self.start_response(status, headers, exc_info)
        self.head = (status, headers, exc_info)
        return self.write

    def write(self, data: bytes) -> None:
        """PEP 3333's `write`: the head goes out unjudged by phase 4."""
        self.judge()
        self.limit = 0
        writer = self.send()
        if writer is not None and data:
            writer(data)

    def judge(self) -> None:
        """Phase 3, once the app's final head is known."""
        if self.status or self.head is None:
            return
        status, headers, _ = self.head
        self.status = int(status[:3])
        self.call.late_body()
        transaction = self.call.transaction
        names = {name.lower(): value for name, value in headers}
        found = transaction.response_head(Response(self.status, headers, reason=status[4:]))
        if self.call.middleware.mode == "block" and found is not None:
            self.replace(found)
            return
        plain = names.get("content-encoding", "identity") == "identity"
        stream = names.get("content-type", "").startswith("text/event-stream") or self.status < 200  # noqa: PLR2004
        self.limit = transaction.response_body_limit if plain and not stream else 0

    def replace(self, found: Intervention) -> None:
        self.sent, self.limit = True, 0
        self.instead = self.call.refuse(found, self.start_response, self.environ)

    def replaced(self) -> bool:
        """Another response went out instead of the app's."""
        return self.instead is not None

    def send(self) -> Callable[[bytes], object] | None:
        """Send the head, unless it went out or was replaced."""
        if self.sent or self.head is None:
            return None
        self.sent = True
        status, headers, exc_info = self.head
        return self.start_response(status, headers, exc_info) if exc_info else self.start_response(status, headers)


class _Body:
    """The app's response, held as long as phase 4 needs it."""

    def __init__(self, call: _Call, started: _Started, body: Iterable[bytes]) -> None:
        self.call, self.started, self.body = call, started, body
        self.pieces = self._pieces()

    def __iter__(self) -> Iterator[bytes]:
        return self.pieces

    def _pieces(self) -> Iterator[bytes]:
        started, blocking = self.started, self.call.middleware.mode == "block"
        held: list[bytes] = []
        size = 0
        judged = False
        for piece in self.body:
            started.judge()
            if started.replaced():
                break
            if judged or not started.limit:
                started.send()
                yield piece
                continue
            size += len(piece)
            held.append(piece)
            if not blocking:
                started.send()
                yield piece
            if size > started.limit:
                judged = True
                self._judge(held)
                if blocking and not started.replaced():
                    started.send()
                    yield from held
                held = []
                if started.replaced():
                    break
        started.judge()
        if not started.replaced() and started.limit and not judged:
            self._judge(held)
        elif not started.replaced() and not judged and started.head is not None:
            self.call.transaction.response_body(b"")
        if started.replaced():
            yield from started.instead or ()
            return
        started.send()
        if blocking and not judged:
            yield from held

    def _judge(self, held: list[bytes]) -> None:
        """Phase 4."""
        found = self.call.transaction.response_body(b"".join(held)[: self.started.limit + 1])
        if found is not None and self.call.middleware.mode == "block" and not self.started.sent:
            self.started.replace(found)

    def close(self) -> None:
        """Close the app's response (PEP 3333)."""
        try:
            if callable(close := getattr(self.body, "close", None)):
                close()
        finally:
            self.call.end(self.started.status)
