"""Who may have a certificate on demand: a list, or a URL that is asked."""

from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING

import pytest

from buchner.certificates.demand import AllowList, Ask, Demand
from buchner.certificates.settings import Wanted
from buchner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Asked:
    """The operator's URL: it says what `answers` has, else 404."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.answers: dict[str, int] = {}
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.paths.append(self.path)
                status = owner.answers.get(self.path.rpartition("domain=")[2], 404)
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/login?domain=yes.test")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/may"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def asked() -> Iterator[Asked]:
    found = Asked()
    yield found
    found.close()


class Moved:
    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def test_only_200_is_a_yes(asked: Asked) -> None:
    ask = Ask(asked.url)
    asked.answers = {"yes.test": 200, "no.test": 403, "login.test": 302, "broken.test": 500, "empty.test": 204}
    assert {name for name in [*asked.answers, "unknown.test"] if ask.may(name)} == {"yes.test"}
    assert "/login?domain=yes.test" not in asked.paths


def test_an_answer_holds_for_a_while(asked: Asked) -> None:
    clock = Moved()
    ask = Ask(asked.url + "?key=1", clock=clock)
    asked.answers = {"yes.test": 200}
    for _ in range(3):
        ask.may("yes.test")
        ask.may("no.test")
    assert asked.paths == ["/may?key=1&domain=yes.test", "/may?key=1&domain=no.test"]
    clock.time += 61
    asked.answers["no.test"] = 200
    assert ask.may("no.test")
    assert ask.may("yes.test")
    assert len(asked.paths) == 3


def test_a_url_that_does_not_respond_is_a_no(asked: Asked, caplog: pytest.LogCaptureFixture) -> None:
    asked.close()
    assert not Ask(asked.url, timeout=1).may("a.test")
    del caplog


@pytest.mark.parametrize("url", ["ftp://x/", "file:///etc/passwd", "x", "http://"])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError):
        Ask(url)


def test_names_that_no_list_can_permit() -> None:
    demand = Demand(Wanted(names=("x",)), AllowList(("localhost", "127.0.0.1", "*.a.test")))
    assert [name for name in ("localhost", "127.0.0.1", "*.a.test", "", "a b", "b.a.test") if demand.wanted(name)] == [
        "b.a.test"
    ]
