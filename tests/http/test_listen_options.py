"""Options of listening addresses that are the kernel's: read, set, and set again on a reload."""

from __future__ import annotations

import os
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from buchner.config import load, load_dict
from buchner.config.sockets import KeepAlive, SocketOptions
from buchner.errors import ConfigError
from buchner.supervisor.listeners import BACKLOG, open_listener, tune
from helpers.gateway import free_port
from helpers.nginx import Server
from helpers.raw import Raw
from helpers.wait import wait_for

TCP, SOL = socket.IPPROTO_TCP, socket.SOL_SOCKET
ALL = SocketOptions(
    backlog=7,
    rcvbuf=40_000,
    sndbuf=50_000,
    fastopen=3,
    so_keepalive=KeepAlive(True, 1800, 5, 10),
    deferred=True,
    reuseport=True,
)


def found(sock: socket.socket) -> dict[str, int]:
    """What the kernel says of a socket's options."""
    return {
        "rcvbuf": sock.getsockopt(SOL, socket.SO_RCVBUF) // 2,  # the kernel doubles what it is told
        "sndbuf": sock.getsockopt(SOL, socket.SO_SNDBUF) // 2,
        "fastopen": sock.getsockopt(TCP, socket.TCP_FASTOPEN),
        "keepalive": sock.getsockopt(SOL, socket.SO_KEEPALIVE),
        "idle": sock.getsockopt(TCP, socket.TCP_KEEPIDLE),
        "interval": sock.getsockopt(TCP, socket.TCP_KEEPINTVL),
        "count": sock.getsockopt(TCP, socket.TCP_KEEPCNT),
        "deferred": min(1, sock.getsockopt(TCP, socket.TCP_DEFER_ACCEPT)),
        "reuseport": sock.getsockopt(SOL, socket.SO_REUSEPORT),
    }


def queue(sock: socket.socket) -> int:
    """The length of a listening socket's queue: tcpi_sacked of TCP_INFO (tcp_info in linux/tcp.h)."""
    return int.from_bytes(sock.getsockopt(TCP, socket.TCP_INFO, 32)[28:32], sys.byteorder)


SET = {
    "rcvbuf": 40_000,
    "sndbuf": 50_000,
    "fastopen": 3,
    "keepalive": 1,
    "idle": 1800,
    "interval": 5,
    "count": 10,
    "deferred": 1,
    "reuseport": 1,
}


def test_a_socket_has_its_options_and_connections_inherit_theirs() -> None:
    listener = open_listener("127.0.0.1:0", ALL)
    try:
        assert found(listener.socket) == SET
        assert queue(listener.socket) == 7
        listener.socket.setblocking(True)
        with socket.create_connection(listener.socket.getsockname()[:2]) as client:
            client.send(b"x")
            accepted, _ = listener.socket.accept()
            with accepted:
                mine = found(accepted)
        assert {name: mine[name] for name in ("keepalive", "idle", "interval", "count")} == {
            "keepalive": 1,
            "idle": 1800,
            "interval": 5,
            "count": 10,
        }
        assert (mine["rcvbuf"], mine["sndbuf"]) == (40_000, 50_000)
    finally:
        listener.close()


def test_a_socket_that_listens_already_takes_new_options() -> None:
    listener = open_listener("127.0.0.1:0")
    try:
        plain = found(listener.socket)
        assert plain["keepalive"] == plain["deferred"] == plain["reuseport"] == plain["fastopen"] == 0
        tune(listener, ALL)
        assert (found(listener.socket), queue(listener.socket)) == (SET, 7)
        tune(listener, SocketOptions())
        again = found(listener.socket)
        assert (again["keepalive"], again["deferred"], again["fastopen"]) == (0, 0, 0)
        most = int(Path("/proc/sys/net/core/somaxconn").read_text())
        assert queue(listener.socket) == min(BACKLOG, most)
    finally:
        listener.close()


def test_a_unix_socket_has_its_buffers(tmp_path: Path) -> None:
    listener = open_listener(f"unix:{tmp_path}/s", ALL)
    try:
        assert listener.socket.getsockopt(SOL, socket.SO_SNDBUF) == 100_000
    finally:
        listener.close()


def test_an_ipv6_socket_may_take_ipv4_clients(tmp_path: Path) -> None:
    port = free_port()
    text = f"server {{ listen 127.0.0.1:PORT; listen [::]:{port} ipv6only=off; return 200 $remote_addr; }}"
    server = Server(tmp_path, text, [sys.executable, "-m", "buchner", "run"])
    try:
        with Raw(port) as raw:
            raw.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert raw.reply().body == b"127.0.0.1"
        with socket.create_connection(("::1", port)) as v6:
            v6.send(b"GET / HTTP/1.0\r\n\r\n")
            assert v6.makefile("rb").read().endswith(b"::1")
    finally:
        server.stop()


def shared(port: int) -> bool:
    """Whether another socket may listen on the port, too."""
    with socket.socket() as other:
        other.setsockopt(SOL, socket.SO_REUSEADDR, 1)  # for the one that holds the port without listening
        other.setsockopt(SOL, socket.SO_REUSEPORT, 1)
        try:
            other.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def test_a_reload_reaches_the_sockets_there_are(tmp_path: Path) -> None:
    server = Server(tmp_path, "server { listen 127.0.0.1:PORT; return 204; }", [sys.executable, "-m", "buchner", "run"])
    try:
        assert not shared(server.port)
        text = server.file.read_text()
        server.file.write_text(
            text.replace(f"listen 127.0.0.1:{server.port}", f"listen 127.0.0.1:{server.port} reuseport")
        )
        os.kill(server.process.pid, signal.SIGHUP)
        wait_for(lambda: shared(server.port), "a port that another socket may have, too")
    finally:
        server.stop()


def test_nginx_and_toml_read_the_same_options(tmp_path: Path) -> None:
    options = "backlog=7 rcvbuf=40000 sndbuf=50000 fastopen=3 so_keepalive=30m:5s:10 deferred reuseport multipath bind"
    file = tmp_path / "nginx.conf"
    file.write_text(f"events {{}} http {{ server {{ listen 127.0.0.1:8001 {options}; listen 127.0.0.1:8002; }} }}")
    expected = {"127.0.0.1:8001": replace(ALL, multipath=True)}
    assert load(file).sockets == expected
    toml = {"server": [{"listen": ["127.0.0.1:8001 " + options.replace(" bind", ""), "127.0.0.1:8002"]}], "app": {}}
    assert load_dict(toml, "test").sockets == expected


@pytest.mark.parametrize(
    ("listen", "message"),
    [
        ("127.0.0.1:80 rcvbuf=x", '"rcvbuf=x"'),
        ("127.0.0.1:80 so_keepalive=1:2:3:4", "on, off or idle:interval:count"),
        ("127.0.0.1:80 so_keepalive=", "on, off or idle:interval:count"),
        ("127.0.0.1:80 backlog=0", '"backlog=0": a number from 1'),
        ("127.0.0.1:80 deferred=1", '"deferred=1" is no option of an address: default_server, proxy_protocol,'),
        ("127.0.0.1:80 ipv6only=off", '"127.0.0.1:80" is no IPv6 address'),
        ("[::1]:80 ipv6only=maybe", '"ipv6only=maybe": on or off'),
    ],
)
def test_wrong_options_are_named(listen: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_dict({"server": [{"listen": listen}], "app": {}}, "test")
    assert message in str(refused.value)


def test_options_of_one_address_that_differ_are_refused() -> None:
    servers = [{"listen": ":80 backlog=5", "names": ["a"]}, {"listen": ":80 backlog=6", "names": ["b"]}]
    with pytest.raises(ConfigError) as refused:
        load_dict({"server": servers, "app": {}}, "test")
    assert "0.0.0.0:80 has other options already" in str(refused.value)
    servers[1]["listen"] = ":80"
    assert load_dict({"server": servers, "app": {}}, "test").sockets == {"0.0.0.0:80": SocketOptions(backlog=5)}


def test_one_address_cannot_take_the_clients_of_another() -> None:
    with pytest.raises(ConfigError) as refused:
        load_dict({"server": [{"listen": ["[::]:80 ipv6only=off", "127.0.0.1:80"]}], "app": {}}, "test")
    assert "[::]:80 with ipv6only=off takes the IPv4 clients of this port" in str(refused.value)


def test_the_proxy_protocol_holds_for_all_servers_of_an_address() -> None:
    servers = [{"listen": ":80", "names": ["a"]}, {"listen": ":80 proxy_protocol", "names": ["b"]}]
    loaded = load_dict({"server": servers, "app": {}}, "test")
    assert loaded.plan["listen"] == [{"address": "0.0.0.0:80", "default_server": 0, "proxy_protocol": True}]
    assert [warning.message for warning in loaded.warnings] == [
        "0.0.0.0:80 is listened on with proxy_protocol elsewhere, so it holds here too"
    ]


def test_a_name_stands_for_all_its_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = [(socket.AF_INET, 1, 6, "", ("127.0.0.1", 0)), (socket.AF_INET6, 1, 6, "", ("::1", 0, 0, 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: two)
    file = tmp_path / "nginx.conf"
    file.write_text("events {} http { server { listen localhost:8001 backlog=5; return 204; } }")
    with socket.socket(socket.AF_INET6) as sock:
        try:
            sock.bind(("::1", 0))
            here = ["127.0.0.1:8001", "[::1]:8001"]
        except OSError:
            here = ["127.0.0.1:8001"]
    loaded = load(file)
    assert (loaded.listen, list(loaded.sockets)) == (here, here)
