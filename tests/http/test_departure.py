"""Clients that leave while their request waits or runs, and those that only have no more to say."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app_driver import AppGateway
from slot_driver import until

Environ = dict[str, Any]
Serve = Callable[..., AppGateway]


class App:
    """Answers with its path; /wait does so when it is released."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.release = threading.Event()

    def __call__(self, environ: Environ, start: Any) -> list[bytes]:
        path = environ["PATH_INFO"]
        self.seen.append(path)
        if path == "/wait":
            self.release.wait(20)
        start("200 OK", [])
        return [path.encode()]


@pytest.fixture
def app() -> Iterator[App]:
    made = App()
    yield made
    made.release.set()


@pytest.fixture
def serve(app: App) -> Iterator[Serve]:
    made: list[AppGateway] = []

    def make(slots: int = 1, **options: Any) -> AppGateway:
        made.append(AppGateway(app, slots, **options))
        return made[-1]

    yield make
    app.release.set()
    for gateway in made:
        gateway.__exit__()


def pool(gateway: AppGateway) -> dict[str, int]:
    counters: dict[str, int] = gateway.status()["pools"]["app"]
    return counters


def wait_in_the_app(gateway: AppGateway, app: App, version: str = "1.1") -> Any:
    sock = gateway.connect()
    sock.sendall(f"GET /wait HTTP/{version}\r\nHost: a\r\n\r\n".encode())
    until(lambda: "/wait" in app.seen)
    return sock


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_whose_client_has_left_is_not_run(serve: Serve, app: App, method: str) -> None:
    gateway = serve(pool={"look_ahead": 1})
    first = wait_in_the_app(gateway, app)
    with gateway.connect() as leaver, gateway.connect() as stayer:
        leaver.sendall(f"{method} /never HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody".encode())
        until(lambda: pool(gateway)["queued"] == 1)
        leaver.close()
        until(lambda: gateway.status()["responses"]["4xx"] == 1)  # 499 in the log
        stayer.sendall(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: pool(gateway)["queued"] >= 1)
        app.release.set()
        assert b"200 OK" in first.recv(1000)
        assert b"/next" in stayer.recv(1000)
    assert app.seen == ["/wait", "/next"]
    first.close()


def test_a_request_handed_over_ahead_of_time_is_taken_back(serve: Serve, app: App) -> None:
    gateway = serve(pool={"look_ahead": 4})
    for _ in range(20):
        gateway.ask("/quick")  # a slot that has been quick gets requests ahead of time
    first = wait_in_the_app(gateway, app)
    leaver = gateway.connect()
    leaver.sendall(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
    until(lambda: gateway.status()["connections"] == 2)
    leaver.close()
    until(lambda: gateway.status()["responses"]["4xx"] == 1)
    app.release.set()
    assert b"200 OK" in first.recv(1000)
    assert gateway.ask("/after")[2] == b"/after"
    assert "/never" not in app.seen
    first.close()


def test_a_slot_is_free_when_the_request_its_client_left_has_run(serve: Serve, app: App) -> None:
    gateway = serve()
    wait_in_the_app(gateway, app).close()
    until(lambda: gateway.status()["responses"]["4xx"] == 1)
    app.release.set()
    assert gateway.ask("/after")[2] == b"/after"
    until(lambda: pool(gateway)["idle"] == 1)


def test_a_client_that_closed_its_half_gets_its_answer(serve: Serve, app: App) -> None:
    gateway = serve()
    with wait_in_the_app(gateway, app) as sock:
        sock.shutdown(1)
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n", "it is asked whether it still listens"
        app.release.set()
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_half_closed_client_of_http_1_0_gets_its_answer_alone(serve: Serve, app: App) -> None:
    gateway = serve()
    with wait_in_the_app(gateway, app, "1.0") as sock:
        sock.shutdown(1)
        time.sleep(0.6)  # twice the time after which another would be asked
        app.release.set()
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")


def test_what_is_pipelined_meanwhile_is_answered(serve: Serve, app: App) -> None:
    gateway = serve()
    with wait_in_the_app(gateway, app) as sock:
        sock.sendall(b"GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        time.sleep(0.1)
        app.release.set()
        data = b""
        while piece := sock.recv(1000):
            data += piece
    assert data.count(b"HTTP/1.1 200 OK") == 2
    assert data.endswith(b"/second")


def test_the_time_for_a_head_is_not_that_of_the_answer(serve: Serve, app: App) -> None:
    gateway = serve(limits={"header_timeout": 300}, keepalive_timeout=300)
    with wait_in_the_app(gateway, app) as sock:
        time.sleep(0.8)
        app.release.set()
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")


def test_the_time_for_a_body_is_not_that_of_the_answer(serve: Serve, app: App) -> None:
    gateway = serve(body_timeout=300)
    with gateway.connect() as sock:
        sock.sendall(b"POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
        time.sleep(0.1)
        sock.sendall(b"body")
        until(lambda: "/wait" in app.seen)
        time.sleep(0.8)
        app.release.set()
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_draining_gateway_does_not_take_a_running_request_for_an_idle_connection(serve: Serve, app: App) -> None:
    gateway = serve()
    with wait_in_the_app(gateway, app) as sock:
        gateway.send({"op": "drain", "deadline_ms": 20_000})
        time.sleep(2.5)  # idle connections get 2 s
        app.release.set()
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
