"""`buchner serve` with the real gateway: an app answers through reloads, crashes and upgrades."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from buchner.certificates.authority import Authority
from buchner.certificates.storage import Storage
from helpers.gateway import BUCHNER
from helpers.places import ROOT
from helpers.wait import wait_for

pytest.importorskip("flask")
PYTHON = ROOT / "python"

SHOP = """
import os, time
from flask import Flask
app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 1000
@app.get("/")
def version(): return "VERSION"
@app.get("/pid")
def pid(): return str(os.getpid())
@app.get("/hang")
def hang(): time.sleep(60)
@app.post("/echo")
def echo(): return __import__("flask").request.get_data()
"""


class Server:
    def __init__(self, directory: Path, *flags: str, command: tuple[str, ...] = ("-m", "buchner", "serve")) -> None:
        self.output = directory / "output.txt"
        self.environ = {**os.environ, "BUCHNER_STATE_DIR": str(directory / "state")}
        if (PYTHON / "buchner" / "_native.so").exists():
            self.environ["PYTHONPATH"] = str(PYTHON)
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, *command, *flags, "--bind", "127.0.0.1:0"],
                cwd=directory, env=self.environ, stdout=output, stderr=output,
            )  # fmt: skip
        wait_for(lambda: " on http" in self.text() or self.process.poll() is not None, "the start", 30)
        assert " on http" in self.text(), self.text()
        self.port = int(re.split(r" on https?://127\.0\.0\.1:", self.text())[1].split()[0])

    def text(self) -> str:
        return self.output.read_text()

    def get(self, path: str = "/", method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*BUCHNER, *words], env=self.environ, capture_output=True, text=True, check=False)

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


class Load:
    """Clients that ask all the time, and what they got that was not 200."""

    def __init__(self, server: Server, clients: int = 4) -> None:
        self.failures: list[object] = []
        self.answered = 0
        self._server = server
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                status, _ = self._server.get()
            except OSError as error:
                self.failures.append(error)
            else:
                self.answered += 1
                if status != 200:
                    self.failures.append(status)
            time.sleep(0.005)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    running: list[Server] = []
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "a.css").write_text("body {}")

    def begin(*flags: str, **options: Any) -> Server:
        running.append(Server(tmp_path, *flags, **options))
        return running[-1]

    yield begin
    for server in running:
        server.end()


LIMITED = """
from flask import Flask, request
app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 1000
@app.errorhandler(413)
def too_large(error): return "own page", 413, {"Access-Control-Allow-Origin": "*"}
@app.post("/echo")
def echo(): return str(len(request.get_data()))
@app.post("/large")
def large():
    request.max_content_length = 1_000_000
    return str(len(request.get_data()))
@app.get("/")
def index(): return request.script_root
"""


@pytest.mark.parametrize("flags", [(), ("--max-body", "64m"), ("--max-body", "0"), ("--no-request-buffering",)])
def test_an_apps_own_limit_is_answered_by_its_own_handler(
    serve: Callable[..., Server], tmp_path: Path, flags: tuple[str, ...]
) -> None:
    (tmp_path / "limited.py").write_text(LIMITED)
    server = serve("limited:app", "--workers", "1", *flags)
    assert server.get("/echo", "POST", b"x" * 1001) == (413, b"own page")
    assert server.get("/echo", "POST", b"x" * 1000) == (200, b"1000")
    assert server.get("/large", "POST", b"x" * 500_000) == (200, b"500000")


def test_a_mounted_app_is_found_without_the_slash(serve: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "limited.py").write_text(LIMITED)
    server = serve(
        "limited:app", "--workers", "1", "--mount", "/shop", "--spool-max", "1m", "--spool-dir", str(tmp_path)
    )
    for method, status in [("GET", 301), ("HEAD", 301), ("POST", 308)]:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request(method, "/shop?a=1")
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Location"]) == (status, "/shop/?a=1"), method
        connection.close()
    assert server.get("/shop/") == (200, b"/shop")
    assert server.get("/shopping")[0] == 404


def test_an_app_is_served_with_its_folder_and_its_limit(serve: Callable[..., Server]) -> None:
    server = serve("shop:app", "--workers", "1")
    assert server.get() == (200, b"VERSION")
    assert server.get("/static/a.css") == (200, b"body {}")
    assert server.get("/static/none")[0] == 404
    assert server.get("/echo", "POST", b"x" * 1000) == (200, b"x" * 1000)
    assert server.get("/echo", "POST", b"x" * 1001)[0] == 413
    assert server.end() == 0


def test_nothing_is_lost_over_reloads_crashes_and_an_upgrade(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve("shop:app", "--workers", "2", "--access-log", "off")
    with Load(server) as load:
        (tmp_path / "shop.py").write_text(SHOP.replace("VERSION", "TWO"))
        assert server.ask("reload").returncode == 0
        assert server.get() == (200, b"TWO")
        os.kill(int(server.get("/pid")[1]), signal.SIGKILL)
        (tmp_path / "shop.py").write_text(SHOP.replace("VERSION", "THREE"))
        result = server.ask("upgrade")
        assert result.returncode == 0, result.stderr
        assert server.get() == (200, b"THREE")
        (tmp_path / "shop.py").write_text("import broken_on_purpose\n")
        assert server.ask("reload").returncode == 3
        assert server.get() == (200, b"THREE")
    assert load.answered > 50
    assert load.failures == [], server.text()


def test_a_killed_gateway_loses_only_what_was_in_flight(serve: Callable[..., Server]) -> None:
    server = serve("shop:app", "--workers", "1")
    before = server.get("/pid")
    gateway = int(subprocess.check_output(["pgrep", "-P", str(server.process.pid), "-f", "buchner.gateway"], text=True))
    os.kill(gateway, signal.SIGKILL)
    assert server.get("/pid") == before


def test_a_hung_request_gets_504_and_the_others_go_on(serve: Callable[..., Server]) -> None:
    server = serve("shop:app", "--workers", "1", "--threads", "2", "--timeout", "1")
    began = time.monotonic()
    assert server.get("/hang")[0] == 504
    assert time.monotonic() - began < 5
    assert server.get()[0] == 200
    wait_for(lambda: "in hang" in server.text(), "the stack was logged", 30)


def test_tls_by_the_authority_of_this_machine(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUCHNER_CERTIFICATES", str(tmp_path / "certificates"))
    server = serve("shop:app", "--tls")
    root = tmp_path / "certificates/live/development-root/fullchain.pem"
    assert f"serving shop:app on https://127.0.0.1:{server.port}" in server.text()
    wait_for(lambda: f"curl --cacert {root}" in server.text(), "how to trust it", 10)
    assert https(server.port, root) == (200, b"VERSION")
    assert (tmp_path / "certificates/live/localhost/privkey.pem").stat().st_mode & 0o077 == 0


def test_tls_with_a_certificate_of_ones_own(serve: Callable[..., Server], tmp_path: Path) -> None:
    authority = Authority(Storage(tmp_path / "authority"))
    pair = authority.sign(["localhost"])
    (tmp_path / "a.crt").write_bytes(pair.chain_pem)
    (tmp_path / "a.key").write_bytes(pair.key_pem)
    server = serve("shop:app", "--cert", "a.crt", "--key", "a.key")
    assert https(server.port, authority.root_file) == (200, b"VERSION")
    assert "curl" not in server.text()
    for flags, words in [
        (["--cert", "a.crt", "--tls"], "--tls makes a certificate, and --cert names one"),
        (["--key", "a.key"], "--key names the key of a certificate: give --cert as well"),
        (["--cert", "a.crt"], "has a certificate and no key"),
    ]:
        done = subprocess.run(
            [*BUCHNER, "serve", "shop:app", "--bind", "127.0.0.1:0", *flags],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 2
        assert words in done.stderr


def https(port: int, root: Path) -> tuple[int, bytes]:
    connection = http.client.HTTPSConnection(
        "localhost", port, timeout=20, context=ssl.create_default_context(cafile=str(root))
    )
    with contextlib.closing(connection):
        connection.request("GET", "/")
        response = connection.getresponse()
        return response.status, response.read()


def test_preload_and_a_stop_that_waits_for_requests(serve: Callable[..., Server], tmp_path: Path) -> None:
    reached = tmp_path / "reached"
    slow = f"open({str(reached)!r}, 'w').close(); time.sleep(1); return 'done'"
    (tmp_path / "slow.py").write_text(SHOP.replace("time.sleep(60)", slow))
    server = serve("slow:app", "--workers", "1", "--preload")
    answers: list[tuple[int, bytes]] = []
    client = threading.Thread(target=lambda: answers.append(server.get("/hang")))
    client.start()
    wait_for(reached.exists, "the request reached the app")
    assert server.end() == 0
    client.join()
    assert answers == [(200, b"done")]


def test_flask_gateway_run(serve: Callable[..., Server]) -> None:
    pytest.importorskip("flask")
    words = "from flask.cli import main; from flask.cli import FlaskGroup, cli; from buchner.flask_cli import gateway; "
    command = ("-c", f"{words} cli.add_command(gateway); main()", "--app", "shop", "gateway", "run", "-w", "1")
    assert serve(command=command).get() == (200, b"VERSION")


def test_a_wsgi_app_that_is_not_flask(serve: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("def app(e, s):\n    s('200 OK', [('X-A', 'b')])\n    return [b'plain']\n")
    assert serve("plain:app", "-w", "1").get() == (200, b"plain")


def test_a_port_in_use_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environ = {**os.environ, "BUCHNER_STATE_DIR": str(tmp_path / "state")}
        if (PYTHON / "buchner" / "_native.so").exists():
            environ["PYTHONPATH"] = str(PYTHON)
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = subprocess.run(
            [*BUCHNER, "serve", "shop:app", "--bind", address],
            cwd=tmp_path, env=environ,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert result.returncode == 1
    assert f"(pid {os.getpid()})" in result.stderr


def test_socket_activation(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    with socket.create_server(("127.0.0.1", 0)) as passed:
        port = passed.getsockname()[1]
        number = passed.fileno()
        script = (
            f"import os, sys; os.dup2({number}, 3); os.set_inheritable(3, True);"
            "os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1'};"
            "os.execv(sys.executable, [sys.executable, '-m', 'buchner', 'serve', 'shop:app', '-w', '1'])"
        )
        environ = {**os.environ, "BUCHNER_STATE_DIR": str(tmp_path / "state")}
        if (PYTHON / "buchner" / "_native.so").exists():
            environ["PYTHONPATH"] = str(PYTHON)
        process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=environ, pass_fds=[number])
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"VERSION"
        connection.close()
    finally:
        process.terminate()
        process.wait(40)


def test_the_fixture_runs_apps_that_have_no_name(buchner_gateway: Callable[..., Any]) -> None:
    import flask

    app = flask.Flask("nameless")
    app.add_url_rule("/", view_func=lambda: "here")
    server = buchner_gateway(app)
    host, port = server.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"here"
    connection.close()
