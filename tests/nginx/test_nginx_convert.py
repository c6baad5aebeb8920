"""`buchner convert`: the gateway.toml means the same as the nginx.conf, and keeps its comments."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from buchner.cli import cli
from buchner.config import load
from helpers.places import TESTS

if TYPE_CHECKING:
    from pathlib import Path

CASES = TESTS / "nginx_conf"
GOLDEN = sorted(path.parent.name for path in CASES.glob("*/expected.json"))


def convert(path: Path, *words: str) -> Any:
    return CliRunner().invoke(cli, ["convert", str(path), *words])


@pytest.mark.parametrize("name", GOLDEN)
def test_what_is_converted_means_the_same(name: str, tmp_path: Path) -> None:
    shutil.copytree(CASES / name, tmp_path / name)
    conf, toml = tmp_path / name / "nginx.conf", tmp_path / name / "gateway.toml"
    assert convert(conf, "-o", str(toml)).exit_code == 0
    assert CliRunner().invoke(cli, ["check", str(toml)]).exit_code == 0
    before, after = load(conf), load(toml)
    assert after.plan == before.plan
    assert after.process == before.process
    assert (after.listen, after.sockets) == (before.listen, before.sockets)


CONF = """\
# The shop's site

user root;   # for the ports
# threads
worker_processes 2;
events { # nothing remains of this
}
http {
    # who answers
    upstream app {
        server 127.0.0.1:5000 weight=2; # the "big" one
        # the small one
        server 127.0.0.1:5001;
    }
    include part.conf;
    server {
        # where
        listen 127.0.0.1:8080;
        location / {
            proxy_pass http://app; # to the app
            proxy_read_timeout 500ms;
            client_max_body_size 16m;
            # the rest is default
        }
    }
    # all done
}
"""
TOML = """\
# The shop's site

bare_lf = true
ignore_invalid_headers = true
large_fields_status = 494
max_fields = 512
absolute_redirect = true
access_log = "-"
built_in_types = false
connect_timeout = 60
default_type = "text/plain"
forwarded_headers = false
keepalive_disable = ["msie6"]
keepalive_time = 3600
limit_conn_status = 503
limit_req_status = 503
log_not_found = true
max_body = "1m"
proxy_next_upstream = ["error", "timeout"]
proxy_redirect = [
  { from = "default" },
]
root = "/usr/share/nginx/html"
server_tokens = true
# for upstreams
set_headers = { Host = "$host", X-Quoted = "a\\"b\\\\c" }
types = { html = "text/html", gif = "image/gif", jpg = "image/jpeg" }
upstream_bare_lf = true

[gateway]
# for the ports
user = "root"
conditions = "nginx"
# threads
io_threads = 2
wording = "nginx"

# nothing remains of this
# who answers
[upstream.app]
# the "big" one
# the small one
servers = [
  { address = "127.0.0.1:5000", weight = 2 },
  { address = "127.0.0.1:5001" },
]
keepalive = 32
keepalive_requests = 1000
keepalive_time = 3600

[[server]]
# where
listen = ["127.0.0.1:8080"]
names = [""]

[[server.route]]
path = "/"
# to the app
proxy = "http://app"
max_body = "16m"
read_timeout = "500ms"

# the rest is default
# all done
"""


def test_comments_stand_before_what_their_directive_has_become(tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text(CONF)
    (tmp_path / "part.conf").write_text(
        "# for upstreams\nproxy_set_header Host $host;\nproxy_set_header X-Quoted 'a\"b\\\\c';\n"
    )
    shown = convert(tmp_path / "nginx.conf")
    assert shown.exit_code == 0
    assert shown.stdout == TOML


def test_a_file_with_problems_is_not_converted(tmp_path: Path) -> None:
    path = tmp_path / "nginx.conf"
    path.write_text("server { listen 8080; nosuch; flv; }\n")
    shown = convert(path)
    assert shown.exit_code == 2
    assert 'unknown directive "nosuch"' in shown.output
    assert '"flv" is refused' in shown.output
    path.with_suffix(".toml").write_text("")
    assert "is a gateway.toml already" in convert(path.with_suffix(".toml")).output
