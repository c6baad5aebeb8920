"""The keeper of certificates as the supervisor has it: little is believed, and one that dies is replaced."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from buchner.config.model import AcmeSettings, KeptCertificates
from buchner.supervisor.gateway_process import GatewayProcess
from buchner.supervisor.gateways import Gateways
from buchner.supervisor.keeping import CertificateKeeper
from buchner.supervisor.loop import Loop
from buchner.supervisor.messages import Challenged
from buchner.supervisor.process import MemoryEvents, Reaper, is_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

KEPT = KeptCertificates("/nowhere", AcmeSettings(), (("a.test",),))
FAKE = """
import json, os, socket, sys
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
settings = int(options["--settings-fd"])
kept = json.loads(os.pread(settings, 1 << 20, 0))
control = socket.socket(fileno=int(options["--control-fd"]))
for line in open(os.environ["SAYS"]):
    control.send(line.encode())
while packet := control.recv(1 << 16):
    with open(os.environ["HEARD"], "a") as heard:
        heard.write(packet.decode())
"""


class Host:
    """The supervisor; the test is its loop."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop, self.reaper, self.memory, self.stopping = Loop(), Reaper(), MemoryEvents(None), False
        self.loop.on_signal(signal.SIGCHLD, self.reaper.reap)
        self.tables: list[dict[str, str]] = []
        self.issued: list[str] = []
        self.heard, self.says = directory / "heard", directory / "says"
        self.heard.touch()
        self.says.touch()
        monkeypatch.setenv("HEARD", str(self.heard))
        monkeypatch.setenv("SAYS", str(self.says))
        (directory / "fake.py").write_text(FAKE)
        self.keeper = CertificateKeeper(self, [sys.executable, str(directory / "fake.py")])

    def set_challenges(self, http: Mapping[str, str], done: Callable[[], None]) -> None:
        self.tables.append(dict(http))
        done()

    def certificate_issued(self, name: str) -> None:
        self.issued.append(name)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline
            self.loop.turn(0.05)

    def close(self) -> None:
        self.stopping = True
        for child in self.reaper.children():
            child.kill()
        self.until(lambda: not self.reaper.children())
        self.loop.close()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    made = Host(tmp_path, monkeypatch)
    yield made
    made.close()


def test_there_is_a_process_only_where_certificates_are_kept(host: Host) -> None:
    host.keeper.follow(None)
    host.keeper.follow(KeptCertificates("/nowhere", AcmeSettings(), ()))
    assert (host.keeper.pid, host.reaper.children()) == (0, [])
    host.keeper.follow(KEPT)
    pid = host.keeper.pid
    host.keeper.follow(KEPT)
    assert host.keeper.pid == pid > 0
    host.keeper.follow(KeptCertificates("/nowhere", AcmeSettings(), (("b.test",),)))
    assert host.keeper.pid not in (0, pid)
    host.until(lambda: not is_child(pid))
    last = host.keeper.pid
    host.keeper.follow(None)
    host.until(lambda: not is_child(last))
    assert host.keeper.pid == 0


def test_challenges_go_to_the_gateways_and_are_confirmed(host: Host) -> None:
    host.says.write_text('{"op":"challenges","id":7,"http":{"t":"t.x"}}\n{"op":"issued","name":"a.test"}\n')
    host.keeper.follow(KEPT)
    host.until(lambda: host.issued)
    assert (host.tables, host.issued) == ([{"t": "t.x"}], ["a.test"])
    host.until(host.heard.read_text)
    assert host.heard.read_text() == '{"op":"challenged","id":7}'


def test_one_that_dies_is_replaced_and_its_challenges_are_forgotten(host: Host) -> None:
    host.keeper.follow(KEPT)
    pid = host.keeper.pid
    os.kill(pid, signal.SIGKILL)
    host.until(lambda: host.keeper.pid not in (0, pid))
    assert host.tables == [{}]


@pytest.mark.parametrize(
    "line",
    [
        "nothing",
        '{"op":"challenges","id":1,"http":{"../x":"t"}}',
        '{"op":"challenges","id":1,"http":{"t":"<script>"}}',
        '{"op":"challenges","id":-1,"http":{}}',
        '{"op":"issued"}',
        '{"op":"ready","pid":1,"app":""}',
    ],
)
def test_one_that_says_something_else_is_replaced(host: Host, line: str) -> None:
    host.says.write_text(line + "\n")
    host.keeper.follow(KEPT)
    pid = host.keeper.pid
    host.until(lambda: not is_child(pid))
    assert (host.tables, host.issued) == ([{}], [])


class Gateway(GatewayProcess):
    """One without a process."""

    is_usable = True

    def __init__(self, number: int, gateways: Gateways) -> None:
        super().__init__(number, 1, gateways)
        self.sent: list[tuple[int, dict[str, str]]] = []

    def challenges(self, number: int, http: Mapping[str, str]) -> None:
        self.sent.append((number, dict(http)))


def test_a_table_is_in_force_when_every_gateway_has_it_or_has_ended(host: Host) -> None:
    any_host: Any = host
    gateways = Gateways(host.loop, host.reaper, host.memory, any_host)
    first, second = Gateway(1, gateways), Gateway(2, gateways)
    done: list[str] = []
    gateways.set_challenges({}, lambda: done.append("none"))
    assert done == ["none"]
    gateways.all = {1: first, 2: second}
    gateways.set_challenges({"t": "t.x"}, lambda: done.append("both"))
    gateways.gateway_said(first, Challenged(id=2))
    gateways.gateway_said(first, Challenged(id=2))
    assert (first.sent, second.sent, done) == ([(2, {"t": "t.x"})], [(2, {"t": "t.x"})], ["none"])
    gateways.gateway_said(second, Challenged(id=2))
    assert done == ["none", "both"]
    gateways.set_challenges({}, lambda: done.append("third"))
    gateways.gateway_said(first, Challenged(id=3))
    host.gateway_gone = lambda *_: None  # type: ignore[attr-defined]
    gateways.gateway_ended(second, 0)
    assert done[-1] == "third"
