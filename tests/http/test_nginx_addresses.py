"""Addresses: which server answers where one address lies within another; beside nginx."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

from helpers.gateway import free_port
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.gateway import Gateway
    from helpers.nginx import Pair

CONF = """
server { listen PORT; server_name wide; return 200 wide; }
server { listen PORT; server_name both; return 200 both-wide; }
server { listen 127.0.0.1:PORT; server_name single; large_client_header_buffers 1 1k; return 200 single; }
server { listen 127.0.0.1:PORT; server_name both; return 200 both-single; }
server { listen 127.0.0.2:PORT; return 200 second; }
"""


def asked(port: int, address: str, host: str, more: str = "") -> tuple[int, bytes]:
    with socket.create_connection((address, port), 20) as connection:
        connection.sendall(f"GET / HTTP/1.0\r\nHost: {host}\r\n{more}\r\n".encode())
        received = b""
        while piece := connection.recv(4096):
            received += piece
    return int(received.split()[1]), received.partition(b"\r\n\r\n")[2]


def test_a_single_address_beside_all_addresses(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair(CONF)
    seen = {}
    for address in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
        for host in ("wide", "single", "both", "none"):
            theirs = asked(pair.nginx.port, address, host)
            assert asked(pair.buchner.port, address, host) == theirs
            seen[address, host] = theirs[1]
    assert seen["127.0.0.1", "both"] == b"both-single"
    assert seen["127.0.0.3", "both"] == b"both-wide"
    assert seen["127.0.0.1", "wide"] == b"single"
    assert seen["127.0.0.2", "wide"] == b"second"
    long = f"X-Long: {'x' * 2000}\r\n"  # the limits of a head are those of the address, too
    for server in (pair.nginx, pair.buchner):
        assert asked(server.port, "127.0.0.1", "wide", long)[0] >= 400
        assert asked(server.port, "127.0.0.3", "wide", long)[0] == 200


def test_it_survives_a_reload_that_adds_and_takes_away(run_gateway: Callable[[str], Gateway]) -> None:
    port = free_port()
    route = '[[server.route]]\npath = "/"\nrespond = {{ status = 200, body = "{0}" }}\n'
    wide = f'[[server]]\nlisten = ["0.0.0.0:{port}"]\n{route.format("wide")}'
    single = f'[[server]]\nlisten = ["127.0.0.1:{port}"]\n{route.format("single")}'
    gateway = run_gateway(f"[[server]]\n{route.format('first')}{wide}")

    def reloaded(text: str, count: int) -> None:
        start = gateway.file.read_text().split(wide)[0]
        gateway.file.write_text(f"{start}{text}")
        gateway.process.send_signal(signal.SIGHUP)
        wait_for(lambda: gateway.log.count("reloaded") >= count, "the reload")

    assert asked(port, "127.0.0.1", "a")[1] == b"wide"
    reloaded(wide + single, 1)
    assert asked(port, "127.0.0.1", "a")[1] == b"single"
    assert asked(port, "127.0.0.2", "a")[1] == b"wide"
    reloaded(wide, 2)
    assert asked(port, "127.0.0.1", "a")[1] == b"wide"
