"""The firewall as WSGI middleware: what reaches the app, what reaches the client, and what is logged."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from buchner.waf import Engine, Middleware
from buchner.waf.record import read
from helpers.crs import SCORING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

flask = pytest.importorskip("flask")
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.from_text(SCORING, mode="block")


class App:
    """Reads the body and responds with pieces; says what it was called with."""

    def __init__(self, *pieces: bytes, kind: str = "text/plain", headers: Iterable[tuple[str, str]] = ()) -> None:
        self.pieces, self.kind, self.headers = pieces or (b"ok",), kind, list(headers)
        self.calls: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.made = 0
        self.closed = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        self.calls.append(environ)
        self.bodies.append(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        start_response("200 OK", [("Content-Type", self.kind), *self.headers])
        return self

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            self.made += 1
            yield piece

    def close(self) -> None:
        self.closed += 1


def ask(app: Any, target: str = "/", body: bytes = b"", **more: str) -> tuple[str, dict[str, str], bytes]:
    path, _, query = target.partition("?")
    environ: dict[str, Any] = {
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "REMOTE_ADDR": "192.0.2.7",
        **more,
    }
    if body:
        environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body)), "REQUEST_METHOD": "POST"}
        environ.setdefault("CONTENT_TYPE", FORM)
    setup_testing_defaults(environ)
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], _exc: Any = None) -> Callable[[bytes], object]:
        started.append((status, headers))
        return io.BytesIO().write

    result = validator(app)(environ, start_response)
    try:
        data = b"".join(result)
    finally:
        result.close()  # type: ignore[attr-defined]
    return started[-1][0], dict(started[-1][1]), data


def test_the_app_sees_nothing_of_a_request_that_is_blocked(engine: Engine, tmp_path: Path) -> None:
    app = App()
    log = tmp_path / "waf.json"
    guarded = Middleware(app, engine, audit_log=log)
    status, headers, page = ask(guarded, "/shop?q=union")
    assert (status, app.calls, headers["Content-Type"]) == ("403 Forbidden", [], "text/html; charset=utf-8")
    (record,) = read(log)
    assert record.id.encode() in page
    assert b"942100" not in page
    assert b"949110" not in page
    assert (record.client, record.path, record.status, record.blocked, record.mode) == (
        "192.0.2.7", "/shop", 403, True, "block",
    )  # fmt: skip
    assert [match.rule for match in record.matches] == [942100, 949110]
    assert log.stat().st_mode & 0o777 == 0o600
    _, headers, page = ask(guarded, "/shop?q=union", HTTP_ACCEPT="application/json")
    assert (headers["Content-Type"], set(json.loads(page))) == ("application/json", {"status", "error", "request_id"})
    assert ask(guarded, "/", HTTP_X_EARLY="1")[0] == "403 Forbidden"
    assert app.calls == []


def test_a_body_is_judged_first_and_then_read_by_the_app(engine: Engine) -> None:
    app = App()
    guarded = Middleware(app, engine)
    assert ask(guarded, "/", b"q=select")[0] == "403 Forbidden"
    assert app.calls == []
    body = b"q=" + b"a" * 3_000_000
    assert ask(guarded, "/", body)[0] == "200 OK"
    assert app.bodies == [body]


def test_a_body_above_the_limit_is_refused_or_judged_in_part() -> None:
    for action, status in (("Reject", "413 Content Too Large"), ("ProcessPartial", "200 OK")):
        rules = f"{SCORING}\nSecRequestBodyLimit 100\nSecRequestBodyLimitAction {action}\n"
        app = App()
        guarded = Middleware(app, Engine.from_text(rules, mode="block"))
        body = b"q=" + b"a" * 300_000 + b"union"
        assert ask(guarded, "/", body)[0] == status
        assert app.bodies == ([] if action == "Reject" else [body])
        assert ask(guarded, "/", b"q=union&r=" + b"a" * 200)[0] == ("403 Forbidden" if action != "Reject" else status)


def test_detect_mode_changes_nothing_and_reads_nothing_first(engine: Engine, tmp_path: Path) -> None:
    log = tmp_path / "waf.json"
    app = App(b"a secret", headers=[("X-Leak", "1")])
    guarded = Middleware(app, engine, mode="detect", audit_log=log)
    status, headers, data = ask(guarded, "/?q=union", b"r=select")
    assert (status, headers["X-Leak"], data, app.bodies) == ("200 OK", "1", b"a secret", [b"r=select"])
    (record,) = read(log)
    # The engine blocks, so after what it would have blocked no further phase runs.
    assert (record.blocked, record.status, record.mode, record.would_block) == (False, 200, "detect", True)
    assert {match.variable for match in record.matches if match.rule == 942100} == {"ARGS:q", "ARGS:r"}
    detecting = Middleware(App(b"a secret"), Engine.from_text(SCORING, mode="detect"), mode="detect", audit_log=log)
    ask(detecting, "/?q=union", b"r=select")
    assert [match.rule for match in list(read(log))[1].matches] == [942100, 942100, 949110, 951100]


def test_a_response_is_replaced_before_anything_of_it_goes_out(engine: Engine) -> None:
    for app in (App(headers=[("X-Leak", "1")]), App(b"one ", b"a sec", b"ret", kind="text/html")):
        status, headers, page = ask(Middleware(app, engine))
        assert status == "500 Internal Server Error"
        assert "X-Leak" not in headers
        assert b"secret" not in page
        assert app.closed == 1
    for app, whole in (
        (App(b"a ", b"secret", kind="image/png"), b"a secret"),
        (App(b"a ", b"secret", kind="text/event-stream"), b"a secret"),
        (App(b"fine ", b"text"), b"fine text"),
        (App(b"a" * 1500, b"secret"), b"a" * 1500 + b"secret"),
    ):
        assert ask(Middleware(app, engine))[::2] == ("200 OK", whole)


def test_event_streams_are_not_held() -> None:
    engine = Engine.from_text(f"{SCORING}\nSecResponseBodyMimeType text/event-stream\n", mode="block")
    app = App(b"data: 1\n\n", b"data: 2\n\n", kind="text/event-stream")
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    pieces = iter(Middleware(app, engine)(environ, lambda *_: lambda _: None))
    assert (next(pieces), app.made) == (b"data: 1\n\n", 1)


def test_the_app_sees_the_score_and_no_header_can_pretend_it(engine: Engine) -> None:
    app = App()
    guarded = Middleware(app, engine)
    ask(guarded, "/?q=odd", HTTP_BUCHNER_WAF_SCORE="0")
    assert (app.calls[0]["buchner.waf.score"], app.calls[0]["buchner.waf.rules"]) == (3, (920100,))
    assert len(app.calls[0]["buchner.waf.id"]) == 32
    ask(guarded, "/?q=fine")
    assert (app.calls[1]["buchner.waf.score"], app.calls[1]["buchner.waf.rules"]) == (0, ())


def test_flask_behind_it_works_as_before(engine: Engine) -> None:
    app = flask.Flask("shop")

    @app.post("/")  # type: ignore[untyped-decorator]
    def index() -> str:
        return f"{flask.request.form['a']} {flask.request.environ['buchner.waf.score']}"

    app.wsgi_app = Middleware(app.wsgi_app, engine)
    client = app.test_client()
    with client.post("/", data={"a": "odd"}) as response:
        assert response.text == "odd 3"
    with client.post("/", data={"a": "union"}) as response:
        assert response.status_code == 403


def test_an_app_that_fails_is_logged_and_fails_as_before(engine: Engine, tmp_path: Path) -> None:
    log = tmp_path / "waf.json"

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:  # noqa: ARG001
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        Middleware(app, engine, audit_log=log)({**_environ(), "QUERY_STRING": "q=odd"}, lambda *_: lambda _: None)
    assert [record.status for record in read(log)] == [500]
    with pytest.raises(ValueError, match="mode is 'on'"):
        Middleware(app, engine, mode="on")


def _environ() -> dict[str, Any]:
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    return environ


def test_a_log_that_cannot_be_written_refuses_nothing(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guarded = Middleware(App(), engine, audit_log=tmp_path / "no" / "waf.json")
    assert ask(guarded, "/?q=odd")[0] == "200 OK"
    assert "waf.json cannot be written" in caplog.text
