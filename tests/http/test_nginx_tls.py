"""TLS as nginx.conf has it: clients see the same handshakes with Buchner and with nginx."""

from __future__ import annotations

import http.client
import os
import ssl
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from buchner.config import load
from helpers.client_certificates import ClientAuthority
from helpers.gateway import BUCHNER
from helpers.handshake import Client, Facts, write_pair
from helpers.nginx import get
from helpers.syntax import accepted, problems
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.nginx import Pair, Server

    RunPair = Callable[[str], Pair]

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
GCM128, GCM256, CHACHA = (
    f"ECDHE-ECDSA-{name}" for name in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
)
REQUEST = get("/").encode()


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A directory with certificates of a.test and b.test."""
    write_pair(tmp_path, "a", "a.test")
    write_pair(tmp_path, "b", "b.test", "*.b.test")
    return tmp_path


def same(pair: Pair, client: Callable[[], Client], *args: Any, **options: Any) -> Facts:
    """What a client sees of both, which is the same; a failure may have another name."""
    theirs = client().shake(pair.nginx.port, *args, **options)
    ours = client().shake(pair.buchner.port, *args, **options)
    if ours.cipher or theirs.cipher:
        assert ours == theirs, (args, options)
    return ours


def test_certificates_and_names(run_pair: RunPair, certificates: Path) -> None:
    for kind, name in (("aes256", "locked"), ("aes128", "locked2")):
        subprocess.run(
            ["openssl", "pkey", "-in", "b.key", f"-{kind}", "-passout", f"pass:{name}", "-out", f"{name}.key"],
            cwd=certificates, check=True,
        )  # fmt: skip
    (certificates / "passwords").write_text("wrong\nlocked2\nlocked\n")
    pair = run_pair("""
        ssl_certificate DIR/a.pem; ssl_certificate_key DIR/a.key; ssl_protocols TLSv1.2 TLSv1.3;
        server { listen 127.0.0.1:PORT ssl; server_name x.test; return 200 "first $scheme $https"; }
        server { listen 127.0.0.1:PORT; server_name b.test *.b.test; return 200 "second $scheme";
            ssl_certificate DIR/b.pem; ssl_certificate_key DIR/locked.key; ssl_password_file DIR/passwords; }
        server { listen 127.0.0.1:PORT ssl; server_name c.test; ssl_reject_handshake on; }
        server { listen 127.0.0.1:PORT; server_name d.test; }
        server { listen 127.0.0.2:PORT ssl default_server; ssl_reject_handshake on; }
        server { listen 127.0.0.2:PORT ssl; server_name b.test; return 200 "known";
            ssl_certificate DIR/b.pem; ssl_certificate_key DIR/locked2.key; ssl_password_file DIR/passwords; }
        server { listen 127.0.0.3:PORT; return 200 "clear $scheme[$https]"; }
    """)
    assert same(pair, Client, "x.test", send=REQUEST).response == b"first https on"
    assert same(pair, Client, None, send=REQUEST).names == ("a.test",)
    assert same(pair, Client, "nobody.test").names == ("a.test",)
    assert same(pair, Client, "www.b.test", send=get("/", host="b.test").encode()).response == b"second https"
    assert same(pair, Client, "b.test").names == ("b.test", "*.b.test")
    assert same(pair, Client, "d.test").names == ("a.test",)
    refused: list[tuple[str, str | None]] = [("127.0.0.1", "c.test"), ("127.0.0.2", None), ("127.0.0.2", "nobody.test")]
    for address, asked in refused:
        for server in (pair.nginx, pair.buchner):
            assert Client().shake(server.port, asked, at=address).version == "TLSV1_UNRECOGNIZED_NAME", server.file
    assert same(pair, Client, "b.test", at="127.0.0.2", send=get("/", host="b.test").encode()).response == b"known"
    assert same(pair, Client, at="127.0.0.3").version == "WRONG_VERSION_NUMBER"


def test_a_certificate_for_each_kind_of_key(run_pair: RunPair, certificates: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=rsa", "-addext",
         "subjectAltName=DNS:rsa.test", "-keyout", "rsa.key", "-out", "rsa.pem"],
        cwd=certificates, check=True, capture_output=True,
    )  # fmt: skip
    pair = run_pair("""
        server { listen 127.0.0.1:PORT ssl;
            ssl_certificate DIR/a.pem; ssl_certificate_key DIR/a.key;
            ssl_certificate DIR/rsa.pem; ssl_certificate_key DIR/rsa.key; }
    """)
    assert same(pair, lambda: Client(V12, GCM128)).names == ("a.test",)
    assert same(pair, lambda: Client(V12, "ECDHE-RSA-AES128-GCM-SHA256")).names == ("rsa.test",)


TERMS = """
    ssl_certificate DIR/a.pem; ssl_certificate_key DIR/a.key; ssl_protocols TLSv1.2 TLSv1.3;
    server { listen 127.0.0.1:PORT ssl; }
    server { listen 127.0.0.2:PORT ssl; ssl_protocols TLSv1.2; }
    server { listen 127.0.0.3:PORT ssl; ssl_protocols TLSv1.1 TLSv1.3; }
    server { listen 127.0.0.4:PORT ssl; ssl_ciphers ECDHE+AESGCM:!AES256:AES128-SHA; }
    server { listen 127.0.0.5:PORT ssl; ssl_ciphers CHACHA20:HIGH:!aNULL:@STRENGTH; ssl_prefer_server_ciphers on; }
    server { listen 127.0.0.6:PORT ssl; ssl_prefer_server_ciphers on; }
    server { listen 127.0.0.7:PORT ssl; ssl_ecdh_curve secp384r1:prime256v1:secp521r1; }
    server { listen 127.0.0.8:PORT ssl; ssl_ecdh_curve auto; }
    server { listen 127.0.0.9:PORT ssl; ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256;
        ssl_conf_command Options ServerPreference; ssl_ciphers AES128:CHACHA20; }
    server { listen 127.0.0.10:PORT ssl; ssl_conf_command MinProtocol TLSv1.3; }
"""


@pytest.mark.usefixtures("certificates")
def test_versions_ciphers_and_curves(run_pair: RunPair) -> None:
    pair = run_pair(TERMS)
    for at in range(1, 11):
        address = f"127.0.0.{at}"
        for version in (V12, V13):
            seen = same(pair, lambda version=version: Client(version), at=address)  # type: ignore[misc]
            assert (not seen.cipher) == ((at, version) in [(2, V13), (3, V12), (10, V12)]), (at, version, seen)
        if at not in (3, 10):
            for ciphers in (GCM128, GCM256, CHACHA, f"{CHACHA}:{GCM256}:{GCM128}", f"{GCM128}:{CHACHA}:{GCM256}"):
                same(pair, lambda ciphers=ciphers: Client(V12, ciphers), at=address)  # type: ignore[misc]
        for curve in ("prime256v1", "secp384r1", "X25519"):
            seen = same(pair, lambda curve=curve: Client(V13, curve=curve), at=address)  # type: ignore[misc]
            assert bool(seen.cipher) == (at != 2 and (at, curve) != (7, "X25519")), (at, curve, seen)
    both = f"{GCM128}:{CHACHA}:{GCM256}"
    assert same(pair, lambda: Client(V12, both)).cipher == GCM128
    assert same(pair, lambda: Client(V12, GCM256), at="127.0.0.4").cipher == ""
    assert same(pair, lambda: Client(V12, both), at="127.0.0.5").cipher == CHACHA
    assert same(pair, lambda: Client(V12, both), at="127.0.0.6").cipher == GCM256
    assert same(pair, lambda: Client(V12, f"{CHACHA}:{GCM128}"), at="127.0.0.9").cipher == GCM128
    assert same(pair, lambda: Client(V13), at="127.0.0.9").cipher == "TLS_CHACHA20_POLY1305_SHA256"


SESSIONS = """
    ssl_certificate DIR/a.pem; ssl_certificate_key DIR/a.key; ssl_protocols TLSv1.2 TLSv1.3;
    server { listen 127.0.0.1:PORT ssl; return 200 ok; }
    server { listen 127.0.0.2:PORT ssl; return 200 ok; ssl_session_tickets off; }
    server { listen 127.0.0.3:PORT ssl; return 200 ok; ssl_session_tickets off; ssl_session_cache shared:A:1m; }
    server { listen 127.0.0.4:PORT ssl; return 200 ok; ssl_session_tickets off; ssl_session_cache off; }
    server { listen 127.0.0.5:PORT ssl; return 200 ok; ssl_session_timeout 1s; }
    server { listen 127.0.0.6:PORT ssl; return 200 ok; ssl_session_timeout 1s; ssl_session_tickets off;
        ssl_session_cache builtin:100 shared:B:1m; }
    server { listen 127.0.0.7:PORT ssl; return 200 ok; ssl_session_cache none; }
"""


def resumed(client: Client, server: Server, at: str = "127.0.0.1", wait: float = 0) -> bool:
    """Whether a client's second connection resumes the session of its first."""
    assert client.shake(server.port, at=at, send=REQUEST).response == b"ok"
    time.sleep(wait)
    seen = client.shake(server.port, at=at, send=REQUEST)
    assert seen.response == b"ok"
    return seen.reused


@pytest.mark.usefixtures("certificates")
def test_sessions(run_pair: RunPair) -> None:
    pair = run_pair(SESSIONS)
    for version in (V12, V13):
        for at, wanted in [(1, True), (2, False), (3, True), (4, False), (5, True), (6, True), (7, True)]:
            for server in (pair.nginx, pair.buchner):
                assert resumed(Client(version), server, f"127.0.0.{at}") == wanted, (version, at, server.file)
        for at in (5, 6):
            for server in (pair.nginx, pair.buchner):
                assert not resumed(Client(version), server, f"127.0.0.{at}", 2.1), (version, at, server.file)


def test_a_ticket_outlives_a_restart_with_its_key(run_pair: RunPair, certificates: Path) -> None:
    (certificates / "old").write_bytes(os.urandom(48))
    (certificates / "new").write_bytes(os.urandom(80))
    pair = run_pair("""
        server { listen 127.0.0.1:PORT ssl; return 200 ok;
            ssl_session_ticket_key DIR/new; ssl_session_ticket_key DIR/old;
            ssl_certificate DIR/a.pem; ssl_certificate_key DIR/a.key; }
    """)
    for server, command in ((pair.nginx, ["nginx", "-c"]), (pair.buchner, [*BUCHNER, "run"])):
        client = Client(V12)
        assert resumed(client, server)
        server.stop()
        with server.output.open("ab") as output:
            server.process = subprocess.Popen(
                [*command, str(server.file)], stdout=output, stderr=output, cwd=server.file.parent
            )
        wait_for(server._answers, "the start", 60)
        assert client.shake(server.port, send=REQUEST).reused, server.file


@pytest.mark.usefixtures("certificates")
def test_clear_text_and_the_proxy_protocol(run_pair: RunPair) -> None:
    pair = run_pair("""
        ssl_certificate DIR/a.pem; ssl_certificate_key DIR/a.key; ssl_protocols TLSv1.2 TLSv1.3;
        server { listen 127.0.0.1:PORT ssl; error_page 497 =307 https://$host/secure$request_uri; return 200 ok; }
        server { listen 127.0.0.2:PORT ssl proxy_protocol; set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol;
            return 200 "$remote_addr $proxy_protocol_addr $scheme"; }
        server { listen 127.0.0.3:PORT ssl; location / { absolute_redirect on; } location = /a { return 301 /b; } }
    """)
    assert ("location", "https://test/secure/x?y") in pair.get("/x?y").fields
    seen = same(pair, Client, at="127.0.0.2", before=b"PROXY TCP4 9.8.7.6 1.1.1.1 7 443\r\n", send=REQUEST)
    assert seen.response == b"9.8.7.6 9.8.7.6 https"
    assert same(pair, Client, at="127.0.0.3", send=get("/a").encode()).response == b"301"


TAKEN = [
    "ssl_ciphers HIGH:!aNULL;",
    "ssl_ciphers nosuch;",
    "ssl_ecdh_curve X25519:prime256v1;",
    "ssl_ecdh_curve nosuch;",
    "ssl_ecdh_curve auto;",
    "ssl_protocols;",
    "ssl_protocols TLSv1.2 tlsv1.3;",
    "ssl_protocols TLSv1.4;",
    "ssl_session_cache none;",
    "ssl_session_cache off;",
    "ssl_session_cache shared:x:1m;",
    "ssl_session_cache shared:x:1k;",
    "ssl_session_cache shared:x;",
    "ssl_session_cache builtin;",
    "ssl_session_cache builtin:x;",
    "ssl_session_cache nosuch;",
    "ssl_session_cache builtin:1000 shared:y:10m;",
    "ssl_session_timeout 1d;",
    "ssl_session_timeout 1ms;",
    "ssl_session_tickets maybe;",
    "ssl_session_ticket_key DIR/a.pem;",
    "ssl_session_ticket_key DIR/nosuch;",
    "ssl_password_file DIR/nosuch;",
    "ssl_certificate DIR/b.pem;",
    "ssl_certificate DIR/b.pem; ssl_certificate_key DIR/a.key;",
    "ssl_certificate_key DIR/b.key;",
    "ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;",
    "ssl_conf_command Ciphersuites nosuch;",
    "ssl_conf_command Options ServerPreference;",
    "ssl_conf_command NoSuch on;",
    "ssl_conf_command MinProtocol TLSv1.3;",
    "ssl_conf_command Ciphersuites;",
    "ssl_verify_client off;",
    "ssl_verify_client maybe;",
    "ssl_verify_client on;",
    "ssl_verify_client optional;",
    "ssl_verify_client on; ssl_client_certificate DIR/a.pem;",
    "ssl_verify_client on; ssl_client_certificate DIR/nosuch;",
    "ssl_verify_client optional_no_ca;",
    "ssl_reject_handshake on;",
    "listen unix:DIR/u ssl proxy_protocol default_server;",
]
OURS = {
    "ssl_certificate $host.pem; ssl_certificate_key DIR/b.key;": '"ssl_certificate $host.pem" is refused',
    "ssl_certificate data:x; ssl_certificate_key DIR/b.key;": '"ssl_certificate data:…" is refused',
    "ssl_protocols TLSv1 TLSv1.1;": '"ssl_protocols TLSv1 TLSv1.1" is refused: TLSv1.2 and TLSv1.3 are spoken here',
    "ssl_ciphers AES128-SHA;": '"ssl_ciphers AES128-SHA" is refused: none of it can be used here',
    "ssl_ciphers HIGH:@SECLEVEL=3;": '"@SECLEVEL=3" is not kept here',
    "ssl_ecdh_curve secp521r1;": '"ssl_ecdh_curve secp521r1" is refused',
}
HTTP = """events {{ }}
http {{ access_log off; server {{ listen unix:{0}/s ssl; ssl_certificate {0}/a.pem; ssl_certificate_key {0}/a.key;
{1}
}} }}"""


def test_both_take_and_refuse_the_same(certificates: Path, require_peer: Callable[[str], str]) -> None:
    nginx, different = require_peer("nginx"), []
    for case in [*TAKEN, *OURS]:
        text = HTTP.format(certificates, case.replace("DIR", str(certificates)))
        theirs, said = accepted(nginx, certificates, text)
        ours = problems(certificates / "nginx.conf")
        if case in OURS:
            assert any("nginx.conf:4:" in one and OURS[case] in one for one in ours), (case, ours)
        elif theirs != (not ours):
            different.append((case, said, ours))
    assert different == []


def test_a_default_server_without_a_certificate_is_refused(certificates: Path) -> None:
    (certificates / "nginx.conf").write_text("events { } http { server { listen 127.0.0.1:1 ssl; } }")
    (problem,) = problems(certificates / "nginx.conf")
    assert "nginx.conf:1:19" in problem
    assert 'no "ssl_certificate"' in problem


def test_what_is_left_out_is_said_once(certificates: Path) -> None:
    path = certificates / "nginx.conf"
    path.write_text("""events { } http { ssl_certificate a.pem; ssl_certificate_key a.key;
        ssl_protocols TLSv1.1 TLSv1.2; ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256:AES256-SHA; ssl_ecdh_curve X25519:X448;
        ssl_verify_client off;
        server { listen 127.0.0.1:1 ssl; } server { listen 127.0.0.1:2 ssl; } server { listen 127.0.0.1:3; } }""")
    loaded = load(path)
    assert [warning.message for warning in loaded.warnings] == [
        "TLSv1.1 cannot be spoken here: clients that need it are turned away",
        "not available here, and left out: AES256-SHA",
        "not available here, and left out: X448",
    ]
    assert len(loaded.plan["tls"]) == 1
    assert ["tls" in server for server in loaded.plan["server"]] == [True, True, False]


def asked(port: int, address: str, certificate: Path | None) -> tuple[int, bytes]:
    """The status and body of a response to a client with or without a certificate; 0: the handshake failed."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate)
    connection = http.client.HTTPSConnection(address, port, timeout=10, context=context)
    try:
        connection.request("GET", "/", headers={"Host": "test", "Connection": "close"})
        response = connection.getresponse()
        return response.status, response.read() if response.status == 200 else b""
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def test_certificates_of_clients_are_judged_the_same(run_pair: RunPair, certificates: Path) -> None:
    known, other = ClientAuthority(certificates, "known"), ClientAuthority(certificates, "other")
    clients = [None, known.sign("anna"), known.sign("late", -1), other.sign("stranger"), known.sign("revoked")]
    known.revoke(certificates / "revoked.pem", certificates / "crl.pem")
    pair = run_pair("""
        ssl_certificate DIR/a.pem; ssl_certificate_key DIR/a.key;
        ssl_client_certificate DIR/known-ca.pem; ssl_crl DIR/crl.pem;
        server { listen 127.0.0.1:PORT ssl; ssl_verify_client on; return 200 "$ssl_client_verify $ssl_client_s_dn"; }
        server { listen 127.0.0.2:PORT ssl; ssl_verify_client optional; return 200 "$ssl_client_verify"; }
        server { listen 127.0.0.3:PORT ssl; ssl_verify_client optional_no_ca; return 200 "$ssl_client_s_dn"; }
    """)
    for last in range(1, 4):
        for client in clients:
            theirs, ours = (asked(server.port, f"127.0.0.{last}", client) for server in (pair.nginx, pair.buchner))
            assert ours == theirs, (last, client)
    assert asked(pair.buchner.port, "127.0.0.1", clients[1])[1].startswith(b"SUCCESS ")
    assert asked(pair.buchner.port, "127.0.0.1", clients[4])[0] == 400


PUBLISHED = {
    "mozilla-modern": """
        ssl_protocols TLSv1.3; ssl_ecdh_curve X25519:prime256v1:secp384r1; ssl_prefer_server_ciphers off;
        ssl_session_timeout 1d; ssl_session_cache shared:MozSSL:10m; ssl_session_tickets off;
        ssl_stapling on; ssl_stapling_verify on; ssl_trusted_certificate DIR/a.pem; resolver 127.0.0.1;""",
    "mozilla-intermediate": """
        ssl_protocols TLSv1.2 TLSv1.3; ssl_ecdh_curve X25519:prime256v1:secp384r1;
        ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"""
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    """DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305;
        ssl_prefer_server_ciphers off; ssl_dhparam DIR/dhparam; ssl_session_timeout 1d;
        ssl_session_cache shared:MozSSL:10m;""",
    "h5bp": """
        ssl_protocols TLSv1.2 TLSv1.3; ssl_ciphers EECDH+CHACHA20:EECDH+AES;
        ssl_ecdh_curve X25519:prime256v1:secp521r1:secp384r1; ssl_buffer_size 4k;
        ssl_session_timeout 24h; ssl_session_cache shared:SSL:10m; ssl_session_tickets off;
        ssl_stapling on; ssl_stapling_verify on; resolver 127.0.0.1 valid=60s; resolver_timeout 2s;""",
}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.usefixtures("certificates")
def test_published_configurations_start(run_conf: Callable[[str], Server], name: str) -> None:
    server = run_conf(f"""{PUBLISHED[name]}
        server {{ listen 127.0.0.1:PORT ssl default_server; ssl_reject_handshake on; }}
        server {{ listen 127.0.0.1:PORT ssl; server_name a.test; return 200 ok;
            add_header Strict-Transport-Security "max-age=63072000" always;
            ssl_certificate DIR/a.pem; ssl_certificate_key DIR/a.key; }}
        server {{ listen 127.0.0.2:PORT; return 301 https://$host$request_uri; }}
    """)
    for version in (V12, V13):
        seen = Client(version).shake(server.port, "a.test", send=get("/", host="a.test").encode())
        assert (seen.response == b"ok") == (version == V13 or name != "mozilla-modern"), seen
    assert Client().shake(server.port, "b.test").version == "TLSV1_UNRECOGNIZED_NAME"
