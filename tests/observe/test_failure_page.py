"""What the log and the page say of an app's exception."""

from __future__ import annotations

import json
from typing import Any

import pytest

from buchner.worker import failure
from slot_driver import until

Environ = dict[str, Any]


def nested(environ: Environ, _start: Any) -> list[bytes]:
    def decoder(text: str) -> Any:
        return json.loads(text)

    try:
        decoder("{<script>")
    except ValueError as error:
        raise RuntimeError(f"the {environ['QUERY_STRING']} cannot be read\nsecond line") from error
    return []


def test_the_development_page_begins_with_what_happened(serve_app: Any) -> None:
    gateway = serve_app(nested, gateway={"development": True})
    status, _head, body = gateway.ask("/order/%C3%A9?<b>", headers="X-Own: <i>\r\nAccept: text/html\r\n")
    page = body.decode()
    assert status == 500
    order = [
        "<h1>RuntimeError</h1>", "the &lt;b&gt; cannot be read", "second line", "<details open", "nested",
        "The direct cause was", "<h2>json.decoder.JSONDecodeError</h2>", "<details class=library><summary>", "json",
        "<details open", "decoder", "<aside>", "GET /order/\u00e9?&lt;b&gt;", "<dt>X-Own<dd>&lt;i&gt;",
    ]  # fmt: skip
    at = 0
    for part in order:
        at = page.find(part, at)
        assert at >= 0, part
    assert "<span class=here><i>" in page
    assert "return json.loads(text)" in page
    assert "<script>" not in page
    json_page = gateway.ask("/", headers="Accept: application/json\r\n")[2]
    assert "RuntimeError: the " in json.loads(json_page)["cause"]


def test_the_log_and_the_page_of_a_service_have_the_first_line(
    serve_app: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    gateway = serve_app(nested)
    status, head, body = gateway.ask("/?x")
    assert (status, b"RuntimeError" in body) == (500, False)
    assert "X-Buchner-Error: internal" in head
    log = ""

    def told() -> bool:
        nonlocal log
        log += capfd.readouterr().err
        return "500: app app: RuntimeError: the x cannot be read, " in log

    until(told)


def page_of(error: BaseException, environ: Environ | None = None) -> str:
    try:
        raise error
    except type(error) as caught:
        return failure.page(caught, environ or {})


class Unspeakable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise ValueError


def recurse(depth: int) -> None:
    if depth == 0:
        raise ValueError("deep" * 5000)
    recurse(depth - 1)


def test_pages_of_odd_exceptions() -> None:
    assert "its text cannot be had: ValueError" in page_of(Unspeakable())
    noted = ValueError("a")
    noted.add_note("a <note>")
    assert "a &lt;note&gt;" in page_of(noted)
    with pytest.raises(SyntaxError) as caught:
        compile("a = = 1", "odd.py", "exec")
    assert "a = = 1" in failure.page(caught.value, {})
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    assert page_of(first).count("The direct cause was") == 1
    with pytest.raises(ValueError, match="deep") as deep:
        recurse(500)
    assert 1000 < len(failure.page(deep.value, {})) < 60_000
    assert page_of(ValueError("x" * 100_000)) == ""
