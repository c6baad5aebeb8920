"""Which server is asked: Buchner and nginx on the same file choose the same ones."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from buchner.config import load
from buchner.errors import ConfigError
from helpers.gateway import Gateway, free_port
from helpers.nginx import Pair, Server
from helpers.raw import Raw

if TYPE_CHECKING:
    from pathlib import Path

RunPair = Callable[[str], Pair]
RequirePeer = Callable[[str], str]
BATCH = 50
"""Requests that are sent before their responses are read."""
PROXY = """
keepalive_requests 1000000;
proxy_http_version 1.1;
proxy_set_header Connection "";
set_real_ip_from 127.0.0.1;
real_ip_header X-Client;
"""


@pytest.fixture
def servers(tmp_path: Path, require_peer: RequirePeer) -> Iterator[list[int]]:
    """The ports of eight servers that respond with their port."""
    ports = [free_port() for _ in range(7)]
    listen = "".join(f"listen 127.0.0.1:{port};" for port in ports)
    http = f"keepalive_requests 1000000; server {{ listen 127.0.0.1:PORT; {listen} return 200 $server_port; }}"
    server = Server(tmp_path / "servers", http, [require_peer("nginx"), "-c"])
    yield [*ports, server.port]
    server.stop()


def group(
    name: str, ports: list[int], weights: list[int], before: str = "", parameters: dict[int, str] | None = None
) -> str:
    """Return an upstream and the location that leads to it."""
    more = parameters or {}
    lines = [f"server 127.0.0.1:{ports[i]} weight={w} {more.get(i, '')};" for i, w in enumerate(weights)]
    return f"upstream {name} {{ {before} {' '.join(lines)} keepalive 8; }}"


def site(groups: dict[str, str]) -> str:
    locations = "".join(f"location /{name} {{ proxy_pass http://{name}; }}" for name in groups)
    return f"{PROXY}{' '.join(groups.values())} server {{ listen 127.0.0.1:PORT; {locations} }}"


def chosen(port: int, requests: list[tuple[str, str]]) -> list[bytes]:
    """Return which server each request got to, all on one connection: targets, and clients' addresses."""
    found = []
    with Raw(port, 60) as raw:
        for start in range(0, len(requests), BATCH):
            batch = requests[start : start + BATCH]
            heads = [f"GET {target} HTTP/1.1\r\nHost: a\r\nX-Client: {client}\r\n\r\n" for target, client in batch]
            raw.send("".join(heads))
            for target, _ in batch:
                reply = raw.reply()
                assert reply.status == 200, (target, reply)
                found.append(reply.body)
    return found


def same(pair: Pair, requests: list[tuple[str, str]]) -> list[bytes]:
    """Return where requests got to, which must be the same servers with both."""
    theirs, ours = chosen(pair.nginx.port, requests), chosen(pair.buchner.port, requests)
    wrong = [(request, t, o) for request, t, o in zip(requests, theirs, ours, strict=True) if t != o]
    assert not wrong, f"{len(wrong)} of {len(requests)} differ: request, nginx, Buchner: {wrong[:5]}"
    return theirs


@pytest.mark.kind("balancer least_conn")
def test_turns_are_those_of_nginx(run_pair: RunPair, servers: list[int]) -> None:
    """The first 1,000 picks of 50 sets of weights are nginx's; so are those among equals of `least_conn`."""
    draw = random.Random(12)
    sets = [[draw.randint(1, 20) for _ in range(draw.randint(2, 8))] for _ in range(50)]
    groups = {f"turns{n}": group(f"turns{n}", servers, weights) for n, weights in enumerate(sets)}
    groups |= {f"least{n}": group(f"least{n}", servers, weights, "least_conn;") for n, weights in enumerate(sets[:5])}
    pair = run_pair(site(groups))
    for name in groups:
        assert len(set(same(pair, [(f"/{name}", "192.0.2.1")] * 1000))) > 1


@pytest.mark.kind("balancer hash")
@pytest.mark.kind("balancer consistent_hash")
@pytest.mark.kind("balancer ip_hash")
def test_clients_and_keys_get_to_the_server_that_nginx_chooses(run_pair: RunPair, servers: list[int]) -> None:
    """10,000 keys and addresses, with a server that is down among the others."""
    weights, down = [3, 1, 2, 1, 5, 1, 1, 1], {2: "down"}
    methods = {"plain": "hash $arg_k;", "ring": "hash $arg_k$uri consistent;", "ip": "ip_hash;"}
    groups = {name: group(name, servers, weights, method) for name, method in methods.items()}
    groups |= {f"{name}down": group(f"{name}down", servers, weights, m, down) for name, m in methods.items()}
    pair = run_pair(site(groups))
    draw = random.Random(13)
    for name in groups:
        if name.startswith("ip"):
            v4 = [".".join(str(draw.randint(1, 254)) for _ in range(4)) for _ in range(9000)]
            v6 = [f"2001:db8:{draw.randint(0, 65535):x}::{draw.randint(1, 65535):x}" for _ in range(1000)]
            found = same(pair, [(f"/{name}", client) for client in v4 + v6])
        else:
            found = same(pair, [(f"/{name}?k=user{draw.randint(0, 10**9)}", "192.0.2.1") for _ in range(10_000)])
        asked = {port for i, port in enumerate(servers) if not (name.endswith("down") and i == 2)}
        assert {int(port) for port in found} == asked


@pytest.mark.kind("balancer random")
@pytest.mark.kind("balancer random_two")
def test_servers_are_drawn_by_weight(run_pair: RunPair, servers: list[int]) -> None:
    methods = {"one": "random;", "two": "random two;", "named": "random two least_conn;"}
    pair = run_pair(site({name: group(name, servers, [4, 1], method) for name, method in methods.items()}))
    for name in methods:
        for port in (pair.nginx.port, pair.buchner.port):
            found = chosen(port, [(f"/{name}", "192.0.2.1")] * 2000)
            counts = Counter(int(body) for body in found)
            # Of two that are equally busy nginx takes the second: of two servers the lighter one is asked more.
            turned = name != "one" and port == pair.nginx.port
            assert 1450 < counts[servers[1 if turned else 0]] < 1750, (name, counts)
            assert found[:40] != found[40:80] != found[80:120], "drawn, not in turn"


def test_the_same_in_gateway_toml(run_gateway: Callable[[str], Gateway], servers: list[int]) -> None:
    listed = ", ".join(f'"127.0.0.1:{port}"' for port in servers[:4])
    gateway = run_gateway(
        f"""
[upstream.up]
balance = "consistent_hash"
key = "$arg_user"
servers = [{listed}]
[[server]]
[[server.route]]
path = "/"
proxy = "http://up"
"""
    )
    first = {user: gateway.get(f"/?user={user}").body for user in range(40)}
    assert len(set(first.values())) == 4
    assert {user: gateway.get(f"/other?user={user}").body for user in range(40)} == first


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ('balance = "hash"', '"hash" needs a `key`'),
        ('key = "$uri"', 'only the balances "hash" and "consistent_hash" have a key'),
        ('balance = "hash"\nkey = "$usre"', 'unknown variable "$usre"'),
        ('balance = "least_con"', "least_conn"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(settings: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(
        f'[upstream.up]\nservers = ["127.0.0.1:1", "127.0.0.1:2"]\n{settings}\n'
        '[[server]]\nlisten = "127.0.0.1:1"\n[[server.route]]\npath = "/"\nproxy = "http://up"\n'
    )
    with pytest.raises(ConfigError) as raised:
        load(file)
    assert any(says in problem.message and problem.line for problem in raised.value.problems), raised.value
