"""What a request keeps to another location: error_page, try_files, X-Accel-Redirect, mirror, as in nginx."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from helpers.nginx import get
from helpers.upstream import answer
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.nginx import Pair
    from helpers.upstream import Upstream

ACCEL = """
server {
    listen 127.0.0.1:PORT;
    location /p { proxy_pass http://127.0.0.1:PORT/r; }
    location /r { add_header X-Accel-Redirect $arg_x; add_header Set-Cookie a=1; return 204; }
    location /int { internal; return 200 "$uri $args"; }
    location /other { internal; return 200 "other $uri"; }
    location @named { return 200 "named $request_method $uri $args"; }
    location / { return 200 "$uri"; }
}
"""


def test_x_accel_redirect_does_not_climb(run_pair: Callable[[str], Pair]) -> None:
    # The URI reaches the header as it is: arguments are not decoded.
    pair = run_pair(ACCEL)
    for uri in [
        "/int/a",
        "/int/a%3Fb=c",
        "/int/../other",
        "/int/.%2e/other",
        "/int/%2e%2e/other",
        "/int/..",
        "/int/%2e%2e",
        "/int/..%2fother",
        "/int/...",
        "/int/..a",
        "/int/%252e%252e/other",
        "@named",
    ]:
        pair.get(f"/p?x={uri}")
    assert pair.get("/p?x=/int/../other").status == 404


def test_an_unsafe_x_accel_redirect_is_in_the_log(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair(ACCEL)
    assert pair.get("/p?x=/int/../other").status == 404
    log = pair.buchner.file.with_name("error.log")
    wait_for(lambda: "unsafe URI" in log.read_text(), "the line of the unsafe URI")


def test_x_accel_redirect_to_a_named_location_keeps_the_method(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair(ACCEL)
    for method in ["POST", "PUT", "HEAD"]:
        for uri in ["@named", "/int/a"]:
            pair.same(get(f"/p?x={uri}", ["Content-Length: 0"]).replace("GET", method), method)


UNENCODED = r"""
server {
    listen 127.0.0.1:PORT;
    location / { proxy_pass http://127.0.0.1:PORT/r/; }
    location /r/1 { add_header X-Accel-Redirect "/int/Song #1 (a).mp3"; return 204; }
    location /r/2 { add_header X-Accel-Redirect "/int/a\\b#c"; return 204; }
    location /r/3 { add_header X-Accel-Redirect "/int/100%.pdf"; return 204; }
    location /r/4 { add_header X-Accel-Redirect "/int/100%"; return 204; }
    location /r/5 { add_header X-Accel-Redirect "/int/a?b=#c%"; return 204; }
    location /int/ { internal; return 200 "$uri?$args"; }
}
"""


def test_names_of_files_need_no_encoding_in_x_accel_redirect(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair(UNENCODED)
    for path in ["/1", "/2"]:
        pair.get(path)
    # nginx takes the "%" out, so that such a file is not found, and leaves the "#" to upstreams that do not expect it.
    for path, uri in {"/3": b"/int/100%.pdf?", "/4": b"/int/100%?", "/5": b"/int/a?b=%23c%"}.items():
        reply = pair.buchner.ask(get(path))
        assert reply is not None
        assert reply.body == uri


def test_x_accel_redirect_leads_to_directories_too(tmp_path: Path, run_pair: Callable[[str], Pair]) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("a")
    pair = run_pair("""
        server {
            listen 127.0.0.1:PORT;
            location / { proxy_pass http://127.0.0.1:PORT/r/; }
            location /r/ { add_header X-Accel-Redirect $arg_x; return 204; }
            location /list/ { internal; autoindex on; alias DIR/sub/; }
            location /closed/ { internal; alias DIR/sub/; }
        }
    """)
    for uri in ["/list/", "/list", "/list/a.txt", "/closed/", "/closed"]:
        pair.get(f"/?x={uri}")


REDIRECTS = """
server {
    listen 127.0.0.1:PORT;
    root DIR;
    location /a { error_page 302 /t; return 302 /x; }
    location /b { error_page 301 =200 /t; rewrite ^ http://other/y permanent; }
    location /c { error_page 302 /t; rewrite ^ /y redirect; }
    location /d { error_page 307 308 303 @t; return 303 /x; }
    location /e { error_page 307 @t; return 307 http://other/; }
    location /f { error_page 308 =404 /t; return 308 http://other/; }
    location /g { error_page 303 http://elsewhere/; return 303 http://other/; }
    location /h { error_page 302 =301 /none; return 302 http://other/; }
    location /i { error_page 302 /back; return 302 http://other/; }
    location /k { error_page 300 304 /t; return 300; }
    location /dir { error_page 301 /t; }
    location /proxied/ { error_page 301 /t; proxy_pass http://127.0.0.1:PORT/; }
    location /up { error_page 302 /t; proxy_intercept_errors on; proxy_pass http://127.0.0.1:PORT/y; }
    location /plain { error_page 302 /t; proxy_pass http://127.0.0.1:PORT/y; }
    location /t { return 200 "t [$uri $args]"; }
    location @t { return 200 "named"; }
    location /back { return 302 http://third/; }
    location /y { return 302 http://other/y; }
}
"""


def test_error_page_holds_for_redirects(tmp_path: Path, run_pair: Callable[[str], Pair]) -> None:
    (tmp_path / "dir").mkdir()
    pair = run_pair(REDIRECTS)
    for target in ["/a", "/b", "/c", "/d", "/e", "/f", "/g", "/h", "/i", "/k", "/dir", "/proxied", "/up"]:
        pair.get(target)
        pair.get(f"{target}?q=1")
    assert pair.get("/a").body == b"t [/t ]"
    pair.get("/plain")


@pytest.mark.parametrize("page", ["/show", "=200 /show", "/show?own=1", "/show$is_args$args", "@named", "/show?"])
def test_a_page_has_its_own_query(page: str, run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair(f"""
        server {{
            listen 127.0.0.1:PORT;
            client_max_body_size 10;
            location /return {{ error_page 404 {page}; return 404; }}
            location /deny {{ error_page 403 {page}; deny all; }}
            location /large {{ error_page 413 {page}; proxy_pass http://127.0.0.1:PORT/none; }}
            location /up {{ error_page 404 {page}; proxy_intercept_errors on; proxy_pass http://127.0.0.1:PORT/none; }}
            location /none {{ return 404; }}
            location /show {{ return 200 "[$args][$is_args]"; }}
            location @named {{ return 200 "[$args]"; }}
        }}
    """)
    for target in ["/return?a=1", "/deny?a=1", "/up?a=1", "/return"]:
        pair.get(target)
    pair.same(get("/large?a=1", ["Content-Length: 20"]).replace("GET", "POST") + "x" * 20)


def test_internal_redirects_and_the_query(tmp_path: Path, run_pair: Callable[[str], Pair]) -> None:
    (tmp_path / "dir").mkdir()
    pair = run_pair("""
        server {
            listen 127.0.0.1:PORT;
            root DIR;
            location /try { try_files /none /show; }
            location /kept { try_files /none /show?$args; }
            location /named { try_files /none @named; }
            location /rewrite { rewrite ^ /show last; }
            location /cut { rewrite ^ /show? last; }
            location /dir/ { index /show; }
            location /show { return 200 "[$args]"; }
            location @named { return 200 "[$args]"; }
        }
    """)
    for target in ["/try", "/kept", "/named", "/rewrite", "/cut", "/dir/"]:
        pair.get(f"{target}?a=1")
        pair.get(target)


SIZES = """
server {
    listen 127.0.0.1:PORT;
    location = /upload { client_max_body_size 8k; try_files /dev/null @api; }
    location = /error { client_max_body_size 8k; error_page 418 = @api; return 418; }
    location = /rewrite { client_max_body_size 8k; rewrite ^ /small last; }
    location = /uri { client_max_body_size 8k; try_files /dev/null /small; }
    location = /small { client_max_body_size 100; proxy_pass http://127.0.0.1:UP; }
    location @api { client_max_body_size 100; proxy_pass http://127.0.0.1:UP; }
    location = /unbuffered { client_max_body_size 8k; try_files /dev/null @unbuffered; }
    location @unbuffered {
        client_max_body_size 100; proxy_request_buffering off; proxy_http_version 1.1;
        proxy_pass http://127.0.0.1:UP;
    }
}
"""


def test_a_body_goes_to_the_named_location_of_an_error_page(
    run_pair: Callable[[str], Pair], run_upstream: Callable[..., Upstream]
) -> None:
    upstream = run_upstream(answer(b"took"))
    pair = run_pair(SIZES.replace("UP", str(upstream.port)))
    for fields, body in [
        (["Content-Length: 50"], "x" * 50),
        (["Transfer-Encoding: chunked"], f"32\r\n{'x' * 50}\r\n0\r\n\r\n"),
    ]:
        for path in ["/error", "/upload"]:
            assert pair.same((get(path, fields) + body).replace("GET", "POST", 1)).status == 200
    assert upstream.bodies == [b"x" * 50] * 8


def test_the_limit_of_a_named_location(run_pair: Callable[[str], Pair], run_upstream: Callable[..., Upstream]) -> None:
    pair = run_pair(SIZES.replace("UP", str(run_upstream(answer(b"took")).port)))
    for path in ["/upload", "/error", "/rewrite", "/uri", "/unbuffered"]:
        for size in [50, 2000, 9000]:
            body = "x" * size
            pair.same((get(path, [f"Content-Length: {size}"]) + body).replace("GET", "POST", 1))
            chunked = get(path, ["Transfer-Encoding: chunked"]) + f"{size:x}\r\n{body}\r\n0\r\n\r\n"
            pair.same(chunked.replace("GET", "POST", 1))


def test_a_named_location_that_is_not_there(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair("""
        server {
            listen 127.0.0.1:PORT;
            location /error { error_page 404 @none; return 404; }
            location /try { try_files /none @none; }
            location /name { try_files /none name; }
            location /text { try_files /none /text2/$uri; }
            location /text2 { return 200 "$uri"; }
        }
    """)
    for target in ["/error", "/try", "/name", "/text"]:
        pair.get(target)


def test_a_mirror_has_the_query(run_pair: Callable[[str], Pair], run_upstream: Callable[..., Upstream]) -> None:
    upstream = run_upstream(answer(b""))
    pair = run_pair(f"""
        server {{
            listen 127.0.0.1:PORT;
            location / {{ mirror /uri; mirror /whole; mirror /own; return 204; }}
            location /proxied {{ mirror /uri; mirror /whole; mirror /own; proxy_pass http://127.0.0.1:PORT/none; }}
            location = /uri {{ internal; proxy_pass http://127.0.0.1:{upstream.port}/seen; }}
            location = /whole {{ internal; proxy_pass http://127.0.0.1:{upstream.port}; }}
            location = /own {{ internal; proxy_pass http://127.0.0.1:{upstream.port}/$uri$is_args$args; }}
            location = /none {{ return 204; }}
        }}
    """)
    for target in ["/proxied?a=b&c", "/proxied", "/proxied?"]:
        seen = []
        for server in (pair.nginx, pair.buchner):
            upstream.heads.clear()
            assert server.ask(get(target)) is not None
            wait_for(lambda: len(upstream.heads) == 3, "the three copies")
            seen.append(sorted(head.split(b" ")[1] for head in upstream.heads))
        assert seen[0] == seen[1], target


COMPRESSED = """
server {
    listen 127.0.0.1:PORT;
    root DIR;
    location /on/ { gzip_static on; alias DIR/; }
    location /always/ { gzip_static always; alias DIR/; }
    location /vary/ { gzip_static on; gzip_vary on; alias DIR/; }
    location /try/ { gzip_static on; root DIR; try_files /only.txt =404; }
    location /index/ { gzip_static on; alias DIR/; index only.txt; }
    location /off/ { alias DIR/; }
}
"""


def test_files_that_are_there_compressed_only(tmp_path: Path, run_pair: Callable[[str], Pair]) -> None:
    (tmp_path / "only.txt.gz").write_bytes(gzip.compress(b"only"))
    (tmp_path / "both.txt.gz").write_bytes(gzip.compress(b"both"))
    (tmp_path / "both.txt").write_bytes(b"both")
    pair = run_pair(COMPRESSED)
    for fields in [["Accept-Encoding: gzip"], ["Accept-Encoding: identity"], ["Accept-Encoding: gzip;q=0"], []]:
        for method, names in {"GET": ["only.txt", "both.txt", "none", ""], "POST": ["only.txt", "none"]}.items():
            for place in ["/on/", "/always/", "/vary/", "/off/", "/try/", "/index/"]:
                for name in names:
                    pair.same(get(place + name, fields).replace("GET", method), method)


def test_the_type_of_a_compressed_file_comes_before_its_coding(tmp_path: Path, run_pair: Callable[[str], Pair]) -> None:
    (tmp_path / "only.txt.gz").write_bytes(gzip.compress(b"only"))
    pair = run_pair(COMPRESSED)
    for server in (pair.nginx, pair.buchner):
        reply = server.ask(get("/on/only.txt", ["Accept-Encoding: gzip"]))
        assert reply is not None
        names = [name for name, _ in reply.fields]
        assert names.index("content-type") < names.index("content-encoding")
