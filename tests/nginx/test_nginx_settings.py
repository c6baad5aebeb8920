"""Directives without an answer to look at: what the gateway gets of them; and those that nginx 1.22 does not know."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from buchner.nginx.adapt import adapt, load_nginx
from helpers.nginx import Server, get
from helpers.upstream import exactly

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.upstream import Upstream

FILE = """
{main} events {{}} http {{ {http}
server {{ listen 127.0.0.1:8080; {server} location / {{ {location} proxy_pass http://127.0.0.1:1; }} }} }}
"""


def settings_of(block: str, text: str) -> dict[str, Any]:
    """Return all settings that hold for the location, of the gateway and of the process, by name."""
    blocks = dict.fromkeys(("main", "http", "server", "location"), "") | {block: text}
    loaded = load_nginx(Path("/srv/nginx.conf"), FILE.format(**blocks))
    server = loaded.plan["server"][0]
    process = {name: getattr(loaded.process, name) for name in ("user", "open_files", "shutdown_timeout")}
    settings: dict[str, Any] = loaded.plan["settings"][server["route"][0]["settings"]]
    return {
        **settings,
        **{f"server.{name}": value for name, value in server.items()},
        **loaded.plan["gateway"],
        **process,
    }


@pytest.mark.parametrize(
    ("block", "text", "expected"),
    [
        ("main", "worker_processes 3;", {"io_threads": 3}),
        ("main", "worker_rlimit_nofile 4096;", {"open_files": 4096}),
        ("main", "worker_shutdown_timeout 7s;", {"shutdown_timeout": 7.0}),
        ("main", "user www-data;", {"user": "www-data"}),
        ("http", "resolver 127.0.0.1:53 [::1]:54;", {"resolver": ["127.0.0.1:53", "[::1]:54"]}),
        ("server", "resolver 127.0.0.1 valid=9s;", {"resolver_valid": 9000}),
        ("location", "resolver 127.0.0.1 ipv6=off;", {"resolver_ipv6": False}),
        ("location", "resolver 127.0.0.1 ipv4=off;", {"resolver_ipv4": False}),
        ("http", "resolver 127.0.0.1; resolver_timeout 4s;", {"resolver_timeout": 4000}),
        ("server", "send_timeout 3s;", {"send_timeout": 3000}),
        ("location", "proxy_buffering off;", {"buffering": False}),
        ("location", "proxy_send_timeout 5s;", {"upstream_send_timeout": 5000}),
        ("location", "proxy_connect_timeout 6s;", {"connect_timeout": 6000}),
        ("location", "proxy_read_timeout 8s;", {"read_timeout": 8000}),
    ],
)
def test_what_a_file_asks_for_is_what_the_gateway_gets(block: str, text: str, expected: dict[str, Any]) -> None:
    with_it, without = settings_of(block, text), settings_of(block, "")
    for name, value in expected.items():
        assert with_it[name] == value
        assert without.get(name) != value


def test_the_number_of_fields_is_of_the_listener() -> None:
    for text, found in (("max_headers 7;", True), ("", False)):
        conf = FILE.format(main="", http="", server=text, location="")
        plan = load_nginx(Path("/srv/nginx.conf"), conf).plan_json()
        assert (b'"max_fields":7' in plan.replace(b" ", b"")) is found


def test_a_head_with_more_fields_is_refused(run_conf: Callable[[str], Server]) -> None:
    """nginx has this since 1.29.7."""
    server = run_conf("server { listen 127.0.0.1:PORT; max_headers 5; return 204; }")
    statuses = []
    for count in (3, 4):  # and Host, and Connection
        reply = server.ask(get("/", [f"X-{number}: 1" for number in range(count)]))
        statuses.append(reply.status if reply else None)
    assert statuses == [204, 400]


def test_what_is_off_is_taken_and_changes_nothing() -> None:
    for text in ("proxy_cache off;", "proxy_store off;"):
        assert settings_of("location", text) == settings_of("location", "")


@pytest.mark.parametrize("name", ["proxy_cache", "proxy_store"])
def test_what_can_only_be_off_is_refused_else(name: str) -> None:
    def problems(value: str) -> list[str]:
        text = FILE.format(main="", http="", server="", location=f"{name} {value};")
        return [problem.message for problem in adapt(Path("/srv/nginx.conf"), text).state.problems]

    assert problems("off") == []
    (problem,) = problems("on")
    assert problem.startswith(f'"{name}" is refused: ')


def test_what_stands_in_events_is_looked_at() -> None:
    text = "events { worker_connections 1024; }\nevents2 { }\nevents {\nnosuch 1; } http { server { listen 8080; } }"
    found = [(problem.line, problem.message) for problem in adapt(Path("/srv/nginx.conf"), text).state.problems]
    assert (2, 'unknown directive "events2" (did you mean "events"?)') in found
    assert (3, '"events" stands in this block already, in line 1') in found
    text = "events {\nnosuch 1; } http { server { listen 8080; } }"
    (problem,) = adapt(Path("/srv/nginx.conf"), text).state.problems
    assert (problem.line, problem.message) == (2, 'unknown directive "nosuch"')


def test_modules_that_are_known_are_taken() -> None:
    def problems(name: str) -> list[str]:
        text = FILE.format(main=f"load_module {name};", http="", server="", location="")
        return [problem.message for problem in adapt(Path("/srv/nginx.conf"), text).state.problems]

    assert problems("modules/ngx_http_geoip_module.so") == []
    assert "is refused" in problems("modules/ngx_http_nosuch_module.so")[0]


def test_trailers_of_an_upstream_pass_where_asked(
    run_conf: Callable[[str], Server], run_upstream: Callable[..., Upstream]
) -> None:
    answered = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"
    )
    back = f"proxy_http_version 1.1; proxy_pass http://127.0.0.1:{run_upstream(exactly(answered)).port};"
    server = run_conf(
        f"""server {{ listen 127.0.0.1:PORT; location / {{ {back} }}
        location /on {{ proxy_pass_trailers on; {back} }} }}"""
    )
    replies = [server.ask(get(path, ["TE: trailers"])) for path in ("/", "/on")]
    assert [reply.trailers for reply in replies if reply] == [[], [("x-sum", "7")]]
