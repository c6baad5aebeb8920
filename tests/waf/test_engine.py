"""The firewall from Python: rules from files and texts, judgements, and how wrong rules are told."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from buchner.errors import BuchnerError, ConfigError
from buchner.waf import Engine, Request, Response, find
from buchner.waf.crs import Ruleset, Tuning
from helpers.crs import SCORING, core_rules

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.from_text(SCORING, mode="block")


def test_a_judgement_names_rules_values_and_scores(engine: Engine) -> None:
    result = engine.check(Request("GET", "/shop?q=a+UNION+b&r=odd", {"Host": "a.test"}))
    assert result.blocked
    assert result.would_block
    assert result.intervention is not None
    assert (result.intervention.action, result.intervention.status, result.intervention.rule) == ("deny", 403, 949110)
    assert (result.score, result.scores.inbound_threshold, result.rules) == (8, 5, (942100, 920100, 949110))
    first = result.matches[0]
    assert (first.variable, first.value, first.part) == ("ARGS:q", "a union b", "union")
    assert (first.severity, first.points, first.message, first.tags) == ("CRITICAL", 5, "SQL words", ("attack-sqli",))
    assert (first.file, result.matches[-1].total, result.matches[-1].points) == ("rules", True, 0)
    passed = engine.check(Request("GET", "/shop?q=b", {"Host": "a.test"}))
    assert (passed.blocked, passed.would_block, passed.score, passed.matches) == (False, False, 0, ())


def test_detect_mode_blocks_nothing_and_says_what_it_would() -> None:
    result = Engine.from_text(SCORING, mode="detect").check(Request("GET", "/?q=union"))
    assert (result.blocked, result.would_block, result.score) == (False, True, 5)
    assert Engine.from_text(SCORING, mode="off").check(Request("GET", "/?q=union")).matches == ()


def test_bodies_and_responses_are_judged(engine: Engine) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert engine.check(Request("POST", "/", form, "q=select")).blocked
    request = Request("GET", "/", {"Host": "a.test"})
    for response, rule in (
        (Response(200, {"X-Leak": "1"}), 950100),
        (Response(200, {"Content-Type": "text/html"}, "a secret"), 951100),
        (Response(200, {"Content-Type": "image/png"}, "a secret"), None),
    ):
        found = engine.check(request, response).intervention
        assert (found and found.rule) == rule


def test_files_are_read_in_order_and_wrong_rules_are_shown_with_their_line(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.conf", tmp_path / "bad.conf"
    good.write_text('SecRuleEngine On\nSecRule ARGS "@streq x" "id:1,phase:1,deny,status:406"\n')
    assert len(Engine.from_files(good)) == 1
    found = Engine.from_files([good]).check(Request("GET", "/?a=x")).intervention
    assert found is not None
    assert found.status == 406
    bad.write_text('# first\nSecRule ARGS "@nonsense x" "id:2,phase:1,deny"\n')
    with pytest.raises(ConfigError, match=r"bad\.conf:2: .*nonsense") as caught:
        Engine.from_files([good, bad])
    assert 'SecRule ARGS "@nonsense x"' in str(caught.value)
    with pytest.raises(ConfigError, match=r"cannot read .*missing\.conf"):
        Engine.from_files(tmp_path / "missing.conf")
    with pytest.raises(ConfigError, match="mode is 'maybe'"):
        Engine.from_files(good, mode="maybe")


def test_an_address_that_is_none_is_an_error(engine: Engine) -> None:
    with pytest.raises(ValueError, match=r"nobody\S is not an IP address"):
        engine.check(Request("GET", "/", client=("nobody", 1)))


def test_threads_share_an_engine(engine: Engine) -> None:
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(200):
            blocked = engine.check(Request("GET", "/?q=union" if number % 2 else "/?q=a")).blocked
            if blocked is not bool(number % 2):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_requests_are_read_from_bytes_and_urls() -> None:
    request = Request.from_bytes(b"POST /a?b=c HTTP/1.1\nHost: a.test:8080\nContent-Length: 3\n\nq=1\n")
    assert (request.method, request.target, request.body, request.server_name) == (
        b"POST",
        b"/a?b=c",
        b"q=1",
        b"a.test",
    )
    assert request.headers[1] == (b"Content-Length", b"3")
    crlf = Request.from_bytes(b"GET /a b HTTP/1.0\r\nX: y\r\n\r\n\n\nrest")
    assert (crlf.target, crlf.protocol, crlf.body) == (b"/a b", b"HTTP/1.0", b"\n\nrest")
    url = Request.from_url("http://a.test/ä?q=1 or 1", headers={"accept": "x"})
    assert url.target == b"/%C3%A4?q=1%20or%201"
    assert [value for name, value in url.headers if name.lower() == b"accept"] == [b"x"]
    for raw, message in ((b"nonsense", "f:1: not a request line"), (b"GET / HTTP/1.1\nno colon\n\n", "f:2: a header")):
        with pytest.raises(BuchnerError, match=message):
            Request.from_bytes(raw, "f")
    with pytest.raises(BuchnerError, match="is not a URL"):
        Request.from_url("ftp://a.test/")


def test_the_core_rule_set_blocks_attacks_and_lets_browsers_pass() -> None:
    engine = Engine.from_crs(core_rules())
    for target in ("/?q=1'+or+'1'='1", "/?q=<script>alert(1)</script>", "/?f=../../../../etc/passwd"):
        result = engine.check(Request.from_url(f"http://a.test{target}"))
        assert (result.blocked, result.score >= 5) == (True, True), target
    assert not engine.check(Request.from_url("http://a.test/shop/item?number=7&color=dark+blue")).would_block


def test_what_cannot_be_judged_whole_is_refused() -> None:
    engine = Engine.from_crs(core_rules())
    entities = f"<!DOCTYPE a [<!ENTITY e '{'x' * 1000}'>]><a>{'&e;' * 1000}</a>"
    outside = "<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>"
    arguments = "&".join(f"a{number}=1" for number in range(1001))
    for kind, more, body, status in (
        ("application/x-www-form-urlencoded", {}, arguments, 400),
        ("application/x-www-form-urlencoded", {}, "a=1", None),
        ("application/x-www-form-urlencoded", {"Content-Encoding": "gzip"}, "a=1", 403),
        ("application/x-www-form-urlencoded", {}, "a=" + "1" * 13_200_000, 413),
        ("application/xml", {}, entities, 400),
        ("application/xml", {}, outside, None),
        ("application/json", {}, '{"a":', 400),
    ):
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), **more}
        found = engine.check(Request.from_url("http://a.test/", "POST", headers, body)).intervention
        assert (found and found.status) == status, (kind, more, body[:40])


def test_settings_reach_the_core_rule_set(tmp_path: Path) -> None:
    place = core_rules()
    attack = Request.from_url("http://a.test/?q=1'+or+'1'='1")
    assert Engine.from_crs(place, inbound_threshold=10_000).check(attack).blocked is False
    assert Engine.from_crs(place, mode="detect").check(attack).would_block
    after = tmp_path / "after.conf"
    after.write_text("SecRuleRemoveByTag attack-sqli\n")
    assert Engine.from_crs(place, after=after).check(attack).score < 5
    odd = Request.from_url("http://a.test/?q=%7B%27x%27%3A1%7D%5B%3B%3B%23%21")
    one, four = Engine.from_crs(place, paranoia=1), Engine.from_crs(place, paranoia=4)
    assert len(four.check(odd).rules) > len(one.check(odd).rules)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "on"}, "mode is 'on'"),
        ({"paranoia": 5}, "paranoia is 5; it is 1 to 4"),
        ({"sampling": 101}, "0 to 100"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Tuning(**settings)  # type: ignore[arg-type]


def test_the_rules_are_found_and_their_absence_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUCHNER_CRS", str(tmp_path))
    with pytest.raises(ConfigError, match="there is no Core Rule Set in"):
        find()
    (tmp_path / "rules").mkdir()
    for name in (
        "rules/REQUEST-901-A.conf",
        "crs-setup.conf.example",
        "rules/REQUEST-900-EXCLUSION-RULES-BEFORE-CRS.conf",
    ):
        (tmp_path / name).touch()
    found = find()
    assert found.setup == tmp_path / "crs-setup.conf.example"
    assert found.before == tmp_path / "rules/REQUEST-900-EXCLUSION-RULES-BEFORE-CRS.conf"
    assert [path.name for path in found.files()] == ["REQUEST-901-A.conf"]
    monkeypatch.delenv("BUCHNER_CRS")
    old = Ruleset(tmp_path / "rules", tmp_path / "old.conf")
    (tmp_path / "old.conf").write_text('# setvar:tx.crs_setup_version=400\nsetvar:tx.crs_setup_version=334"\n')
    with monkeypatch.context() as context:
        context.setattr(Ruleset, "in_directory", classmethod(lambda _cls, _directory: old))
        with pytest.raises(ConfigError, match=r"is version 3, .*: version 4 is needed; get it with `buchner waf"):
            find()
    monkeypatch.setattr(Ruleset, "in_directory", classmethod(lambda _cls, _directory: None))
    with pytest.raises(ConfigError, match=r"no Core Rule Set on this machine: get it with `buchner waf install URL`"):
        find()
