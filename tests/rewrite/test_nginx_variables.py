"""Variables of nginx.conf, built in and defined: Buchner and nginx on the same file give them the same values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from helpers.nginx import get

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.nginx import Pair

MAP = """
default_type text/plain;
map $arg_a $plain {
    default none;
    "" empty;
    one 1;
    TWO 2;
    \\default "a literal default";
    "with space" $arg_b-space;
    *.x.org "not a wildcard";
    ~^re(.)(?<letter>.)$ "re $1 $letter";
    ~*^IGN ign;
    ~^cat(?<rest>.*) $plain2;
}
map $rest $plain2 { default "[$rest]"; "" nothing; }
map $host $by_host { hostnames; default other; .x.org dot; *.y.org wild; www.z.* tail; ~^r(.+)\\.org$ "regex $1";
    exact.org. exact; }
map $count $twice { volatile; default "v$count"; }
map "$arg_a:$arg_b" $both { default no; "one:two" yes; }
map $plain $chain { 1 first; ~^re chained; }
server {
    listen 127.0.0.1:PORT;
    set $count 1;
    location / { return 200 "$plain|$by_host|$both|$chain|"; }
    location /twice { set $first $twice; set $count 2; return 200 "$first $twice"; }
}
"""


def test_maps_give_the_values_of_nginx(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair(MAP)
    values = "one ONE two default rexy reXY ign1 IGN *.x.org a.x.org cat catdog other"
    queries = ["", "?a=", *(f"?a={value}" for value in values.split()), "?a=with%20space&b=7", "?a=one&b=two"]
    for query in queries:
        pair.get(f"/{query}")
    hosts = "x.org a.b.x.org y.org a.y.org www.z.com www.z rab.org exact.org exact.org. r.org"
    for host in hosts.split():
        pair.get("/", host=host)
    assert pair.get("/twice").body == b"v1 v2"
    assert pair.get("/?a=rexy").body.startswith(b"re x y|")


GEO = """
default_type text/plain;
geo $net {
    default none;
    127.0.0.1 local;
    10.0.0.0/8 ten;
    10.1.0.0/16 ten-one;
    10.1.2.3 host;
    2001:db8::/32 six;
    2001:db8:1::/48 six-one;
    10.9.0.0/16 gone;
    delete 10.9.0.0/16;
}
geo $arg_ip $by_arg { default none; 10.0.0.0/8 ten; 10.1.0.0/16 ten-one; 2001:db8::/32 six; 0.0.0.0/0 all; }
geo $arg_ip $range {
    ranges;
    default none;
    10.0.0.1-10.0.0.5 a;
    10.0.0.6-10.0.1.5 b;
    10.0.0.3-10.0.0.4 c;
}
geo $proxied { proxy 127.0.0.1; proxy 192.0.2.0/24; default none; 10.0.0.0/8 ten; 192.0.2.0/24 proxy; 127.0.0.0/8 me; }
geo $recursive { proxy 127.0.0.1; proxy 192.0.2.0/24; proxy_recursive; default none; 10.0.0.0/8 ten;
    192.0.2.0/24 proxy; 127.0.0.0/8 me; }
split_clients "$arg_ip" $part { 0.5% half; 10% a; 33.33% b; * rest; }
split_clients $arg_ip $some { 50% x; 30% x; }
server { listen 127.0.0.1:PORT; return 200 "$net|$by_arg|$range|$proxied|$recursive|$part|$some"; }
"""


def test_addresses_and_parts(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair(GEO)
    addresses = "10.0.0.0 10.0.0.1 10.0.0.3 10.0.0.5 10.0.1.5 10.0.1.6 10.1.2.3 10.255.255.255 11.0.0.0 2001:db8::1 ::1"
    for address in [*addresses.split(), "", "nonsense", "255.255.255.255", "::ffff:10.0.0.3"]:
        pair.get(f"/?ip={address}")
    for forwarded in ("10.1.1.1", "10.1.1.1, 192.0.2.9", "1.1.1.1,10.2.2.2", "192.0.2.1", "x", "10.1.1.1:80", ""):
        pair.get("/", f"X-Forwarded-For: {forwarded}")
    pair.get("/", "X-Forwarded-For: 10.1.1.1", "X-Forwarded-For: 192.0.2.7")
    parts = {pair.get(f"/?ip={number}").body.split(b"|")[5] for number in range(60)}
    assert {b"a", b"b", b"rest"} <= parts


REALIP = """
default_type text/plain;
set_real_ip_from 127.0.0.1;
set_real_ip_from 192.0.2.0/24;
server { listen 127.0.0.1:PORT; server_name plain; return 200 "$remote_addr $remote_port_set $realip_remote_addr"; }
server { listen 127.0.0.1:PORT; server_name xff; real_ip_header X-Forwarded-For;
    return 200 "$remote_addr $realip_remote_addr"; }
server { listen 127.0.0.1:PORT; server_name rec; real_ip_header X-Forwarded-For; real_ip_recursive on;
    return 200 "$remote_addr $port"; }
server { listen 127.0.0.1:PORT; server_name own; set_real_ip_from 10.0.0.0/8; return 200 "$remote_addr"; }
server { listen 127.0.0.1:PORT; server_name header; real_ip_header X-Client; real_ip_recursive on;
    return 200 "$remote_addr $port"; }
server { listen 127.0.0.1:PORT; server_name late; set_real_ip_from 10.0.0.0/8; root DIR;
    location / { set_real_ip_from 127.0.0.1; real_ip_header X-Late; add_header X-Addr $remote_addr; } }
map "$remote_addr $remote_port" $port { ~^127 own; default $remote_port; }
map $remote_port $remote_port_set { "" none; default some; }
"""


def test_real_addresses(run_pair: Callable[[str], Pair], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    pair = run_pair(REALIP)
    values = (
        "10.1.1.1",
        "10.1.1.1, 192.0.2.9",
        "8.8.8.8 192.0.2.1,192.0.2.2",
        "[2001:db8::1]:443",
        "junk",
        "1.2.3.4:5",
    )
    for value in values:
        for host, name in (("plain", "X-Real-IP"), ("xff", "X-Forwarded-For"), ("rec", "X-Forwarded-For")):
            pair.get("/", f"{name}: {value}", host=host)
        pair.get("/", f"X-Client: {value}", host="header")
        pair.get("/", f"X-Real-IP: {value}", host="own")
    pair.get("/", "X-Forwarded-For: 10.1.1.1", "X-Forwarded-For: 192.0.2.1", host="rec")
    pair.get("/", host="plain")
    # the time of a file is the file system's, and the same for both
    assert dict(pair.get("/file", "X-Late: 9.9.9.9", host="late").fields)["x-addr"] == "9.9.9.9"


BUILT_IN = """
default_type text/plain;
log_format none "";
server {
    listen 127.0.0.1:PORT;
    server_name shop.org alias.org;
    root DIR/www;
    set $mark "$arg_a|$args|$binary_remote_addr|$content_length|$content_type|$cookie_a|$document_uri|$host|$http_x_y";
    location / { return 200 "$mark|$https|$is_args|$query_string|$remote_addr|$remote_user|$request|$request_method";
    }

    location /2 {
        return 200 "$request_uri|$scheme|$server_addr|$server_name|$server_port|$server_protocol|$uri|$status";
    }
    location /3 { return 200 "$document_root|$realpath_root|$request_filename|$limit_rate|$pipe|$connection_requests"; }
    location /al/ { alias DIR/other/; return 200 "$document_root|$request_filename"; }
    location ~ ^/re/(.*)$ { alias DIR/re-$1; return 200 "$document_root|$request_filename"; }
    location /va { root DIR/$arg_a; return 200 "$document_root|$request_filename"; }
    location /lengths { return 200 "$request_length|$http_host|$http_user_agent|$http_referer|$hostname"; }

    location /none { return 200 "$proxy_host|$upstream_addr|$sent_http_x|$upstream_status|$request_body|$http_unknown";
    }
    location /page.gif { return 200 image; }
    location /page.unknown { return 200 text; }
    location /page { return 200 "$request_completion"; }
}
"""


def test_built_in_variables(run_pair: Callable[[str], Pair], tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "www").symlink_to(tmp_path / "real")
    pair = run_pair(BUILT_IN)
    targets = (
        "/ /?a=1&b=2 /?b&A=3&a /?xa=1&a=2 /a%20b/../c?x /2/y%2fz?q /2?x /3/x /al/file /re/a/b /va/x?a=dir /lengths "
        "/none /page.gif /page.GIF /page.unknown /page"
    )
    for target in targets.split():
        pair.get(target, host="shop.org")
        pair.get(target, "Cookie: b=1; a=x y; c=3", "X-Y: 1", "User-Agent: me", host="SHOP.org:8080")
        pair.get(target, "Content-Type: a/b", "Authorization: Basic dXNlcjpwYXNz", "Cookie: A=upper", host="unknown")
    pair.same("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc", "POST")
    pair.same("GET / HTTP/1.0\r\n\r\n")
    assert pair.get("/?a=1").body.startswith(b"1|a=1|\x7f\x00\x00\x01|")


TRY = """
default_type text/plain;
server {
    listen 127.0.0.1:PORT;
    root DIR/www;
    location / { try_files $uri $uri/ $uri.html @app; }
    location /code/ { try_files $uri =404; }
    location /uri/ { try_files $uri /fall?from=$uri; }
    location /args { try_files $uri /fall$is_args$args; }
    location /al/ { alias DIR/other/; try_files $uri /al/index.txt; }
    location /closed { try_files /nothing =444; }
    location = /fall { return 200 "fall $uri $args"; }
    location @app { return 200 "app $uri $args"; }
    location /loop { try_files /nothing /loop; }
}
server { listen 127.0.0.1:PORT; server_name bare; root DIR/www; try_files /a.txt =410; location /x { return 200 x; } }
"""


@pytest.mark.parametrize("host", ["test", "bare"])
def test_try_files(run_pair: Callable[[str], Pair], tmp_path: Path, host: str) -> None:
    for name in ("www/a.txt", "www/b.html", "www/dir/index.html", "www/code/c.txt", "other/o.txt", "other/index.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    pair = run_pair(TRY)
    targets = (
        "/a.txt /b /b?x=1 /dir /dir/ /c /c?y /code/c.txt /code/d /uri/x?z=1 /args?z=1 /al/o.txt /al/p /al/ /closed "
        "/loop /x"
    )
    for target in targets.split():
        pair.get(target, host=host)
    assert pair.get("/c?y").body == b"app /c y"


def test_a_map_is_looked_up_once_a_request(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair(
        """map $n $kept { default "$n"; }
        server { listen 127.0.0.1:PORT; set $n 1; set $a $kept; set $n 2; return 200 "$a $kept"; }"""
    )
    assert pair.same(get("/")).body == b"1 1"
