"""Files that nginx and Buchner serve from the same configuration, and the comparison of what they answer."""

from __future__ import annotations

import gzip
import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from helpers.nginx import Answer, get

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.nginx import Pair

TEXT = "<html><head></head><body>" + "Hello, World! " * 200 + "</body></html>\n"
START = """
types { text/html html; text/css css; text/plain txt; application/json json; image/png png; }
default_type application/octet-stream;
server {
    listen 127.0.0.1:PORT;
    server_name _;
    root DIR/www;
"""


def tree(directory: Path) -> None:
    """Make the files that are asked for; last modified at a time long past."""
    www = directory / "www"
    for name, content in {
        "a.html": TEXT,
        "b.css": "body { color: red }\n" * 50,
        "c.txt": "plain text, ABC abc aBc\n" * 40,
        "small.html": "<p>small",
        "d.json": '{"a": 1}' * 100,
        "head.html": "<header>",
        "foot.html": "<footer>",
        "sub/index.html": "index of sub",
        "list/b.txt": "bb",
        "list/a dir/x": "x",
        "list/big.bin": "0" * 20_000,
        "list/.hidden": "h",
        'list/<&"> é': "odd",
        "list/" + "long" * 20 + ".txt": "long",
        "err/404.html": "not here\n",
        "err/50x.html": "broken\n",
        "host/test/h.txt": "of test\n",
        "host/other/h.txt": "of other\n",
    }.items():
        file = www / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    (www / "d.json.gz").write_bytes(gzip.compress((www / "d.json").read_bytes(), mtime=0))
    (www / "only.txt.gz").write_bytes(gzip.compress(b"only packed\n" * 20, mtime=0))
    (www / "koi.txt").write_bytes(b"a\xc0\xc1 \xff\n")
    (www / "utf.txt").write_text("aюа é\n")
    (www / "link.html").symlink_to("a.html")
    (www / "linked").symlink_to("sub")
    for path in [www, *www.rglob("*")]:
        os.utime(path, (1_600_000_000, 1_600_000_000), follow_symlinks=False)


def normal(answer: Answer, *, head: bool = False) -> Answer:
    """Take out what differs by design: compressed texts, Allow, built-in pages."""
    fields = []
    packed = ("content-encoding", "gzip") in answer.fields
    for name, value in answer.fields:
        page = head and (answer.status or 0) >= 300 and name in ("content-length", "content-type")
        if name == "allow" or page or (packed and name == "content-length"):
            continue
        fields.append((name, re.sub(r"boundary=\S+", "boundary=…", value)))
    body = answer.body
    if packed and body:
        body = gzip.decompress(body)
        if b"<title>404 " in body:
            body = b"(built-in page)"
            fields = [(name, value) for name, value in fields if name != "content-type"]
    if any("multipart/" in value for _, value in fields):
        body = re.sub(rb"--[0-9]{20}(--)?\r\n", rb"--BOUNDARY\1\r\n", body)
    return replace(answer, fields=fields, body=body)


def same(
    pair: Pair, target: str, *fields: str, method: str = "GET", version: str = "1.1", host: str = "test"
) -> Answer:
    """Return the answer that both give."""
    request = get(target, fields, host).replace("GET ", f"{method} ", 1).replace("HTTP/1.1", f"HTTP/{version}", 1)
    theirs, ours = (normal(answer, head=method == "HEAD") for answer in pair.both(request, method))
    assert ours == theirs, f"{request!r}\n  nginx:   {theirs}\n  Buchner: {ours}"
    return ours


def field(answer: Answer, name: str) -> str | None:
    return dict(answer.fields).get(name)
