"""Which header of whose response or request goes on: of upstreams, of apps that redirect internally, of clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app_driver import AppGateway
from helpers.nginx import get
from helpers.raw import ask

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from helpers.gateway import Gateway
    from helpers.nginx import Pair, Server
    from helpers.upstream import Script, Upstream

    Run = Callable[..., Gateway]
    RunUpstream = Callable[[Script], Upstream]


def by_path(answers: dict[str, str]) -> Script:
    """Answer each path with the header section and body it has here, and 404 without a type where it has none."""

    def script(connection: socket.socket, head: bytes) -> bool:
        path = head.split(b" ", 2)[1].decode()
        text = answers.get(path, "HTTP/1.1 404 Not Found\nContent-Length: 0\n\n")
        fields, _, body = text.partition("\n\n")
        connection.sendall((fields.replace("\n", "\r\n") + "\r\n\r\n").encode() + body.encode())
        return False

    return script


ACCEL = """
server {
    listen 127.0.0.1:PORT;
    location / { proxy_pass http://127.0.0.1:UP; }
    location /s3/ { internal; proxy_pass http://127.0.0.1:UP; }
    location /caught/ { internal; proxy_pass http://127.0.0.1:UP; proxy_intercept_errors on;
        error_page 404 =200 /own.css; }
    location /text { internal; default_type text/plain; return 200 text; }
    location /none { internal; default_type text/plain; return 404 text; }
    location /built-in { internal; return 404; }
    location /away { internal; return 302 /elsewhere; }
    location = /own.css { types { text/css css; } root DIR; }
}
"""


def test_an_upstream_behind_an_internal_redirect_has_its_own_type(
    run_pair: Callable[[str], Pair], run_upstream: RunUpstream, tmp_path: Path
) -> None:
    (tmp_path / "own.css").write_text("css")
    targets = ["/s3/typed", "/s3/untyped", "/s3/missing", "/s3/gone", "/caught/gone", "/text", "/none", "/built-in"]
    targets += ["/own.css", "/away", "/s3/again"]
    answers = {
        "/s3/typed": "HTTP/1.1 200 OK\nContent-Type: image/png\nContent-Length: 3\n\npng",
        "/s3/untyped": "HTTP/1.1 200 OK\nContent-Length: 3\n\npng",
        "/s3/missing": "HTTP/1.1 404 Not Found\nContent-Type: application/xml\nContent-Length: 3\n\nxml",
        "/s3/again": "HTTP/1.1 200 OK\nX-Accel-Redirect: /text\nContent-Type: a/b\nSet-Cookie: b=2\n"
        "Content-Length: 0\n\n",
    }
    kinds = {"html": "Content-Type: text/html\n", "empty": "Content-Type:\n", "without": ""}
    for name, kind in kinds.items():
        for target in targets:
            answers[f"/{name}{target}"] = (
                f"HTTP/1.1 200 OK\nX-Accel-Redirect: {target}\n{kind}Set-Cookie: a=1\nContent-Length: 0\n\n"
            )
    upstream = run_upstream(by_path(answers))
    pair = run_pair(ACCEL.replace("UP", str(upstream.port)))
    types = {path: dict(pair.get(path).fields).get("content-type") for path in answers if path.startswith("/html")}
    assert types["/html/s3/typed"] == "image/png"
    assert types["/html/s3/untyped"] == types["/html/text"] == types["/html/own.css"] == "text/html"
    assert types["/html/s3/missing"] == "application/xml"
    assert types["/html/caught/gone"] == "text/css"
    for path in answers:
        if path.startswith(("/empty", "/without")):
            pair.get(path)
    cookies = [value for name, value in pair.get("/html/s3/again").fields if name == "set-cookie"]
    assert cookies == ["a=1", "b=2"]


FORWARDED = [
    "Forwarded: for=6.6.6.6",
    "X-Forwarded-Port: 1",
    "X-Forwarded-Prefix: /evil",
    "X-Forwarded-Server: evil",
    "X-Forwarded-Ssl: on",
    "X-Forwarded-Scheme: https",
    "X-Forwarded: for=6.6.6.6",
    "X-Real-IP: 6.6.6.6",
    "x-client-ip: 6.6.6.6",
    "True-Client-IP: 6.6.6.6",
    "X-Scheme: https",
    "X-Script-Name: /evil",
]


def names(head: bytes) -> set[str]:
    return {line.partition(":")[0].lower() for line in head.decode().split("\r\n")[1:] if line}


@pytest.mark.parametrize("trusted", [False, True])
def test_a_proxy_passes_on_who_the_client_is_from_trusted_proxies_only(
    run_gateway: Run, run_upstream: RunUpstream, *, trusted: bool
) -> None:
    upstream = run_upstream(by_path({}))
    head = '[gateway]\ntrusted_proxies = ["127.0.0.1"]\n' if trusted else ""
    gateway = run_gateway(
        f'{head}[[server]]\n[[server.route]]\npath = "/"\nproxy = "http://127.0.0.1:{upstream.port}"\n'
    )
    gateway.get("/", *FORWARDED, "X-Other: 1")
    sent = {line.partition(":")[0].lower() for line in FORWARDED}
    seen = names(upstream.heads[0])
    assert seen & sent == (sent if trusted else set())
    assert {"x-other", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"} <= seen


def test_an_nginx_conf_passes_on_what_clients_say_of_themselves(
    run_conf: Callable[[str], Server], run_upstream: RunUpstream
) -> None:
    upstream = run_upstream(by_path({}))
    server = run_conf(
        f"server {{ listen 127.0.0.1:PORT; location / {{ proxy_pass http://127.0.0.1:{upstream.port}; }} }}"
    )
    server.ask(get("/", FORWARDED))
    assert {line.partition(":")[0].lower() for line in FORWARDED} <= names(upstream.heads[0])


def test_an_app_sees_no_client_that_clients_claim_to_be() -> None:
    seen: set[str] = set()

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        seen.update(environ)
        start("204 No Content", [])
        return []

    with AppGateway(app) as gateway:
        assert gateway.ask(headers="".join(f"{line}\r\n" for line in [*FORWARDED, "X-Other: 1"]))[0] == 204
    keys = {"HTTP_" + line.partition(":")[0].upper().replace("-", "_") for line in FORWARDED}
    assert seen & keys == set()
    assert "HTTP_X_OTHER" in seen


def test_host_is_the_clients_unless_the_group_names_one(run_gateway: Run, run_upstream: RunUpstream) -> None:
    upstream = run_upstream(by_path({}))
    gateway = run_gateway(
        f'[upstream.plain]\nservers = ["127.0.0.1:{upstream.port}"]\n'
        f'[upstream.named]\nservers = ["127.0.0.1:{upstream.port}"]\nhost = "own.example"\n'
        "[[server]]\n"
        '[[server.route]]\npath = "/plain"\nproxy = "http://plain"\n'
        '[[server.route]]\npath = "/named"\nproxy = "http://named"\n'
        '[[server.route]]\npath = "/off"\nproxy = "http://plain"\nforwarded_headers = false\n'
    )
    hosts = []
    for path in ("/plain", "/named", "/off"):
        ask(gateway.port, get(path, host="shop.example"))
        line = next(line for line in upstream.heads[-1].split(b"\r\n") if line.lower().startswith(b"host:"))
        hosts.append(line.decode())
    assert hosts == ["Host: shop.example", "Host: own.example", "Host: plain"]


def test_x_sendfile_means_nothing_to_proxy_pass(run_pair: Callable[[str], Pair], run_upstream: RunUpstream) -> None:
    upstream = run_upstream(by_path({"/x": "HTTP/1.1 200 OK\nX-Sendfile: /etc/passwd\nContent-Length: 2\n\nok"}))
    pair = run_pair(
        f"server {{ listen 127.0.0.1:PORT; location / {{ proxy_pass http://127.0.0.1:{upstream.port}; }} }}"
    )
    answer = pair.get("/x")
    assert (answer.status, answer.body) == (200, b"ok")
    assert ("x-sendfile", "/etc/passwd") in answer.fields


REPEATED = """
log_format all '$upstream_http_bar|$sent_http_bar|$sent_http_own|$upstream_http_cache_control';
server {
    listen 127.0.0.1:PORT;
    location / {
        proxy_pass http://127.0.0.1:UP;
        add_header Own a; add_header Own b;
        add_header Seen "$upstream_http_bar|$sent_http_bar|$upstream_http_set_cookie";
    }
    location /in { return 200 "$content_type"; }
}
"""


def test_fields_of_one_name_are_one_list_in_variables(
    run_conf: Callable[[str], Server], run_upstream: RunUpstream
) -> None:
    text = "HTTP/1.1 200 OK\nBar: x\nBar: y\nSet-Cookie: a=1\nSet-Cookie: b=2\nContent-Length: 0\n\n"
    upstream = run_upstream(by_path({"/": text}))
    server = run_conf(REPEATED.replace("UP", str(upstream.port)))
    reply = server.ask(get("/"))
    assert reply is not None
    assert reply.get("seen") == "x, y|x, y|a=1, b=2"
    reply = server.ask(get("/in", ["Content-Type: a/b", "Content-Type: c/d"]))
    assert reply is not None
    assert reply.body == b"a/b, c/d"


SINGLE = [
    "Content-Type", "Date", "Server", "Last-Modified", "ETag", "Location", "Refresh", "Expires",
    "X-Accel-Expires", "X-Accel-Limit-Rate",
]  # fmt: skip
"""Fields that nginx ignores, since 1.23, after the first (ngx_http_upstream_headers_in)."""

LISTS = [
    "Accept-Ranges", "Content-Disposition", "Content-Encoding", "Content-Range", "Link", "Vary", "WWW-Authenticate",
    "Set-Cookie", "Cache-Control", "X-Own",
]  # fmt: skip


def test_of_repeated_single_fields_the_first_counts_and_goes_on(
    run_conf: Callable[[str], Server], run_upstream: RunUpstream
) -> None:
    fields = "".join(f"{name}: {n}\n" for name in SINGLE + LISTS for n in (1, 2))
    upstream = run_upstream(by_path({"/": f"HTTP/1.1 201 Created\n{fields}Content-Length: 0\n\n"}))
    told = "|".join(f"$upstream_http_{name.lower().replace('-', '_')}" for name in SINGLE + LISTS)
    shown = "".join(f"proxy_pass_header {name}; " for name in SINGLE if name in ("Date", "Server") or name[:2] == "X-")
    server = run_conf(
        f"server {{ listen 127.0.0.1:PORT; location / {{ proxy_redirect off; {shown} add_header Told '{told}';"
        f" proxy_pass http://127.0.0.1:{upstream.port}; }} }}"
    )
    reply = server.ask(get("/"))
    assert reply is not None
    assert reply.get("told") == "|".join(["1"] * len(SINGLE) + ["1, 2"] * len(LISTS))
    for name in SINGLE + LISTS:
        values = [value for key, value in reply.fields if key == name.lower()]
        assert values == (["1"] if name in SINGLE else ["1", "2"]), name


def test_of_repeated_internal_redirects_the_first_is_followed(
    run_conf: Callable[[str], Server], run_upstream: RunUpstream
) -> None:
    text = "HTTP/1.1 200 OK\nX-Accel-Redirect: /one\nX-Accel-Redirect: /two\nContent-Length: 0\n\n"
    upstream = run_upstream(by_path({"/": text}))
    server = run_conf(
        "server { listen 127.0.0.1:PORT; location /one { return 200 $upstream_http_x_accel_redirect; }"
        f" location = / {{ proxy_pass http://127.0.0.1:{upstream.port}; }} }}"
    )
    reply = server.ask(get("/"))
    assert reply is not None
    assert (reply.status, reply.body) == (200, b"/one")


def test_a_page_for_an_intercepted_401_asks_for_the_password(
    run_pair: Callable[[str], Pair], run_upstream: RunUpstream
) -> None:
    text = 'HTTP/1.1 401 Unauthorized\nWWW-Authenticate: Basic realm="a"\nContent-Length: 0\n\n'
    upstream = run_upstream(
        by_path({"/a": text, "/b": text, "/two": text.replace("\nC", "\nWWW-Authenticate: B\nC", 1)})
    )
    pair = run_pair(
        "server { listen 127.0.0.1:PORT; proxy_intercept_errors on; error_page 401 /page;"
        " location = /page { return 200 page; }"
        f" location / {{ proxy_pass http://127.0.0.1:{upstream.port}; }}"
        f" location /b {{ error_page 401 = /page; proxy_pass http://127.0.0.1:{upstream.port}; }} }}"
    )
    for path in ("/a", "/b"):
        assert ("www-authenticate", 'Basic realm="a"') in pair.get(path).fields
    reply = pair.buchner.ask(get("/two"))
    assert reply is not None
    assert [value for name, value in reply.fields if name == "www-authenticate"] == ['Basic realm="a"', "B"]


def test_what_is_passed_of_server_and_date_is_the_upstreams_word(
    run_pair: Callable[[str], Pair], run_upstream: RunUpstream
) -> None:
    upstream = run_upstream(by_path({"/": "HTTP/1.1 200 OK\nContent-Length: 0\n\n"}))
    pair = run_pair(
        "server { listen 127.0.0.1:PORT; location / { proxy_pass_header Server; proxy_pass_header Date;"
        f" proxy_pass http://127.0.0.1:{upstream.port}; }} }}"
    )
    for server in (pair.nginx, pair.buchner):
        reply = server.ask(get("/"))
        assert reply is not None
        assert {"server", "date"} & {name for name, _ in reply.fields} == set()
