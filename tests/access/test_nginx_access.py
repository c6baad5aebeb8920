"""Who may come in: Buchner and nginx on the same file let the same clients in and answer the others the same."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from helpers.nginx import get
from helpers.raw import Raw
from helpers.upstream import answer
from helpers.wait import wait_for

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from helpers.gateway import Gateway
    from helpers.nginx import Pair
    from helpers.upstream import Upstream

NETWORKS = """
server {
    listen 127.0.0.1:PORT;
    location /all { deny all; proxy_pass http://127.0.0.1:BACK; }
    location /me { allow 127.0.0.1; deny all; proxy_pass http://127.0.0.1:BACK; }
    location /other {
        allow 10.0.0.0/8; allow 2001:db8::/32; deny 127.0.0.0/8;
        proxy_pass http://127.0.0.1:BACK; }
    location /order { deny 127.0.0.1; allow all; proxy_pass http://127.0.0.1:BACK; }
    location /nested {
        deny all; proxy_pass http://127.0.0.1:BACK;
        location /nested/in { allow all; proxy_pass http://127.0.0.1:BACK; } }
}
"""


def _hello(run_upstream: Callable[..., Upstream], text: str) -> str:
    return text.replace("BACK", str(run_upstream(answer(b"hello")).port))


def test_allow_and_deny_decide(run_pair: Callable[[str], Pair], run_upstream: Callable[..., Upstream]) -> None:
    pair = run_pair(_hello(run_upstream, NETWORKS))
    found = {path: pair.get(path).status for path in ("/all", "/me", "/other", "/order", "/nested", "/nested/in")}
    assert found["/me"] == found["/nested/in"] == 200
    assert found["/all"] == found["/order"] == found["/nested"] == 403


def _crypt(kind: str) -> str:
    made = subprocess.run(["openssl", "passwd", kind, "secret"], capture_output=True, text=True, check=True)
    return made.stdout.strip()


def _users() -> str:
    salted = base64.b64encode(hashlib.sha1(b"secretsalt").digest() + b"salt").decode()
    plain = base64.b64encode(hashlib.sha1(b"secret").digest()).decode()
    users = {
        "apr1": _crypt("-apr1"),
        "md5": _crypt("-1"),
        "sha256": _crypt("-5"),
        "sha512": _crypt("-6"),
        "des": "abNANd1rDfiNc",
        "bcrypt": "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
        "plain": "{PLAIN}secret",
        "sha": "{SHA}" + plain,
        "ssha": "{SSHA}" + salted,
        "comment": "{PLAIN}secret:a comment",
        "broken": "nonsense",
        "empty": "",
        "unknown": "{MD5}secret",
    }
    return "# users\n" + "".join(f"{user}:{password}\n" for user, password in users.items())


def basic(user: str, password: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


BASIC = """
server {
    listen 127.0.0.1:PORT;
    set $realm off;
    if ($arg_realm) { set $realm $arg_realm; }
    auth_basic "the site";
    auth_basic_user_file DIR/users;
    location / { proxy_pass http://127.0.0.1:BACK; add_header X-User $remote_user; }
    location /open { auth_basic off; proxy_pass http://127.0.0.1:BACK; add_header X-User $remote_user; }
    location /var { auth_basic $realm; proxy_pass http://127.0.0.1:BACK; }
    location /named { auth_basic_user_file DIR/$arg_file; proxy_pass http://127.0.0.1:BACK; }
    location /missing { auth_basic_user_file DIR/none; proxy_pass http://127.0.0.1:BACK; }
    location /any { satisfy any; allow 10.0.0.1; deny all; proxy_pass http://127.0.0.1:BACK; }
    location /either { satisfy any; allow 127.0.0.1; deny all; proxy_pass http://127.0.0.1:BACK; }
    location /both { allow 127.0.0.1; deny all; proxy_pass http://127.0.0.1:BACK; }
    location /neither { deny all; proxy_pass http://127.0.0.1:BACK; }
    location /page { error_page 401 /login; proxy_pass http://127.0.0.1:BACK; }
    location /login { auth_basic off; proxy_pass http://127.0.0.1:BACK; }
}
"""


@pytest.fixture
def passwords(run_pair: Callable[[str], Pair], run_upstream: Callable[..., Upstream], tmp_path: Path) -> Pair:
    (tmp_path / "users").write_text(_users())
    return run_pair(_hello(run_upstream, BASIC).replace("DIR", str(tmp_path)))


def test_every_kind_of_hash(passwords: Pair) -> None:
    right = ["apr1", "md5", "sha256", "sha512", "des", "bcrypt", "plain", "sha", "ssha", "comment"]
    for user in [*right, "broken", "empty", "unknown", "nobody", "# users"]:
        for password in ("secret", "Secret", "", "secret2", "nonsense", "\u00e9"):
            found = passwords.get("/", basic(user, password))
            assert found.status == (200 if user in right and password == "secret" else 401), (user, password)
        # What was right once is remembered; it must not make another password right.
        assert passwords.get("/", basic(user, "secret")).status == (200 if user in right else 401)
        assert passwords.get("/", basic(user, "secrets")).status == 401 or user == "des"


def test_credentials_and_realms(passwords: Pair) -> None:
    good = basic("plain", "secret")
    assert passwords.get("/").fields.count(("www-authenticate", 'Basic realm="the site"')) == 1
    for field in (
        "Authorization: Basic",
        "Authorization: Basic !!!",
        "Authorization: Bearer x",
        "Authorization: basic " + good.rpartition(" ")[2],
        "Authorization: Basic   " + good.rpartition(" ")[2],
        "Authorization: Basic " + base64.b64encode(b":secret").decode(),
        "Authorization: Basic " + base64.b64encode(b"plain").decode(),
        "Authorization: Basic " + base64.b64encode(b"plain:secret\0x").decode(),
    ):
        passwords.get("/", field)
    for target in ("/open", "/var", "/var?realm=x", "/named?file=users", "/named?file=none", "/missing"):
        passwords.get(target)
        passwords.get(target, good)
    assert passwords.get("/missing", good).status == 403
    assert passwords.get("/var").status == 200


def test_satisfy_combines_checks_as_in_nginx(passwords: Pair) -> None:
    good, bad = basic("plain", "secret"), basic("plain", "wrong")
    for target in ("/any", "/either", "/both", "/neither", "/page"):
        for fields in ((), (good,), (bad,)):
            passwords.get(target, *fields)
    assert passwords.get("/any").status == 401
    assert passwords.get("/any", good).status == passwords.get("/either").status == 200


def test_a_changed_user_file_is_read_again(passwords: Pair, tmp_path: Path) -> None:
    assert passwords.get("/", basic("new", "secret")).status == 401
    with (tmp_path / "users").open("a") as users:
        users.write("new:{PLAIN}secret\n")
    assert passwords.get("/", basic("new", "secret")).status == 200


REQUEST = """
server {
    listen 127.0.0.1:PORT;
    auth_request /auth;
    auth_request_set $who $sent_http_x_who;
    auth_request_set $code $upstream_status;
    location / { proxy_pass http://127.0.0.1:BACK; proxy_set_header X-Who $who; add_header X-Code "$code $who"; }
    location /off { auth_request off; proxy_pass http://127.0.0.1:BACK; }
    location /page { error_page 401 /login; proxy_pass http://127.0.0.1:BACK; }
    location /login { auth_request off; return 200 "login $who $code"; }
    location /any { satisfy any; allow 127.0.0.1; deny all; proxy_pass http://127.0.0.1:BACK; }
    location /all { allow 127.0.0.1; deny all; proxy_pass http://127.0.0.1:BACK; }
    location /down { auth_request /gone; proxy_pass http://127.0.0.1:BACK; }
    location /missing { auth_request /nowhere; proxy_pass http://127.0.0.1:BACK; }
    location /local { auth_request /yes; proxy_pass http://127.0.0.1:BACK; }
    location = /yes { internal; return 204; }
    location = /nowhere { internal; return 404; }
    location = /gone { internal; proxy_pass http://127.0.0.1:1; }
    location = /auth {
        internal;
        proxy_pass http://127.0.0.1:VERDICT;
        proxy_set_header X-Original-URI $request_uri;
        proxy_set_header Host auth.test;
    }
}
"""


def _verdict(connection: socket.socket, head: bytes) -> bool:
    """Answer what the original URI asks for: /…?401&Field: value&…."""
    original = head.partition(b"X-Original-URI: ")[2].partition(b"\r\n")[0].decode()
    status, *fields = original.partition("?")[2].replace("+", " ").split("&")
    lines = [f"HTTP/1.1 {status or 200} Verdict", "Content-Length: 4", *fields]
    connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\nbody")
    return True


def test_auth_request(run_pair: Callable[[str], Pair], run_upstream: Callable[..., Upstream]) -> None:
    back, verdicts = run_upstream(answer(b"hello")), run_upstream(_verdict)
    pair = run_pair(REQUEST.replace("BACK", str(back.port)).replace("VERDICT", str(verdicts.port)))
    for path in ("/", "/off", "/page", "/any", "/all", "/down", "/missing", "/local"):
        for query in (
            "200&X-Who:+ann",
            "204",
            "299",
            "401",
            "401&WWW-Authenticate:+Basic+realm=x",
            "403&X-Who:+bob",
            "302&Location:+/x",
            "404",
            "500",
        ):
            pair.get(f"{path}?{query}")
    assert pair.get("/?200&X-Who:+ann").status == 200
    assert b"X-Who: ann\r\n" in back.heads[-1]
    found = pair.get("/?401&WWW-Authenticate:+Basic+realm=x")
    assert (found.status, ("www-authenticate", "Basic realm=x") in found.fields) == (401, True)
    assert pair.get("/?404").status == 500
    assert pair.get("/page?401&X-Who:+eve").body == b"login eve 401"
    assert pair.get("/auth").status == 404


def test_the_body_goes_to_the_backend_alone(
    run_gateway: Callable[..., Gateway], run_upstream: Callable[..., Upstream]
) -> None:
    back, verdicts = run_upstream(answer(b"hello")), run_upstream(_verdict)
    gateway = run_gateway(f"""
[[server]]
auth_request = "/auth"
[[server.route]]
path = "/"
proxy = "http://127.0.0.1:{back.port}"
[[server.route]]
path = "/auth"
match = "exact"
internal = true
auth_request = "off"
proxy = "http://127.0.0.1:{verdicts.port}"
""")
    with Raw(gateway.port) as raw:
        for _ in range(3):
            raw.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
            assert raw.reply("POST").body == b"hello"
    assert back.bodies == [b"hello"] * 3
    assert verdicts.bodies == [b""] * 3
    assert verdicts.connections == 1, "the connection of the verdicts is used again"
    assert all(head.startswith(b"GET /auth ") and b"ontent-Length" not in head for head in verdicts.heads)


def test_limit_except(run_pair: Callable[[str], Pair], run_upstream: Callable[..., Upstream]) -> None:
    pair = run_pair(
        _hello(
            run_upstream,
            """
server {
    listen 127.0.0.1:PORT;
    location / { limit_except GET POST { deny all; } proxy_pass http://127.0.0.1:BACK; }
    location /head { limit_except HEAD { deny all; } proxy_pass http://127.0.0.1:BACK; }
    location /return { limit_except GET { deny all; } return 200 get; }
    location /open { deny all; limit_except GET { allow all; } proxy_pass http://127.0.0.1:BACK; }
}
""",
        )
    )
    for target in ("/", "/head", "/return", "/open"):
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
            request = get(target, ["Content-Length: 0"]).replace("GET", method, 1)
            theirs, ours = pair.both(request, method)
            if method == "HEAD":  # built-in pages have a length of their own
                assert ours.status == theirs.status, target
            else:
                assert ours == theirs, request
    assert pair.same(get("/").replace("GET", "PUT", 1)).status == 403


MIRRORS = """
server {
    listen 127.0.0.1:PORT;
    location / { mirror /copy; mirror /second; proxy_pass http://127.0.0.1:BACK; }
    location /bare { mirror /copy; mirror_request_body off; proxy_pass http://127.0.0.1:BACK; }
    location /off { mirror off; proxy_pass http://127.0.0.1:BACK; }
    location /dead { mirror /gone; proxy_pass http://127.0.0.1:BACK; }
    location = /copy { internal; proxy_pass http://127.0.0.1:COPY$request_uri; }
    location = /second { internal; proxy_pass http://127.0.0.1:COPY/second; }
    location = /gone { internal; proxy_pass http://127.0.0.1:1; }
}
""".replace("$request_uri", "/copied")


def _body_of(upstream: Upstream) -> list[tuple[str, bytes]]:
    lines = [head.split(b" HTTP/")[0].decode() for head in upstream.heads]
    return sorted(zip(lines, upstream.bodies, strict=False))


@pytest.mark.parametrize("size", [5, 200_000])
def test_mirrors_get_what_nginx_sends(
    run_pair: Callable[[str], Pair], run_upstream: Callable[..., Upstream], size: int
) -> None:
    copies = run_upstream(answer(b"ignored"))
    text = MIRRORS.replace("COPY", str(copies.port))
    pair = run_pair("client_max_body_size 1m;\n" + _hello(run_upstream, text))
    body = "x" * size
    # /bare is the last: its copies are not waited for, and would be counted with those of the next.
    for target, expected in (("/", 2), ("/off", 0), ("/dead", 0), ("/bare", 1)):
        request = get(target, [f"Content-Length: {size}"]).replace("GET", "POST", 1) + body
        seen = []
        for server in (pair.nginx, pair.buchner):
            copies.heads.clear()
            copies.bodies.clear()
            reply = server.ask(request, "POST")
            assert reply is not None
            assert reply.body == b"hello"
            if target != "/bare":  # nginx announces a body there that it does not send
                wait_for(lambda: len(copies.bodies) == expected, "the copies")  # noqa: B023
                seen.append(_body_of(copies))
        assert seen[:1] == seen[1:] or target == "/bare", (seen, target)
    assert pair.get("/").status == 200


LINKS = """
server {
    listen 127.0.0.1:PORT;
    location /md5/ {
        secure_link $arg_md5,$arg_expires;
        secure_link_md5 "$secure_link_expires$uri$remote_addr key";
        return 200 "$secure_link $secure_link_expires";
    }
    location /plain/ {
        secure_link $arg_md5;
        secure_link_md5 "key$uri";
        if ($secure_link = "") { return 403; }
        return 200 "$secure_link|$secure_link_expires";
    }
    location /p/ { secure_link_secret key; return 200 "[$secure_link]"; }
    location /none { return 200 "[$secure_link]"; }
}
"""


def _sum(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.md5(text.encode()).digest()).decode().rstrip("=")


def test_secure_link(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair(LINKS)
    for ends in (int(time.time()) + 1000, 1000, 0):
        made = _sum(f"{ends}/md5/x127.0.0.1 key")
        found = pair.get(f"/md5/x?md5={made}&expires={ends}")
        assert found.body.startswith(b"1 " if ends > 1000 else b"0 " if ends else b" "), found
    made = _sum("key/plain/x")
    assert pair.get(f"/plain/x?md5={made}").body == b"1|"
    for wrong in (made[:-1], made + "==", made + "A", "", "!", made.lower(), made + "AAAA"):
        pair.get(f"/plain/x?md5={wrong}")
    hexed = hashlib.md5(b"a/b?x=1key").hexdigest()
    assert pair.get(f"/p/{hexed}/a/b?x=1").body == b"[a/b?x=1]"
    for target in (f"/p/{hexed}/a/b", f"/p/{hexed.upper()}/a/b?x=1", "/p/", "/p/x", "/p/x/y", "/none"):
        pair.get(target)


REFERERS = """
server {
    listen 127.0.0.1:PORT;
    server_name www.site.test *.site.test ~^own\\d+\\.test$;
    location / {
        valid_referers none blocked server_names *.example.com example.* www.example.org/galleries/ ~\\.google\\.;
        return 200 "[$invalid_referer]";
    }
    location /strict { valid_referers a.test; return 200 "[$invalid_referer]"; }
    location /none { return 200 "[$invalid_referer]"; }
}
"""


def test_referers_are_valid_as_in_nginx(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair(REFERERS)
    for referer in (
        "http://www.site.test/x",
        "http://a.site.test",
        "http://own1.test/",
        "http://ownx.test/",
        "https://WWW.Example.com/",
        "http://example.com/",
        "http://example.org/",
        "http://www.example.org/galleries/1",
        "http://www.example.org/other",
        "http://www.google.de:80/search",
        "http://x.test/?a=.google.",
        "http://a.test:8080/x",
        "HTTP://a.test/",
        "http://a.t",
        "hidden",
        "ftp://a.test/",
        "",
        "http://" + "a" * 300 + ".test/",
    ):
        for target in ("/", "/strict", "/none"):
            pair.get(target, f"Referer: {referer}", host="www.site.test")
    assert pair.get("/", "Referer: http://evil.test/").body == b"[1]"
    assert pair.get("/").body == b"[]"
    pair.get("/strict")


BROWSERS = """
server {
    listen 127.0.0.1:PORT;
    location /listed {
        modern_browser msie 5.5; modern_browser gecko 1.0.0; modern_browser opera 9.0; modern_browser safari 413;
        modern_browser konqueror 3.0;
        return 200 "[$modern_browser][$ancient_browser][$msie]";
    }
    location /unlisted {
        modern_browser unlisted; ancient_browser Links Lynx netscape4; modern_browser msie 7;
        modern_browser_value new; ancient_browser_value old;
        return 200 "[$modern_browser][$ancient_browser][$msie]";
    }
    location /none { return 200 "[$modern_browser][$ancient_browser][$msie]"; }
}
"""


def test_browsers_are_ancient_or_modern_as_in_nginx(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair(BROWSERS)
    for agent in (
        "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)",
        "Mozilla/4.0 (compatible; MSIE 5.0; Windows NT 5.1)",
        "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1) Opera 8.50",
        "Opera/9.80 (X11; Linux x86_64; U; en)",
        "Mozilla/5.0 (X11; U; FreeBSD i386; en-US; rv:1.7) Gecko/20040815",
        "Mozilla/5.0 (X11; U; FreeBSD i386; en-US; rv:0.9) Gecko/20040815",
        "Mozilla/5.0 (Macintosh; U; PPC) AppleWebKit/125.2 (KHTML, like Gecko) Safari/125.7",
        "Mozilla/5.0 (Macintosh; U; PPC) AppleWebKit/525.2 (KHTML, like Gecko) Safari/525.7",
        "Mozilla/5.0 (compatible; Konqueror/3.1; Linux)",
        "Mozilla/4.72 [en] (X11; U; Linux)",
        "Links (2.1pre15; Linux)",
        "curl/8.0",
        "MSIE 7",
        "MSIE 7.0b",
    ):
        for target in ("/listed", "/unlisted", "/none"):
            pair.get(target, f"User-Agent: {agent}")
    for target in ("/listed", "/unlisted", "/none"):
        pair.get(target)


def test_the_same_in_gateway_toml(run_gateway: Callable[..., Gateway]) -> None:
    user = '[gateway]\nuser = "root"\n' if os.geteuid() == 0 else ""  # who may read what the test made
    gateway = run_gateway(
        user
        + """
[[server]]
access_log = [{ path = "lines", format = "$remote_user $request_uri", escape = "none", if = "$arg_log", buffer = "1k", flush = "100ms" }]
[[server.route]]
path = "/get"
respond = "got"
limit_except = { methods = ["GET"], respond = 405 }
[[server.route]]
path = "/users"
respond = "in"
auth_basic = "a realm"
auth_basic_user_file = "users"
[[server.route]]
path = "/referer"
valid_referers = ["none", "a.test"]
modern_browser = ["gecko 1.8"]
respond = "[$invalid_referer][$modern_browser]"
[[server.route]]
path = "/status"
stub_status = true
"""  # noqa: E501
    )
    (gateway.file.parent / "users").write_text("ann:{PLAIN}secret\n")
    post = "POST /get HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    assert (gateway.get("/get").status, gateway.ask(post, "POST").status) == (200, 405)
    assert gateway.get("/users").get("www-authenticate") == 'Basic realm="a realm"'
    reply = gateway.get("/users?log=1", basic("ann", "secret"))
    assert reply.body == b"in", gateway.log
    assert gateway.get("/referer", "Referer: http://b.test/").body == b"[1][]"
    assert gateway.get("/status").body.startswith(b"Active connections: 1 \n")
    lines = gateway.file.parent / "lines"
    wait_for(lambda: lines.exists() and lines.stat().st_size, "the log")
    assert lines.read_text() == "ann /users?log=1\n"
