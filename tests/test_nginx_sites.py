"""Sites as people have them: Buchner and nginx on the same file, in front of the same Flask apps, answer the same."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from buchner.cli import cli
from buchner.config import load
from helpers.gateway import free_port
from helpers.raw import Raw
from helpers.sites import App, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from helpers.nginx import Pair

SITES = sorted((Path(__file__).parent / "nginx_sites").glob("*.conf"))

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
    "errors/50x.html": "our own 50x\n",
    "files/report.txt": "the report\n",
    "tenants/acme/files/logo.txt": "acme's logo\n",
    "docs/2.1/index.html": "<p>version 2.1</p>\n",
    "wiki-files/wiki/note.txt": "a note\n",
    # alice and bob: "secret", by openssl passwd -apr1 and as {SHA}
    "htpasswd": "alice:$apr1$YzVlBcDd$EF780CMX14guhX1Xljhd//\nbob:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n",
    "snippets/kinds.inc": 'map $http_x_kind $from_map { default "kind unknown"; a "kind a"; b "kind b"; }\n',
    "snippets/proxy.params": "proxy_set_header Host $host;\nproxy_set_header X-Real-IP $remote_addr;\n",
}


@pytest.fixture(scope="module")
def apps() -> Iterator[dict[str, App]]:
    started = {"APP_A": App("A"), "APP_B": App("B")}
    yield started
    for app in started.values():
        app.stop()


def signed(expires: int) -> str:
    digest = hashlib.md5(f"{expires}/files/report.txt secret".encode(), usedforsecurity=False).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def write_files(directory: Path) -> None:
    for name, text in FILES.items():
        file = directory / "site" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        os.utime(file, (1_700_000_000, 1_700_000_000))


@pytest.mark.parametrize("path", SITES, ids=[path.stem for path in SITES])
def test_a_site(path: Path, apps: dict[str, App], run_pair: Callable[[str], Pair], tmp_path: Path) -> None:
    write_files(tmp_path)
    conf, asks = read(path)
    for name, app in apps.items():
        conf = conf.replace(name, str(app.port))
    pair = run_pair(conf.replace("NOBODY", str(free_port())))
    assert asks
    for ask in asks:
        ask.target = ask.target.replace("SIGNED", signed(4102444800)).replace("EXPIRED", signed(1000000000))
        if ask.method == "WEBSOCKET":
            assert chat(pair.nginx.port, ask.target) == chat(pair.buchner.port, ask.target) == b"A: hello"
        else:
            ask.check(pair.same(ask.request(), ask.method))


@pytest.mark.parametrize("path", SITES, ids=[path.stem for path in SITES])
def test_a_site_that_is_converted_means_the_same(path: Path, tmp_path: Path) -> None:
    write_files(tmp_path)
    text = read(path)[0].replace("DIR", str(tmp_path))
    for name, port in {"APP_A": 5001, "APP_B": 5002, "NOBODY": 5003, "PORT": 5004}.items():
        text = re.sub(rf"\b{name}\b", str(port), text)
    conf, toml = tmp_path / "nginx.conf", tmp_path / "gateway.toml"
    conf.write_text(f"events {{}} http {{\n{text}\n}}\n")
    assert CliRunner().invoke(cli, ["convert", str(conf), "-o", str(toml)]).exit_code == 0
    before, after = load(conf), load(toml)
    assert after.plan == before.plan  # all that the data plane gets, so that it answers the same
    assert after.process == before.process
    assert (after.listen, after.backlog) == (before.listen, before.backlog)


def chat(port: int, target: str) -> bytes:
    """Return what a WebSocket echoes of a text frame."""
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade"
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
