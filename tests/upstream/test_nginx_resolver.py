"""`resolver`: names in URLs with variables are asked of the name servers of the location, as nginx asks them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from helpers.names import AAAA, Names
from helpers.nginx import get
from helpers.upstream import answer
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from helpers.nginx import Pair
    from helpers.upstream import Upstream

    RunPair = Callable[[str], Pair]
    RunUpstream = Callable[..., Upstream]


@pytest.fixture
def servers() -> Iterator[list[Names]]:
    """Return three name servers."""
    three = [Names() for _ in range(3)]
    yield three
    for server in three:
        server.socket.close()


def test_each_block_asks_its_own(servers: list[Names], run_pair: RunPair, run_upstream: RunUpstream) -> None:
    back = run_upstream(answer(b"found")).port
    outer, middle, inner = servers
    pair = run_pair(
        f"""resolver 127.0.0.1:{outer.port} ipv6=off;
        server {{ listen 127.0.0.1:PORT; location / {{ proxy_pass http://$arg_host:{back}; }} }}
        server {{ listen 127.0.0.1:PORT; server_name other; resolver 127.0.0.1:{middle.port};
        location / {{ proxy_pass http://$arg_host:{back}; }}
        location /in {{ resolver 127.0.0.1:{inner.port} ipv6=off; proxy_pass http://$arg_host:{back}; }} }}"""
    )
    for server in (pair.nginx, pair.buchner):
        name = "ok.nginx" if server is pair.nginx else "ok.buchner"
        for asked, path, host in ((outer, "/", "test"), (middle, "/", "other"), (inner, "/in", "other")):
            for names in servers:
                names.asked.clear()
            reply = server.ask(get(f"{path}?host={name}", host=host))
            assert reply is not None
            assert (reply.status, reply.body) == (200, b"found")
            for names in servers:
                if names is not asked:
                    assert names.asked == []
            assert asked.count(name) == 1
            assert ((name, AAAA) in asked.asked) is (asked is middle), "only where ipv6 is not off"


def test_what_a_name_server_says(servers: list[Names], run_pair: RunPair, run_upstream: RunUpstream) -> None:
    back = run_upstream(answer(b"found")).port
    pair = run_pair(
        f"""server {{ listen 127.0.0.1:PORT; resolver 127.0.0.1:{servers[0].port} ipv6=off; resolver_timeout 9s;
        location / {{ proxy_pass http://$arg_host:{back}; }}
        location /soon {{ resolver_timeout 1s; proxy_pass http://$arg_host:{back}; }} }}"""
    )
    for path, statuses in (("/?host=missing.x", 502), ("/?host=broken.x", 502), ("/soon?host=silent.x", 502)):
        for server in (pair.nginx, pair.buchner):
            status, seconds = server.timed(get(path))
            assert status == statuses
            assert seconds < 3


def test_answers_hold_as_long_as_is_said(servers: list[Names], run_pair: RunPair, run_upstream: RunUpstream) -> None:
    back = run_upstream(answer(b"found")).port
    said, held, _ = servers
    pair = run_pair(
        f"""server {{ listen 127.0.0.1:PORT;
        location / {{ resolver 127.0.0.1:{said.port} ipv6=off; proxy_pass http://$arg_host:{back}; }}
        location /held {{ resolver 127.0.0.1:{held.port} ipv6=off valid=60s; proxy_pass http://$arg_host:{back}; }}
        location /brief {{ resolver 127.0.0.1:{held.port} ipv6=off valid=1s; proxy_pass http://$arg_host:{back}; }}
        }}"""
    )
    cases = (("/", "short", said, True), ("/", "ok", said, False), ("/held", "short", held, False))
    for server in (pair.nginx, pair.buchner):
        for path, word, names, again in (*cases, ("/brief", "ok", held, True)):
            request = get(f"{path}?host={word}.{path.strip('/') or 'said'}.{server.port}")
            name = f"{word}.{path.strip('/') or 'said'}.{server.port}"
            for _ in range(2):
                assert server.timed(request)[0] == 200
            assert names.count(name) == 1, "while it holds it is not asked for again"
            time.sleep(2.1)  # the time is what is tested
            assert server.timed(request)[0] == 200
            if again:
                wait_for(lambda: names.count(name) == 2, "another question")  # noqa: B023
            else:
                assert names.count(name) == 1


def test_another_server_is_asked_when_one_is_silent(
    servers: list[Names], run_pair: RunPair, run_upstream: RunUpstream
) -> None:
    """nginx asks the servers in turn, and the next one after 5 s."""
    back = run_upstream(answer(b"found")).port
    silent, asked, _ = servers
    silent.silent = True
    pair = run_pair(
        f"""server {{ listen 127.0.0.1:PORT; resolver_timeout 8s;
        resolver 127.0.0.1:{silent.port} 127.0.0.1:{asked.port} ipv6=off;
        location / {{ proxy_pass http://$arg_host:{back}; }} }}"""
    )
    for server in (pair.nginx, pair.buchner):
        assert server.timed(get("/?host=ok.x"))[0] == 200
        assert silent.count("ok.x") > 0 or server is pair.nginx, "nginx may begin with any"
