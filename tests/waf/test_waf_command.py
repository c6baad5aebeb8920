"""`buchner waf`: test, explain, tune, report, install."""

from __future__ import annotations

import http.server
import io
import json
import re
import subprocess
import tarfile
import threading
import zipfile
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from buchner.cli import cli
from buchner.waf import AuditLog, Engine, Match, Record, Request, Scores
from buchner.waf.exclusion import Exclusion, target
from buchner.waf.record import read
from buchner.waf.report import report
from buchner.waf.tune import tune
from helpers.crs import SCORING, core_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def run(*words: str) -> Any:
    return CliRunner().invoke(cli, ["waf", *words])


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    file = tmp_path / "rules.conf"
    file.write_text(SCORING)
    return file


def judged(target: str, number: str = "r", *, client: str = "192.0.2.1", rules: str = SCORING) -> Record:
    """The record of a request in detect mode."""
    request = Request("GET", target, {"Host": "a.test"})
    result = Engine.from_text(rules, mode="detect").check(request)
    return Record(
        number, 1_700_000_000.5, client, "a.test", "GET", request.path, 200, "detect",
        scores=result.scores, matches=result.matches,
    )  # fmt: skip


def log_of(path: Path, *records: Record) -> Path:
    for record in records:
        AuditLog(path).write(record)
    return path


def test_a_request_is_tested_from_a_file_and_a_url(tmp_path: Path, rules: Path) -> None:
    file = tmp_path / "request.txt"
    file.write_bytes(b"POST /a HTTP/1.1\nHost: a.test\nContent-Type: application/x-www-form-urlencoded\n\nq=a+union+b")
    result = run("test", str(file), "--rules", str(rules))
    assert result.exit_code == 1, result.output
    assert "POST a.test/a: blocked with 403" in result.output
    assert "rule 942100: SQL words (CRITICAL, 5 points)" in result.output
    assert "ARGS_POST:q = a »union« b" in result.output.replace("ARGS:q", "ARGS_POST:q")
    passed = run("test", "http://a.test/?q=fine", "--rules", str(rules))
    assert (passed.exit_code, "not blocked" in passed.output) == (0, True), passed.output
    sent = run("test", "http://a.test/", "--rules", str(rules), "-d", "q=union", "-H", "X-A: b", "--json")
    document = json.loads(sent.output)
    assert (sent.exit_code, document["blocked"], document["intervention"]["rule"]) == (1, True, 949110)
    assert run("test", "http://a.test/", "--rules", str(rules), "-H", "X-Early: 1").exit_code == 1


def test_a_request_is_tested_by_the_core_rule_set() -> None:
    place = core_rules()
    attack = run("test", "http://a.test/?q=<script>alert(1)</script>", "--crs", place)
    assert attack.exit_code == 1, attack.output
    assert "rule 941100" in attack.output
    assert run("test", "http://a.test/?q=1", "--crs", place, "--paranoia", "2").exit_code == 0
    assert (
        run("test", "http://a.test/?q=<script>alert(1)</script>", "--crs", place, "--threshold", "9999").exit_code == 0
    )


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["http://a.test/", "-H", "nonsense"], 2, "write it as 'Name: value'"),
        (["request.txt", "-X", "PUT"], 2, "a file has all of its request"),
        (["missing.txt"], 1, "cannot read missing.txt"),
        (["http://a.test/", "--rules", __file__], 2, "test_waf_command.py:"),
    ],
)
def test_wrong_use_is_told(words: list[str], status: int, message: str) -> None:
    result = run("test", *words)
    assert (result.exit_code, message in result.output) == (status, True), result.output


def test_explain_names_rule_part_and_exclusion_that_works(tmp_path: Path) -> None:
    record = judged("/shop?q=a+union+b&r=odd", "id-7")
    log = log_of(tmp_path / "waf.json", judged("/?q=odd", "id-6"), record)
    result = run("explain", "id-7", "--log", str(log))
    assert result.exit_code == 0, result.output
    assert "score 8 of 5" in result.output
    assert "not blocked: mode detect; in mode block it would be" in result.output
    assert "ARGS:q = a »union« b" in result.output
    assert "949110" not in result.output
    for text in re.findall(r"^    (Sec.*(?:\n        .*)?)$", result.output, re.MULTILINE):
        before = "ctl:" in text
        changed = f"{text}\n{SCORING}" if before else f"{SCORING}\n{text}"
        after = judged("/shop?q=a+union+b&r=odd", rules=changed)
        assert after.scores.inbound in (3, 5), text
        elsewhere = judged("/cart?q=a+union+b&r=odd", rules=changed).scores.inbound
        assert elsewhere == (8 if before else after.scores.inbound), text
    missing = run("explain", "id-8", "--log", str(log))
    assert (missing.exit_code, "has no request id-8" in missing.output) == (1, True)


def test_what_clients_send_cannot_reach_a_terminal_or_a_file_of_rules(tmp_path: Path) -> None:
    hostile = Match(942100, "m", 'ARGS:x"\nSecRuleEngine Off', "\x1b[2Junion", "union", severity="CRITICAL", phase=2)
    record = Record("id", client="1\x1b[2J", path='/a"\nSecRuleEngine Off', scores=Scores(5, 5), matches=(hostile,))
    log = log_of(tmp_path / "waf.json", record, record)
    for result in (run("explain", "id", "--log", str(log)), run("tune", str(log))):
        assert result.exit_code == 0, result.output
        assert "\x1b" not in result.output
        assert not re.search(r"^\s*SecRuleEngine", result.output, re.MULTILINE)
        assert "SecRuleRemoveById 942100" in result.output


@pytest.mark.parametrize(
    ("variable", "wanted"),
    [
        ("ARGS:q", "ARGS:q"),
        ("ARGS:json.items.17.name", r"ARGS:/^json\.items\.\d+\.name$/"),
        ("ARGS:json.1", r"ARGS:/^json\.\d+$/"),
        ("REQUEST_COOKIES:sid", "REQUEST_COOKIES:sid"),
        ("XML:/*", "XML:/*"),
        ("REQUEST_URI", "REQUEST_URI"),
        ("TX:1", None),
        ("ARGS:a,b", None),
        ("ARGS:a|!ARGS", None),
        ("", None),
    ],
)
def test_variables_are_named_as_exclusions_may(variable: str, wanted: str | None) -> None:
    assert target(variable) == wanted
    for one in (Exclusion(942100, wanted or "", "/a"), Exclusion(942100, wanted or "")):
        text = one.text(10_001)
        Engine.from_text(f"{text}\n{SCORING}" if one.before else f"{SCORING}\n{text}")


def test_tune_proposes_what_frees_the_requests() -> None:
    records = [judged("/note?text=select", f"a{n}", client=f"192.0.2.{n}") for n in range(6)]
    records += [judged("/find?q=odd+select", "b1"), judged("/find?q=select", "b2")]
    records += [judged(f"/page{n}?sort=union", f"c{n}", client=f"192.0.2.{n}") for n in range(7)]
    records += [judged("/x?only=union", "d1"), judged("/x?q=odd", "e1"), judged("/x?q=fine", "f1")]
    proposals, total, left = tune(records)
    assert [(proposal.exclusions, proposal.freed) for proposal in proposals] == [
        ((Exclusion(942100, "ARGS:sort"),), 7),
        ((Exclusion(942100, "ARGS:text", "/note"),), 6),
        ((Exclusion(942100, "ARGS:q", "/find"),), 2),
    ]
    assert (total, left, proposals[0].clients, proposals[2].clients) == (16, 1, 7, 1)
    assert tune(records, least=1)[2] == 0


def test_tune_puts_together_what_has_to_go_together() -> None:
    # Each rule alone leaves the request above its threshold.
    rules = SCORING.replace("severity:WARNING", "severity:CRITICAL").replace("=+3", "=+5")
    records = [judged("/a?q=odd+union", f"a{n}", rules=rules) for n in range(3)]
    ((proposal,), total, left) = tune(records)
    assert (len(proposal.exclusions), proposal.freed, total, left) == (2, 3, 3, 0)


def test_tune_writes_rules_that_load_and_free(tmp_path: Path) -> None:
    records = [judged("/note?text=select", f"a{n}", client=f"192.0.2.{n}") for n in range(3)]
    records += [judged(f"/page{n}?sort=union", f"c{n}") for n in range(7)]
    result = run("tune", str(log_of(tmp_path / "waf.json", *records)))
    assert result.exit_code == 0, result.output
    assert "# 10 requests reach the threshold; these exclusions free 10 of them." in result.output
    assert "# frees 7 requests of 1 address; one is c0" in result.output
    assert result.output.count("make sure that they are no attack") == 1
    before, _, after = result.output.partition("# ---- a file after")
    rules = f"{before}\n{SCORING}\n#{after}"
    for record in ("/note?text=select", "/page1?sort=union"):
        assert judged(record, rules=rules).scores.inbound == 0
    assert judged("/other?text=select", rules=rules).scores.inbound == 5


def test_logs_of_modsecurity_are_read(tmp_path: Path) -> None:
    message = {
        "message": "SQL Injection Attack Detected via libinjection",
        "details": {
            "match": "detected SQLi using libinjection. against variable `ARGS:id' (Value: `1' or '1'='1' )",
            "ruleId": "942100", "file": "/rules/REQUEST-942.conf", "lineNumber": "45", "data": "Matched Data: s&sos",
            "severity": "2", "tags": ["attack-sqli"],
        },
    }  # fmt: skip
    total = {
        "message": "Inbound Anomaly Score Exceeded (Total Score: 15)",
        "details": {"ruleId": "949110", "severity": "0"},
    }
    line = {
        "transaction": {
            "client_ip": "192.0.2.9", "time_stamp": "Tue Nov 14 22:13:20 2023", "unique_id": "u1",
            "request": {"method": "GET", "uri": "/a?id=1", "headers": {"HOST": "b.test"}},
            "response": {"http_code": 403}, "messages": [message, total],
        }
    }  # fmt: skip
    log = tmp_path / "modsec_audit.log"
    log.write_text(json.dumps(line) + "\n")
    (record,) = read(log)
    assert (record.id, record.client, record.host, record.path, record.blocked) == (
        "u1",
        "192.0.2.9",
        "b.test",
        "/a",
        True,
    )
    assert (record.scores.inbound, [match.rule for match in record.counted]) == (15, [942100])
    assert (record.matches[0].variable, record.matches[0].value) == ("ARGS:id", "1' or '1'='1")
    assert (record.matches[0].severity, record.matches[0].line) == ("CRITICAL", 45)


def test_records_come_back_as_written_and_broken_lines_are_named(tmp_path: Path) -> None:
    record = judged("/shop?q=a+union+b")
    log = log_of(tmp_path / "waf.json", record)
    assert list(read(log)) == [record]
    with log.open("a") as file:
        file.write('{"id":"half')
    assert list(read(log)) == [record]
    for broken in ("nonsense", "[]", '{"id":"a"}', '{"id":"a","matches":[{}]}'):
        log.write_text(f"{record.line()}\n{broken}\n")
        result = run("tune", str(log))
        assert (result.exit_code, "waf.json:2: not a line of an audit log" in result.output) == (1, True), result.output


class _Page(HTMLParser):
    """Counts elements, and refuses what a page without scripts has no use for."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert tag not in {"script", "img", "link", "iframe", "b0"}
        assert not any(name.startswith("on") or name in {"src", "href"} for name, _ in attrs)


def test_the_report_is_one_page_and_escapes_what_clients_sent(tmp_path: Path) -> None:
    hostile = '<script>alert(1)</script><img src=x onerror="y">'
    match = Match(942100, hostile, "ARGS:q", "v", severity="CRITICAL", phase=2)
    bad = Record(
        "h",
        1_700_000_100.0,
        hostile,
        hostile,
        "GET",
        hostile,
        403,
        blocked=True,
        scores=Scores(50, 5),
        matches=(match,),
    )
    log = log_of(tmp_path / "waf.json", *(judged(f"/p{n}?q=union", f"r{n}") for n in range(30)), bad)
    output = tmp_path / "waf.html"
    assert run("report", str(log), "-o", str(output)).exit_code == 0
    text = output.read_text()
    page = _Page()
    page.feed(text)
    assert page.tags.count("circle") == 31
    assert ("<b>31</b>requests with a match" in text, "<b>30</b>would be blocked" in text) == (True, True)
    assert "and 16 more" in text
    assert page.tags.count("rect") == 2 - 1 + 15 + 2
    many = [Record("m", 1_700_000_000.0 + n, scores=Scores(n % 9, 5)) for n in range(5000)]
    assert report(many).count("<circle") <= 2001
    assert "no request" in report([])


def archive(*, extra: dict[str, bytes] | None = None, kind: str = "tar") -> bytes:
    """A release of one rule."""
    files = {
        "coreruleset-4/rules/REQUEST-901-A.conf": b'SecAction "id:901,phase:1,pass,nolog"\n',
        "coreruleset-4/crs-setup.conf.example": b'SecAction "id:900990,phase:1,pass,setvar:tx.crs_setup_version=400"\n',
        "coreruleset-4/tests/big.yaml": b"not wanted",
        **(extra or {}),
    }  # fmt: skip
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as packed:
            for name, data in files.items():
                packed.writestr(name, data)
        return out.getvalue()
    with tarfile.open(fileobj=out, mode="w:gz") as packed_tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            packed_tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Signer:
    """A key of its own, made with gpg."""

    def __init__(self, home: Path) -> None:
        home.mkdir(mode=0o700)
        self.command = [
            "gpg",
            "--homedir",
            str(home),
            "--batch",
            "--no-tty",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ]
        subprocess.run(
            [*self.command, "--quick-generate-key", "crs@a.test", "ed25519", "sign", "never"],
            check=True,
            capture_output=True,
        )
        listed = subprocess.run(
            [*self.command, "--with-colons", "-k"], check=True, capture_output=True, text=True
        ).stdout
        self.fingerprint = re.findall(r"^fpr:+([0-9A-F]{40}):", listed, re.MULTILINE)[0]
        self.key = home.parent / f"{home.name}.asc"
        exported = subprocess.run([*self.command, "--armor", "--export"], check=True, capture_output=True).stdout
        self.key.write_bytes(exported)
        self.home = home

    def sign(self, file: Path) -> None:
        subprocess.run([*self.command, "--yes", "--armor", "--detach-sign", str(file)], check=True, capture_output=True)

    def end(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False, capture_output=True)


@pytest.fixture
def signer(tmp_path: Path, require_peer: Callable[[str], str]) -> Iterator[Signer]:
    require_peer("gpg")
    made = Signer(tmp_path / "g")
    yield made
    made.end()


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_signed_release_is_installed_and_what_the_user_wrote_stays(tmp_path: Path, signer: Signer, kind: str) -> None:
    file, to = tmp_path / "crs.archive", tmp_path / "crs"
    file.write_bytes(archive(kind=kind))
    signer.sign(file)
    words = [
        "install",
        str(file),
        "--key",
        str(signer.key),
        "--fingerprint",
        signer.fingerprint,
        "--directory",
        str(to),
    ]
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert f"{to}: 6 rules, signed by {signer.fingerprint}" in result.output
    assert not (to / "tests").exists()
    (to / "crs-setup.conf").write_text('SecAction "id:900,phase:1,pass,nolog"\n')
    (to / "rules/old.conf").write_text("")
    assert run(*words).exit_code == 0
    assert ((to / "crs-setup.conf").exists(), (to / "rules/old.conf").exists()) == (True, False)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".crs-")] == []


def test_a_release_is_not_installed_without_the_right_signature(tmp_path: Path, signer: Signer) -> None:
    file, to = tmp_path / "crs.tar.gz", tmp_path / "crs"
    file.write_bytes(archive())
    words = ["install", str(file), "--directory", str(to)]
    key = ["--key", str(signer.key)]
    own = [*key, "--fingerprint", signer.fingerprint]
    assert "crs.tar.gz.asc: No such file" in run(*words, *own).output
    signer.sign(file)
    wrong = run(*words, *key)
    assert (wrong.exit_code, f"was signed by {signer.fingerprint}, not by 36006F0E0BA1" in wrong.output) == (1, True)
    other = Signer(tmp_path / "o")
    other.end()
    missing = run(*words, "--key", str(other.key), "--fingerprint", signer.fingerprint)
    assert "the key that signed the release is not there: get it with `gpg --fetch-keys" in missing.output
    assert "no public key that gpg can read" in run(*words, "--key", str(file), "--fingerprint", "0" * 40).output
    file.write_bytes(archive(extra={"coreruleset-4/rules/x.conf": b""}))
    changed = run(*words, *own)
    assert (changed.exit_code, "the signature is not good: BAD signature" in changed.output) == (1, True), (
        changed.output
    )
    assert not to.exists()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"coreruleset-4/../../evil.conf": b"x"}, "a path that leads outside"),
        ({"/evil.conf": b"x"}, "a path that leads outside"),
        ({"coreruleset-4/rules/REQUEST-902-B.conf": b"SecRule nonsense\n"}, "REQUEST-902-B.conf:1: "),
    ],
)
def test_a_release_that_cannot_be_used_leaves_the_old_one(
    tmp_path: Path, signer: Signer, extra: dict[str, bytes], message: str
) -> None:
    file, to = tmp_path / "crs.tar.gz", tmp_path / "crs"
    (to / "rules").mkdir(parents=True)
    (to / "rules/mark").touch()
    file.write_bytes(archive(extra=extra))
    signer.sign(file)
    result = run(
        "install", str(file), "--key", str(signer.key), "--fingerprint", signer.fingerprint, "--directory", str(to)
    )
    assert (result.exit_code != 0, message in result.output, (to / "rules/mark").exists()) == (True, True, True), (
        result.output
    )


def test_a_release_is_fetched_from_a_url_and_only_by_https(tmp_path: Path, signer: Signer) -> None:
    file = tmp_path / "crs.tar.gz"
    file.write_bytes(archive())
    signer.sign(file)
    files = {f"/{path.name}": path.read_bytes() for path in (file, tmp_path / "crs.tar.gz.asc")}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = files.get(self.path)
            self.send_response(200 if data else 404)
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        own = ["--key", str(signer.key), "--fingerprint", signer.fingerprint, "--directory", str(tmp_path / "crs")]
        assert run("install", f"{url}/crs.tar.gz", *own).exit_code == 0
        assert "Not Found" in run("install", f"{url}/other.tar.gz", *own).output
        server.shutdown()
    assert "by https:// alone" in run("install", "http://a.test/crs.tar.gz").output
