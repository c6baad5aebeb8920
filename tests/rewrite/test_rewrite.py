"""gateway.toml: steps, conditions in both forms, variables, nested routes and try_files, as a client sees them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from buchner.config import load_dict
from buchner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from helpers.gateway import Gateway

TOML = """
[map.kind]
source = "$http_user_agent"
default = "person"
values = { "~*bot" = "robot", "curl" = "tool" }

[geo.place]
networks = { "127.0.0.0/8" = "here", "10.0.0.0/8" = "there" }
default = "nowhere"

[split_clients.half]
source = "$arg_id"
parts = [{ size = "50%", value = "a" }, { size = "*", value = "b" }]

[[server]]
default_type = "text/plain"
rewrite = [
  { set = { name = "mark", value = "$kind/$place" } },
  { if = { when = "$arg_stop", then = [{ return = 403 }] } },
  { rewrite = { regex = "^/old/(?<rest>.*)$", to = "/new/$rest", flag = "last" } },
]

[[server.route]]
path = "/new/"
rewrite = [{ return = { status = 200, text = "$uri $mark $half" } }]

[[server.route]]
path = "/when/"
rewrite = [
  { if = { when = "$request_method = POST", then = [{ return = { status = 200, text = "post" } }] } },
  { if = { when = '$http_cookie ~* "id=([0-9]+)"', then = [{ return = { status = 200, text = "id $1" } }] } },
  { if = { when = { all = ["$arg_a", { not = "$arg_b" }] }, then = [{ return = { status = 200, text = "not b" } }] } },
  { if = { when = { any = ["$arg_c = 1", { value = "$arg_d", regex = "^x" }] }, then = [{ return = "/to$uri" }] } },
  { if = { when = "!-e DIR/none", add_headers = { X-If = "1" } } },
]
respond = "neither"

[[server.route]]
path = "\\\\.(gif|png)$"
match = "regex"
rewrite = [{ return = { status = 200, text = "image $1" } }]

[[server.route]]
path = "/outer/"
respond = "outer"
  [[server.route.route]]
  path = "/outer/inner/"
  respond = "inner"

[[server.route]]
path = "/site/"
files = "DIR/site"
try_files = ["$uri", "@other"]

[[server.route]]
path = "@other"
respond = "other $uri"
"""


@pytest.fixture
def gateway(run_gateway: Callable[..., Gateway], tmp_path: Path) -> Gateway:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.txt").write_text("a file")
    user = '[gateway]\nuser = "root"\n' if os.geteuid() == 0 else ""  # who may read what the test made
    return run_gateway(user + TOML.replace("DIR", str(tmp_path)))


@pytest.mark.parametrize(
    ("target", "fields", "status", "body"),
    [
        ("/old/x?id=1", ("User-Agent: Googlebot",), 200, b"/new/x robot/here "),
        ("/new/x", ("User-Agent: CURL",), 200, b"/new/x tool/here "),
        ("/new/x", (), 200, b"/new/x person/here "),
        ("/new/x?stop=1", (), 403, b""),
        ("/new/x?stop=0", (), 200, b"/new/x "),
        ("/when/", ("Cookie: ID=42",), 200, b"id 42"),
        ("/when/?a=1", (), 200, b"not b"),
        ("/when/?a=1&b=1", (), 200, b"neither"),
        ("/when/?c=1", (), 302, b""),
        ("/when/?d=xy", (), 302, b""),
        ("/when/?d=y", (), 200, b"neither"),
        ("/outer/x.png", (), 200, b"image png"),
        ("/outer/x", (), 200, b"outer"),
        ("/outer/inner/x", (), 200, b"inner"),
        ("/site/a.txt", (), 200, b"a file"),
        ("/site/b.txt", (), 200, b"other /site/b.txt"),
    ],
)
def test_steps_and_routes(gateway: Gateway, target: str, fields: tuple[str, ...], status: int, body: bytes) -> None:
    reply = gateway.get(target, *fields)
    assert reply.status == status
    assert reply.body.startswith(body)
    if status == 302:
        assert reply.get("location") == "/to/when/"


def test_the_block_of_a_condition_has_settings_of_its_own(gateway: Gateway) -> None:
    assert gateway.get("/when/").get("x-if") == "1"
    assert gateway.ask("POST /when/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "POST").body == b"post"


def test_parts_divide_and_stay(gateway: Gateway) -> None:
    found = {number: gateway.get(f"/new/?id={number}").body.rsplit(b" ", 1)[1] for number in range(30)}
    assert set(found.values()) == {b"a", b"b"}
    assert all(gateway.get(f"/new/?id={number}").body.endswith(found[number]) for number in range(5))


@pytest.mark.parametrize(
    ("server", "message"),
    [
        ({"rewrite": [{"set": {"name": "host", "value": "x"}}]}, '"$host" is built in'),
        ({"rewrite": [{"rewrite": {"regex": "(", "to": "/"}}]}, "regular expression"),
        ({"rewrite": [{"if": {"when": "x = y"}}]}, "begins with neither a variable nor -f"),
        ({"rewrite": [{"if": {"when": "$arg_x", "max_body": 1}}]}, "only steps may"),
        ({"rewrite": [{"return": 200, "break": True}]}, "this one has 2 of them"),
        ({"rewrite": [{"set": {"name": "a", "value": "$nosuch"}}]}, 'unknown variable "$nosuch"'),
        ({"route": [{"path": "(", "match": "regex", "respond": 200}]}, "regular expression"),
        ({"route": [{"path": "/a/", "respond": 200, "route": [{"path": "/b/", "respond": 200}]}]}, "is not within"),
        ({"route": [{"path": "/", "respond": 200, "try_files": ["$uri", "@no"]}]}, "no route with the path"),
        ({"names": ["~("]}, "regular expression"),
    ],
)
def test_what_cannot_work_is_told(server: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_dict({"server": [{"route": [{"path": "/", "respond": 200}], **server}]}, "test")
    assert message in str(raised.value)
