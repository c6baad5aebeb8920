"""Which peer of an upstream is asked: every address of a name is one, and those that fail are left alone."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from helpers.names import Names
from helpers.nginx import get
from helpers.raw import Raw
from helpers.upstream import Upstream, answer, exactly

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from helpers.gateway import Gateway
    from helpers.nginx import Pair, Server
    from helpers.upstream import Script

    Run = Callable[..., Gateway]
    RunConf = Callable[[str], Server]
    RunPair = Callable[[str], Pair]
    RunUpstream = Callable[..., Upstream]


@pytest.fixture
def names() -> Iterator[Names]:
    server = Names()
    yield server
    server.socket.close()


def conf(names: Names, port: int, more: str = "") -> str:
    return f"""server {{ listen 127.0.0.1:PORT; resolver 127.0.0.1:{names.port} ipv6=off; {more}
        add_header Peers "$upstream_addr|$upstream_status" always;
        location / {{ proxy_pass http://$arg_host:{port}; }} }}"""


def peers(server: Server, name: str, method: str = "GET") -> tuple[int, str]:
    reply = server.ask(get(f"/?host={name}").replace("GET", method, 1))
    assert reply is not None
    return reply.status, str(reply.get("peers"))


def test_each_address_of_a_name_is_tried_and_told(names: Names, run_pair: RunPair, run_upstream: RunUpstream) -> None:
    port = run_upstream(answer(b"x")).port
    names.addresses = {"two.x": ["127.0.0.201", "127.0.0.1"], "dead.x": ["127.0.0.201", "127.0.0.202"]}
    pair = run_pair(conf(names, port))
    alive = {f"127.0.0.1:{port}|200", f"127.0.0.201:{port}, 127.0.0.1:{port}|502, 200"}
    dead = {
        f"127.0.0.201:{port}, 127.0.0.202:{port}|502, 502",
        f"127.0.0.202:{port}, 127.0.0.201:{port}|502, 502",
    }
    for server in (pair.nginx, pair.buchner):
        found = [peers(server, "two.x") for _ in range(8)]
        assert {status for status, _ in found} == {200}
        assert {told for _, told in found} <= alive
        assert peers(server, "two.x", "POST")[0] == 200
        for _ in range(3):
            status, told = peers(server, "dead.x")
            assert status == 502
            assert told in dead
    assert {peers(pair.buchner, "two.x")[1] for _ in range(8)} == alive, "the addresses take turns"


def test_statuses_and_the_number_of_tries_count_addresses(
    names: Names, run_pair: RunPair, run_upstream: RunUpstream
) -> None:
    good = run_upstream(answer(b"x"))
    bad = Upstream(exactly(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), "127.0.0.201", good.port)
    names.addresses = {"two.x": ["127.0.0.201", "127.0.0.1"], "three.x": ["127.0.0.1", "127.0.0.202", "127.0.0.203"]}
    pair = run_pair(conf(names, good.port, "proxy_next_upstream error timeout http_404; proxy_next_upstream_tries 2;"))
    try:
        for server in (pair.nginx, pair.buchner):
            found = [peers(server, "two.x") for _ in range(8)]
            port = good.port
            assert {status for status, _ in found} == {200}
            assert {told for _, told in found} <= {
                f"127.0.0.1:{port}|200",
                f"127.0.0.201:{port}, 127.0.0.1:{port}|404, 200",
            }
            assert all(told.count(",") <= 2 for _, told in (peers(server, "three.x") for _ in range(8)))
    finally:
        bad.close()


def test_requests_that_wait_for_a_name_share_a_query(
    names: Names, run_pair: RunPair, run_upstream: RunUpstream
) -> None:
    port = run_upstream(answer(b"x")).port
    names.delay = 0.3
    pair = run_pair(conf(names, port))
    for server in (pair.nginx, pair.buchner):
        name = f"ok.{server.port}"
        with ThreadPoolExecutor(5) as pool:
            statuses = list(pool.map(lambda _: peers(server, name)[0], range(5)))  # noqa: B023
        assert statuses == [200] * 5
        assert names.count(name) == 1


def test_a_name_is_what_the_name_server_says_now(names: Names, run_pair: RunPair, run_upstream: RunUpstream) -> None:
    old = run_upstream(answer(b"old"))
    new = Upstream(answer(b"new"), "127.0.0.201", old.port)
    pair = run_pair(conf(names, old.port))
    try:
        for server in (pair.nginx, pair.buchner):
            name = f"moves.{server.port}"
            for addresses, body in ((["127.0.0.1"], b"old"), (["127.0.0.201"], b"new"), ([], None)):
                names.addresses[name] = addresses
                reply = server.ask(get(f"/?host={name}"))
                assert reply is not None
                assert reply.body == body or (body is None and reply.status == 502)
                time.sleep(2.1)  # the time to live is what is tested
    finally:
        new.close()


def test_addresses_go_on_while_the_name_server_is_silent(
    names: Names, run_conf: RunConf, run_upstream: RunUpstream
) -> None:
    port = run_upstream(answer(b"x")).port
    server = run_conf(conf(names, port, "resolver_timeout 1s;"))
    assert peers(server, "short.x")[0] == 200
    names.silent = True
    time.sleep(1.1)  # the time to live
    assert peers(server, "short.x")[0] == 200
    assert peers(server, "short.y")[0] == 502


def every_third_closes() -> Script:
    count = 0

    def script(connection: socket.socket, head: bytes) -> bool:
        nonlocal count
        count += 1
        return count % 3 != 0 and answer(b"a", "Connection: close")(connection, head) and False

    return script


def test_failures_count_within_their_time_and_not_in_a_row(run_pair: RunPair, run_upstream: RunUpstream) -> None:
    a, b = run_upstream(every_third_closes()), run_upstream(answer(b"b", "Connection: close"))
    pair = run_pair(
        f"upstream two {{ server 127.0.0.1:{a.port} max_fails=3; server 127.0.0.1:{b.port}; }}"
        "server { listen 127.0.0.1:PORT; location / { proxy_pass http://two; } }"
    )
    for server in (pair.nginx, pair.buchner):
        a.script = every_third_closes()
        bodies = Counter(reply.body for reply in (server.ask(get("/")) for _ in range(30)) if reply)
        assert (bodies[b"a"], bodies[b"b"]) == (6, 24)


def refuse(connection: socket.socket, _head: bytes) -> bool:
    """Respond after the head, as a server whose limit is exceeded, and read no more."""
    connection.sendall(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\n\r\nbig")
    time.sleep(8)  # the connection stays open meanwhile
    return False


class Deaf(Upstream):
    """Reads heads and no bodies."""

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            raw = Raw.__new__(Raw)
            raw.socket, raw.buffer = connection, b""
            threading.Thread(target=self._refuse, args=(raw,), daemon=True).start()

    def _refuse(self, raw: Raw) -> None:
        refuse(raw.socket, raw._until(b"\r\n\r\n"))


@pytest.mark.parametrize("how", ["file", "memory", "streamed", "replaced"])
def test_a_response_is_read_while_the_body_is_sent(run_gateway: Run, how: str) -> None:
    settings = {
        "file": "",
        "memory": 'buffer_memory = "64m"',
        "streamed": "request_buffering = false",
        "replaced": 'proxy_set_body = "' + "x" * 8_000_000 + '"',
    }
    upstream = Deaf(refuse)
    gateway = run_gateway(
        f'[[server]]\n[[server.route]]\npath = "/"\nproxy = "http://127.0.0.1:{upstream.port}"\n{settings[how]}\n'
    )
    length = 2 if how == "replaced" else 8_000_000
    began = time.monotonic()
    with Raw(gateway.port) as raw:
        raw.send(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
        raw.send(b"x" * (length if how != "streamed" else 100_000))
        reply = raw.reply()
    assert (reply.status, reply.body) == (413, b"big")
    assert time.monotonic() - began < 7
    upstream.close()
