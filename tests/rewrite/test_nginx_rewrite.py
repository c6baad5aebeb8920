"""Locations, rewrites, conditions and variables: Buchner and nginx on the same file give the same answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.nginx import Pair

LOCATIONS = """
server {
    listen 127.0.0.1:PORT;
    server_name _;
    default_type text/plain;
    location / { return 200 root; }
    location = / { return 200 "exact root"; }
    location /docs/ { return 200 docs;
        location /docs/a { return 200 "docs a"; }
        location ~ \\.x$ { return 200 "docs x"; }
        location ^~ /docs/b { return 200 "docs b"; location ~ \\.y$ { return 200 "docs b y"; } }
    }
    location ^~ /static/ { return 200 static; }
    location ~ \\.php$ { return 200 php; location ~ ^/admin { return 200 "admin php"; } }
    location ~* \\.(gix|jpe?x)$ { return 200 "image $1"; }
    location ~ ^/user/(?<name>[^/]+)(/(?<rest>.*))?$ { return 200 "user $name rest $rest 1 $1 3 $3 9 $9"; }
    location /é { return 200 utf8; }
    location = /exact { return 200 exact; }
    location /internal { internal; return 200 internal; }
}
"""


@pytest.mark.parametrize(
    "targets",
    [
        "/ /x /docs /docs/ /docs/a /docs/ab /docs/a.x /docs/b.x /docs/b.y /docs/c.php",
        "/static/a.php /static /a.php /A.PHP /admin/a.php /a.GIX /a.jpex /static/x.gix",
        "/user/bob /user/bob/ /user/bob/a/b /user/ /%c3%a9/x /exact /exact/ /exact?x=1 /internal /internal/x",
        "//docs//a /docs/../static/x /docs/./a /%64ocs/a /docs%2fa /docs/%2e%2e/exact /.. /a/../../b /%zz",
        "/%00 /a%0ab.php /docs/..%2fstatic /a/. /a/.. /a/b/.../c /.a /..a /a//..//static/x",
    ],
)
def test_a_request_is_served_by_the_location_nginx_finds(run_pair: Callable[[str], Pair], targets: str) -> None:
    pair = run_pair(LOCATIONS)
    found = {target: pair.get(target) for target in targets.split()}
    assert any(answer.status == 200 for answer in found.values())


REWRITES = """
server {
    listen 127.0.0.1:PORT;
    server_name _;
    default_type text/plain;
    set $mark server;
    rewrite ^/moved/(.*)$ /new/$1;
    rewrite ^/early/(.*)$ /new/$1 last;
    if ($arg_stop) { return 403; }
    if ($http_x_method = "x y") { set $mark $http_x_method; }
    location /new/ { return 200 "new $uri $args $mark"; }
    location /r/ {
        rewrite ^/r/last/(.*)$ /new/$1?a=b last;
        rewrite ^/r/drop/(.*)$ /new/$1? last;
        rewrite ^/r/args/(.*)$ /new/x?p=$1 last;
        rewrite ^/r/break/(.*)$ /broken/$1 break;
        rewrite ^/r/perm/(.*)$ /perm/$1 permanent;
        rewrite ^/r/redir/(.*)$ /redir/$1?x=1 redirect;
        rewrite ^/r/abs/(.*)$ http://example.org/$1;
        rewrite ^/r/none/(.*)$ /r/loop/$1;
        rewrite ^/r/loop/(.*)$ /r/none/$1;
        return 200 "r $uri $args";
    }
    location /if/ {
        set $out "";
        if ($request_method = POST) { set $out "${out}post "; }
        if ($request_method != POST) { set $out "${out}nopost "; }
        if ($http_cookie ~ "id=([^;]+)") { set $out "${out}id $1 "; }
        if ($http_cookie ~* "ID=(?<cid>[^;]+)") { set $out "${out}cid $cid "; }
        if ($http_cookie !~ "x") { set $out "${out}nox "; }
        if ($http_cookie !~* "X") { set $out "${out}noX "; }
        if (-f DIR/file) { set $out "${out}f "; }
        if (!-f DIR/file) { set $out "${out}!f "; }
        if (-d DIR/dir) { set $out "${out}d "; }
        if (-e DIR/file) { set $out "${out}e "; }
        if (-x DIR/file) { set $out "${out}x "; }
        if (!-x DIR/script) { set $out "${out}!x "; }
        if ($arg_zero) { set $out "${out}true "; }
        return 200 $out;
    }
    location /inherit/ {
        add_header X-Outer 1;
        set $a 1;
        if ($arg_a) { add_header X-A 1; }
        if ($arg_b) { add_header X-B 1; }
        if ($arg_c) { set $a 2; }
        return 200 "a $a";
    }
    location /brk/ { if ($arg_x) { break; } return 200 "not broken"; root DIR; }
    location /st/ {
        location /st/404 { return 404; }
        location /st/404t { return 404 "gone fishing"; }
        location /st/204 { return 204; }
        location /st/301 { return 301 /to$is_args$args; }
        location /st/307 { return 307 https://x.org/; }
        location /st/url { return https://y.org$request_uri; }
        location /st/444 { return 444; }
        location /st/500 { return 500; }
        location /st/200 { return 200; }
    }
    location /cyc { rewrite ^ /cyc; }
    location /args { set $args "q=1&$args"; return 200 "$args|$arg_q|$is_args|$request_uri"; }
    location /empty { rewrite ^/empty(.*)$ $1; }
    location /many { rewrite "^/many/(.)(.)(.)(.)(.)(.)(.)(.)(.)(.)" /new/$9$8$7$1$20$10; }
}
"""


@pytest.fixture
def rewrites(run_pair: Callable[[str], Pair], tmp_path: Path) -> Pair:
    (tmp_path / "file").write_text("x")
    (tmp_path / "dir").mkdir()
    (tmp_path / "script").write_text("x")
    (tmp_path / "script").chmod(0o755)
    return run_pair(REWRITES)


def test_rewrites_lead_where_those_of_nginx_lead(rewrites: Pair) -> None:
    targets = (
        "/moved/a /moved/a?x=1 /early/a%20b /early/a+b?y /r/last/z /r/last/z?k /r/drop/z?k /r/args/a%26b /r/args/a&b "
        "/r/break/z /r/perm/a%20b?c=d /r/perm/é /r/redir/a?b /r/redir/a%3fb%2Bc /r/abs/x/y?z=1 /r/none/x /r/x?y "
        "/st/404 /st/404t /st/204 /st/301 /st/301?a=1 /st/307 /st/url /st/444 /st/500 /st/200 /cyc "
        "/args /args?z=2 /args? /empty /emptyx /many/abcdefghij ?stop=1 /new/?stop=0 /new/?stop=1 /brk/ /brk/?x=1 "
        "/inherit/ /inherit/?a=1 /inherit/?b=1 /inherit/?a=1&b=1 /inherit/?a=1&c=1 /inherit/?c=1"
    )
    for target in targets.split():
        rewrites.get(target.replace("é", "%c3%a9"))
    assert rewrites.get("/moved/a?x=1").body == b"new /new/a x=1 server"


def test_if_holds_where_it_does_in_nginx(rewrites: Pair) -> None:
    for cookie in ("", "Cookie: id=7; a=b", "Cookie: ID=7", "Cookie: x=id=3", "Cookie: X"):
        for query in ("", "?zero=0", "?zero=00", "?zero="):
            fields = [cookie] if cookie else []
            rewrites.get(f"/if/{query}", *fields)
    rewrites.same("POST /if/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "POST")
    rewrites.get("/new/", "X-Method: x y")
    assert b"nopost id 7 cid 7" in rewrites.get("/if/", "Cookie: id=7").body


NAMES = """
server { listen 127.0.0.1:PORT default_server; server_name first.org; return 200 "default $server_name"; }
server { listen 127.0.0.1:PORT; server_name *.wild.org; return 200 "wild $host"; }
server { listen 127.0.0.1:PORT; server_name .dot.org; return 200 "dot $server_name"; }
server { listen 127.0.0.1:PORT; server_name tail.*; return 200 "tail $host"; }
server { listen 127.0.0.1:PORT; server_name ~^(?<tenant>[a-z]+)\\.(app)\\.org$;
    return 200 "tenant $tenant $1 $2 $server_name"; }
server { listen 127.0.0.1:PORT; server_name ~^(.+)\\.org$; return 200 "any $1"; }
server { listen 127.0.0.1:PORT; server_name ""; return 200 "no name"; }
"""


def test_server_names(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair(f"default_type text/plain;\n{NAMES}")
    hosts = (
        "first.org FIRST.org:80 x.wild.org wild.org dot.org a.b.dot.org tail.com tail bob.app.org BOB.APP.ORG x.org "
        "nobody first.org. [::1] [::1]:80 127.0.0.1"
    )
    for host in hosts.split():
        pair.get("/", host=host)
    pair.same("GET / HTTP/1.0\r\n\r\n")
    assert pair.get("/", host="bob.app.org").body.startswith(b"tenant bob bob app")
