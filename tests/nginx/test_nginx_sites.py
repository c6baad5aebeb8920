"""Sites as people have them: Buchner and nginx on the same file, in front of the same Flask apps, answer the same."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from buchner.cli import cli
from buchner.config import load
from helpers.gateway import BUCHNER, free_port
from helpers.nginx import Converted, Server, comparable
from helpers.places import TESTS
from helpers.raw import Raw
from helpers.sites import App, Ask, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from helpers.nginx import Pair

SITES = sorted((TESTS / "nginx_sites").glob("*.conf"))

FILES = {
    "static/site.css": "body { color: black }\n",
    "static/logo.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>\n",
    "static/tiny.txt": "tiny\n",
    "static/pre.css": "plain text of pre\n",
    "favicon.ico": "icon\n",
    "spa/index.html": "<h1>the application</h1>\n",
    "spa/about.txt": "about\n",
    "spa/assets/app.js": "console.log(1)\n",
    "maintenance.html": "<p>back soon</p>\n",
    "maintenance.on": "",
    "errors/404.html": "our own 404\n",
    "errors/413.html": "our own 413\n",
    "errors/50x.html": "our own 50x\n",
    "files/report.txt": "the report\n",
    "tenants/acme/files/logo.txt": "acme's logo\n",
    "docs/2.1/index.html": "<p>version 2.1</p>\n",
    "wiki-files/wiki/note.txt": "a note\n",
    # alice and bob: "secret", by openssl passwd -apr1 and as {SHA}
    "htpasswd": "alice:$apr1$YzVlBcDd$EF780CMX14guhX1Xljhd//\nbob:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n",
    "blog/index.html": "<h1>the blog</h1>\n",
    "blog/style.css": "body { font: serif }\n",
    "blog/uploads/evil.php": "evil\n",
    "blog/pages/.keep": "",
    "packed/index.html": "<h1>the packed application</h1>\n",
    "packed/assets/app.js": "// packed code\n",
    "packed/assets/alone.css": "/* not packed */\n",
    "containers/upstreams/10-web.conf": "upstream web_service { server 127.0.0.1:APP_A; keepalive 2; }\n",
    "containers/upstreams/20-api.conf": "upstream api_service { server 127.0.0.1:APP_B max_fails=0; }\n",
    "containers/maps.conf": "map $http_x_want $service_by_header { default web_service; api api_service; }\n",
    "containers/headers.inc": "add_header X-Served-By edge always;\ninclude DIR/site/containers/more.inc;\n",
    "containers/more.inc": "proxy_http_version 1.1;\nproxy_connect_timeout 2s;\n",
    "containers/proxy.inc": "proxy_set_header Connection '';\nproxy_set_header X-Service $service;\n"
    "proxy_pass http://$service;\n",
    "containers/locations/health.conf": 'location = /healthz { return 200 "ok\\n"; }\n',
    "containers/locations/version.conf": 'location = /version { return 200 "1.2.3\\n"; }\n',
    "snippets/kinds.inc": 'map $http_x_kind $from_map { default "kind unknown"; a "kind a"; b "kind b"; }\n',
    "snippets/proxy.params": "proxy_set_header Host $host;\nproxy_set_header X-Real-IP $remote_addr;\n",
}
PACKED = ["packed/index.html", "packed/assets/app.js"]
"""Files that are there packed as well."""


@pytest.fixture(scope="module")
def apps() -> Iterator[dict[str, App]]:
    started = {"APP_A": App("A"), "APP_B": App("B")}
    yield started
    for app in started.values():
        app.stop()


def signed(expires: int) -> str:
    digest = hashlib.md5(f"{expires}/files/report.txt secret".encode(), usedforsecurity=False).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def write_files(directory: Path, names: dict[str, str]) -> None:
    """Write the files of the sites; in those that are included, names stand for ports and the directory."""
    for name, text in FILES.items():
        file = directory / "site" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(named(text, names) if name.endswith((".inc", ".conf")) else text)
    for name in PACKED:
        file = directory / "site" / name
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), mtime=0))
    for path in (directory / "site").rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))


def named(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = re.sub(rf"\b{name}\b", value, text)
    return text


def prepared(path: Path, apps: dict[str, App], directory: Path) -> tuple[str, list[Ask]]:
    """Write the files of the sites; return the configuration of one, and its requests."""
    names = {name: str(app.port) for name, app in apps.items()} | {"NOBODY": str(free_port()), "DIR": str(directory)}
    write_files(directory, names)
    conf, asks = read(path)
    assert asks
    for ask in asks:
        ask.target = ask.target.replace("SIGNED", signed(4102444800)).replace("EXPIRED", signed(1000000000))
    return named(conf, names), asks


@pytest.mark.parametrize("path", SITES, ids=[path.stem for path in SITES])
def test_a_site(path: Path, apps: dict[str, App], run_pair: Callable[[str], Pair], tmp_path: Path) -> None:
    conf, asks = prepared(path, apps, tmp_path)
    pair = run_pair(conf)
    for ask in asks:
        if ask.method == "WEBSOCKET":
            assert chat(pair.nginx.port, ask.target) == chat(pair.buchner.port, ask.target) == b"A: hello"
        else:
            ask.check(pair.same(ask.request(), ask.method))


@pytest.mark.parametrize("path", SITES, ids=[path.stem for path in SITES])
def test_a_site_that_is_converted_means_the_same(path: Path, tmp_path: Path) -> None:
    names = {"APP_A": "5001", "APP_B": "5002", "NOBODY": "5003", "PORT": "5004", "DIR": str(tmp_path)}
    write_files(tmp_path, names)
    text = named(read(path)[0], names)
    conf, toml = tmp_path / "nginx.conf", tmp_path / "gateway.toml"
    conf.write_text(f"events {{}} http {{\n{text}\n}}\n")
    assert CliRunner().invoke(cli, ["convert", str(conf), "-o", str(toml)]).exit_code == 0
    before, after = load(conf), load(toml)
    assert after.plan == before.plan  # all that the data plane gets, so that it answers the same
    assert after.process == before.process
    assert (after.listen, after.sockets) == (before.listen, before.sockets)


@pytest.mark.parametrize("path", SITES, ids=[path.stem for path in SITES])
def test_a_site_that_is_converted_answers_the_same(path: Path, apps: dict[str, App], tmp_path: Path) -> None:
    conf, asks = prepared(path, apps, tmp_path)
    with ExitStack() as stack:
        before = Server(tmp_path / "before", conf, [*BUCHNER, "run"])
        stack.callback(before.stop)
        after = Converted(tmp_path / "after", conf)
        stack.callback(after.stop)
        for ask in asks:
            if ask.method == "WEBSOCKET":
                assert chat(after.port, ask.target) == chat(before.port, ask.target)
                continue
            answers = [comparable(each.ask(ask.request(), ask.method), each.port) for each in (before, after)]
            assert answers[1] == answers[0], ask.line
            ask.check(answers[1])


def chat(port: int, target: str) -> bytes:
    """Return what a WebSocket echoes of a text frame."""
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade"
    fields = f"Host: test\r\n{upgrade}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}"
    with Raw(port) as raw:
        raw.send(f"GET {target} HTTP/1.1\r\n{fields}\r\n\r\n")
        reply = raw.reply()
        assert (reply.status, reply.get("sec-websocket-accept")) == (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        mask = b"\x01\x02\x03\x04"
        text = bytes(byte ^ mask[at % 4] for at, byte in enumerate(b"hello"))
        raw.send(b"\x81\x85".decode("latin-1") + (mask + text).decode("latin-1"))
        while len(raw.buffer) < 2 or len(raw.buffer) < 2 + raw.buffer[1]:
            raw.buffer += raw.socket.recv(1000)
        return raw.buffer[2 : 2 + raw.buffer[1]]
