"""proxy_ssl_*: servers see the same handshakes of nginx and of Buchner, and clients the same responses."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from buchner.config import load
from helpers.client_certificates import ClientAuthority
from helpers.nginx import Converted, Pair, Server, comparable, get
from helpers.syntax import accepted, problems
from helpers.tls import TestAuthority

if TYPE_CHECKING:
    from pathlib import Path

RunPair = Callable[[str], Pair]

TOLD = "$ssl_server_name|$ssl_protocol|$ssl_cipher|$ssl_client_verify|$ssl_client_s_dn|$ssl_session_reused|$host|$uri"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with certificates of servers and of a client, and their authorities'."""
    authority = TestAuthority(tmp_path)
    own = authority.write("up", "up.test", "localhost")
    authority.write("old", "up.test", expired=True)
    authority.revoke("none")
    authority.revoke("revoked", own)
    clients = ClientAuthority(tmp_path, "clients")
    subprocess.run(
        ["openssl", "pkey", "-in", clients.sign("gateway"), "-aes256", "-passout", "pass:sesame",
         "-out", tmp_path / "locked.key"], check=True,
    )  # fmt: skip
    (tmp_path / "passwords").write_text("wrong\nsesame\n")
    ClientAuthority(tmp_path, "others").sign("stranger")
    return tmp_path


@pytest.fixture
def upstream(files: Path, require_peer: Callable[[str], str]) -> Iterator[Server]:
    """nginx as the server: it says what it knows of the handshake."""
    server = Server(
        files / "upstream",
        f"""
        ssl_certificate {files}/up.pem; ssl_certificate_key {files}/up.pem; ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:a:1m; keepalive_timeout 0;
        ssl_client_certificate {files}/clients-ca.pem;
        server {{ listen 127.0.0.1:PORT ssl; ssl_verify_client optional; return 200 "{TOLD}"; }}
        server {{ listen 127.0.0.2:PORT ssl; ssl_verify_client on; return 200 "{TOLD}"; }}
        server {{ listen 127.0.0.3:PORT ssl; ssl_protocols TLSv1.2; return 200 "{TOLD}"; }}
        server {{ listen 127.0.0.4:PORT ssl; ssl_certificate {files}/old.pem; ssl_certificate_key {files}/old.pem;
            return 200 "{TOLD}"; }}
        """,
        [require_peer("nginx"), "-c"],
    )
    yield server
    server.stop()


DEFAULTS = "proxy_ssl_protocols TLSv1.2 TLSv1.3; proxy_ssl_session_reuse off;"
"""Those of newer versions of nginx; and with a session nginx resumes what was found out about its certificate too."""
LOCATIONS = {
    "/plain": "proxy_pass https://127.0.0.1:UP;",
    "/uri/": "proxy_pass https://127.0.0.1:UP/other/;",
    "/sni": "proxy_pass https://127.0.0.1:UP; proxy_ssl_server_name on; proxy_ssl_name up.test;",
    "/host": "proxy_pass https://localhost:UP; proxy_ssl_server_name on;",
    "/address": "proxy_pass https://127.0.0.1:UP; proxy_ssl_server_name on;",
    "/variable": "proxy_pass https://127.0.0.1:UP; proxy_ssl_server_name on; proxy_ssl_name $arg_name:8443;",
    "/group": "proxy_pass https://group; proxy_ssl_server_name on;",
    "/url": "set $up 127.0.0.1; proxy_pass https://$up:UP; proxy_ssl_server_name on; proxy_ssl_name up.test;",
    "/good": "proxy_pass https://127.0.0.1:UP; proxy_ssl_verify on; proxy_ssl_name up.test; TRUST",
    "/wrong": "proxy_pass https://127.0.0.1:UP; proxy_ssl_verify on; proxy_ssl_name other.test; TRUST",
    "/stranger": "proxy_pass https://127.0.0.1:UP; proxy_ssl_verify on; proxy_ssl_name up.test; "
    "proxy_ssl_trusted_certificate DIR/clients-ca.pem;",
    "/expired": "proxy_pass https://127.0.0.4:UP; proxy_ssl_verify on; proxy_ssl_name up.test; TRUST",
    "/unverified": "proxy_pass https://127.0.0.4:UP; proxy_ssl_verify off; proxy_ssl_name up.test; TRUST",
    "/crl": "proxy_pass https://127.0.0.1:UP; proxy_ssl_verify on; proxy_ssl_name up.test; TRUST "
    "proxy_ssl_crl DIR/none.pem;",
    "/revoked": "proxy_pass https://127.0.0.1:UP; proxy_ssl_verify on; proxy_ssl_name up.test; TRUST "
    "proxy_ssl_crl DIR/revoked.pem;",
    "/shown": "proxy_pass https://127.0.0.2:UP; proxy_ssl_certificate DIR/gateway.pem; "
    "proxy_ssl_certificate_key DIR/gateway.pem;",
    "/locked": "proxy_pass https://127.0.0.2:UP; proxy_ssl_certificate DIR/gateway.pem; "
    "proxy_ssl_certificate_key DIR/locked.key; proxy_ssl_password_file DIR/passwords;",
    "/others": "proxy_pass https://127.0.0.1:UP; proxy_ssl_certificate DIR/stranger.pem; "
    "proxy_ssl_certificate_key DIR/stranger.pem;",
    "/missing": "proxy_pass https://127.0.0.2:UP;",
    "/twelve": "proxy_pass https://127.0.0.1:UP; proxy_ssl_protocols TLSv1.2;",
    "/both": "proxy_pass https://127.0.0.3:UP; proxy_ssl_protocols TLSv1.2 TLSv1.3;",
    "/thirteen": "proxy_pass https://127.0.0.3:UP; proxy_ssl_protocols TLSv1.3;",
    "/ciphers": "proxy_pass https://127.0.0.1:UP; proxy_ssl_protocols TLSv1.2; "
    "proxy_ssl_ciphers ECDHE-ECDSA-CHACHA20-POLY1305;",
    "/command": "proxy_pass https://127.0.0.1:UP; proxy_ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256;",
    "/least": "proxy_pass https://127.0.0.3:UP; proxy_ssl_conf_command MinProtocol TLSv1.3;",
}


def locations(upstream: Server, chosen: dict[str, str]) -> str:
    trust = "proxy_ssl_trusted_certificate DIR/authority.pem;"
    text = "".join(f"location {path} {{ {inside} }}\n" for path, inside in chosen.items())
    return text.replace("TRUST", trust).replace("UP", str(upstream.port))


def test_handshakes_and_verdicts(run_pair: RunPair, upstream: Server) -> None:
    pair = run_pair(f"""
        {DEFAULTS}
        upstream group {{ server 127.0.0.1:{upstream.port}; }}
        server {{ listen 127.0.0.1:PORT; {locations(upstream, LOCATIONS)} }}
    """)
    statuses = {path: pair.get(f"{path}?name=up.test").status for path in LOCATIONS}
    refused = {path for path, status in statuses.items() if status != 200}
    assert refused == {"/wrong", "/stranger", "/expired", "/revoked", "/others", "/missing", "/thirteen", "/least"}, (
        statuses
    )
    assert {statuses[path] for path in refused} == {502, 400}
    told = {
        path: pair.get(f"{path}?name=up.test").body.decode().split("|")
        for path in ("/plain", "/uri/x", "/sni", "/locked")
    }
    assert told["/plain"][:2] == ["", "TLSv1.3"]
    assert told["/uri/x"][-1] == "/other/x"
    assert told["/sni"][0] == "up.test"
    assert told["/locked"][3] == "SUCCESS"
    assert pair.get("/variable?name=a.test").body.startswith(b"a.test|")


def test_inherited_terms(run_pair: RunPair, upstream: Server) -> None:
    verified = "proxy_ssl_verify on; proxy_ssl_trusted_certificate DIR/authority.pem;"  # nginx loads both together
    pair = run_pair(f"""
        proxy_ssl_server_name on; proxy_ssl_name http.test; proxy_ssl_protocols TLSv1.2;
        proxy_ssl_session_reuse off;
        server {{ listen 127.0.0.1:PORT; proxy_ssl_name up.test;
            location /a {{ proxy_pass https://127.0.0.1:{upstream.port};
                if ($arg_b) {{ proxy_pass https://127.0.0.2:{upstream.port}; }}
                location /a/b {{ proxy_pass https://127.0.0.1:{upstream.port}; {verified} }}
                location /a/c {{ proxy_pass https://127.0.0.1:{upstream.port}; proxy_ssl_name c.test; {verified} }}
                limit_except GET {{ proxy_pass https://127.0.0.3:{upstream.port}; }} }} }}
    """)
    assert pair.get("/a").body.startswith(b"up.test|TLSv1.2|")
    assert [pair.get(path).status for path in ("/a/b", "/a/c", "/a?b=1")] == [200, 502, 400]
    assert pair.same("DELETE /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").body.startswith(b"up.test|TLSv1.2|")


def test_sessions_are_reused(run_pair: RunPair, upstream: Server) -> None:
    for version in ("TLSv1.2", "TLSv1.3"):
        pair = run_pair(f"""
            proxy_ssl_protocols {version};
            server {{ listen 127.0.0.1:PORT;
                location /on {{ proxy_pass https://127.0.0.1:{upstream.port}; }}
                location /off {{ proxy_pass https://127.0.0.1:{upstream.port}; proxy_ssl_session_reuse off; }} }}
        """)
        for server in (pair.nginx, pair.buchner):
            for path, wanted in (("/on", "r"), ("/off", ".")):
                replies = [server.ask(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") for _ in range(8)]
                reused = [reply.body.decode().split("|")[5] for reply in replies if reply]
                assert reused[-1] == wanted, (version, server.file, path, reused)
        pair.stop()


TAKEN = [
    "proxy_ssl_verify on; proxy_ssl_trusted_certificate DIR/authority.pem;",
    "proxy_ssl_verify on;",
    "proxy_ssl_verify maybe;",
    "proxy_ssl_verify_depth 2;",
    "proxy_ssl_verify_depth x;",
    "proxy_ssl_trusted_certificate DIR/nosuch; proxy_ssl_verify on;",
    "proxy_ssl_trusted_certificate DIR/passwords; proxy_ssl_verify on;",
    "proxy_ssl_certificate DIR/up.pem; proxy_ssl_certificate_key DIR/up.pem;",
    "proxy_ssl_certificate DIR/up.pem;",
    "proxy_ssl_certificate DIR/nosuch; proxy_ssl_certificate_key DIR/up.pem;",
    "proxy_ssl_certificate DIR/up.pem; proxy_ssl_certificate_key DIR/gateway.pem;",
    "proxy_ssl_certificate DIR/up.pem; proxy_ssl_certificate DIR/up.pem;",
    "proxy_ssl_certificate_key DIR/up.pem;",
    "proxy_ssl_protocols TLSv1.2 TLSv1.3;",
    "proxy_ssl_protocols TLSv1.9;",
    "proxy_ssl_ciphers HIGH:!aNULL;",
    "proxy_ssl_ciphers nosuch;",
    "proxy_ssl_name a b;",
    "proxy_ssl_name $nobody;",
    "proxy_ssl_server_name yes;",
    "proxy_ssl_session_reuse off;",
    "proxy_ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;",
    "proxy_ssl_conf_command Ciphersuites nosuch;",
    "proxy_ssl_conf_command MinProtocol TLSv1.3;",
    "proxy_ssl_conf_command NoSuch on;",
]
OURS = {
    "proxy_ssl_certificate $host.pem; proxy_ssl_certificate_key DIR/up.pem;": '"proxy_ssl_certificate $host.pem" is',
    "proxy_ssl_protocols TLSv1;": '"proxy_ssl_protocols TLSv1" is refused',
    "proxy_ssl_ciphers AES128-SHA;": '"proxy_ssl_ciphers AES128-SHA" is refused: none of it can be used here',
}
HTTP = """events {{ }}
http {{ access_log off; server {{ listen unix:{0}/s; location / {{ proxy_pass https://127.0.0.1:1;
{1}
}} }} }}"""


def test_both_take_and_refuse_the_same(files: Path, require_peer: Callable[[str], str]) -> None:
    nginx, different = require_peer("nginx"), []
    for case in [*TAKEN, *OURS]:
        theirs, said = accepted(nginx, files, HTTP.format(files, case.replace("DIR", str(files))))
        ours = problems(files / "nginx.conf")
        if case in OURS:
            assert any("nginx.conf:4:" in one and OURS[case] in one for one in ours), (case, ours)
        elif theirs != (not ours):
            different.append((case, said, ours))
    assert different == []


def test_what_is_not_verified_is_said_once(files: Path) -> None:
    path = files / "nginx.conf"
    path.write_text("""events { } http { proxy_ssl_trusted_certificate authority.pem;
        server { listen 127.0.0.1:1;
            location /a { proxy_pass https://a.test; } location /b { proxy_pass https://b.test/x; }
            location /c { proxy_pass http://c.test; } location /d { proxy_pass https://$host; } }
        server { listen 127.0.0.1:2; location / { proxy_pass https://a.test; proxy_ssl_verify on; } } }""")
    loaded = load(path)
    (warning,) = [str(warning) for warning in loaded.warnings]
    assert "nginx.conf:3:38: certificates of upstreams are not verified" in warning
    assert "system_roots" not in loaded.plan
    assert len(loaded.plan["upstream_tls"]) == 2
    assert loaded.plan["upstream"]["https://a.test:443"]["server"] == [{"address": "a.test:443"}]
    path.write_text(path.read_text().replace("proxy_ssl_trusted", "proxy_ssl_verify on; proxy_ssl_trusted"))
    assert load(path).warnings == []


def test_a_converted_file_says_the_same(run_pair: RunPair, upstream: Server, tmp_path: Path) -> None:
    http = (
        f"{DEFAULTS} server {{ listen 127.0.0.1:PORT; {locations(upstream, LOCATIONS | {'/group': 'return 204;'})} }}"
    )
    pair = run_pair(http)
    converted = Converted(tmp_path / "converted", http.replace("DIR", str(tmp_path)))
    try:
        for path in LOCATIONS:
            request = get(f"{path}?name=up.test")
            assert comparable(converted.ask(request), converted.port) == pair.same(request), path
    finally:
        converted.stop()
