"""DNS-01: a hook, plug-ins, and dynamic updates of a real bind9 that Pebble asks."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import dns.message
import dns.query
import pytest

from buchner.certificates import plugins
from buchner.certificates.challenges import Solvers
from buchner.certificates.client import Client
from buchner.certificates.clock import WallClock
from buchner.certificates.failure import Failure
from buchner.certificates.hook import Hook
from buchner.certificates.rfc2136 import Rfc2136
from buchner.certificates.settings import DNS, Wanted
from buchner.errors import BuchnerError, ConfigError
from helpers.gateway import free_port
from helpers.pebble import await_port
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from buchner.certificates.storage import Storage
    from helpers.pebble import Pebble

SECRET = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IDMyIQ=="
RECORD = "_acme-challenge.www.zone.test"


@pytest.fixture(scope="module")
def bind(require_peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a bind9 that has zone.test and takes updates by the key `acme`."""
    directory, port = tmp_path_factory.mktemp("bind"), free_port()
    (directory / "zone.test").write_text(
        "$TTL 60\n@ SOA ns.zone.test. root.zone.test. 1 60 60 60 60\n  NS ns\n  A 127.0.0.1\nns A 127.0.0.1\n"
        "www A 127.0.0.1\n"
    )
    (directory / "named.conf").write_text(
        f"""
        options {{
            directory "{directory}"; pid-file none; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
            recursion no; session-keyfile "{directory}/session.key"; dnssec-validation no; managed-keys-directory
            "{directory}";
        }};
        controls {{ }};
        key acme {{ algorithm hmac-sha256; secret "{SECRET}"; }};
        key other {{ algorithm hmac-sha512; secret "{SECRET}"; }};
        zone "zone.test" {{
            type primary; file "zone.test"; update-policy {{ grant acme wildcard *.zone.test. TXT; }};
        }};
        """
    )
    log = (directory / "log").open("wb")
    with log:
        process = subprocess.Popen(
            [require_peer("named"), "-g", "-c", str(directory / "named.conf")], stdout=log, stderr=log
        )  # fmt: skip
    try:
        await_port(port)
        wait_for(lambda: "SOA" in str(ask(port, "zone.test", "SOA").answer), "bind's loading of its zone")
        yield port
    finally:
        process.kill()
        process.wait()


def ask(port: int, name: str, kind: str) -> dns.message.Message:
    return dns.query.udp(dns.message.make_query(name, kind), "127.0.0.1", port=port, timeout=5)


def texts(port: int, record: str = RECORD) -> list[str]:
    return sorted(str(item).strip('"') for rrset in ask(port, record, "TXT").answer for item in rrset)


def key_of(port: int, **more: object) -> Rfc2136:
    about = {"server": "127.0.0.1", "port": port, "key_name": "acme", "key_secret": SECRET, **more}
    return Rfc2136(**about)  # type: ignore[arg-type]


def test_records_are_added_beside_others_and_taken_away(bind: int) -> None:
    provider = key_of(bind)
    provider.present(RECORD, "one")
    provider.present(RECORD, "two")
    assert texts(bind) == ["one", "two"]
    provider.remove(RECORD, "one")
    provider.remove(RECORD, "one")
    assert texts(bind) == ["two"]
    key_of(bind, zone="zone.test").remove(RECORD, "two")
    assert texts(bind) == []


def test_a_certificate_by_bind(bind: int, run_pebble: Callable[..., Pebble], storage: Storage) -> None:
    pebble = run_pebble(dns=f"127.0.0.1:{bind}")
    client = Client(pebble.issuer(), storage, Solvers(dns=key_of(bind)), WallClock())
    names = ("zone.test", "*.zone.test", "*.www.zone.test")
    assert set(client.issue(Wanted(names=names), DNS).names) == set(names)
    assert texts(bind) == texts(bind, "_acme-challenge.zone.test") == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"key_secret": "d3Jvbmc="}, "does not take the TSIG key acme"),
        ({"key_name": "unknown"}, "does not take the TSIG key unknown"),
        ({"key_name": "other", "algorithm": "hmac-sha512"}, r"refuses .*REFUSED.*: may the key other update"),
        ({"key_name": ""}, r"refuses the update .*: may the key \(none is set\)"),
        ({"zone": "else.test"}, "is not in the zone else.test"),
        ({"server": "127.0.0.2"}, "cannot be asked: .*refused"),
    ],
)  # fmt: skip
def test_what_a_name_server_refuses(bind: int, settings: dict[str, object], words: str) -> None:
    with pytest.raises(BuchnerError, match=words):
        key_of(bind, **settings).present(RECORD, "x")


def test_a_zone_the_server_does_not_have(bind: int) -> None:
    with pytest.raises(BuchnerError, match=r"has no zone for _acme-challenge\.a\.test \(REFUSED\)"):
        key_of(bind).present("_acme-challenge.a.test", "x")


@pytest.mark.parametrize("settings", [{"key_secret": "abc"}, {"algorithm": "hmac-md5"}])
def test_keys_that_are_none(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        key_of(1, **settings)


# The hook


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], list[str]]:
    def write(text: str) -> list[str]:
        file = tmp_path / "hook.py"
        file.write_text(text)
        return [sys.executable, str(file)]

    return write


def test_a_certificate_by_a_hook(pebble: Pebble, storage: Storage, script: Callable[[str], list[str]]) -> None:
    url = f"http://127.0.0.1:{pebble.control}/"
    command = script(
        "import json, os, sys, urllib.request\n"
        "action, record, value = sys.argv[1:]\n"
        "assert (os.environ['BUCHNER_ACTION'], os.environ['BUCHNER_VALUE']) == (action, value)\n"
        "assert '_acme-challenge.' + os.environ['CERTBOT_DOMAIN'] == record == os.environ['BUCHNER_RECORD']\n"
        "what, about = ('set-txt', {'value': value}) if action == 'present' else ('clear-txt', {})\n"
        f"urllib.request.urlopen({url!r} + what, json.dumps(dict(about, host=record + '.')).encode())\n"
    )
    client = Client(pebble.issuer(), storage, Solvers(dns=Hook(command)), WallClock())
    assert client.issue(Wanted(names=("*.hook.test",)), DNS).names == ("*.hook.test",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("print('a'); raise SystemExit('zone is locked')", r"present` failed with status 1: zone is locked"),
        ("import os; os.kill(os.getpid(), 9)", "failed with status -9"),
        ("import subprocess; subprocess.run(['sleep', '60'])", r"did not end within 0\.5 s and was killed"),
    ],
)
def test_a_hook_that_fails(
    text: str, words: str, script: Callable[[str], list[str]], pebble: Pebble, storage: Storage
) -> None:
    client = Client(pebble.issuer(), storage, Solvers(dns=Hook(script(text), timeout=0.5)), WallClock())
    with pytest.raises(Failure, match=words) as caught:
        client.issue(Wanted(names=("hook.test",)), DNS)
    assert not caught.value.elsewhere


def test_a_hook_that_is_not_there() -> None:
    with pytest.raises(BuchnerError, match="`/no/such present` cannot be run: No such file"):
        Hook(["/no/such"]).present("a", "b")


def test_waiting_for_the_other_name_servers(script: Callable[[str], list[str]]) -> None:
    class Waiting:
        waited = 0.0

        def now(self) -> float:
            return self.waited

        def sleep(self, seconds: float) -> None:
            self.waited += seconds

    clock = Waiting()
    hook = Hook(script(""), propagation=90, clock=clock)
    hook.present("a", "b")
    hook.remove("a", "b")
    assert clock.waited == 90


# Plug-ins


class Provider:
    """One that a package brings."""

    def __init__(self, token: str) -> None:
        self.token = token


def test_providers_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("example", f"{__name__}:Provider", plugins.GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda self: Provider if self.name == "example" else Hook)
    monkeypatch.setattr(plugins, "entry_points", lambda **_: [point])
    found = plugins.dns_provider("example", {"token": "x"})
    assert isinstance(found, Provider)
    assert isinstance(plugins.dns_provider("hook", {"command": ["x"]}), Hook)
    with pytest.raises(ConfigError, match=r'no DNS provider "other"; installed are example, hook, rfc2136'):
        plugins.dns_provider("other", {})
    with pytest.raises(ConfigError, match=r'"example" cannot be used: .*unexpected keyword argument'):
        plugins.dns_provider("example", {"key": "x"})


def test_own_providers_load() -> None:
    assert isinstance(plugins.dns_provider("rfc2136", {"server": "127.0.0.1"}), Rfc2136)


def test_without_dnspython(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "buchner.certificates.rfc2136")
    monkeypatch.setitem(sys.modules, "dns.update", None)
    with pytest.raises(ConfigError, match=r"pip install 'buchner\[rfc2136\]'"):
        plugins.dns_provider("rfc2136", {"server": "127.0.0.1"})
