"""Upstreams that are spoken to in TLS: whom the gateway trusts, what it shows of itself, what it tells of failures."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from buchner.config import load
from buchner.errors import ConfigError
from helpers.client_certificates import ClientAuthority
from helpers.gateway import BUCHNER, Gateway, free_port
from helpers.raw import Raw
from helpers.tls import TLS12, TLS13, SecureUpstream, TestAuthority, server_context
from helpers.upstream import Script, Upstream, answer
from helpers.wait import wait_for

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

Run = Callable[..., Gateway]
RunSecure = Callable[..., SecureUpstream]


@pytest.fixture
def authority(tmp_path: Path) -> TestAuthority:
    return TestAuthority(tmp_path)


@pytest.fixture
def run_secure() -> Iterator[RunSecure]:
    """Start upstreams with TLS: `run_secure(context, script)`."""
    running: list[SecureUpstream] = []

    def start(context: ssl.SSLContext, script: Script | None = None) -> SecureUpstream:
        running.append(SecureUpstream(script or answer(), context))
        return running[-1]

    yield start
    for upstream in running:
        upstream.close()


def logged(gateway: Gateway, words: str) -> None:
    """Wait until the log has what these words match: it is written behind the response."""
    wait_for(lambda: re.search(words, gateway.log), f"{words!r} in the log", 5)


def route(url: str, terms: str = "", more: str = "", path: str = "/") -> str:
    tls = f"upstream_tls = {{ {terms} }}\n" if terms else ""
    return f'[[server.route]]\npath = "{path}"\nproxy = "{url}"\n{tls}{more}\n'


def toml(*routes: str, upstreams: str = "") -> str:
    return '[gateway]\nio_threads = 1\nuser = "root"\n[[server]]\n' + "".join(routes) + upstreams


def test_a_server_is_verified_by_its_name_and_its_connection_is_kept(
    run_gateway: Run, run_secure: RunSecure, authority: TestAuthority
) -> None:
    upstream = run_secure(server_context(authority.write("up", "localhost")), answer(b"secret"))
    gateway = run_gateway(toml(route(f"https://localhost:{upstream.port}/x/", f'ca = "{authority.file}"')))
    for _ in range(20):
        assert gateway.get("/a?b").body == b"secret"
    assert upstream.heads[0].startswith(b"GET /x/a?b HTTP/1.1\r\n")
    assert upstream.connections == 1
    assert [(one.name, one.version) for one in upstream.handshakes] == [("localhost", "TLSv1.3")]


def test_the_systems_authorities_are_trusted_where_no_other_is_named(
    run_gateway: Run, run_secure: RunSecure, authority: TestAuthority
) -> None:
    upstream = run_secure(server_context(authority.write("up", "localhost")))
    text = toml(route(f"https://localhost:{upstream.port}"))
    trusting = run_gateway(text, SSL_CERT_FILE=str(authority.file))
    assert trusting.get().status == 200
    other = TestAuthority(authority.file.parent, "other")
    distrusting = run_gateway(text, SSL_CERT_FILE=str(other.file))
    assert distrusting.get().status == 502
    logged(distrusting, "TLS: its certificate is not signed by the CA that it names")


def expired(authority: TestAuthority) -> ssl.SSLContext:
    return server_context(authority.write("up", "localhost", expired=True))


def other_name(authority: TestAuthority) -> ssl.SSLContext:
    return server_context(authority.write("up", "other.test", "*.more.test"))


def unknown(authority: TestAuthority) -> ssl.SSLContext:
    context = server_context(authority.write("up", "localhost"))
    authority.file.write_bytes(ClientAuthority(authority.file.parent, "clients").file.read_bytes())
    return context


def strange(authority: TestAuthority) -> ssl.SSLContext:
    return server_context(TestAuthority(authority.file.parent, "stranger").write("up", "localhost"))


def revoked(authority: TestAuthority) -> ssl.SSLContext:
    own = authority.write("up", "localhost")
    authority.revoke("crl", own)
    return server_context(own)


def demanding(authority: TestAuthority) -> ssl.SSLContext:
    clients = ClientAuthority(authority.file.parent, "clients").file
    return server_context(authority.write("up", "localhost"), clients=clients)


def demanding_12(authority: TestAuthority) -> ssl.SSLContext:
    clients = ClientAuthority(authority.file.parent, "clients").file
    return server_context(authority.write("up", "localhost"), clients=clients, version=TLS12)


def old(authority: TestAuthority) -> ssl.SSLContext:
    return server_context(authority.write("up", "localhost"), version=TLS12)


def rsa_only(authority: TestAuthority) -> ssl.SSLContext:
    context = server_context(authority.write("up", "localhost"), version=TLS12)
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    return context


FAULTS: list[tuple[Callable[[TestAuthority], ssl.SSLContext], str, str]] = [
    (expired, "", r"its certificate has expired on 20\d\d-\d\d-\d\d"),
    (other_name, "", r"its certificate is for other\.test, \*\.more\.test, not for localhost"),
    (unknown, "", r"its certificate has an unknown issuer: name the certificate of its CA in `ca`"),
    (strange, "", r"its certificate is not signed by the CA that it names"),
    (revoked, ', crl = "DIR/crl.pem"', r"its certificate is revoked"),
    (demanding, "", r"CertificateRequired: it wants a certificate"),
    (demanding_12, "", r"HandshakeFailure: no cipher suite in common, or it wants a certificate"),
    (old, ', protocols = ["TLSv1.3"]', r"ProtocolVersion: it speaks none of the versions that `protocols` has"),
    (
        rsa_only,
        ', protocols = ["TLSv1.2"], ciphers = ["ECDHE-ECDSA-AES256-GCM-SHA384"]',
        r"HandshakeFailure: no cipher suite in common",
    ),
]


@pytest.mark.parametrize(("make", "terms", "words"), FAULTS, ids=[fault[0].__name__ for fault in FAULTS])
def test_a_fault_is_502_and_the_log_says_which(
    run_gateway: Run,
    run_secure: RunSecure,
    authority: TestAuthority,
    make: Callable[[TestAuthority], ssl.SSLContext],
    terms: str,
    words: str,
) -> None:
    upstream = run_secure(make(authority))
    terms = f'ca = "{authority.file}"{terms}'.replace("DIR", str(authority.file.parent))
    gateway = run_gateway(toml(route(f"https://localhost:{upstream.port}", terms)))
    assert gateway.get().status == 502
    logged(gateway, rf"upstream localhost:{upstream.port} \(127\.0\.0\.1:{upstream.port}\).*{words}")
    assert upstream.heads == []


def test_what_is_not_tls_is_told(run_gateway: Run, run_upstream: Callable[..., Upstream]) -> None:
    def clear(connection: socket.socket) -> None:
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 400 what?\r\n\r\n")

    upstream = run_upstream(answer())
    upstream._serve = clear  # type: ignore[method-assign]
    gateway = run_gateway(toml(route(f"https://127.0.0.1:{upstream.port}", "verify = false")))
    assert gateway.get().status == 502
    logged(gateway, r"what it sent is not TLS: is it http:// rather than https://\?")


def test_a_list_of_revoked_certificates_that_is_empty_revokes_nothing(
    run_gateway: Run, run_secure: RunSecure, authority: TestAuthority
) -> None:
    upstream = run_secure(server_context(authority.write("up", "localhost")))
    terms = f'ca = "{authority.file}", crl = "{authority.revoke("crl")}"'
    assert run_gateway(toml(route(f"https://localhost:{upstream.port}", terms))).get().status == 200


def test_a_certificate_that_is_named_itself_is_trusted(run_gateway: Run, run_secure: RunSecure, tmp_path: Path) -> None:
    for name in ("one", "two"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-subj", "/CN=up", "-addext", "subjectAltName=DNS:localhost",
             "-keyout", f"{name}.key", "-out", f"{name}.crt"],
            cwd=tmp_path, check=True, capture_output=True,
        )  # fmt: skip
        (tmp_path / f"{name}.pem").write_bytes(
            (tmp_path / f"{name}.crt").read_bytes() + (tmp_path / f"{name}.key").read_bytes()
        )
    upstream = run_secure(server_context(tmp_path / "one.pem"))
    url = f"https://localhost:{upstream.port}"
    gateway = run_gateway(
        toml(
            route(url, f'ca = "{tmp_path}/one.crt"', path="/one"),
            route(url, f'ca = "{tmp_path}/two.crt"', path="/two"),
            route(url, f'ca = "{tmp_path}/one.crt", name = "other.test"', path="/name"),
        )
    )
    assert [gateway.get(path).status for path in ("/one", "/two", "/name")] == [200, 502, 502]
    logged(gateway, "not for other.test")


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_the_gateway_shows_its_certificate(
    run_gateway: Run, run_secure: RunSecure, authority: TestAuthority, version: ssl.TLSVersion
) -> None:
    directory = authority.file.parent
    clients = ClientAuthority(directory, "clients")
    own = clients.sign("gateway")
    key = directory / "locked.key"
    subprocess.run(
        ["openssl", "pkey", "-in", own, "-aes256", "-passout", "pass:sesame", "-out", key], check=True
    )  # fmt: skip
    (directory / "passwords").write_text("wrong\nsesame\n")
    upstream = run_secure(server_context(authority.write("up", "localhost"), clients=clients.file, version=version))
    terms = f'ca = "{authority.file}", certificate = "{own}", key = "{key}", password_file = "{directory}/passwords"'
    gateway = run_gateway(toml(route(f"https://localhost:{upstream.port}", terms)))
    assert gateway.get().status == 200
    assert [one.client for one in upstream.handshakes] == ["gateway"]
    assert "sesame" not in gateway.log


def test_connections_of_other_terms_are_not_used(
    run_gateway: Run, run_secure: RunSecure, authority: TestAuthority
) -> None:
    context = server_context(authority.write("up", "a.test", "b.test", "localhost"))
    upstream = run_secure(context)
    ca = f'ca = "{authority.file}"'
    gateway = run_gateway(
        toml(
            route("https://up", f'{ca}, name = "a.test"', path="/a"),
            route("https://up", f'{ca}, name = "b.test"', path="/b"),
            route("https://up", f'{ca}, name = "$arg_name"', path="/variable"),
            route("https://up", "verify = false", path="/unverified"),
            route("https://up", "verify = false", path="/again"),
            upstreams=f'[upstream.up]\nservers = ["127.0.0.1:{upstream.port}"]\n',
        )
    )
    for _ in range(3):
        for path in ("/a", "/b", "/variable?name=a.test", "/unverified", "/again"):
            assert gateway.get(path).status == 200, path
        assert gateway.get("/variable?name=c.test").status == 502, "a kept connection says nothing of another name"
    assert [one.name for one in upstream.handshakes] == ["a.test", "b.test", "up"]
    assert gateway.get("/variable").status == 502
    logged(gateway, 'its certificate cannot be compared with the name ""')


def test_clear_connections_are_not_used_for_tls(
    run_gateway: Run, run_secure: RunSecure, authority: TestAuthority
) -> None:
    """A group may be spoken to both ways: a server that takes either sees each where it belongs."""
    upstream = run_secure(server_context(authority.write("up", "localhost")))
    secure = upstream._serve

    def either(connection: socket.socket) -> None:
        first = connection.recv(1, socket.MSG_PEEK)
        return secure(connection) if first == b"\x16" else Upstream._serve(upstream, connection)

    upstream._serve = either  # type: ignore[method-assign]
    gateway = run_gateway(
        toml(
            route("http://up", path="/clear"),
            route("https://up", "verify = false", path="/secure"),
            upstreams=f'[upstream.up]\nservers = ["127.0.0.1:{upstream.port}"]\n',
        )
    )
    for _ in range(3):
        assert [gateway.get(path).status for path in ("/clear", "/secure")] == [200, 200]
    assert upstream.connections == 2
    assert len(upstream.handshakes) == 1


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_sessions_are_resumed(
    run_gateway: Run, run_secure: RunSecure, authority: TestAuthority, version: ssl.TLSVersion
) -> None:
    upstream = run_secure(server_context(authority.write("up", "localhost"), version=version))
    ca = f'ca = "{authority.file}"'
    gateway = run_gateway(
        toml(
            route("https://up", f'{ca}, name = "localhost"', path="/resumed"),
            route("https://up", f'{ca}, name = "localhost", session_reuse = false', path="/not"),
            upstreams=f'[upstream.up]\nservers = ["127.0.0.1:{upstream.port}"]\nkeepalive = 0\n',
        )
    )
    for path in ("/resumed", "/resumed", "/not", "/not"):
        assert gateway.get(path).status == 200
    assert [one.reused for one in upstream.handshakes] == [False, True, False, False]


def test_bodies_of_megabytes_both_ways(run_gateway: Run, run_secure: RunSecure, authority: TestAuthority) -> None:
    big = os.urandom(1 << 20) * 6

    def digest(connection: socket.socket, _head: bytes) -> bool:
        sum_ = hashlib.sha256(upstream.bodies[-1]).hexdigest()
        connection.sendall(f"HTTP/1.1 200 OK\r\nX-Sum: {sum_}\r\nContent-Length: {len(big)}\r\n\r\n".encode() + big)
        return True

    upstream = run_secure(server_context(authority.write("up", "localhost")), digest)
    more = 'request_buffering = {}\nmax_body = "10m"'
    gateway = run_gateway(
        toml(
            route(f"https://localhost:{upstream.port}", "verify = false", more.format("true"), path="/buffered"),
            route(f"https://localhost:{upstream.port}", "verify = false", more.format("false"), path="/streamed"),
        )
    )
    for path in ("/buffered", "/streamed"):
        with Raw(gateway.port, 60) as raw:
            raw.send(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(big)}\r\n\r\n")
            raw.send(big)
            reply = raw.reply()
        assert reply.get("x-sum") == hashlib.sha256(big).hexdigest(), path
        assert reply.body == big, path


def test_a_websocket_goes_through(run_gateway: Run, run_secure: RunSecure, authority: TestAuthority) -> None:
    def echo(connection: socket.socket, _head: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 101 ok\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        while data := connection.recv(1 << 16):
            connection.sendall(data.upper())
        return False

    upstream = run_secure(server_context(authority.write("up", "localhost")), echo)
    gateway = run_gateway(toml(route(f"https://localhost:{upstream.port}", "verify = false")))
    with Raw(gateway.port) as raw:
        raw.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert raw.reply().status == 101
        for text in (b"one", b"x" * 100_000):
            raw.send(text)
            assert raw._exactly(len(text)) == text.upper()


def test_a_handshake_that_takes_too_long_is_504(run_gateway: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        text = toml(route(f"https://127.0.0.1:{port}", "verify = false", 'connect_timeout = "300ms"'))
        gateway = run_gateway(text)
        assert gateway.get().status == 504
    logged(gateway, r"the handshake took more than 300 ms \(connect_timeout\)")


def test_another_server_is_asked_where_a_handshake_fails(
    run_gateway: Run, run_secure: RunSecure, authority: TestAuthority
) -> None:
    bad, good = run_secure(expired(authority)), run_secure(server_context(authority.write("good", "localhost")))
    servers = [f"127.0.0.1:{one.port}" for one in (bad, good)]
    gateway = run_gateway(
        toml(
            route("https://up", f'ca = "{authority.file}", name = "localhost"'),
            upstreams=f"[upstream.up]\nservers = {servers}\n".replace("'", '"'),
        )
    )
    for _ in range(4):
        reply = gateway.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        assert reply.status == 200, "nothing of the request was sent before"
    assert (len(good.heads), bad.heads) == (4, [])
    logged(gateway, f"upstream 127.0.0.1:{bad.port} is marked unavailable")


def test_urls_with_variables_lead_into_tls(run_gateway: Run, run_secure: RunSecure, authority: TestAuthority) -> None:
    upstream = run_secure(server_context(authority.write("up", "localhost")))
    gateway = run_gateway(
        toml(
            route(f"https://$arg_to:{upstream.port}", path="/host"),
            route("$arg_scheme://localhost:$arg_port", path="/scheme"),
        ),
        SSL_CERT_FILE=str(authority.file),
    )
    assert gateway.get("/host?to=localhost").status == 200
    assert gateway.get("/host?to=127.0.0.1").status == 502
    logged(gateway, "is for localhost, not for 127.0.0.1")
    assert gateway.get(f"/scheme?scheme=https&port={upstream.port}").status == 200
    assert gateway.get(f"/scheme?scheme=ftp&port={upstream.port}").status == 500


def test_unix_sockets_and_tables(run_gateway: Run, run_secure: RunSecure, authority: TestAuthority) -> None:
    upstream = run_secure(server_context(authority.write("up", "localhost")))
    path = authority.file.parent / "sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def accept() -> None:
        connection, _ = listener.accept()
        upstream._serve(connection)

    threading.Thread(target=accept, daemon=True).start()
    ca = f'upstream_tls = {{ ca = "{authority.file}", name = "localhost" }}'
    gateway = run_gateway(
        f"{ca}\n"
        + toml(
            route(f"https://unix:{path}:/x", path="/unix"),
            '[[server.route]]\npath = "/table"\nproxy = { upstream = "up", tls = true }\n',
            upstreams=f'[upstream.up]\nservers = ["127.0.0.1:{upstream.port}"]\n',
        )
    )
    assert [gateway.get(path).status for path in ("/unix", "/table")] == [200, 200]
    assert [one.name for one in upstream.handshakes] == ["localhost", "localhost"]
    listener.close()


def test_a_reload_keeps_connections_of_terms_that_stay(
    run_gateway: Run, run_secure: RunSecure, authority: TestAuthority
) -> None:
    upstream = run_secure(server_context(authority.write("up", "localhost")))
    text = toml(
        route("https://up", f'ca = "{authority.file}", name = "localhost"'),
        upstreams=f'[upstream.up]\nservers = ["127.0.0.1:{upstream.port}"]\n',
    )
    gateway = run_gateway(text)

    def reload(more: str) -> None:
        before = gateway.log.count("reloaded")
        gateway.file.write_text(gateway.file.read_text().replace('name = "localhost"', f'name = "localhost"{more}'))
        gateway.process.send_signal(signal.SIGHUP)
        wait_for(lambda: gateway.log.count("reloaded") > before, "the reload", 30)

    assert gateway.get().status == 200
    reload("")
    assert gateway.get().status == 200
    assert upstream.connections == 1
    reload(", server_name = false")
    assert gateway.get().status == 200
    assert [one.name for one in upstream.handshakes] == ["localhost", None]


def test_a_changed_authority_is_taken_without_a_reload(
    run_gateway: Run, run_secure: RunSecure, authority: TestAuthority
) -> None:
    other = TestAuthority(authority.file.parent, "other")
    upstream = run_secure(server_context(other.write("up", "localhost")))
    gateway = run_gateway(toml(route(f"https://localhost:{upstream.port}", f'ca = "{authority.file}"')))
    assert gateway.get().status == 502
    authority.file.write_bytes(other.file.read_bytes())
    wait_for(lambda: "changed certificates are in force" in gateway.log, "the change", 30)
    assert gateway.get().status == 200


WRONG: list[tuple[str, str]] = [
    ('ca = "nowhere.pem"', "cannot read {0}/nowhere.pem: No such file or directory"),
    ('ca = "key.pem"', "{0}/key.pem: is not PEM"),
    ('certificate = "nowhere.pem"', "{0}/nowhere.pem: cannot be read: No such file or directory"),
    ('certificate = "up.pem", key = "other.pem"', "does not belong to this certificate"),
    ('key = "up.pem"', "a key without its certificate is of no use"),
    ('name = "$nobody"', 'unknown variable "$nobody"'),
    ('protocols = ["TLSv1"]', "TLSv1"),
    ("verify = false, sni = true", "sni"),
]


@pytest.mark.parametrize(("terms", "words"), WRONG)
def test_wrong_terms_are_told_with_their_place(authority: TestAuthority, terms: str, words: str) -> None:
    directory = authority.file.parent
    authority.write("up", "localhost")
    authority.write("other", "localhost")
    (directory / "key.pem").write_text("nonsense")
    file = directory / "gateway.toml"
    file.write_text(toml(route("https://localhost", terms)))
    with pytest.raises(ConfigError) as caught:
        load(file)
    (problem,) = [str(problem) for problem in caught.value.problems]
    assert "gateway.toml:8:" in problem, problem
    assert words.format(directory) in problem, problem


def test_a_system_without_authorities_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "empty"))
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    file = tmp_path / "gateway.toml"
    file.write_text(toml(route("https://localhost")))
    with pytest.raises(ConfigError, match="install the package ca-certificates"):
        load(file)
    file.write_text(toml(route("https://localhost", "verify = false")))
    assert "system_roots" not in load(file).plan
    file.write_text(toml(route("http://localhost")))
    assert "system_roots" not in load(file).plan


def test_a_real_server_of_http(run_gateway: Run, authority: TestAuthority, tmp_path: Path) -> None:
    """`openssl s_server` answers with a page of its own, and closes."""
    own, port = authority.write("up", "localhost"), free_port()
    with subprocess.Popen(
        ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", own, "-key", own, "-www", "-quiet"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path,
    ) as server:  # fmt: skip
        try:
            gateway = run_gateway(toml(route(f"https://localhost:{port}", f'ca = "{authority.file}"')))
            wait_for(lambda: gateway.get().status == 200, "a response", 20)
            assert b"X25519MLKEM768" in gateway.get().body or b"TLSv1.3" in gateway.get().body
        finally:
            server.terminate()


def test_a_server_whose_first_messages_share_a_record(run_gateway: Run, authority: TestAuthority) -> None:
    """The gateway itself is one: what is wrong with its certificate is found while later messages wait."""
    own, port = authority.write("up", "localhost"), free_port()
    server = f'[[server]]\nlisten = ["127.0.0.1:{port} tls"]\n[server.tls]\ncertificate = "{own}"\n'
    answering = server + '[[server.route]]\npath = "/"\nrespond = "inside"\n'
    url, ca = f"https://127.0.0.1:{port}", f'ca = "{authority.file}"'
    gateway = run_gateway(
        toml(
            route(url, f'{ca}, name = "localhost"', path="/good"),
            route(url, f'{ca}, name = "other.test"', path="/name"),
            route(url, f'ca = "{TestAuthority(authority.file.parent, "other").file}", name = "localhost"', path="/ca"),
            upstreams=answering,
        )
    )
    for _ in range(2):
        assert [gateway.get(path).status for path in ("/good", "/name", "/ca")] == [200, 502, 502]
    logged(gateway, "its certificate is for localhost, not for other.test")
    assert "panicked" not in gateway.log


def test_buchner_check_says_nothing_of_gateway_toml_that_verifies(authority: TestAuthority) -> None:
    file = authority.file.parent / "gateway.toml"
    file.write_text(toml(route("https://localhost", f'ca = "{authority.file}"')))
    done: Any = subprocess.run([*BUCHNER, "check", str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done
