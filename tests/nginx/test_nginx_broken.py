"""Broken configurations: what nginx refuses is refused, in the same file and line; beside `nginx -t`."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from buchner.nginx.program import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class Case:
    """A configuration.

    Args:
        name: what is wrong with it.
        text: nginx.conf; DIR stands for its directory.
        files: other files, by name.
        ours: the line that Buchner names where it is another: nginx names the line it has come to when it notices that
            something was not ended, or the end of the directive; Buchner names where the thing begins.
        says: what Buchner's message has.
        differs: why one of both takes it and the other does not.
    """

    name: str
    text: str | bytes
    files: dict[str, str | bytes] = field(default_factory=dict)
    ours: int | None = None
    says: str = ""
    differs: str = ""


def http(text: str) -> str:
    """Return a file with these lines from line 4 on in `http { }`."""
    return f"pid DIR/pid;\nevents {{ }}\nhttp {{ access_log off;\n{text}\nserver {{ listen unix:DIR/other; }}\n}}\n"


def server(text: str) -> str:
    """Return a file with these lines from line 5 on in a `server { }`."""
    return http(f"server {{ listen unix:DIR/s;\n{text}\n}}")


def location(text: str) -> str:
    """Return a file with these lines from line 6 on in a `location { }`."""
    return server(f"location /x {{\n{text}\n}}")


FILES = [
    Case("binary", bytes(range(1, 256)) * 8),
    Case("binary-with-nul", b"\x7fELF\x02\x01\x01\x00\x00\x00" + bytes(range(256)) * 4),
    Case("byte-order-mark", "\ufeff" + http("server { listen unix:DIR/s; }")),
    Case("utf-16", http("server { }").encode("utf-16")),
    Case("carriage-returns", server("return 204;").replace("\n", "\r\n")),
    Case("carriage-returns-and-a-mistake", server("return 204;\nnosuch;").replace("\n", "\r\n")),
    Case("empty", ""),
    Case("comment-only", "# nothing\n"),
    Case("spaces-only", "  \n\t\n"),
    Case(
        "long-comment",
        server("# " + "x" * 200_000 + "\nreturn 204;"),
        differs="nginx takes a comment line of more than 4 KiB for a word",
    ),
    Case("long-line", server("add_header X-A b; " * 1 + "set $a b; " * 20_000)),
    Case("long-word", server('add_header X-A "' + "x" * 3000 + '";')),
    Case("latin-1-in-a-comment", server("# caf\xe9").encode("latin-1")),
    Case("an-array", '{"server": []}\n'),
    Case("toml", "[gateway]\nio_threads = 2\n", ours=1),
    Case("apache", "<VirtualHost *:80>\n  DocumentRoot /srv\n</VirtualHost>\n", ours=1),
    Case("merge-marks", server("<<<<<<< HEAD\nreturn 204;\n=======\nreturn 205;\n>>>>>>> other"), ours=5),
]
SYNTAX = [
    Case("quote-not-closed", server('return 200 "a;\nroot /x;'), ours=5),
    Case("single-quote-not-closed", server("return 200 'a;\nroot /x;"), ours=5),
    Case("quote-followed-by-a-word", server('return 200\n"a"b;')),
    Case(
        "block-not-closed", "pid DIR/pid;\nevents { }\nhttp {\nserver {\nlisten unix:DIR/s;\n", ours=3
    ),  # where it opens
    Case("inner-block-not-closed", http("server { listen unix:DIR/s;\nlocation / {\n}\n"), ours=3),
    Case("stray-brace", server("}\n}")),
    Case("stray-brace-at-the-end", http("server { listen unix:DIR/s; }") + "}\n"),
    Case("stray-opening-brace", server("{ return 204; }")),
    Case("stray-semicolon", server("return 204;\n;")),
    Case(
        "missing-semicolon-before-a-word", server("root /a\nreturn 204;"), ours=5, says='is the ";" of line 5 missing?'
    ),
    Case("missing-semicolon-before-a-brace", server("return 204;\nroot /a"), ours=6),
    Case("missing-semicolon-at-the-end", "pid DIR/pid;\nevents { }\nhttp { }\nuser root"),
    Case("name-without-anything", http("server"), ours=4),
    Case("block-where-a-semicolon-belongs", server("root /a { }")),
    Case("semicolon-where-a-block-belongs", server("location /x;")),
    Case("variable-in-braces-not-closed", server("return 200 ${uri;")),
    Case("variable-in-braces-odd", server('return 200 "${u-ri}";')),
    Case("dollar-alone", server('return 200 "a$";')),
    Case("escaped-end", server("root /a\\;\nreturn 204;"), ours=5),
    Case("comment-swallows-the-end", server("root /a # ;\nreturn 204"), ours=5),
]
INCLUDES = [
    Case("include-missing", server("include DIR/none.conf;")),
    Case("include-of-a-directory", server("include DIR;")),
    Case("include-of-itself", server("include nginx.conf;"), ours=5),
    Case(
        "include-in-a-circle",
        server("include a.conf;"),
        {"a.conf": "\ninclude b.conf;\n", "b.conf": "include a.conf;\n"},
    ),
    Case("include-without-match", server("include DIR/none/*.conf;")),
    Case("include-without-a-name", server("include;")),
    Case("include-of-two", server("include a b;")),
    Case("include-block", server("include a { }")),
    Case("mistake-in-an-include", server("include part.conf;"), {"part.conf": "# a part\n\nnosuch on;\n"}),
    Case(
        "mistake-in-an-include-of-an-include",
        server("include a.conf;"),
        {"a.conf": "\ninclude b.conf;\n", "b.conf": "\n\nroot;\n"},
    ),
    Case("mistake-behind-an-include", server("include part.conf;\nnosuch;"), {"part.conf": "# a\n# b\n# c\n"}),
    Case(
        "mistake-in-the-second-of-a-pattern",
        server("include p*.conf;"),
        {"p1.conf": "etag on;\n", "p2.conf": "\netagg on;\n"},
    ),
    Case("include-not-closed", server("include part.conf;"), {"part.conf": "location / {\n"}, ours=1),
    Case("include-closes-too-much", server("include part.conf;"), {"part.conf": "etag on;\n}\n"}),
    Case("include-ends-in-a-word", server("include part.conf;"), {"part.conf": "etag on;\nroot /a"}),
    Case(
        "wrong-place-in-an-include",
        "pid DIR/pid;\nevents { }\ninclude part.conf;\nhttp { }\n",
        {"part.conf": "server { }\n"},
    ),
]
WORDS = [
    Case("unknown", server("nosuch on;")),
    Case("misspelt", server("proxy_pas http://a;"), says='did you mean "proxy_pass"?'),
    Case("misspelt-block", http("sever { }"), says='did you mean "server"?'),
    Case("in-capitals", server("Root /x;")),
    Case("wrong-block", http("location / { }")),
    Case("server-in-main", "pid DIR/pid;\nevents { }\nserver { }\n"),
    Case("listen-in-http", http("listen 80;")),
    Case("proxy-pass-in-server", server("proxy_pass http://127.0.0.1:1;")),
    Case("worker-processes-in-http", http("worker_processes 2;")),
    Case("events-in-http", http("events { }")),
    Case("http-in-http", http("http { }")),
    Case("server-in-server", server("server { }")),
    Case("root-in-upstream", http("upstream u { server 127.0.0.1:1;\nroot /x; }")),
    Case("if-in-http", http("if ($uri) { }")),
    Case("listen-in-if", server("if ($uri) {\nlisten 80; }")),
    Case("too-few", server("root;")),
    Case("too-many", server("root /a\n/b;"), ours=5),
    Case("too-many-of-a-flag", server("etag on off;")),
    Case("none-wanted", location("internal yes;")),
    Case("too-few-of-a-block", server("location { }")),
    Case("too-many-of-a-block", server("location / /a { }")),
    Case("error-page-alone", server("error_page 404;")),
    Case("rewrite-alone", server("rewrite ^/a;")),
    Case("not-a-flag", server("etag yes;")),
    Case("not-a-number", server("keepalive_requests many;")),
    Case("not-a-size", server("client_max_body_size 1x;")),
    Case("not-a-time", server("keepalive_timeout 1 fortnight;")),
    Case("negative", server("keepalive_timeout -1;")),
    Case("too-large", server("client_max_body_size 99999999999999999999;")),
    Case("status-too-large", server("return 1000;")),
    Case("status-not-a-number", server("return ok text;")),
    Case("error-page-of-200", server("error_page 200 /x;")),
    Case("gzip-level", server("gzip_comp_level 10;")),
    Case("gzip-proxied", server("gzip_proxied sometimes;")),
    Case("not-an-address", server("allow 1.2.3.400;")),
    Case("not-a-network", server("deny 10.0.0.0/33;")),
    Case("rewrite-flag", server("rewrite ^/a /b finally;")),
    Case("try-files-code", server("try_files /a =x;")),
    Case("access-log-format", server("access_log DIR/a.log nosuch;")),
    Case("access-log-parameter", server("access_log DIR/a.log combined nosuch=1;")),
    Case("error-log-level", server("error_log DIR/e.log loud;")),
    Case("limit-except-method", location("limit_except FETCH { }")),
    Case("satisfy", server("satisfy some;")),
]
TWICE = [
    Case("root", server("root /a;\nroot /b;")),
    Case("root-behind-an-include", server("include part.conf;\nroot /b;"), {"part.conf": "root /a;\n"}),
    Case("flag", server("etag on;\netag on;")),
    Case("events", "pid DIR/pid;\nevents { }\nevents { }\nhttp { }\n"),
    Case("http", "pid DIR/pid;\nevents { }\nhttp { }\nhttp { }\n"),
    Case("location", server("location /a { }\nlocation /a { }")),
    Case("exact-location", server("location = /a { }\nlocation = /a { }")),
    Case("prefix-with-and-without-regex", server("location /a { }\nlocation ^~ /a { }")),
    Case("regex-location", server("location ~ a { }\nlocation ~ a { }")),
    Case("named-location", server("location @a { }\nlocation @a { }")),
    Case("upstream", http("upstream u { server 127.0.0.1:1; }\nupstream u { server 127.0.0.1:2; }")),
    Case("listen", server("listen unix:DIR/s;")),
    Case(
        "listen-options",
        http("server { listen unix:DIR/s backlog=5; }\nserver { listen unix:DIR/s backlog=6; server_name b; }"),
    ),
    Case(
        "default-server",
        http("server { listen unix:DIR/s default_server; }\nserver { listen unix:DIR/s default_server; }"),
    ),
    Case(
        "server-name",
        http("server { listen unix:DIR/s; server_name a; }\nserver { listen unix:DIR/s; server_name a; }"),
    ),
    Case("proxy-pass", location("proxy_pass http://127.0.0.1:1;\nproxy_pass http://127.0.0.1:2;")),
    Case("log-format", http("log_format a b;\nlog_format a c;")),
    Case("map-value", http("map $uri $a {\na 1;\na 2; }")),
    Case("map-default", http("map $uri $a {\ndefault 1;\ndefault 2; }")),
    Case("map-variable", http("map $uri $a { }\nmap $uri $a { }")),
    Case("geo-network", http("geo $a {\n10.0.0.0/8 1;\n10.0.0.0/8 2; }")),
    Case("types", http("types { text/a a;\ntext/b a; }")),
    Case("pid", "pid DIR/pid;\npid DIR/pid2;\nevents { }\nhttp { }\n"),
]
MEANINGS = [
    Case("variable-unknown", server('return 200 "$nosuch";')),
    Case(
        "variable-unknown-in-a-log",
        http("log_format a $nosuch;\nserver { listen unix:DIR/s; access_log DIR/a.log a; }"),
    ),
    Case("variable-unknown-in-if", server("if ($nosuch) { return 204; }")),
    Case(
        "variable-unknown-in-map", http("map $nosuch $a { default 1; }\nserver { listen unix:DIR/s; return 200 $a; }")
    ),
    Case("variable-unknown-in-proxy-pass", location("proxy_pass http://$nosuch;")),
    Case("set-without-dollar", server("set a b;")),
    Case("set-of-uri", server("set $uri /x;")),
    Case("set-of-a-header", server("set $http_x y;")),
    Case("set-of-host", server("set $host y;")),
    Case("set-of-args", server("set $args y;")),
    Case("map-of-a-built-in", http("map $uri $host { default 1; }")),
    Case("map-without-dollar", http("map $uri a { default 1; }")),
    Case("regex-of-a-location", server("location ~ ( { }")),
    Case("regex-of-a-rewrite", server("etag on;\nrewrite ^/(a /b;")),
    Case("regex-of-an-if", server('if ($uri ~ "[") { return 204; }')),
    Case("regex-of-a-name", server("server_name ~^(a$;")),
    Case("regex-of-a-map", http("map $uri $a {\n~*( 1; }")),
    Case("condition-odd", server("if ($uri ? a) { }")),
    Case("condition-open", server("if ($uri { }")),
    Case("condition-without", server("if $uri { }")),
    Case("port-too-large", server("listen 127.0.0.1:70000;")),
    Case("port-zero", server("listen 127.0.0.1:0;")),
    Case("port-not-a-number", server("listen 127.0.0.1:http;")),
    Case("listen-parameter", server("listen 127.0.0.1:8181 fast;")),
    Case("listen-address", server("listen 1.2.3.4.5:80;")),
    Case(
        "upstream-host-unknown",
        http("upstream u {\nserver no-such-host.invalid; }"),
        differs="names are looked up when they are needed, and again",
    ),
    Case(
        "proxy-host-unknown",
        location("proxy_pass http://no-such-host.invalid;"),
        differs="names are looked up when they are needed, and again",
    ),
    Case("proxy-scheme", location("proxy_pass ftp://127.0.0.1;")),
    Case("proxy-without-scheme", location("proxy_pass 127.0.0.1:1;")),
    Case("proxy-port", location("proxy_pass http://127.0.0.1:99999;")),
    Case("proxy-with-uri-in-a-regex", server("location ~ a {\nproxy_pass http://127.0.0.1:1/b; }")),
    Case("proxy-with-uri-in-if", location("if ($uri) {\nproxy_pass http://127.0.0.1:1/b; }")),
    Case("proxy-with-uri-in-a-named", server("location @a {\nproxy_pass http://127.0.0.1:1/b; }")),
    Case("upstream-empty", http("upstream u {\n}"), ours=4),
    Case(
        "upstream-only-backup",
        http("upstream u { server 127.0.0.1:1 backup; }"),
    ),
    Case("upstream-parameter", http("upstream u { server 127.0.0.1:1\nheavy; }")),
    Case("upstream-weight", http("upstream u { server 127.0.0.1:1 weight=0; }")),
    Case(
        "upstream-with-a-port",
        http(
            "upstream u { server 127.0.0.1:1; }\nserver { listen unix:DIR/s; location / {\nproxy_pass http://u:80; } }"
        ),
    ),
    Case("location-outside", server("location /a {\nlocation /b { } }")),
    Case("location-in-exact", server("location = /a {\nlocation /a/b { } }")),
    Case("location-named-within", server("location /a {\nlocation @b { } }")),
    Case("location-modifier", server("location ! /a { }")),
    Case("alias-and-root", location("alias /a;\nroot /b;")),
    Case("alias-in-a-named", server("location @a {\nalias /b; }")),
    Case("root-with-document-root", server("root $document_root/a;")),
    Case("geo-not-a-network", http("geo $a {\nhome 1; }")),
    Case("split-over-100", http("split_clients $uri $a {\n60% a;\n50% b; }"), ours=4),
    Case("split-not-a-part", http("split_clients $uri $a {\nhalf a; }")),
    Case("auth-request-set", location("auth_request_set a $uri;")),
    Case("real-ip-from", server("set_real_ip_from nowhere;")),
    Case("real-ip-header-alone", server("real_ip_header;")),
    Case("server-name-empty-pattern", server("server_name *.;")),
    Case("server-name-odd", server("server_name a.*.b; }\nserver { listen unix:DIR/s; server_name c;")),
    Case("sub-filter-empty", location('sub_filter "" a;')),
    Case("userid", location("userid maybe;")),
    Case("expires", location("expires later;")),
    Case("charset-map", http("charset_map a b {\nzz 01; }")),
    Case("unknown-user", "user no-such-user-here;\npid DIR/pid;\nevents { }\nhttp { }\n"),
    Case("unknown-module", "load_module modules/no_such_module.so;\npid DIR/pid;\nevents { }\nhttp { }\n"),
    Case(
        "worker-processes-zero",
        "worker_processes 0;\npid DIR/pid;\nevents { }\nhttp { }\n",
        differs="nginx runs without a worker and answers nothing",
    ),
]
TABLES = {"files": FILES, "syntax": SYNTAX, "includes": INCLUDES, "words": WORDS, "twice": TWICE, "meanings": MEANINGS}


def written(value: str | bytes, directory: Path) -> bytes:
    data = value if isinstance(value, bytes) else value.encode()
    return data.replace(b"DIR", str(directory).encode())


def places(said: str) -> list[tuple[str, int]]:
    """Return the file and line of each message of a test, warnings left out."""
    lines = [line for line in said.splitlines() if re.search(r"\[(emerg|crit)\]", line)]
    found = [re.search(r" in (\S+):(\d+)$", line) for line in lines]
    return [(match[1], int(match[2])) if match else ("", 0) for match in found]


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{table}-{case.name}") for table, cases in TABLES.items() for case in cases]
)
def test_what_nginx_refuses_is_refused_in_the_same_line(
    case: Case, tmp_path: Path, require_peer: Callable[[str], str], capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"nginx.conf": case.text, **case.files}.items():
        (tmp_path / name).write_bytes(written(value, tmp_path))
    conf = str(tmp_path / "nginx.conf")
    theirs = subprocess.run(
        [require_peer("nginx"), "-t", "-e", "stderr", "-p", str(tmp_path), "-c", conf],
        capture_output=True,
        check=False,
    )
    said = theirs.stderr.decode(errors="replace")
    capfd.readouterr()
    status = run(["-t", "-p", str(tmp_path), "-c", conf])
    ours = capfd.readouterr().err
    # nginx crashes on includes that go round in a circle
    assert (bool(status) == bool(theirs.returncode)) is not bool(case.differs), f"{said}\nours:\n{ours}"
    assert case.says in ours
    if status and theirs.returncode:
        file, line = [*places(said), ("", 0)][0]
        told = places(ours)
        assert told
        assert not file or (file, case.ours or line) in told, f"{said}\nours:\n{ours}"
