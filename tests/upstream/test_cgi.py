"""uwsgi, SCGI and FastCGI upstreams, as gateway.toml has them."""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers.cgi import Cgi, Request, echo
from helpers.gateway import Gateway
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from helpers.raw import Reply

    Serving = Callable[[str], tuple[Gateway, Cgi]]

LANGUAGES = ("uwsgi", "scgi", "fastcgi")


@pytest.fixture
def cgi() -> Iterator[Cgi]:
    upstream = Cgi()
    yield upstream
    upstream.close()


def toml(language: str, port: int, settings: str = "") -> str:
    return f"""[[server]]
{settings}
[[server.route]]
path = "/"
proxy = "{language}://127.0.0.1:{port}"
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    pairs: dict[str, tuple[Gateway, Cgi]] = {}

    def start(language: str) -> tuple[Gateway, Cgi]:
        if language not in pairs:
            upstream = Cgi()
            text = toml(language, upstream.port, 'root = { path = "/srv" }\nbuffer_memory = "100k"')
            pairs[language] = Gateway(tmp_path_factory.mktemp(language), text, {}), upstream
        return pairs[language]

    yield start
    for gateway, upstream in pairs.values():
        gateway.stop()
        upstream.close()


@pytest.fixture
def serving(started: Serving, language: str) -> tuple[Gateway, Cgi]:
    """A gateway and its upstream, the same for all tests of a language that ask for nothing special."""
    gateway, upstream = started(language)
    upstream.script = echo
    return gateway, upstream


def post(gateway: Gateway, body: bytes, *fields: str, target: str = "/", chunked: bool = False) -> Reply:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    head = [f"POST {target} HTTP/1.1", "Host: test", "Connection: close", framing, *fields]
    if chunked:
        body = (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    return gateway.ask(("\r\n".join(head) + "\r\n\r\n").encode() + body, "POST")


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_application_gets_the_usual_variables(serving: tuple[Gateway, Cgi], language: str) -> None:
    gateway, _ = serving
    response = post(gateway, b"abc", "X-Many: 1", "X-Many: 2", "Cookie: a=b", target="/a%20b/c?d=e")
    assert response.status == 200
    said = json.loads(response.body)
    params = said["params"]
    assert said["body"] == 3
    assert {
        name: params.get(name)
        for name in (
            "REQUEST_METHOD",
            "QUERY_STRING",
            "REQUEST_URI",
            "CONTENT_LENGTH",
            "SERVER_PROTOCOL",
            "HTTP_COOKIE",
        )
    } == {
        "REQUEST_METHOD": "POST",
        "QUERY_STRING": "d=e",
        "REQUEST_URI": "/a%20b/c?d=e",
        "CONTENT_LENGTH": "3",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_COOKIE": "a=b",
    }
    assert (params["REMOTE_ADDR"], params["HTTP_X_MANY"], params["DOCUMENT_ROOT"]) == ("127.0.0.1", "1, 2", "/srv")
    if language == "fastcgi":
        assert (params["SCRIPT_FILENAME"], params["SCRIPT_NAME"]) == ("/srv/a b/c", "/a b/c")
    else:
        assert (params["PATH_INFO"], params["SCRIPT_NAME"]) == ("/a b/c", "")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.usefixtures("language")
def test_what_clients_may_not_say(serving: tuple[Gateway, Cgi]) -> None:
    gateway, _ = serving
    response = gateway.get("/", "Proxy: http://evil/", "X-Forwarded-For: 1.2.3.4", "X-Request-ID: mine")
    params = json.loads(response.body)["params"]
    assert "HTTP_PROXY" not in params
    assert "HTTP_X_FORWARDED_FOR" not in params
    assert params["HTTP_X_REQUEST_ID"] != "mine"


@pytest.mark.parametrize("language", LANGUAGES)
def test_variables_of_the_configuration_come_before_the_usual_ones_and_the_client_s(
    run_gateway: Callable[[str], Gateway], cgi: Cgi, language: str
) -> None:
    settings = """[server.cgi_params]
PATH_INFO = "/fixed"
HTTP_X_ROLE = "$request_method"
EMPTY = { value = "$arg_nothing", if_not_empty = true }
"""
    gateway = run_gateway(toml(language, cgi.port, settings))
    params = json.loads(gateway.get("/", "X-Role: admin").body)["params"]
    assert (params["PATH_INFO"], params["HTTP_X_ROLE"]) == ("/fixed", "GET")
    assert "EMPTY" not in params


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("size", [0, 1, 65_528, 65_529, 3_000_000])
@pytest.mark.usefixtures("language")
def test_bodies_of_any_size_arrive_whole(serving: tuple[Gateway, Cgi], size: int) -> None:
    gateway, cgi = serving
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    for chunked in (False, True):
        assert post(gateway, body, chunked=chunked).status == 200
        request = cgi.requests[-1]
        assert request.body == body
        assert request.params["CONTENT_LENGTH"] == str(size)


@pytest.mark.parametrize("language", LANGUAGES)
def test_streamed_uploads(run_gateway: Callable[[str], Gateway], cgi: Cgi, language: str) -> None:
    gateway = run_gateway(toml(language, cgi.port, "request_buffering = false"))
    body = b"y" * 300_000
    assert post(gateway, body).status == 200
    assert cgi.requests[-1].body == body


def said(made: bytes, _: Request) -> bytes:
    return made


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.usefixtures("language")
def test_responses(serving: tuple[Gateway, Cgi]) -> None:
    gateway, cgi = serving
    big = b"z" * 200_000
    for made, status, body in [
        (b"Content-Type: text/plain\r\n\r\nhello", 200, b"hello"),
        (b"Content-Type: text/plain\n\nhello", 200, b"hello"),
        (b"Status: 404 Gone Fishing\r\nContent-Length: 2\r\n\r\nno", 404, b"no"),
        (b"Location: /there\r\n\r\n", 302, b""),
        (b"Status: 204\r\n\r\n", 204, b""),
        (b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok", 201, b"ok"),
        (b"Content-Length: 200000\r\n\r\n" + big, 200, big),
        (b"X-A: b\r\n\r\n" + big, 200, big),
    ]:
        cgi.script = partial(said, made)
        response = gateway.get()
        assert (response.status, response.body) == (status, body), made[:40]
        assert response.get("status") is None


def test_stderr_of_fastcgi_is_logged_and_may_spoil_a_response(run_gateway: Callable[[str], Gateway], cgi: Cgi) -> None:
    gateway = run_gateway(toml("fastcgi", cgi.port, 'fastcgi_catch_stderr = ["PHP Fatal"]'))
    head = b"Content-Type: text/plain\r\n\r\n"
    cgi.script = lambda _: [(7, b"PHP Notice: before"), (6, head), (6, b"ok"), (7, b"behind the head"), (3, bytes(8))]
    assert gateway.get().body == b"ok"
    wait_for(lambda: "PHP Notice: before" in gateway.log, "stderr before the head")
    wait_for(lambda: "behind the head" in gateway.log, "stderr behind the head")
    cgi.script = lambda _: [(7, b"PHP Fatal error: x"), (6, head), (6, b"ok"), (3, bytes(8))]
    assert gateway.get().status == 502


def test_a_fastcgi_connection_is_kept_where_that_is_wanted(run_gateway: Callable[[str], Gateway], cgi: Cgi) -> None:
    cgi.script = lambda request: b"X-Keep: %d\r\nContent-Length: 2\r\n\r\nok" % request.keep
    for setting, connections in (("", 3), ("fastcgi_keep_conn = true", 4)):
        gateway = run_gateway(toml("fastcgi", cgi.port, setting))
        for _ in range(3):
            assert gateway.get().body == b"ok"
        assert cgi.connections == connections


def test_modifiers_of_uwsgi(run_gateway: Callable[[str], Gateway], cgi: Cgi) -> None:
    gateway = run_gateway(toml("uwsgi", cgi.port, "uwsgi_modifier1 = 5\nuwsgi_modifier2 = 7"))
    assert json.loads(gateway.get().body)["modifiers"] == [5, 7]


def test_more_variables_than_uwsgi_can_carry_are_refused(run_gateway: Callable[[str], Gateway], cgi: Cgi) -> None:
    gateway = run_gateway(toml("uwsgi", cgi.port, 'max_head = "200k"\nmax_field = "70k"'))
    assert gateway.get("/", f"X-A: {'a' * 40_000}", f"X-B: {'b' * 40_000}").status == 431
    assert gateway.get().status == 200


def test_the_script_s_name_is_split_from_the_path(run_gateway: Callable[[str], Gateway], cgi: Cgi) -> None:
    settings = """fastcgi_index = "index.php"
fastcgi_split_path_info = "^(.+\\\\.php)(/.*)$"
root = { path = "/srv" }"""
    gateway = run_gateway(toml("fastcgi", cgi.port, settings))
    for path, name, info in [("/a.php/b/c", "/a.php", "/b/c"), ("/dir/", "/dir/index.php", ""), ("/x", "/x", "")]:
        params = json.loads(gateway.get(path).body)["params"]
        assert (params["SCRIPT_FILENAME"], params["PATH_INFO"]) == (f"/srv{name}", info)


def test_unix_sockets_and_urls_with_variables(run_gateway: Callable[[str], Gateway], cgi: Cgi) -> None:
    # Where a gateway that has given root up may go.
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        path = Path(directory) / "app.sock"
        on_socket = Cgi(path=str(path))
        path.chmod(0o666)
        gateway = run_gateway(toml("uwsgi", cgi.port).replace(f"127.0.0.1:{cgi.port}", f"unix:{path}"))
        assert gateway.get().status == 200
        on_socket.close()
    gateway = run_gateway(toml("scgi", cgi.port).replace(str(cgi.port), "$arg_port"))
    assert gateway.get(f"/?port={cgi.port}").status == 200
    assert json.loads(gateway.get(f"/?port={cgi.port}").body)["params"]["SCGI"] == "1"
