"""The firewall in the gateway: what is judged, blocked or only detected, and what an app and a log learn of it."""

from __future__ import annotations

import json
import os
import subprocess
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from buchner.config import load
from buchner.config.native import check_plan
from buchner.errors import ConfigError
from helpers.crs import core_rules
from helpers.gateway import BUCHNER, Gateway
from helpers.upstream import Script, Upstream, answer, exactly
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AS_ROOT = 'gateway = { user = "root" }\n' if os.geteuid() == 0 else ""
"""The gateway reads rules as its own user, which may not look into a directory of pytest's."""
RULES = """
SecRuleEngine On
SecRequestBodyAccess On
SecRequestBodyLimit 1000
SecRequestBodyLimitAction Reject
SecResponseBodyAccess On
SecResponseBodyLimit 2000
SecResponseBodyLimitAction ProcessPartial
SecResponseBodyMimeType text/plain
SecRule ARGS_GET "@contains attack" "id:1,phase:1,deny,status:403,log,msg:'An attack in the query',tag:'t'"
SecRule REQUEST_BODY "@contains attack" "id:2,phase:2,deny,status:406,log,msg:'An attack in the body'"
SecRule RESPONSE_HEADERS:X-Secret "@unconditionalMatch" "id:3,phase:3,deny,status:500,log,msg:'A secret header'"
SecRule RESPONSE_BODY "@contains password" "id:4,phase:4,deny,status:502,log,msg:'A password'"
SecRule ARGS_GET:go "@streq away" "id:5,phase:1,redirect:'https://else.test/',log"
SecRule ARGS_GET:go "@streq drop" "id:6,phase:1,drop,log"
"""


def toml(tmp_path: Path, port: int, mode: str, more: str = "", rules: str = RULES) -> str:
    file = tmp_path / "rules.conf"
    file.write_text(rules)
    return f"""{AS_ROOT}[[server]]
waf = "{mode}"
waf_rules = ["{file}"]
{more}
[server.access_log]
path = "{tmp_path}/access.log"
format = "$status $waf_action [$waf_rules] $waf_audit"
escape = "none"
flush = "50ms"
[[server.route]]
path = "/"
proxy = "http://127.0.0.1:{port}"
[[server.route]]
path = "/off/"
proxy = "http://127.0.0.1:{port}"
waf = "off"
"""


def post(gateway: Gateway, body: bytes, path: str = "/", *fields: str) -> int:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: test",
        "Connection: close",
        "Content-Type: application/x-www-form-urlencoded",
        *fields,
    ]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}"]) + "\r\n\r\n"
    return gateway.ask(head.encode() + body).status


@pytest.mark.parametrize("mode", ["block", "rules"])
def test_requests_are_blocked_before_they_go_on(
    run_gateway: Callable[[str], Gateway], run_upstream: Callable[[Script], Upstream], tmp_path: Path, mode: str
) -> None:
    upstream = run_upstream(answer(b"fine", "Content-Type: text/plain"))
    gateway = run_gateway(toml(tmp_path, upstream.port, mode))
    assert gateway.get("/?q=harmless").body == b"fine"
    blocked = gateway.get("/?q=attack")
    assert blocked.status == 403
    assert b"query" not in blocked.body, "the page says nothing of the rule"
    assert post(gateway, b"an attack") == 406
    assert post(gateway, b"harmless") == 200
    assert post(gateway, b"x" * 1001) == 413
    assert len(upstream.heads) == 2
    assert gateway.get("/off/?q=attack").body == b"fine"
    away = gateway.get("/?go=away")
    assert (away.status, away.get("location")) == (302, "https://else.test/")
    with pytest.raises(EOFError):
        gateway.get("/?go=drop")
    wait_for(lambda: 'waf: blocked, score 0; 1 "An attack in the query" in ARGS_GET:q' in gateway.log, "the log's line")
    log = tmp_path / "access.log"
    wait_for(lambda: log.exists() and log.read_text().count("\n") == 8, "all lines")
    lines = log.read_text().splitlines()
    assert lines[0] == "200 passed [] "
    assert lines[1].startswith("403 blocked [1] ")
    record = json.loads(lines[1].split("] ", 1)[1])
    assert (record["blocked"], record["status"], record["mode"], record["path"]) == (True, 403, "block", "/")
    (found,) = record["matches"]
    assert (found["rule"], found["variable"], found["tags"], found["phase"]) == (1, "ARGS_GET:q", ["t"], 1)


def test_what_is_only_detected_goes_on(
    run_gateway: Callable[[str], Gateway], run_upstream: Callable[[Script], Upstream], tmp_path: Path
) -> None:
    upstream = run_upstream(answer(b"the password", "Content-Type: text/plain", "X-Secret: 1"))
    gateway = run_gateway(toml(tmp_path, upstream.port, "detect"))
    reply = gateway.get("/?q=attack")
    assert (reply.status, reply.body, reply.get("x-secret")) == (200, b"the password", "1")
    assert post(gateway, b"an attack" + b"x" * 2000) == 200
    wait_for(lambda: gateway.log.count("waf: detected") == 2, "both are logged")
    line = next(line for line in gateway.log.splitlines() if "waf: detected" in line)
    assert all(f"; {rule} " in line or f" {rule} " in line for rule in (1, 3, 4)), line


@pytest.mark.parametrize(
    ("body", "fields", "status"),
    [
        (b"fine", [], 200),
        (b"the password", [], 502),
        (b"fine", ["X-Secret: 1"], 500),
        (b"x" * 1900 + b"password", [], 502),
        (b"x" * 3000 + b"password", [], 200),  # behind what is looked at
    ],
)
def test_responses_are_held_until_they_were_judged(
    run_gateway: Callable[[str], Gateway],
    run_upstream: Callable[[Script], Upstream],
    tmp_path: Path,
    body: bytes,
    fields: list[str],
    status: int,
) -> None:
    upstream = run_upstream(answer(body, "Content-Type: text/plain", *fields))
    gateway = run_gateway(toml(tmp_path, upstream.port, "block"))
    reply = gateway.get()
    assert reply.status == status
    assert (reply.body == body) == (status == 200)
    assert b"password" not in reply.body or status == 200


def test_event_streams_and_other_types_are_not_held(
    run_gateway: Callable[[str], Gateway], run_upstream: Callable[[Script], Upstream], tmp_path: Path
) -> None:
    rules = RULES.replace("SecResponseBodyMimeType text/plain", "SecResponseBodyMimeType text/plain text/event-stream")
    for kind in ("text/event-stream", "image/png"):
        upstream = run_upstream(answer(b"the password", f"Content-Type: {kind}"))
        gateway = run_gateway(toml(tmp_path, upstream.port, "block", rules=rules))
        assert gateway.get().body == b"the password"


def test_a_response_that_breaks_off_while_it_is_held_is_a_502(
    run_gateway: Callable[[str], Gateway], run_upstream: Callable[[Script], Upstream], tmp_path: Path
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nhalf"
    gateway = run_gateway(toml(tmp_path, run_upstream(exactly(head)).port, "block"))
    assert gateway.get().status == 502


def test_streamed_uploads_are_read_whole_only_where_they_may_be_blocked(
    run_gateway: Callable[[str], Gateway], run_upstream: Callable[[Script], Upstream], tmp_path: Path
) -> None:
    upstream = run_upstream(answer(b"fine"))
    streaming = "request_buffering = false"
    assert post(run_gateway(toml(tmp_path, upstream.port, "block", streaming)), b"an attack") == 406
    gateway = run_gateway(toml(tmp_path, upstream.port, "detect", streaming))
    assert post(gateway, b"an attack") == 200
    assert "waf: detected" not in gateway.log


def test_an_internal_redirect_is_not_judged_again(
    run_gateway: Callable[[str], Gateway], run_upstream: Callable[[Script], Upstream], tmp_path: Path
) -> None:
    upstream = run_upstream(answer(b"fine"))
    more = 'error_page = { 403 = "/off/blocked" }'
    gateway = run_gateway(toml(tmp_path, upstream.port, "block", more))
    reply = gateway.get("/?q=attack")
    assert (reply.status, reply.body) == (403, b"fine")
    wait_for(lambda: gateway.log.count("waf: blocked") == 1, "one line")


def test_rules_that_cannot_be_read_are_told_with_their_place(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    for rules, words in [
        ('SecRule ARGS "@rx (" "id:1"', "rules.conf:1"),
        ('SecRule ARGS "@nosuch x" "id:1"', "nosuch"),
        ('SecRule ARGS "@rx x" "id:1"\n\nSecRule ARGS "@rx y" "id:1"', "rules.conf:3"),
        ("SecNoSuch On", "SecNoSuch"),
        ('SecRule ARGS "@pmFromFile none.data" "id:1"', "none.data"),
    ]:
        file.write_text(toml(tmp_path, 1, "block", rules=rules))
        plan = load(file).plan_json().decode()
        with pytest.raises(ConfigError, match=words):
            check_plan(plan)


def test_without_a_rule_set_the_start_is_refused_with_what_gets_one(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('waf = "block"\ncrs = "nowhere"\n[[server]]\nroute = [{ path = "/", respond = 204 }]\n')
    with pytest.raises(ConfigError, match=r"there is no Core Rule Set in .*nowhere"):
        load(file)


SHOP = """
from flask import Flask, request
app = Flask(__name__)
@app.route("/", methods=["GET", "POST"])
def index():
    told = {name: value for name, value in request.environ.items() if name.startswith("buchner.waf")}
    return {"told": told, "spoofed": request.headers.get("Buchner-Waf-Score")}
"""
ATTACKS = ["/?id=1'%20or%20'1'='1", "/?q=<script>alert(1)</script>", "/?f=../../../../etc/passwd"]


def counted(gateway: Gateway, word: str, least: int) -> bool:
    return gateway.log.count(word) >= least


def test_serve_with_the_core_rule_set(tmp_path: Path, run_gateway: Callable[[str], Gateway]) -> None:
    crs = core_rules()
    (tmp_path / "shop.py").write_text(SHOP)
    for mode, status in (("detect", 200), ("block", 403)):
        gateway = run_gateway(
            f'{AS_ROOT}waf = "{mode}"\ncrs = "{crs}"\n[app]\ntarget = "shop:app"\nchdir = "{tmp_path}"\nworkers = 1\n'
            '[[server]]\nroute = [{ path = "/", app = true }]\n'
        )
        browser = ("User-Agent: Mozilla/5.0", "Accept: text/html")
        reply = gateway.get("/?name=Anna&city=Berlin", *browser)
        assert reply.status == 200, gateway.log
        told: dict[str, Any] = json.loads(reply.body)["told"]
        assert told == {"buchner.waf.action": "passed", "buchner.waf.score": "0", "buchner.waf.rules": ""}
        for attack in ATTACKS:
            reply = gateway.get(attack, *browser)
            assert reply.status == status, attack
            if mode == "detect":
                told = json.loads(reply.body)["told"]
                assert told["buchner.waf.action"] == "detected"
                assert told["buchner.waf.rules"]
        word = f"waf: {'blocked' if mode == 'block' else 'detected'}, score"
        wait_for(partial(counted, gateway, word, len(ATTACKS)), "a line for each")


def test_the_flags_of_serve(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    shown = subprocess.run(
        [*BUCHNER, "serve", "shop:app", "--waf", "nonsense"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert shown.returncode != 0
    assert "detect" in shown.stderr
