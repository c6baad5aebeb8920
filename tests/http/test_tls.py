"""TLS towards clients: real clients, and what of a handshake decides."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from buchner.certificates.authority import Authority
from buchner.certificates.storage import Storage
from helpers.client_certificates import ClientAuthority
from helpers.gateway import BUCHNER
from helpers.instance import Instance
from helpers.load import APP
from helpers.raw import Raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytest.importorskip("flask")

TOML = """
[gateway]
user = "root"

[app]
target = "shop:app"
workers = 1

[[server]]
listen = ["127.0.0.1:0 tls"]
names = ["example.com"]
{server}
[server.tls]
certificate = "example.com.pem"
{tls}

[[server.route]]
path = "/"
app = true

[[server.route]]
path = "/told"
respond = "$ssl_protocol $ssl_server_name $ssl_alpn_protocol $ssl_session_reused $ssl_client_verify $ssl_client_s_dn"

[[server.route]]
path = "/ja4"
respond = "$ja4 $ssl_cipher $ssl_curve"

[[server.route]]
path = "/file"
files = "files"

[[server]]
listen = ["127.0.0.1:0 tls"]
names = ["*.other.org"]

[server.tls]
certificate = "other.org.pem"
{other}

[[server.route]]
path = "/"
respond = "the other"
"""

SHOP = (
    APP
    + """
import hashlib

@app.post("/digest")
def digest():
    return hashlib.sha256(request.get_data()).hexdigest()

@app.get("/scheme")
def scheme():
    return request.environ["wsgi.url_scheme"] + " " + request.environ.get("HTTPS", "-")

@app.get("/client")
def client():
    told = request.environ
    return "|".join(told.get(f"SSL_{name}", "-") for name in ("PROTOCOL", "TLS_SNI", "CLIENT_VERIFY", "CLIENT_S_DN"))

@app.get("/big")
def big():
    return b"0123456789abcdef" * (8 << 16)
"""
)
BIG = b"0123456789abcdef" * (8 << 16)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(Storage(tmp_path / "certificates"))


@pytest.fixture
def run(tmp_path: Path, authority: Authority) -> Iterator[Callable[..., Instance]]:
    """Run the configuration above, with these lines in its tables."""
    running: list[Instance] = []

    def start(server: str = "", tls: str = "", other: str = "") -> Instance:
        directory = tmp_path / f"run{len(running)}"
        (directory / "files").mkdir(parents=True)
        (directory / "files/big").write_bytes(BIG)
        (directory / "shop.py").write_text(SHOP)
        for name in ("example.com", "other.org"):
            pair = authority.sign([name, f"*.{name}"])
            (directory / f"{name}.pem").write_bytes(pair.chain_pem + pair.key_pem)
            (directory / f"{name}.pem").chmod(0o600)
        (directory / "gateway.toml").write_text(TOML.format(server=server, tls=tls, other=other))
        running.append(Instance(directory, "run", "gateway.toml"))
        return running[-1]

    yield start
    for instance in running:
        instance.end()


def context(authority: Authority, **versions: ssl.TLSVersion) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(authority.root_file))
    for name, version in versions.items():
        setattr(made, f"{name}_version", version)
    return made


def connect(instance: Instance, client: ssl.SSLContext, name: str = "example.com") -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", instance.port), timeout=20)
    return client.wrap_socket(plain, server_hostname=name)


def ask(stream: ssl.SSLSocket, target: str, host: str = "example.com", method: str = "GET", body: bytes = b"") -> bytes:
    """The body of a response, whose length is told."""
    head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
    stream.sendall(head.encode() + body)
    read = stream.makefile("rb")
    status = read.readline()
    fields = dict(line.decode().lower().split(": ", 1) for line in iter(read.readline, b"\r\n"))
    return status.split(b" ", 2)[1] + b" " + read.read(int(fields["content-length"]))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_requests_in_each_version_on_one_connection(
    run: Callable[..., Instance], authority: Authority, version: ssl.TLSVersion
) -> None:
    instance = run()
    with connect(instance, context(authority, minimum=version, maximum=version)) as stream:
        assert ask(stream, "/scheme") == b"200 https on"
        upload = os.urandom(3 << 20)
        assert (
            ask(stream, "/digest", method="POST", body=upload) == b"200 " + hashlib.sha256(upload).hexdigest().encode()
        )
        assert ask(stream, "/big") == b"200 " + BIG
        assert ask(stream, "/file/big") == b"200 " + BIG
        assert ask(stream, "/scheme") == b"200 https on"


def test_the_name_chooses_the_certificate_and_the_first_has_all_others(
    run: Callable[..., Instance], authority: Authority
) -> None:
    instance = run()
    for name, host, body in [
        ("example.com", "example.com", b"200 https on"),
        ("a.other.org", "a.other.org", b"200 the other"),
    ]:
        with connect(instance, context(authority), name) as stream:
            assert ask(stream, "/scheme", host) == body
    with pytest.raises(ssl.SSLCertVerificationError, match=r"nobody\.net"):
        connect(instance, context(authority), "nobody.net")


def test_clear_text_on_the_port_is_told_so(run: Callable[..., Instance]) -> None:
    instance = run()
    with Raw(instance.port) as raw:
        raw.send("GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n")
        reply = raw.reply()
        assert (reply.status, b"A plain HTTP request was sent to an HTTPS port" in reply.body) == (400, True)
    instance = run('error_page = { 497 = "https://$host$request_uri" }')
    with Raw(instance.port) as raw:
        raw.send("GET /a?b HTTP/1.1\r\nHost: example.com\r\n\r\n")
        reply = raw.reply()
        assert (reply.status, reply.get("location")) == (302, "https://example.com/a?b")


def test_a_refused_name_gets_an_alert_and_a_host_with_other_terms_421(
    run: Callable[..., Instance], authority: Authority
) -> None:
    instance = run(other="reject_handshake = true")
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        connect(instance, context(authority), "a.other.org")
    with connect(instance, context(authority)) as stream:
        assert ask(stream, "/scheme", "a.other.org").startswith(b"421 ")
        assert ask(stream, "/scheme") == b"200 https on"


def test_a_session_is_resumed_where_it_began(run: Callable[..., Instance], authority: Authority) -> None:
    instance = run()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        client = context(authority, minimum=version, maximum=version)
        with connect(instance, client) as stream:
            ask(stream, "/scheme")
            session = stream.session
        plain = socket.create_connection(("127.0.0.1", instance.port), timeout=20)
        with client.wrap_socket(plain, server_hostname="example.com", session=session) as stream:
            assert ask(stream, "/scheme") == b"200 https on"
            assert stream.session_reused, version


def test_the_end_of_a_response_without_a_length_is_told(run: Callable[..., Instance], authority: Authority) -> None:
    instance = run()
    plain = socket.create_connection(("127.0.0.1", instance.port), timeout=20)
    client = context(authority)
    with client.wrap_socket(plain, server_hostname="example.com", suppress_ragged_eofs=False) as stream:
        stream.sendall(b"GET /big HTTP/1.0\r\nHost: example.com\r\n\r\n")
        assert b"".join(iter(lambda: stream.recv(1 << 16), b"")).endswith(BIG)


def test_what_a_handshake_agreed_on_is_told(run: Callable[..., Instance], authority: Authority) -> None:
    instance = run()
    client = context(authority)
    client.set_alpn_protocols(["http/1.1"])
    with connect(instance, client) as stream:
        assert ask(stream, "/told") == b"200 TLSv1.3 example.com http/1.1 .  "
        assert ask(stream, "/client") == b"200 TLSv1.3|example.com|-|-"
        ja4, cipher, _curve = ask(stream, "/ja4").decode().removeprefix("200 ").split()
        assert stream.cipher()[0] == cipher  # type: ignore[index]
    assert re.fullmatch(r"t13d\d{4}h1_[0-9a-f]{12}_[0-9a-f]{12}", ja4)
    with connect(
        instance, context(authority, minimum=ssl.TLSVersion.TLSv1_2, maximum=ssl.TLSVersion.TLSv1_2)
    ) as stream:
        assert ask(stream, "/told") == b"200 TLSv1.2 example.com  .  "


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_certificates_of_clients(
    run: Callable[..., Instance], authority: Authority, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    ours, theirs = ClientAuthority(tmp_path, "ours"), ClientAuthority(tmp_path, "theirs")
    files = [ours.sign("client.example"), theirs.sign("stranger.example"), ours.sign("old.example", days=-1), None]
    verified = f'client_ca = "{ours.file}"\nverify_client = '
    missing, refused = b"400 is required, and none was sent", b"400 is not accepted"
    cases = {
        "on": (b"SUCCESS", refused, refused, missing),
        "optional": (b"SUCCESS", refused, refused, b"NONE"),
        "optional_no_ca": (b"SUCCESS", b"FAILED:unable to get local issuer certificate", refused, b"NONE"),
    }  # fmt: skip
    for wanted, expected in cases.items():
        instance = run(tls=f'{verified}"{wanted}"')
        for file, result in zip(files, expected, strict=True):
            client = context(authority, minimum=version, maximum=version)
            if file:
                client.load_cert_chain(file)
            with connect(instance, client) as stream:
                told = ask(stream, "/client")
            if result.startswith(b"400 "):
                assert told.startswith(b"400 ")
                assert result[4:] in told, (wanted, file)
            else:
                _, _, verify, subject = told.split(b"|")
                assert verify == result, (wanted, file)
                assert subject == (f"CN={file.stem},O=A\\, B".encode() if file else b"-")


def test_a_session_with_a_client_certificate_is_judged_again(
    run: Callable[..., Instance], authority: Authority, tmp_path: Path
) -> None:
    ours = ClientAuthority(tmp_path, "ours")
    instance = run(tls=f'client_ca = "{ours.file}"\nverify_client = "on"')
    client = context(authority, minimum=ssl.TLSVersion.TLSv1_2, maximum=ssl.TLSVersion.TLSv1_2)
    client.load_cert_chain(ours.sign("client.example"))
    with connect(instance, client) as stream:
        assert ask(stream, "/client").split(b"|")[2] == b"SUCCESS"
        session = stream.session
    plain = socket.create_connection(("127.0.0.1", instance.port), timeout=20)
    with client.wrap_socket(plain, server_hostname="example.com", session=session) as stream:
        assert stream.session_reused
        assert ask(stream, "/client").split(b"|")[2:] == [b"SUCCESS", b"CN=client.example,O=A\\, B"]


def test_curl_and_openssl_agree(
    run: Callable[..., Instance], authority: Authority, require_peer: Callable[[str], str]
) -> None:
    instance = run()
    where = f"https://example.com:{instance.port}/scheme"
    words = ["--cacert", str(authority.root_file), "--resolve", f"example.com:{instance.port}:127.0.0.1", "-sS", where]
    words = ["-w", " HTTP/%{http_version}", *words]
    for more, version in ((["--http1.1"], "1.1"), (["--no-alpn"], "1.1"), (["--http2"], "2"), (["--tlsv1.3"], "2")):
        done = subprocess.run(
            [require_peer("curl"), *more, *words], capture_output=True, text=True, check=False, timeout=30
        )
        assert done.stdout == f"https on HTTP/{version}", done.stderr
    done = subprocess.run(
        [require_peer("openssl"), "s_client", "-connect", f"127.0.0.1:{instance.port}", "-servername", "example.com",
         "-CAfile", str(authority.root_file), "-verify_return_error", "-alpn", "http/1.1"],
        input="", capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert "Verify return code: 0 (ok)" in done.stdout, done.stdout
    assert "ALPN protocol: http/1.1" in done.stdout


def test_http2_is_chosen_unless_it_is_off_and_carries_what_is_large(
    run: Callable[..., Instance], authority: Authority, require_peer: Callable[[str], str], tmp_path: Path
) -> None:
    (tmp_path / "upload").write_bytes(BIG)
    for setting, version in (("", "2"), ("http2 = false", "1.1")):
        instance = run(setting)
        curl = [
            require_peer("curl"), "-sS", "--cacert", str(authority.root_file), "-w", " %{http_version}",
            "--resolve", f"example.com:{instance.port}:127.0.0.1",
        ]  # fmt: skip
        where = f"https://example.com:{instance.port}"
        for words in (["/big"], ["/file/big"], ["/digest", "--data-binary", f"@{tmp_path / 'upload'}"]):
            done = subprocess.run([*curl, where + words[0], *words[1:]], capture_output=True, check=False, timeout=60)
            expected = hashlib.sha256(BIG).hexdigest().encode() if words[0] == "/digest" else BIG
            assert done.stdout == expected + f" {version}".encode(), done.stderr


def test_what_is_wrong_with_a_certificate_is_told_with_its_place(tmp_path: Path, authority: Authority) -> None:
    pair, other = authority.sign(["example.com"]), authority.sign(["example.com"])
    (tmp_path / "a.pem").write_bytes(pair.chain_pem)
    (tmp_path / "b.pem").write_bytes(other.key_pem)
    toml = '[[server]]\nlisten = "127.0.0.1:0 tls"\n{}\n[[server.route]]\npath = "/"\nrespond = 204\n'
    for table, words in [
        ("", "has TLS, and its default server has no certificate"),
        ("[server.tls]\n", "TLS needs a certificate"),
        ('[server.tls]\ncertificate = "none.pem"\n', "none.pem"),
        ('[server.tls]\ncertificate = "a.pem"\nkey = "b.pem"\n', "b.pem"),
        ('[server.tls]\ncertificate = ["a.pem", "a.pem"]\nkey = "b.pem"\n', "there are 2 certificates and 1 keys"),
        ('[server.tls]\ncertificate = "a.pem"\nticket_keys = ["b.pem"]\n', "a key has 48 or 80"),
    ]:
        (tmp_path / "gateway.toml").write_text(toml.format(table))
        done = subprocess.run(
            [*BUCHNER, "check", "gateway.toml"],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode != 0, words
        assert words in done.stderr + done.stdout, done.stderr + done.stdout
        assert "gateway.toml:" in done.stderr + done.stdout


def test_presets(run: Callable[..., Instance], authority: Authority) -> None:
    instance = run(tls='preset = "modern"', other='preset = "intermediate"\ncurves = ["prime256v1"]')
    for version, name, works in [
        (ssl.TLSVersion.TLSv1_2, "example.com", False),
        (ssl.TLSVersion.TLSv1_3, "example.com", True),
        (ssl.TLSVersion.TLSv1_2, "a.other.org", True),
        (ssl.TLSVersion.TLSv1_3, "a.other.org", True),
    ]:
        client = context(authority, minimum=version, maximum=version)
        if works:
            connect(instance, client, name).close()
        else:
            with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version|handshake.failure"):
                connect(instance, client, name)
    client = context(authority)
    client.set_ecdh_curve("X25519")
    connect(instance, client).close()
    with pytest.raises(ssl.SSLError):
        connect(instance, client, "a.other.org")
