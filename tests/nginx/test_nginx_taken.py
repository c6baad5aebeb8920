"""What nginx takes and starts with, and what it does with it; beside nginx where the one at hand knows it."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import pytest

from buchner.nginx.adapt import Options, adapt, resolve
from helpers.gateway import BUCHNER
from helpers.nginx import Server, get
from helpers.raw import Raw
from helpers.upstream import answer
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.nginx import Pair
    from helpers.upstream import Upstream


def test_names_made_of_variables_start_from_the_directory_of_the_file(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair("""
        server {
            listen 127.0.0.1:PORT;
            root DIR;
            location /users { auth_basic a; auth_basic_user_file $arg_f; return 204; }
            location /later { auth_basic a; auth_basic_user_file u$arg_f; }
        }
    """)
    for server in (pair.nginx, pair.buchner):
        server.file.with_name("users").write_text("ann:{PLAIN}pass\n")
    pair.nginx.file.with_name("users2").write_text("")
    user = "Authorization: Basic YW5uOnBhc3M="
    for target in ["users?f=users", "users?f=none", "users?f=/nowhere", "later?f=sers", "later?f=x"]:
        pair.get(f"/{target}", user)
    pair.get("/users?f=users")


def test_logs_and_roots_made_of_variables_start_from_the_prefix(tmp_path: Path) -> None:
    (tmp_path / "own" / "site").mkdir(parents=True)
    (tmp_path / "own" / "site" / "a.txt").write_text("a")

    class Elsewhere(Server):
        """One that is started in another directory than that of its file."""

        def prepare(self) -> None:
            self.file = self.file.rename(tmp_path / "own" / "nginx.conf")

    http = """
        server {
            listen 127.0.0.1:PORT;
            access_log t$arg_n.log;
            location / { root $arg_root; }
        }
    """
    server = Elsewhere(tmp_path / "away", http, [*BUCHNER, "run"])
    try:
        reply = server.ask(get("/a.txt?n=1&root=site"))
        assert reply is not None
        assert (reply.status, reply.body) == (200, b"a")
        absolute = server.ask(get(f"/a.txt?n=1&root={tmp_path}/own/site"))
        assert absolute is not None
        assert absolute.status == 200
        wait_for((tmp_path / "own" / "t1.log").exists, "the log")
    finally:
        server.stop()


TAKEN = """
geo $arg_ip $cut { ranges; default none;
    127.0.0.0-127.0.0.255 t; 127.0.0.1-127.0.0.1 l; 10.0.0.0-10.2.255.255 ten; 1.0.0.0-1.0.0.9 a; 1.0.0.4-1.0.0.9 b;
    delete 127.0.0.1-127.0.0.1; delete 10.1.0.0-10.1.255.255; delete 10.2.0.5-10.2.0.6; delete 1.0.0.0-1.0.0.3; }
map $arg_reset $uid_reset { default ""; 0 0; 1 1; log log; }
server {
    listen 127.0.0.1:PORT;
    location /geo { return 200 $cut; }
    location '/a?b/' { return 200 "query $uri"; }
    location '/a#b/' { return 200 "fragment $uri"; }
    location nowhere { return 200 x; }
    location /x/../y { return 200 x; }
    location /empty { return 200 "[$arg_$http_$cookie_$sent_http_$upstream_http_]"; }
    location /none { error_page 404 text; return 404; }
    location /none/of/it { error_page 404 =301 ../text?$args; return 404; }
    location /auth { auth_request /ask; auth_request_set $args "x=$upstream_status"; return 200 "[$args]"; }
    location = /ask { return 204; }
    location ~ ^/page.html { alias DIR/dir; try_files $uri =404; }
    location ~ ^/other { alias DIR/dir/page.html; try_files /nothing "" =404; }
    location ~ ^/whole { alias DIR/dir; try_files /page.html =404; }
    location /turned {
        secure_link_secret s;
        location /turned/md5/ { secure_link $arg_h; secure_link_md5 x; return 200 "[$secure_link]"; }
        return 200 "[$secure_link]";
    }
    location = /feed { default_type application/rss+xml; alias DIR/dir/page.html; }
    location ~ ^/as/(.*) { alias DIR/dir/page.html; default_type text/x-own; }
    location /uid {
        userid on; userid_name u; userid_flags samesite=lax httponly secure; return 200 "$uid_got|$uid_set|";
    }
    location /uid/marked { userid on; userid_name u; userid_mark z; return 200 "$uid_got"; }
    location /secret {
        secure_link $arg_h; secure_link_md5 x;
        location /secret/p/ { secure_link_secret s; return 200 "[$secure_link]"; }
        return 200 "[$secure_link]";
    }
    location /date { return 200 "$date_gmt|$date_local"; }
    location /fields {
        proxy_set_header X-A: ""; proxy_set_header X-B b; proxy_hide_header X-C:; proxy_pass http://127.0.0.1:UP;
    }
    location /odd { error_page 404 @page; return 404; }
    location @page { return 200 "page"; }
}
server { listen 127.0.0.1:PORT; server_name $hostname; return 200 "by the machine's name"; }
server {
    listen 127.0.0.1:PORT; server_name example.com:8080 https://example.com/ good; return 200 "odd";
}
"""


@pytest.fixture
def taken(tmp_path: Path, run_pair: Callable[[str], Pair], run_upstream: Callable[..., Upstream]) -> Pair:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "page.html").write_text("page")
    upstream = run_upstream(answer(b"ok"))
    return run_pair(TAKEN.replace("UP", str(upstream.port)))


def test_what_nginx_takes(taken: Pair) -> None:
    pair = taken
    for ip in [
        "127.0.0.0",
        "127.0.0.1",
        "127.0.0.2",
        "10.0.0.1",
        "10.1.0.1",
        "10.2.0.5",
        "10.2.1.1",
        "1.0.0.2",
        "1.0.0.5",
    ]:
        pair.get(f"/geo?ip={ip}")
    for target in [
        "/a%3fb/",
        "/a%23b/",
        "/empty?=x",
        "/none",
        "/none/of/it?q",
        "/auth",
        "/feed",
        "/as/a.html",
        "/as/b",
    ]:
        pair.get(target)
    for target in ["/page.html", "/other", "/whole", "/fields", "/odd"]:
        pair.get(target)
    for host in [socket.gethostname().upper(), "good"]:
        pair.get("/", host=host)
    for target in ["/secret?h=x", "/turned/x/y", "/turned/md5/?h=x", "/turned/md5/?h=nU4gKd9JkM0xCkY9DFvxhQ"]:
        pair.get(target)
    pair.get("/secret/p/abc/d")
    pair.get("/secret/p/8e6ba13ac01cc0ee1e8bca3f0bff2e27/d")


def test_uid_reset(taken: Pair) -> None:
    cookie = "Cookie: u=fwAAAVEssGb7/wABAwMDAg=="
    for target in ["/uid?reset=0", "/uid", "/uid/marked?reset=0"]:
        taken.get(target, cookie)
    for reset in ["1", "log"]:
        for server in (taken.nginx, taken.buchner):
            reply = server.ask(get(f"/uid?reset={reset}", [cookie]))
            assert reply is not None
            assert "fwAAAVEssGb7/wABAwMDAg" not in str(reply.get("set-cookie"))
            assert str(reply.get("set-cookie")).endswith("; path=/; secure; httponly; samesite=lax"), server
            assert b"0100007F" in reply.body.split(b"|")[0]
            assert reply.body.split(b"|")[1] != b""
    for server in (taken.nginx, taken.buchner):
        log = server.file.with_name("error.log")
        wait_for(lambda log=log: "0100007F66B02C510100FFFB02030303" in log.read_text(), "the line")  # type: ignore[misc]


def test_dates_of_server_side_includes(taken: Pair) -> None:
    for server in (taken.nginx, taken.buchner):
        reply = server.ask(get("/date"))
        assert reply is not None
        form = r"[A-Z]\w+day, \d\d-[A-Z]\w\w-\d{4} \d\d:\d\d:\d\d"
        assert re.fullmatch(rf"{form} GMT\|{form} \w+".encode(), reply.body), reply.body


def test_gzip_ratio(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair(
        """
        log_format ratio "$uri $gzip_ratio";
        server {
            listen 127.0.0.1:PORT;
            access_log access.log ratio;
            gzip on; gzip_min_length 0; gzip_types text/plain;
            location /a { return 200 "TEXT"; }
            location /b { gzip off; return 200 "TEXT"; }
        }
    """.replace("TEXT", "much the same " * 100).replace("access.log", "DIR/access-PORT.log")
    )
    lines = []
    for server in (pair.nginx, pair.buchner):
        for target in ["/a", "/b"]:
            server.ask(get(target, ["Accept-Encoding: gzip"]))
        log = server.file.parent.parent / f"access-{server.port}.log"
        wait_for(lambda log=log: log.read_text().count("\n") == 2, "two lines")  # type: ignore[misc]
        lines.append(log.read_text().splitlines())
    assert lines[0][1] == lines[1][1] == "/b -"
    ratios = [float(found[0].split()[1]) for found in lines]
    assert abs(ratios[0] - ratios[1]) < ratios[0] / 4


NEW = """
geo $where { volatile; default 1; }
server {
    listen 127.0.0.1:PORT;
    return 200 "$where|$request_port|$is_request_port|$http2$http3$limit_req_status$limit_conn_status$slice_range";
    add_header X-None "$fastcgi_script_name$fastcgi_path_info$proxy_internal_body_length$proxy_internal_chunked.";
}
"""


@pytest.mark.parametrize(
    ("host", "shown"),
    [("a:8080", "8080|:"), ("a", "|"), ("[::1]:9", "9|:"), ("[::1]", "|")],
)
def test_the_port_of_a_request(host: str, shown: str, run_conf: Callable[[str], Server]) -> None:
    server = run_conf(NEW)
    reply = server.ask(get("/", host=host))
    assert reply is not None
    assert reply.body.decode() == f"1|{shown}|"
    with Raw(server.port) as raw:
        raw.send("GET http://b:81/ HTTP/1.1\r\nHost: a:1\r\n\r\n")
        assert raw.reply().body == b"1|81|:|"


def test_what_is_no_header_is_left_out(
    run_conf: Callable[[str], Server], run_upstream: Callable[..., Upstream]
) -> None:
    upstream = run_upstream(answer(b"ok", "X-C: c"))
    server = run_conf(f"""
        proxy_set_header X-Outer o;
        server {{
            listen 127.0.0.1:PORT;
            add_header X-Frame-Options: DENY;
            add_header "X A" b;
            add_header X-Lines "one;
                two
";
            location / {{
                proxy_set_header Host: $host; proxy_hide_header X-C:; proxy_pass http://127.0.0.1:{upstream.port};
            }}
        }}
    """)
    reply = server.ask(get("/"))
    assert reply is not None
    assert not {name for name, _ in reply.fields} & {"x-frame-options", "x-frame-options:", "x a"}
    assert (reply.get("x-lines"), reply.get("x-c")) == ("one; two", "c")
    assert b"Host:: " not in upstream.heads[0]
    assert b"X-Outer" not in upstream.heads[0]
    for word in [
        '"X-Frame-Options:" is not the name of a header',
        'did you mean "X-Frame-Options"',
        '"Host:"',
        '"X-C:"',
    ]:
        assert word in server.log + server.file.with_name("error.log").read_text()


def test_the_default_root_follows_a_prefix(tmp_path: Path) -> None:
    text = "server { listen 127.0.0.1:1; }"
    for prefix, root in [(tmp_path / "site", "html"), (None, "/usr/share/nginx/html")]:
        adapted = adapt(tmp_path / "nginx.conf", text, Options(prefix=prefix))
        assert adapted.state.document.root == root
    loaded = resolve(adapt(tmp_path / "nginx.conf", text, Options(prefix=tmp_path / "site")))
    assert loaded.plan["settings"][0]["root"]["path"] == str(tmp_path / "site" / "html")


def test_the_default_root_is_below_the_prefix(tmp_path: Path) -> None:
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "index.html").write_text("own")
    server = Server(tmp_path, "server { listen 127.0.0.1:PORT; }", [*BUCHNER, "run"])
    try:
        reply = server.ask(get("/"))
        assert reply is not None
        assert (reply.status, reply.body) == (200, b"own")
    finally:
        server.stop()


SLIPS = """
server {
    listen 127.0.0.1:PORT;
    server_name bücher.example example.com:8080 https://example.com/ good;
    return 200 "by name";
}
server { listen 127.0.0.1:PORT default_server; return 200 "default"; }
"""


def test_names_that_are_slips_are_said_and_the_others_served(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair(SLIPS)
    assert pair.get("/", host="good").body == b"by name"
    assert pair.get("/", host="other").body == b"default"
    said = pair.buchner.log + pair.buchner.file.with_name("error.log").read_text()
    for word in [
        'clients send it as "xn--bcher-kva.example"',
        '"example.com:8080" is not a server name: the port belongs in `listen`',
        '"https://example.com/" is not a server name: a name is wanted, not a URL',
    ]:
        assert word in said


def test_a_star_inside_a_label_is_taken_where_the_server_is_alone(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair('server { listen 127.0.0.1:PORT; server_name a*.example.com; return 200 "alone"; }')
    assert pair.get("/").body == b"alone"
    said = pair.buchner.log + pair.buchner.file.with_name("error.log").read_text()
    assert 'a "*" stands for whole labels at one end' in said


OLD = ["Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)", "Mozilla/4.0 (compatible; MSIE 7.0)", "curl/8"]


@pytest.mark.parametrize("agent", OLD)
def test_connections_of_old_browsers_end_after_a_post_as_nginx_has_it(
    agent: str, run_pair: Callable[[str], Pair]
) -> None:
    pair = run_pair("server { listen 127.0.0.1:PORT; return 200 x; }")
    for method in ("GET", "POST"):
        replies = [
            server.ask(get("/", [f"User-Agent: {agent}", "Content-Length: 0"]).replace("GET", method))
            for server in (pair.nginx, pair.buchner)
        ]
        theirs, ours = [reply.get("connection") for reply in replies if reply]
        assert ours == theirs
