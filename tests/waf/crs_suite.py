"""Sends the regression tests of the OWASP Core Rule Set through a gateway, and compares what its rules found.

The tests are files of go-ftw: a stage is a request and what is expected of it. Each goes through a connection of its
own; the access log names the port of the client, so that a line belongs to one stage.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from helpers.raw import Raw
from helpers.upstream import Upstream, _body, answer
from helpers.wait import wait_for

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from helpers.gateway import Gateway

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
"""What ModSecurity escapes in its log, which the tests' regular expressions are for."""

_REPEAT = re.compile(r'\{\{ "(.)" \| repeat (\d+) \}\}')
"""The one template that the tests write."""

SETUP = (
    'SecAction "id:900005,phase:1,nolog,pass,setvar:tx.crs_validate_utf8_encoding=1,setvar:tx.arg_name_length=100,'
    "setvar:tx.arg_length=400,setvar:tx.total_arg_length=64000,setvar:tx.max_num_args=255,"
    'setvar:tx.max_file_size=64100,setvar:tx.combined_file_sizes=65535"\n'
)
"""What the tests expect to be set, by the rule set's own instructions."""

_CONNECT = "CONNECT is not served: 405, before the rules (RFC 9110, 15.5.6)"
_ASTERISK = "OPTIONS * asks about the server itself, which responds 204 before the rules (RFC 9110, 9.3.7)"
_VERSION = "another major version of HTTP: 505, before the rules (RFC 9110, 15.6.6)"
_OLD_VERSION = f"{_VERSION}; the test wants Apache's 400"
_HOST = "a Host that is no uri-host: 400, before the rules (RFC 9112, 3.2)"
_CONNECTION = "a gap: Connection ends at the parser (RFC 9110, 7.6.1), and the rules are not shown it"

EXCEPTIONS: dict[str, str] = {
    "920100-3": _ASTERISK,
    "920300-2": _ASTERISK,
    "920100-4": _CONNECT,
    "920100-6": _CONNECT,
    "920300-3": _CONNECT,
    "920100-7": "a fragment in the request's target: 400, before the rules (RFC 9112, 3.2)",
    "920100-16": "a gap: of a target in absolute form (RFC 9112, 3.2.2) the rules are shown the path alone",
    "920180-4": _VERSION,
    "920430-8": _VERSION,
    "920280-3": _OLD_VERSION,
    "920430-3": _OLD_VERSION,
    "920430-9": _OLD_VERSION,
    "920430-4": "HTTP/2 is no HTTP-version, which has two digits: 400, before the rules (RFC 9112, 2.3)",
    "920430-5": "a request line without a version: 400 (RFC 9112, 3), where the test wants what is no response",
    "920181-1": "Content-Length beside Transfer-Encoding: 400, before the rules (RFC 9112, 6.1)",
    "920290-2": _HOST,
    "920290-4": _HOST,
    "920210-2": _CONNECTION,
    "920210-3": _CONNECTION,
    "920210-4": _CONNECTION,
    "920210-6": _CONNECTION,
    "920210-7": _CONNECTION,
    "920620-1": "for Apache alone, which joins two Content-Type; here the rule finds them, as it is meant to",
}
"""Tests that do not hold, and why: the parser refuses first, or the test wants what is Apache's, or a gap."""


@dataclass(frozen=True)
class Stage:
    """A request, and what is expected of it."""

    method: str
    request: bytes
    expected: dict[str, Any]


@dataclass(frozen=True)
class Test:
    """A test, named as the rule set names it: 920100-3."""

    name: str
    stages: list[Stage]


@dataclass
class Seen:
    """What became of a request; `looked` is whether the firewall saw it."""

    status: int = 0
    looked: bool = False
    ids: set[int] = field(default_factory=set)
    text: str = ""


def read_tests(rules: str) -> list[Test]:
    """Read all tests that belong to a rule set, in order; none if it came without.

    Values stay as they are written: 1.0 and yes are text in a header.
    """
    places = [Path(rules) / "tests" / "regression" / "tests", Path(rules) / "tests", Path(rules) / "regression"]
    files = next((found for place in places if (found := sorted(place.rglob("*.yaml")))), [])
    return [test for file in files for test in _tests(file)]


def _tests(file: Path) -> Iterator[Test]:
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    content = yaml.load(file.read_bytes(), loader) or {}  # one file is all comments
    for test in content.get("tests") or []:
        stages = [_stage(one.get("stage", one)) for one in test["stages"]]
        yield Test(f"{content.get('rule_id') or file.stem}-{test['test_id']}", stages)


def _stage(one: dict[str, Any]) -> Stage:
    sent = one["input"]
    method = sent.get("method", "GET")
    if encoded := sent.get("encoded_request"):
        return Stage(method, base64.b64decode(encoded), one.get("output") or {})
    headers: dict[str, str] = dict(sent.get("headers") or {})
    known = {name.lower(): value for name, value in headers.items()}
    data = _REPEAT.sub(lambda found: found[1] * int(found[2]), sent.get("data") or "")
    if known.get("content-type", "").startswith("multipart/form-data"):
        data = data.replace("\r\n", "\n").replace("\n", "\r\n")
    body = data.encode()
    if sent.get("autocomplete_headers", "true") == "true":
        more = {"Connection": "close"}
        if body:
            more["Content-Type"] = "application/x-www-form-urlencoded"
        if body or method == "POST":
            more["Content-Length"] = str(len(body))
        headers |= {name: value for name, value in more.items() if name.lower() not in known}
    lines = [f"{method} {sent.get('uri', '/')} {sent.get('version', 'HTTP/1.1')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return Stage(method, "\r\n".join(lines).encode() + b"\r\n\r\n" + body, one.get("output") or {})


class Albedo(Upstream):
    """The tests' server: an empty 200, or at /reflect the response that the request's body describes."""

    def __init__(self) -> None:
        super().__init__(answer(b""))

    def _serve(self, connection: socket.socket) -> None:
        raw = Raw.__new__(Raw)
        raw.socket, raw.buffer, raw.trailers = connection, b"", []
        with connection, contextlib.suppress(EOFError, OSError):
            while True:
                head = raw._until(b"\r\n\r\n")
                body = _body(raw, head)
                connection.sendall(self._response(head, body))

    def _response(self, head: bytes, body: bytes) -> bytes:
        asked: dict[str, Any] = {}
        method, target = head.split(b" ", 2)[:2]
        if target.startswith(b"/reflect"):
            with contextlib.suppress(ValueError):
                found = json.loads(body)
                asked = found if isinstance(found, dict) else {}
        content = asked.get("body", "").encode() or base64.b64decode(asked.get("encodedBody", ""))
        fields = {"Content-Type": "text/plain; charset=utf-8"}
        for name, value in asked.get("headers", {}).items():
            fields = {key: kept for key, kept in fields.items() if key.lower() != name.lower()} | {name: value}
        fields = {name: value for name, value in fields.items() if name.lower() != "content-length"}
        lines = [f"HTTP/1.1 {asked.get('status', 200)} OK", f"Content-Length: {len(content)}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if method == b"HEAD" else content)


def toml(directory: Path, rules: str, upstream: int) -> str:
    """The configuration of the gateway that the tests go through."""
    setup = directory / "setup.conf"
    setup.write_text(SETUP)
    as_root = 'user = "root"\n' if os.geteuid() == 0 else ""
    return f"""underscores_in_headers = true
[gateway]
{as_root}
[crs]
path = "{rules}"
paranoia = 4
before = ["{setup}"]
[[server]]
waf = "detect"
[server.access_log]
path = "{directory}/access.log"
format = "$remote_port|$waf_action|$waf_rules|$waf_audit"
escape = "none"
flush = "20ms"
[[server.route]]
path = "/"
proxy = "http://127.0.0.1:{upstream}"
"""


class Client:
    """Sends stages through a gateway that logs to a directory."""

    def __init__(self, gateway: Gateway, directory: Path) -> None:
        self._port = gateway.port
        self._log = directory / "access.log"
        self._read = 0
        self._rest = b""

    def send(self, stages: list[Stage]) -> list[Seen]:
        """Send stages, four at a time. All connections stay until the log has come: no two have the same port."""
        with ThreadPoolExecutor(4) as pool, contextlib.ExitStack() as open_ones:
            raws = [open_ones.enter_context(contextlib.closing(Raw(self._port).socket)) for _ in stages]
            seen = {raw.getsockname()[1]: Seen() for raw in raws}
            for port, status in pool.map(_exchange, raws, stages):
                seen[port].status = status
            missing = set(seen)

            def complete() -> bool:
                for port, action, ids, audit in self._lines():
                    missing.discard(port)
                    if one := seen.get(port):
                        _note(one, action, ids, audit)
                return not missing

            with contextlib.suppress(AssertionError):  # of these nothing is known; the comparison tells
                wait_for(complete, "a line for each request", 10)
        return list(seen.values())

    def _lines(self) -> Iterator[tuple[int, str, str, str]]:
        if not self._log.exists():
            return
        with self._log.open("rb") as log:
            log.seek(self._read)
            data = log.read()
        self._read += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            port, action, ids, audit = line.decode(errors="replace").split("|", 3)
            yield int(port), action, ids, audit


def _exchange(connection: socket.socket, stage: Stage) -> tuple[int, int]:
    """Send a request; return the client's port and the status of the response, 0 without one."""
    port: int = connection.getsockname()[1]
    raw = Raw.__new__(Raw)
    raw.socket, raw.buffer, raw.trailers = connection, b"", []
    status = 0
    try:
        with contextlib.suppress(ConnectionError):  # a refusal may come before all was sent
            raw.send(stage.request)
        while status < 200:
            status = raw.reply(stage.method).status
    except (AssertionError, EOFError, OSError):
        status = 0
    with contextlib.suppress(OSError):
        connection.shutdown(2)
    return port, status


def _note(seen: Seen, action: str, ids: str, audit: str) -> None:
    seen.looked |= bool(action)
    seen.ids |= {int(one) for one in ids.split(",") if one}
    if audit:
        found = json.loads(audit)["matches"]
        lines = (f'[id "{one["rule"]}"] [msg "{one["message"]}"] [data "{one["data"]}"]' for one in found)
        seen.text += "".join(_CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", line) + "\n" for line in lines)


def differences(stage: Stage, seen: Seen) -> list[str]:
    """What is not as a stage expects it; empty if all is."""
    wanted = stage.expected
    log = wanted.get("log") or {}
    if wanted.get("expect_error") == "true":
        return [] if seen.status == 0 else [f"responded {seen.status} to what is an error"]
    if seen.status == 0:
        return ["no response"]
    if not seen.looked and "status" not in wanted:
        return [f"responded {seen.status} before the rules"]
    expected, unexpected = ({int(one) for one in log.get(key, [])} for key in ("expect_ids", "no_expect_ids"))
    found = [f"missing {one}" for one in sorted(expected - seen.ids)]
    found += [f"too many {one}" for one in sorted(unexpected & seen.ids)]
    if "status" in wanted and int(wanted["status"]) != seen.status:
        found.append(f"status {seen.status}, not {wanted['status']}")
    if (pattern := log.get("match_regex")) and not re.search(pattern, seen.text):
        found.append(f"no match of {pattern}")
    if (pattern := log.get("no_match_regex")) and re.search(pattern, seen.text):
        found.append(f"a match of {pattern}")
    return found


@dataclass
class Result:
    """The outcome of a run, by the tests' names."""

    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    listed: list[str] = field(default_factory=list)
    seconds: float = 0

    def __str__(self) -> str:
        counts = f"{len(self.passed)} passed, {len(self.failed)} failed, {len(self.listed)} listed"
        lines = [f"{name}: {why}" for name, why in self.failed.items()]
        return "\n".join([f"{counts} in {self.seconds:.0f} s", *lines])


def run(client: Client, tests: list[Test]) -> Result:
    """Run tests. One of `EXCEPTIONS` that holds is a failure: it has to leave the table."""
    result = Result()
    begin = time.monotonic()
    # So few connections fit the listener's queue, and none is silent for long.
    for some in _batches(tests, 64):
        seen = iter(client.send([stage for test in some for stage in test.stages]))
        for test in some:
            pairs = zip(test.stages, islice(seen, len(test.stages)), strict=True)
            found = [one for stage, what in pairs for one in differences(stage, what)]
            if test.name in EXCEPTIONS:
                if found:
                    result.listed.append(test.name)
                else:
                    result.failed[test.name] = "holds, but EXCEPTIONS lists it"
            elif found:
                result.failed[test.name] = "; ".join(found)
            else:
                result.passed.append(test.name)
    result.seconds = time.monotonic() - begin
    return result


def _batches(tests: list[Test], size: int) -> Iterator[list[Test]]:
    for start in range(0, len(tests), size):
        yield tests[start : start + size]
