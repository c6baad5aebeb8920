"""Ranges and conditions of requests: nginx and Buchner on the same nginx.conf give the same answers, for files and for
what filters and upstreams make.

Not the same by design: a 416 of nginx has the fields of the answer it was cut from beside those of its own page, some
of them twice; here it has those of the page. More than one If-Match or If-None-Match is a list here (RFC 9110 section
5.3), 400 there.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from helpers.www import START, field, same, tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.nginx import Pair

OF_THE_CLIENT = ("Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")
CONF = f"""
charset_map koi8-r utf-8 {{ C0 D18E; C1 D0B0; }}
{START}
    location / {{ }}
    location /one/ {{ alias DIR/www/; max_ranges 1; }}
    location /two/ {{ alias DIR/www/; max_ranges 2; }}
    location /none/ {{ alias DIR/www/; max_ranges 0; }}
    location /sub/ {{ alias DIR/www/; sub_filter plain PLAIN; sub_filter_types *; }}
    location /keep/ {{ alias DIR/www/; sub_filter plain X; sub_filter_types *; sub_filter_last_modified on; }}
    location /add/ {{ alias DIR/www/; add_before_body /head.html; addition_types *; }}
    location /zip/ {{ alias DIR/www/; gzip on; gzip_types *; gzip_min_length 1; }}
    location /charset/ {{ alias DIR/www/; charset utf-8; }}
    location /recoded/ {{ alias DIR/www/; charset utf-8; source_charset koi8-r; }}
    location /static/ {{ alias DIR/www/; gzip_static on; }}
    location /always/ {{ alias DIR/www/; gzip_static always; gunzip on; }}
    location /dateless/ {{ alias DIR/www/; add_header Last-Modified ""; }}
    location /page/ {{ alias DIR/www/; error_page 412 /err/404.html; }}
    location /noetag/ {{ alias DIR/www/; etag off; }}
    location /before/ {{ alias DIR/www/; if_modified_since before; }}
    location /off/ {{ alias DIR/www/; if_modified_since off; }}
    location /found/ {{ error_page 404 =200 /c.txt; return 404; }}
    location /missing/ {{ error_page 404 /c.txt; return 404; }}
    location = /text {{ return 200 "0123456789"; }}
    location = /pixel {{ empty_gif; }}
    location /list/ {{ autoindex on; }}
    location /back/ {{ alias DIR/www/; add_header X-Range $http_range; }}
    location /proxy/ {{ proxy_pass http://127.0.0.1:PORT/back/; }}
    location /force/ {{ proxy_pass http://127.0.0.1:PORT/back/; proxy_force_ranges on; CLEAN }}
    location /forcesub/ {{ proxy_pass http://127.0.0.1:PORT/back/; proxy_force_ranges on; CLEAN
        sub_filter plain X; sub_filter_types *; }}
    location /forcezip/ {{ proxy_pass http://127.0.0.1:PORT/back/; proxy_force_ranges on; CLEAN
        gzip on; gzip_types *; }}
    location /unbuffered/ {{ proxy_pass http://127.0.0.1:PORT/back/; proxy_force_ranges on; CLEAN
        proxy_buffering off; }}
}}
""".replace("CLEAN", "".join(f'proxy_set_header {name} "";' for name in OF_THE_CLIENT))
SETS = """
0-0 5-2 5-2,0-1 0-1,5-2 1-1,5-4 5-0 -5 -0 -99999999 0- 5- 99999- 99999-100000 0-99999999 0-0,2-3 0-5,3-8 0-4,5-9 3-8,0-5
0-,0- 0-,0-,-1 -5,-5 0-0,99999- 99999-,100000- 0-600,500-959 -500,-500 0-958,959-959 959-959 960- 0-0,-1 0-0,0-0,0-0
- --1 ,0-1 0-1, 0-1,,3-4 a-b 0-b 0x1-2 0-1;3-4 +1-2 1--2 00001-00002
9223372036854775806- 9223372036854775807- 9223372036854775808- 0-9223372036854775807 0-9223372036854775808
0-99999999999999999999999 -9223372036854775807 -9223372036854775808 99999999999999999999-
"""
BLANKS = ["0 -1", "0- 1", "0-1 ,3-4", "0-1, 3-4", "\t0-1", "0-1,\t3-4", "- 5", " -5", " 0-1", "1 - 2", "5 - "]
OTHER = ["bytes =0-1", "BYTES=0-1", "Bytes=1-", "lines=0-1", "bytes", "bytes=", "bytes:0-1", "=0-1"]
RANGES = [*(f"bytes={ranges}" for ranges in [*SETS.split(), *BLANKS]), *OTHER]
SIZE = 960  # of c.txt
TAG = f'"{1_600_000_000:x}-{SIZE:x}"'
AT, LATER, EARLIER = (f"Sun, 13 Sep 2020 12:26:{second} GMT" for second in (40, 41, 39))
TAGS = [TAG, f"W/{TAG}", '"x"', "*", f'"x", {TAG}', f"x,{TAG}", TAG[:-1], TAG.strip('"'), f'"x"{TAG}', f"{TAG}, *", ""]
DATES = [AT, LATER, EARLIER, "nonsense", "Sunday, 13-Sep-20 12:26:40 GMT", "Sun Sep 13 12:26:40 2020", ""]
FEW = [
    [],
    *([f"Range: bytes={ranges}"] for ranges in ("0-4", "0-4,8-9")),
    *([f"If-None-Match: {tag}"] for tag in (TAG, f"W/{TAG}", "*")),
    *([f"If-Match: {tag}"] for tag in ('"x"', TAG, f"W/{TAG}")),
    *([f"If-Modified-Since: {date}"] for date in (AT, LATER, EARLIER)),
    *([f"If-Unmodified-Since: {date}"] for date in (AT, EARLIER)),
    *(["Range: bytes=0-4", f"If-Range: {validator}"] for validator in (TAG, f"W/{TAG}", AT)),
    [f"If-None-Match: {TAG}", f"If-Modified-Since: {EARLIER}"],
]


@pytest.fixture
def pair(tmp_path: Path, run_pair: Callable[[str], Pair]) -> Pair:
    tree(tmp_path)
    www = tmp_path / "www"
    (www / "empty.txt").write_bytes(b"")
    os.utime(www / "empty.txt", (1_600_000_000, 1_600_000_000))
    assert (www / "c.txt").stat().st_size == SIZE
    return run_pair(CONF)


@pytest.mark.kind("filter range")
def test_ranges_are_cut_as_nginx_cuts_them(pair: Pair) -> None:
    for ranges in RANGES:
        same(pair, "/c.txt", f"Range: {ranges}")
        same(pair, "/force/c.txt", f"Range: {ranges}")
    for ranges in RANGES[::3]:
        for place in ["/one/c.txt", "/two/c.txt", "/none/c.txt", "/empty.txt", "/unbuffered/c.txt", "/list/big.bin"]:
            same(pair, place, f"Range: {ranges}")
        same(pair, "/c.txt", f"Range: {ranges}", method="HEAD")
        same(pair, "/c.txt", f"Range: {ranges}", version="1.0")
    for count in [500, SIZE, SIZE + 1]:
        reply = same(pair, "/c.txt", "Range: bytes=" + ",".join(["0-0"] * count))
        assert reply.status == (206 if count <= SIZE else 200)
    assert same(pair, "/c.txt", "Range: bytes=5-2").status == 416


@pytest.mark.kind("filter conditional")
def test_conditional_requests_have_the_responses_of_nginx(pair: Pair) -> None:
    for target in ["/c.txt", "/force/c.txt"]:
        for tag in TAGS:
            for name in ["If-Match", "If-None-Match"]:
                same(pair, target, f"{name}: {tag}")
            same(pair, target, "Range: bytes=0-4", f"If-Range: {tag}")
        for date in DATES:
            for name in ["If-Modified-Since", "If-Unmodified-Since"]:
                same(pair, target, f"{name}: {date}")
            same(pair, target, "Range: bytes=0-4", f"If-Range: {date}")
    for tag in TAGS[:4]:
        for date in DATES[:4]:
            for by_tag in ["If-Match", "If-None-Match"]:
                for by_date in ["If-Modified-Since", "If-Unmodified-Since"]:
                    same(pair, "/c.txt", f"{by_tag}: {tag}", f"{by_date}: {date}")
    assert same(pair, "/c.txt", f"If-None-Match: {TAG}", "Range: bytes=0-4").status == 304


@pytest.mark.parametrize(
    "places",
    [
        "sub keep add zip charset",
        "recoded static always dateless page",
        "noetag before off found missing",
        "proxy force forcesub forcezip unbuffered",
    ],
)
def test_what_filters_and_upstreams_make(pair: Pair, places: str) -> None:
    for place in places.split():
        for target in [f"/{place}/c.txt", f"/{place}/d.json"] if place in ("static", "always") else [f"/{place}/c.txt"]:
            for fields in FEW:
                if place == "recoded" and any("W/" in value or '"x"' in value or EARLIER in value for value in fields):
                    continue  # nginx recodes its own page of a 412 too, so that it comes in chunks
                same(pair, target, *fields)
                if place in ("zip", "static", "always", "forcezip") and "Range: bytes=0-4" not in fields:
                    same(pair, target, *fields, "Accept-Encoding: gzip")
            for fields in FEW[:6]:
                same(pair, target, *fields, method="HEAD")


def test_what_is_no_file(pair: Pair) -> None:
    for target in ["/text", "/pixel", "/list/", "/empty.txt", "/nowhere", "/zip/empty.txt"]:
        for fields in FEW:
            same(pair, target, *fields)
    assert same(pair, "/text", "If-None-Match: *").status == 304
    assert same(pair, "/text", 'If-Match: "x"').status == 412


def test_an_addition_is_whole_whatever_the_client_asks_for(pair: Pair) -> None:
    for fields in [["Range: bytes=0-4"], [f"If-Match: {TAG}"], ["Range: bytes=99999-"]]:
        assert same(pair, "/add/c.txt", *fields).body.startswith(b"<header>plain text"), fields


def test_an_error_page_for_ranges_and_its_own_conditions(pair: Pair) -> None:
    assert same(pair, "/page/c.txt", 'If-Match: "x"').body == b"not here\n"
    packed = same(pair, "/static/d.json", "Accept-Encoding: gzip")
    assert field(packed, "accept-ranges") is None
