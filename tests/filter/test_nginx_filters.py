"""Body filters, headers and files of nginx.conf: Buchner and nginx on the same file give the same answers.

Differences by design, which the comparison takes out: what two compressors make of a text is compared unpacked;
a 405 names the methods there are (RFC 9110 section 15.5.6); built-in pages are Buchner's own. Not compared are names of
variables that turn out empty in `index` and `charset` (500, or no answer, there), and statuses that nginx has a meaning
of its own for (408).
"""

from __future__ import annotations

import base64
import os
import re
from typing import TYPE_CHECKING

import pytest

from helpers.nginx import get
from helpers.raw import Raw
from helpers.www import START, field, same, tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.nginx import Pair, Server

GZIP = """
    gzip on; gzip_types text/css application/json; gzip_min_length 100; gzip_comp_level 6; gzip_vary on;
    gzip_disable "msie6" "Old.*Browser";
    location / { }
    location /any/ { alias DIR/www/; gzip_types *; gzip_proxied any; }
    location /off/ { alias DIR/www/; gzip off; }
    location /expired/ { alias DIR/www/; gzip_proxied expired; expires -1; }
    location /auth/ { alias DIR/www/; gzip_proxied auth no_etag; }
    location /nocache/ { alias DIR/www/; gzip_proxied no-cache no-store private; add_header Cache-Control $arg_cc; }
    location /old/ { alias DIR/www/; gzip_http_version 1.0; }
    location /static/ { alias DIR/www/; gzip_static on; gzip off; }
    location /always/ { alias DIR/www/; gzip_static always; gzip off; }
    location /unpacked/ { alias DIR/www/; gzip_static always; gunzip on; gzip off; }
}
"""


@pytest.mark.kind("filter gzip")
def test_responses_are_compressed_as_by_nginx(tmp_path: Path, run_pair: Callable[[str], Pair]) -> None:
    tree(tmp_path)
    pair = run_pair(START + GZIP)
    yes = "Accept-Encoding: gzip"
    assert field(same(pair, "/a.html", yes), "content-encoding") == "gzip"
    for accept in ["deflate, gzip;q=0.5", "gzip;q=0", "*", "GZIP", "x-gzip", "identity", "br,gzip ;q=0.1", "gzip;q=2"]:
        same(pair, "/a.html", f"Accept-Encoding: {accept}")
    for target in ["/a.html", "/b.css", "/c.txt", "/small.html", "/d.json", "/missing", "/any/c.txt", "/off/a.html"]:
        same(pair, target)
        same(pair, target, yes)
        same(pair, target, yes, method="HEAD")
        same(pair, target, yes, "User-Agent: very old browser 1")
    same(pair, "/a.html", yes, "User-Agent: Mozilla/4.0 (compatible; MSIE 6.0; Windows)")
    same(pair, "/a.html", yes, "User-Agent: Mozilla/4.0 (compatible; MSIE 6.0; Windows; SV1)")
    same(pair, "/a.html", yes, "Range: bytes=0-9")
    same(pair, "/off/a.html", yes, "Range: bytes=0-9")
    same(pair, "/c.txt", yes, "Range: bytes=5-9")
    via = "Via: 1.1 proxy"
    for target in ["/a.html", "/any/a.html", "/expired/a.html", "/auth/a.html"]:
        same(pair, target, yes, via)
        same(pair, target, yes, via, "Authorization: Basic eDp5")
    for value in ["", "no-cache", "private,max-age=5", "no-store", "max-age=1"]:
        same(pair, f"/nocache/a.html?cc={value}", yes, via)
    for target in ["/a.html", "/old/a.html"]:
        same(pair, target, yes, version="1.0")


@pytest.mark.kind("filter gunzip")
def test_gzip_static_and_gunzip(tmp_path: Path, run_pair: Callable[[str], Pair]) -> None:
    tree(tmp_path)
    pair = run_pair(START + GZIP)
    for target in ["/static/d.json", "/static/b.css", "/always/d.json", "/always/b.css", "/unpacked/d.json"]:
        same(pair, target)
        same(pair, target, "Accept-Encoding: gzip")
        same(pair, target, "Accept-Encoding: gzip", method="HEAD")
    unpacked = same(pair, "/unpacked/d.json")
    assert unpacked.body == (tmp_path / "www/d.json").read_bytes()
    assert field(unpacked, "content-encoding") is None


SUB = """
    location / { sub_filter "world" "<$arg_x>"; sub_filter "</BODY>" "<script></script></body>"; }
    location /all/ { alias DIR/www/; sub_filter_types *;
        sub_filter abc X; sub_filter plain "plain plain"; sub_filter_once off; }
    location /keep/ { alias DIR/www/; sub_filter hello bye; sub_filter_last_modified on; }
    location /var/ { alias DIR/www/; sub_filter $arg_find [$uri]; sub_filter_once off; }
    location /zip/ { alias DIR/www/; sub_filter hello bye; gzip on; }
    location /around/ { alias DIR/www/; add_before_body /head.html; add_after_body /foot.html; }
    location /after/ { alias DIR/www/; add_after_body /head.html; addition_types text/plain; }
}
"""


@pytest.mark.kind("filter sub_filter")
@pytest.mark.kind("filter addition")
def test_sub_filter_and_addition(tmp_path: Path, run_pair: Callable[[str], Pair]) -> None:
    tree(tmp_path)
    pair = run_pair(START + SUB)
    assert b"<42>! Hello, World!" in same(pair, "/a.html?x=42").body
    assert same(pair, "/all/c.txt").body.count(b"X X X") == 40
    for target in ["/a.html", "/c.txt", "/keep/a.html", "/var/a.html?find=hello", "/var/a.html?find=", "/zip/a.html"]:
        same(pair, target)
        same(pair, target, "Accept-Encoding: gzip", "Range: bytes=0-3")
        same(pair, target, method="HEAD")
    assert same(pair, "/around/small.html").body == b"<header><p>small<footer>"
    for target in ["/around/c.txt", "/after/c.txt", "/after/a.html", "/around/missing.html"]:
        same(pair, target)
        same(pair, target, "Range: bytes=0-3")


CHARSET = """
charset_map koi8-r utf-8 { C0 D18E; C1 D0B0; }
charset_map koi8-r windows-1251 { C0 FE; C1 E0; }
"""
CHARSETS = """
    location / { charset utf-8; }
    location /to/ { alias DIR/www/; charset utf-8; source_charset koi8-r; }
    location /from/ { alias DIR/www/; charset koi8-r; source_charset utf-8; }
    location /one/ { alias DIR/www/; charset windows-1251; source_charset koi8-r; }
    location /back/ { alias DIR/www/; charset koi8-r; source_charset windows-1251; }
    location /types/ { alias DIR/www/; charset utf-8; charset_types application/json; }
    location /off/ { alias DIR/www/; charset off; }
    location /var/ { alias DIR/www/; charset $arg_c; source_charset utf-8; }
    location /redirect { charset utf-8; return 301 /x; }
    location /text { charset utf-8; return 200 text; }
}
"""


@pytest.mark.kind("filter charset")
def test_charsets_are_named_and_recoded_as_by_nginx(tmp_path: Path, run_pair: Callable[[str], Pair]) -> None:
    tree(tmp_path)
    pair = run_pair(CHARSET + START + CHARSETS)
    assert same(pair, "/to/koi.txt").body == "aюа ?\n".encode()
    assert same(pair, "/from/utf.txt").body == b"a\xc0\xc1 &#233;\n"
    for target in [
        "/a.html /d.json /b.css /one/koi.txt /back/koi.txt /types/d.json /types/a.html /types/c.txt /off/a.html",
        "/var/utf.txt?c=koi8-r /var/utf.txt?c=utf-8 /var/utf.txt?c=off /redirect /text /sub",
    ]:
        for one in target.split():
            same(pair, one)
            same(pair, one, "Range: bytes=0-1")


HEADERS = """
    add_header X-Server one; add_header X-Server two; add_header X-Always $status always;
    location / { }
    location /own/ { alias DIR/www/; add_header X-Own $uri; add_header X-Empty ""; }
    location /cc/ { alias DIR/www/; add_header Cache-Control public; expires max; }
    location /lm/ { alias DIR/www/; add_header Last-Modified ""; add_header ETag "W/x" always; }
    location /epoch/ { alias DIR/www/; expires epoch; }
    location /minus/ { alias DIR/www/; expires -1h; }
    location /modified/ { alias DIR/www/; expires modified +10y; }
    location /off/ { alias DIR/www/; expires off; }
    location /var/ { alias DIR/www/; expires $arg_e; }
    location /code { add_header X-Code yes; expires epoch; return 403; }
    location /created { add_header X-Code yes; expires epoch; return 201 made; }
    location /trailer/ { alias DIR/www/;
        add_trailer X-After $uri; add_trailer X-Always a always; add_trailer X-None ""; }
}
"""


@pytest.mark.kind("filter headers")
@pytest.mark.kind("filter trailers")
def test_headers_and_expires_are_added_as_by_nginx(tmp_path: Path, run_pair: Callable[[str], Pair]) -> None:
    tree(tmp_path)
    pair = run_pair(START + HEADERS)
    assert ("x-always", "404") in same(pair, "/missing").fields
    for target in [
        "/a.html /own/a.html /own/missing /cc/a.html /cc/missing /lm/a.html /epoch/a.html /off/a.html /minus/missing",
        "/var/a.html /var/a.html?e=epoch /var/a.html?e=max /var/a.html?e=off /var/a.html?e=x /code /created /sub",
    ]:
        for one in target.split():
            same(pair, one)
            same(pair, one, method="HEAD")
    same(pair, "/cc/a.html", "If-Modified-Since: Sun, 13 Sep 2020 12:26:40 GMT")
    for target in ["/minus/a.html", "/modified/a.html", "/var/a.html?e=1h", "/var/a.html?e=@0h"]:
        theirs, ours = pair.both(get(target))
        for name in ("expires", "cache-control"):
            values = [re.sub(r":\d\d GMT|=\d+$", "", field(answer, name) or "") for answer in (theirs, ours)]
            assert values[0], (target, name)
            assert values[0] == values[1], (target, name, values)


def exactly(server: Server, request: str) -> bytes:
    """Return what comes until the connection is closed."""
    with Raw(server.port) as raw:
        raw.send(request)
        data = b""
        while more := raw.socket.recv(65536):
            data += more
        return data


def test_trailers_follow_the_last_chunk(tmp_path: Path, run_pair: Callable[[str], Pair]) -> None:
    tree(tmp_path)
    pair = run_pair(START + HEADERS)
    for target in ["/trailer/small.html", "/trailer/missing"]:
        request = get(target)
        theirs, ours = (exactly(server, request) for server in (pair.nginx, pair.buchner))
        if target.endswith("small.html"):
            assert ours.split(b"\r\n\r\n", 1)[1] == theirs.split(b"\r\n\r\n", 1)[1]
            assert ours.endswith(b"0\r\nX-After: /trailer/small.html\r\nX-Always: a\r\n\r\n")
        else:
            assert theirs.endswith(b"0\r\nX-Always: a\r\n\r\n")
            assert ours.endswith(b"0\r\nX-Always: a\r\n\r\n")
        same(pair, target)
        same(pair, target, method="HEAD")
        same(pair, target, version="1.0")


FILES = """
    location / { index none.html $arg_i.html index.html; }
    location /list/ { autoindex on; }
    location /round/ { alias DIR/www/list/; autoindex on; autoindex_exact_size off; }
    location /json/ { alias DIR/www/list/; autoindex on; autoindex_format json; }
    location /jsonp/ { alias DIR/www/list/; autoindex on; autoindex_format jsonp; }
    location /xml/ { alias DIR/www/list/; autoindex on; autoindex_format xml; }
    location /abs/ { alias DIR/www/list/; index none /a.html; }
    location /host/ { root DIR/www/host/$host; rewrite ^/host(/.*)$ $1 break; }
    location ~ ^/user/(.+)\\.(\\w+)$ { alias DIR/www/$1.$2; }
    location ~ ^/dir/(.*)$ { alias DIR/www/$1; }
    location /random/ { alias DIR/www/sub/; random_index on; }
    location /exact/ { alias DIR/www/; if_modified_since exact; etag off; }
    location /before/ { alias DIR/www/; if_modified_since before; etag off; }
    location /never/ { alias DIR/www/; if_modified_since off; etag off; }
    location /one/ { alias DIR/www/; max_ranges 1; }
    location /none/ { alias DIR/www/; max_ranges 0; }
    location /links/ { alias DIR/www/; disable_symlinks on from=DIR/www; }
    location /owner/ { alias DIR/www/; disable_symlinks if_not_owner; }
    location = /pixel { empty_gif; }
    location /rate/ { alias DIR/www/; limit_rate $arg_rate; limit_rate_after 1m; }
    location /rates/ { alias DIR/www/; limit_rate 10m; }
    location /close/ { alias DIR/www/; sub_filter a b; chunked_transfer_encoding off; }
}
"""


@pytest.mark.kind("backend empty_gif")
@pytest.mark.kind("filter limit_rate")
def test_directories_links_and_files_are_served_as_by_nginx(tmp_path: Path, run_pair: Callable[[str], Pair]) -> None:
    tree(tmp_path)
    pair = run_pair(START + FILES)
    for target in [
        "/list/ /round/ /json/ /jsonp/ /jsonp/?callback=cb /jsonp/?callback=a%20b /jsonp/?callback=a/b /xml/ /list",
        "/sub/ /sub /linked/ /sub/?i=index /abs/ /user/a.html /user/sub/index.html /user/none.txt /dir/a.html",
        "/random/ /pixel /one/c.txt /links/a.html /links/link.html /links/linked/index.html /owner/link.html",
        "/owner/linked/index.html /close/small.html /host/h.txt /host/none /dir/sub/ /rate/a.html?rate=1 /rate/a.html",
        "/rates/a.html /rates/list/big.bin",
    ]:
        for one in target.split():
            same(pair, one)
            same(pair, one, method="HEAD")
    for server in (pair.nginx, pair.buchner):
        with Raw(server.port, 5) as raw:  # kept by the client's will, closed for want of another end of the body
            raw.send("GET /close/small.html HTTP/1.1\r\nHost: test\r\n\r\n")
            reply = raw.reply()
            assert (reply.get("connection"), reply.get("content-length")) == ("close", None)
            assert raw.closed()
    for host in ["test", "other", "missing"]:
        same(pair, "/host/h.txt", host=host)
    at, later, earlier = (f"If-Modified-Since: Sun, 13 Sep 2020 12:26:{second} GMT" for second in (40, 41, 39))
    for place in ["exact", "before", "never"]:
        for since in [at, later, earlier, "If-Modified-Since: nonsense"]:
            same(pair, f"/{place}/a.html", since)
    for ranges in ["0-0", "0-0,5-6", "-5", "5-", "99999-", "0-1,99998-"]:
        for place in ["none", "before"] if "9998" in ranges else ["one", "none", "before"]:
            same(pair, f"/{place}/c.txt", f"Range: bytes={ranges}")
    for method in ["POST", "PUT", "DELETE"]:
        same(pair, "/a.html", method=method)
    same(pair, "/pixel", "If-Modified-Since: Mon, 28 Sep 1970 06:00:00 GMT")


def test_both_give_a_file_the_same_entity_tag(tmp_path: Path, run_pair: Callable[[str], Pair]) -> None:
    tree(tmp_path)
    www = tmp_path / "www"
    os.utime(www / "c.txt", ns=(0, 1_600_000_000_123_456_789))
    os.utime(www / "d.json.gz", (1_500_000_000, 1_500_000_000))
    pair = run_pair(START + GZIP)
    yes = "Accept-Encoding: gzip"
    size = (www / "c.txt").stat().st_size
    assert field(same(pair, "/off/c.txt"), "etag") == f'"{1_600_000_000:x}-{size:x}"'
    assert (field(same(pair, "/a.html", yes), "etag") or "").startswith('W/"')
    packed = (www / "d.json.gz").stat().st_size
    assert field(same(pair, "/static/d.json", yes), "etag") == f'"{1_500_000_000:x}-{packed:x}"'
    tag = field(same(pair, "/static/d.json"), "etag")
    assert tag == f'"{1_600_000_000:x}-{800:x}"'
    assert same(pair, "/static/d.json", f"If-None-Match: {tag}").status == 304
    assert same(pair, "/static/d.json", yes, f"If-None-Match: {tag}").status == 200


def test_one_of_the_files_is_the_index(tmp_path: Path, run_pair: Callable[[str], Pair]) -> None:
    tree(tmp_path)
    files = {f"{number}.txt": f"number {number}".encode() for number in range(8)}
    (tmp_path / "www" / "many").mkdir()
    for name, content in files.items():
        (tmp_path / "www" / "many" / name).write_bytes(content)
    pair = run_pair(START + "location / { } location /many/ { random_index on; } }")
    for server in (pair.nginx, pair.buchner):
        replies = [server.ask(get("/many/")) for _ in range(40)]
        bodies = {reply.body for reply in replies if reply is not None and reply.status == 200}
        assert bodies <= set(files.values())
        assert len(bodies) > 1


ERRORS = """
    error_page 404 /err/404.html;
    error_page 500 502 503 /err/50x.html;
    error_page 410 =301 http://example.org/gone;
    error_page 402 http://example.org/pay?from=$uri;
    error_page 406 = @other;
    error_page 407 =200 /err/404.html;
    error_page 417 = /err/404.html;
    error_page 409 @answers;
    error_page 411 /nowhere;
    error_page 412 = /fails;
    location / { }
    location /c/ { rewrite ^/c/(.*)$ /$1 break; return 404; }
    location /400 { return 400; }
    location /402 { return 402; }
    location /406 { return 406; }
    location /407 { return 407; }
    location /417 { return 417; }
    location /409 { return 409; }
    location /410 { return 410; }
    location /411 { return 411; }
    location /412 { return 412; }
    location /500 { return 500; }
    location /502 { return 502; }
    location /fails { return 500; }
    location @other { return 203 "other $uri"; }
    location @answers { return 200 "answer $uri"; }
    location /recursive/ {
        recursive_error_pages on;
        location /recursive/a { error_page 404 = /recursive/b; return 404; }
        location /recursive/b { error_page 403 = /recursive/c; return 403; }
        location /recursive/c { return 200 "at last"; }
    }
    location /flat/ {
        location /flat/a { error_page 404 = /flat/b; return 404; }
        location /flat/b { error_page 403 = /flat/c; return 403; }
        location /flat/c { return 200 "at last"; }
    }
    location /first/ { error_page 404 /err/50x.html; error_page 404 /err/404.html; return 404; }
}
"""


def test_error_pages(tmp_path: Path, run_pair: Callable[[str], Pair]) -> None:
    tree(tmp_path)
    pair = run_pair(START + ERRORS)
    for target in [
        "/missing /400 /402 /406 /407 /417 /409 /410 /411 /412 /500 /502 /recursive/a /flat/a /first/x /recursive/b",
    ]:
        for one in target.split():
            same(pair, one)
            same(pair, one, method="HEAD")
    assert same(pair, "/recursive/a").body == b"at last"
    assert same(pair, "/410").status == 301
    same(pair, "/missing", method="POST")


USERID = """
    userid on; userid_name id; userid_domain example.org; userid_path /x; userid_p3p 'policyref="/p"'; userid_service 7;
    location / { userid_expires max; userid_flags httponly samesite=lax; }
    location /session/ { alias DIR/www/; }
    location /mark/ { alias DIR/www/; userid_mark Z; }
    location /off/ { alias DIR/www/; userid off; }
    location /log/ { alias DIR/www/; userid log; add_header X-Got $uid_got; add_header X-Set $uid_set; }
    location /v1/ { alias DIR/www/; userid v1; add_header X-Got $uid_got; add_header X-Set $uid_set; }
}
"""


@pytest.mark.kind("filter userid")
def test_userid_cookies_are_those_of_nginx(tmp_path: Path, run_pair: Callable[[str], Pair]) -> None:
    tree(tmp_path)
    pair = run_pair(START + USERID)
    given = "Cookie: a=b; id=AQAAfwAAAABqHDPQAwMDAg=="
    for target in ["/a.html", "/session/a.html", "/mark/a.html", "/off/a.html", "/log/a.html", "/missing"]:
        same(pair, target, given)
    for target in ["/a.html", "/session/a.html", "/mark/a.html", "/v1/a.html"]:
        shapes = []
        for answer in pair.both(get(target)):
            cookie = field(answer, "set-cookie") or ""
            value = re.match(r"id=([\w+/]{22})", cookie)
            assert value, cookie
            uid = base64.b64decode(value[1] + "==")
            mine = target != "/v1/a.html"
            assert int.from_bytes(uid[:4], "big" if mine else "little") == 7
            shown = "".join(f"{int.from_bytes(uid[at : at + 4], 'little'):08X}" for at in (0, 4, 8, 12))
            if not mine:
                assert field(answer, "x-set") == f"id={shown}"
            shapes.append((cookie.replace(value[1], "…"), field(answer, "p3p")))
        assert shapes[0] == shapes[1]


def test_what_cannot_be_is_refused_with_its_place(tmp_path: Path) -> None:
    from buchner.errors import ConfigError  # noqa: PLC0415
    from buchner.nginx.adapt import load_nginx  # noqa: PLC0415

    cases = {
        "gzip_comp_level 10;": "level from 1 to 9",
        'sub_filter "" x;': "everywhere",
        "expires sometime;": "not a time",
        "expires later 1h;": "modified",
        "add_before_body x;": 'begin with "/"',
        "userid_mark ab;": "no mark",
        "limit_rate fast;": "not a size",
        "disable_symlinks on from=$host;": "$document_root",
        "error_page 404 =x /y;": "no status",
    }
    for directive, expected in cases.items():
        text = f"events {{}}\nhttp {{ server {{ listen 127.0.0.1:1;\n{directive}\n}} }}"
        with pytest.raises(ConfigError) as error:
            load_nginx(tmp_path / "nginx.conf", text)
        assert expected in str(error.value), (directive, str(error.value))
        assert ":3:" in str(error.value), str(error.value)
