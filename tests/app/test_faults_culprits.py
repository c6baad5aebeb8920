"""Requests that kill workers: they cost their client, not the others."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

import pytest

from helpers.instance import Instance, kill
from helpers.load import APP
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("flask")

Serve = Callable[..., Instance]

SHOP = (
    APP
    + '''
import ctypes, threading

@app.route("/poison", methods=["GET", "POST"])
def poison():
    """Ends the worker, if asked to."""
    if "now" in request.args:
        os._exit(70)
    if "later" in request.args:
        time.sleep(0.2)
        os._exit(72)
    return "sweet"

@app.get("/late")
def late():
    def pieces():
        yield "begun"
        time.sleep(0.05)
        os._exit(71)
    return pieces()

@app.get("/after")
def after():
    """Ends the worker when the response has left."""
    threading.Timer(0.02, os._exit, (73,)).start()
    return "gone"

@app.get("/closing")
def closing():
    """Crashes in the close() of its response."""
    response, crashes = app.make_response("closing"), "now" in request.args
    response.call_on_close(lambda: ctypes.string_at(0) if crashes else time.sleep(0.01))
    return response
'''
)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serve the app above with these flags."""
    running: list[Instance] = []
    (tmp_path / "shop.py").write_text(SHOP)

    def start(*flags: str) -> Instance:
        running.append(Instance(tmp_path, "serve", "shop:app", "--bind", "127.0.0.1:0", "--access-log", "off", *flags))
        return running[-1]

    yield start
    for instance in running:
        assert instance.end() == 0, instance.log[-5000:]


def get_from(instance: Instance, address: str, target: str, method: str = "GET") -> tuple[int, float]:
    """The status of a request from this address (0: the connection was broken off), and how long it took."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", instance.port), 60, (address, 0)) as connection:
        connection.sendall(f"{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            answer = b""
            while data := connection.recv(65536):
                answer += data
            if answer.startswith(b"HTTP/1.1 "):
                return int(answer[9:12]), time.monotonic() - began
    return 0, time.monotonic() - began


def deaths(instance: Instance) -> int:
    return len(re.findall(r"worker \d+ \(pid \d+\) (?:exited with status 7|crashed)", instance.log))


class Others:
    """Clients with an address of their own, who ask for harmless things all the time."""

    def __init__(self, instance: Instance, count: int = 4) -> None:
        self.instance, self.over = instance, threading.Event()
        self.replies: list[tuple[int, float]] = []
        self.clients = [threading.Thread(target=self._ask, args=(number,)) for number in range(count)]

    def _ask(self, client: int) -> None:
        number = 0
        while not self.over.is_set():
            number += 1
            target = f"/n/{number}" if number % 2 else "/poison"
            self.replies.append(get_from(self.instance, f"127.0.1.{client + 1}", target))
            time.sleep(0.01)

    def __enter__(self) -> Self:
        for client in self.clients:
            client.start()
        wait_for(lambda: len(self.replies) > 20, "the others are served")
        return self

    def __exit__(self, *_error: object) -> None:
        self.over.set()
        for client in self.clients:
            client.join()


def test_eighteen_fatal_requests_of_six_clients_leave_the_others_their_responses(serve: Serve) -> None:
    instance = serve("--workers", "4")
    with Others(instance) as others:
        began = time.monotonic()
        with ThreadPoolExecutor(6) as clients:
            statuses = list(
                clients.map(
                    lambda number: [get_from(instance, f"127.0.0.{number + 1}", "/poison?now")[0] for _ in range(3)],
                    range(6),
                )
            )
        took = time.monotonic() - began
        wait_for(lambda: len(instance.ready_workers()) == 4, "all workers are back", 30)
    assert {status for client in statuses for status in client} == {502}
    assert deaths(instance) <= 12, "two a client at most"
    served = [status for status, _ in others.replies if status == 200]
    assert len(served) >= 0.9 * len(others.replies), others.replies
    assert took < 40
    assert get_from(instance, "127.0.1.9", "/poison")[0] == 200, "the path is there for others"
    assert get_from(instance, "127.0.0.1", "/n/1")[0] == 200, "their other requests, too"


@pytest.mark.parametrize(("method", "target"), [("GET", "/poison?now"), ("POST", "/poison?now"), ("GET", "/late")])
def test_a_client_kills_two_workers_by_one_endpoint_and_no_more(serve: Serve, method: str, target: str) -> None:
    instance = serve("--workers", "2")
    for _ in range(6):
        status, _ = get_from(instance, "127.0.0.1", target, method)
        assert status in (0, 200, 502)
        wait_for(lambda: instance.get("/pid").status == 200, "a response of others")
    assert deaths(instance) == 2
    assert instance.get("/n/1").status == 200


@pytest.mark.parametrize("target", ["/after", "/closing?now"])
def test_a_client_kills_two_workers_after_its_responses_and_no_more(serve: Serve, target: str) -> None:
    instance = serve("--workers", "1")
    assert instance.get("/closing").status == 200  # it takes its time: the next response leaves before its close()
    assert get_from(instance, "127.0.0.1", target)[0] == 200
    wait_for(lambda: deaths(instance) == 1, "the first death")
    get_from(instance, "127.0.0.1", target)
    wait_for(lambda: deaths(instance) == 2, "the second death")
    assert [get_from(instance, "127.0.0.1", target)[0] for _ in range(4)] == [502] * 4
    assert get_from(instance, "127.0.0.2", "/n/1")[0] == 200
    assert deaths(instance) == 2


def test_requests_before_a_worker_was_killed_are_acquitted(serve: Serve) -> None:
    instance = serve("--workers", "1")
    for _ in range(3):
        reply = instance.get("/pid")
        assert reply.status == 200
        kill(int(reply.body))
        began = time.monotonic()
        assert instance.get("/pid").status == 200, "it is tried"
        assert instance.get("/pid").status == 200, "after the trial"
        assert time.monotonic() - began > 0.25, "which lasts for a moment after the response"
        assert {instance.get("/pid").status for _ in range(10)} == {200}


def test_a_worker_that_stood_a_trial_is_no_excuse_for_the_next_client(serve: Serve) -> None:
    instance = serve("--workers", "1")
    assert [get_from(instance, "127.0.0.1", f"/poison?now={number}")[0] for number in range(2)] == [502, 502]
    # A harmless request of a client that is under suspicion is tried, and stands it.
    with contextlib.suppress(OSError):
        get_from(instance, "127.0.0.9", "/poison?now", "POST")
    wait_for(lambda: len(instance.ready_workers()) == 1, "a worker")
    assert get_from(instance, "127.0.0.9", "/poison", "POST")[0] == 200
    before = deaths(instance)
    assert [get_from(instance, "127.0.0.2", "/poison?now=again")[0] for _ in range(3)] == [502] * 3
    wait_for(lambda: instance.get("/pid").status == 200, "a response of others")
    assert deaths(instance) - before == 2


def test_requests_of_one_client_at_the_same_time_are_tried_once(serve: Serve) -> None:
    instance = serve("--workers", "2", "--threads", "4")
    with ThreadPoolExecutor(8) as clients:
        replies = list(clients.map(lambda n: get_from(instance, "127.0.0.1", f"/poison?now={n}")[0], range(8)))
    assert set(replies) == {502}
    wait_for(lambda: instance.get("/pid").status == 200, "a response of others")
    assert deaths(instance) <= 3, "each worker there was, and one trial"


def test_a_client_that_does_not_wait_kills_no_more_workers(serve: Serve) -> None:
    instance = serve("--workers", "2")
    for number in range(6):
        with socket.create_connection(("127.0.0.1", instance.port), 60) as connection:
            connection.sendall(b"GET /poison?later HTTP/1.1\r\nHost: test\r\n\r\n")
            time.sleep(0.05)  # it is gone while the app runs
        if number < 2:
            wait_for(lambda: deaths(instance) > number, "the death", 5)  # noqa: B023
        wait_for(lambda: instance.get("/pid").status == 200, "a response of others")
    assert get_from(instance, "127.0.0.1", "/poison?later")[0] == 502
    wait_for(lambda: len(instance.ready_workers()) == 2, "all workers are back")
    assert deaths(instance) == 2


def test_a_neighbour_of_a_fatal_request_is_served_and_not_blamed(serve: Serve) -> None:
    instance = serve("--workers", "1", "--threads", "8")
    with Others(instance, 6) as others:
        for number in range(3):
            assert get_from(instance, f"127.0.0.{number + 1}", f"/poison?now={number}")[0] == 502
    assert {status for status, _ in others.replies} == {200}, [reply for reply in others.replies if reply[0] != 200]
