"""Answers without a server behind them: redirect, respond, stub_status, and the fields that add_headers adds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from helpers.raw import Raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.gateway import Gateway

TOML = """
[[server]]
add_headers = { X-Kind = "test", X-Echo = "$arg_echo" }

[[server.route]]
path = "/old/"
redirect = { status = 301, to = "https://$host/new$request_uri" }

[[server.route]]
path = "/short"
redirect = "/elsewhere"

[[server.route]]
path = "/text"
respond = "a text"

[[server.route]]
path = "/json"
respond = { status = 201, content_type = "application/json", body = '{"address": "$remote_addr"}' }

[[server.route]]
path = "/gone"
respond = 410

[[server.route]]
path = "/closed"
respond = 444

[[server.route]]
path = "/own"
respond = 204
add_headers = { X-Own = "yes" }

[[server.route]]
path = "/numbers"
stub_status = true
"""


@pytest.fixture
def gateway(run_gateway: Callable[..., Gateway]) -> Gateway:
    return run_gateway(TOML)


@pytest.mark.kind("backend redirect")
def test_redirects_have_the_status_and_the_location_they_are_given(gateway: Gateway) -> None:
    reply = gateway.get("/old/a?b=c", "Host: shop.example:81")
    assert reply.status == 400  # two Host fields
    reply = gateway.ask("GET /old/a?b=c HTTP/1.1\r\nHost: Shop.example:81\r\nConnection: close\r\n\r\n")
    assert (reply.status, reply.get("location")) == (301, "https://shop.example/new/old/a?b=c")
    reply = gateway.get("/short")
    assert (reply.status, reply.get("location")) == (302, "/elsewhere")


@pytest.mark.kind("backend respond")
def test_fixed_answers(gateway: Gateway) -> None:
    reply = gateway.get("/text")
    assert (reply.status, reply.get("content-type"), reply.body) == (200, "text/plain; charset=utf-8", b"a text")
    reply = gateway.get("/json")
    assert (reply.status, reply.get("content-type"), reply.body) == (
        201,
        "application/json",
        b'{"address": "127.0.0.1"}',
    )
    reply = gateway.get("/gone")
    assert reply.status == 410
    assert b"410 Gone" in reply.body
    with Raw(gateway.port) as raw:
        raw.send("GET /closed HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises(EOFError):
            raw.reply()


@pytest.mark.kind("backend stub_status")
def test_the_numbers_are_right(gateway: Gateway) -> None:
    for _ in range(3):
        assert gateway.get("/text").status == 200
    with Raw(gateway.port) as idle:
        idle.send("GET /text HTTP/1.1\r\nHost: a\r\n\r\n")
        assert idle.reply().status == 200
        text = gateway.get("/numbers").body.decode()
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    active, accepts, handled, requests = numbers[:4]
    assert text.startswith("Active connections: 2 \n")
    assert active == 2
    assert accepts == handled >= 5  # the start was waited for with one more
    assert requests == 5


@pytest.mark.kind("filter headers")
def test_added_fields(gateway: Gateway) -> None:
    reply = gateway.get("/text?echo=hi")
    assert (reply.get("x-kind"), reply.get("x-echo")) == ("test", "hi")
    assert gateway.get("/text").get("x-echo") is None  # empty
    assert gateway.get("/gone").get("x-kind") is None  # not on errors
    reply = gateway.get("/own")
    assert (reply.get("x-own"), reply.get("x-kind")) == ("yes", None)  # a level replaces the whole
