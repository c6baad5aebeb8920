"""Loading gateway.toml: what is right becomes a plan, what is wrong is told with its place."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from buchner import _native
from buchner.config import Loaded, load, load_dict
from buchner.config.sockets import SocketOptions
from buchner.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def load_text(tmp_path: Path, text: str, overrides: dict[str, Any] | None = None) -> Loaded:
    file = tmp_path / "gateway.toml"
    file.write_text(textwrap.dedent(text))
    loaded = load(file, overrides)
    _native.check_config(loaded.plan_json().decode())
    return loaded


def errors(tmp_path: Path, text: str, overrides: dict[str, Any] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load_text(tmp_path, text, overrides)
    return [str(problem).replace(f"{tmp_path}/", "") for problem in raised.value.problems]


EXAMPLE = """
    [app]
    target = "shop:create_app()"
    workers = 4
    threads = 2

    [[server]]
    listen = ["0.0.0.0:80"]
    names = ["example.com", "*.example.com"]

    [[server.route]]
    path = "/static/"
    files = "static/"

    [[server.route]]
    path = "/legacy/"
    proxy = "http://legacy/"
    set_headers = { Host = "$host", X-Real-IP = "$remote_addr", X-Forwarded-For = "$proxy_add_x_forwarded_for" }

    [[server.route]]
    path = "/"
    app = true

    [upstream.legacy]
    servers = ["127.0.0.1:5000 weight=2", "127.0.0.1:5001", "unix:/run/legacy.sock backup"]
"""


def test_the_example_becomes_a_plan_the_gateway_takes(tmp_path: Path) -> None:
    (tmp_path / "static").mkdir()
    loaded = load_text(tmp_path, EXAMPLE)
    (server,) = loaded.plan["server"]
    assert [route["content"] for route in server["route"]] == [
        {"files": {"root": str(tmp_path / "static")}},
        {"proxy": {"upstream": "legacy", "uri": "/"}},
        {"app": {"pool": "app"}},
    ]
    assert loaded.plan["upstream"]["legacy"]["server"] == [
        {"address": "127.0.0.1:5000", "weight": 2},
        {"address": "127.0.0.1:5001"},
        {"address": "unix:/run/legacy.sock", "backup": True},
    ]
    assert loaded.app["app"].target == "shop:create_app()"
    assert loaded.app["app"].workers == 4
    assert loaded.listen == ["0.0.0.0:80"]
    assert loaded.warnings == []


def test_every_problem_of_the_schema_is_told_with_its_place(tmp_path: Path) -> None:
    found = errors(
        tmp_path,
        """\
        max_bdy = "64k"
        workers = 3
        [app]
        target = 5
        [[server]]
        [[server.route]]
        path = "/legacy/"
        files = { rot = "x" }
        """,
    )
    assert found == [
        """gateway.toml:1:1: max_bdy: unknown setting "max_bdy" (did you mean "max_body"?)
  1 | max_bdy = "64k"
    | ^^^^^^^""",
        """gateway.toml:2:1: workers: "workers" does not belong here but in [app]
  2 | workers = 3
    | ^^^^^^^""",
        """gateway.toml:4:10: app.target: must be a string, not a number
  4 | target = 5
    |          ^""",
        """gateway.toml:8:9: server[0].route[0].files: "root" is missing
  8 | files = { rot = "x" }
    |         ^^^^^^^^^^^^^""",
        """gateway.toml:8:11: server[0].route[0].files.rot: unknown setting "rot" (did you mean "root"?)
  8 | files = { rot = "x" }
    |           ^^^""",
    ]


def test_settings_are_inherited_and_kept_once(tmp_path: Path) -> None:
    loaded = load_text(
        tmp_path,
        """
        max_body = "1m"
        add_headers = { A = "1", B = "2" }
        [[server]]
        listen = ":80"
        read_timeout = "1m30s"
        route = [
          { path = "/a", respond = 204, add_headers = { C = "3" } },
          { path = "/b", respond = 204, add_headers = { C = "3" } },
          { path = "/c", respond = 204 },
        ]
        """,
    )
    base = {"max_body": 1 << 20, "add_headers": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}
    assert loaded.plan["settings"] == [
        base,
        base | {"read_timeout": 90_000},
        base | {"read_timeout": 90_000, "add_headers": [{"name": "C", "value": "3"}]},
    ]
    assert [route["settings"] for route in loaded.plan["server"][0]["route"]] == [2, 2, 1]


def test_a_dict_has_the_same_shape_and_problems_name_its_origin() -> None:
    loaded = load_dict({"app": {"target": "a:b"}}, "command line")
    assert loaded.listen == ["127.0.0.1:8000"]
    assert loaded.plan["server"][0]["route"] == [{"path": "/", "content": {"app": {"pool": "app"}}, "settings": 0}]
    with pytest.raises(ConfigError, match=r"^command line: app.workers: must be at least 1, not 0$"):
        load_dict({"app": {"workers": 0}}, "command line")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[app]\ntarget = 'a:b'\n[apps.app]\n", '3:7: apps.app: "app" is the name of [app]: choose another'),
        ("", ": nothing to serve: add an [app] or a [[server]]"),
        ("send_timeout = '3 parsecs'\n[app]", '1:16: send_timeout: "3 parsecs" is not a time'),
        ("max_body = '3 stones'\n[app]", '1:12: max_body: "3 stones" is not a size'),
        ("max_body = -1\n[app]", "1:12: max_body: -1 is not a size"),
        ("[app]\n[gateway]\npid_file = 'nowhere/x'", "3:12: gateway.pid_file: there is no directory"),
        (
            "[app]\n[gateway]\ntrusted_proxies = ['10.0.0.1/8']",
            "3:20: gateway.trusted_proxies[0]: 10.0.0.1/8 has host bits",
        ),
        ("[app]\n[[server]]\nlisten = '0.0.0.0'", '3:10: server[0].listen[0]: "0.0.0.0" has no port'),
        ("[app]\n[[server]]\nlisten = ['[::1:80']", '3:11: server[0].listen[0]: "[::1:80" is not an address'),
        ("[app]\n[[server]]\nlisten = [':80', '*:80']", '3:18: server[0].listen[1]: "*:80" is listened on twice'),
        ("[app]\n[[server]]\nnames = 'a.*.b'", '3:9: server[0].names[0]: "a.*.b": a "*" stands for whole labels'),
        ("[app]\n[[server]]\nroute = [{ path = '/' }]", "3:10: server[0].route[0]: nothing answers this route"),
        (
            "[app]\n[[server]]\nroute = [{ path = '/', app = true, respond = 204 }]",
            "3:10: server[0].route[0]: a route has one of files, proxy, app, redirect, respond, stub_status, empty_gif",
        ),
        (
            "[app]\n[[server]]\nroute = [{ path = 'x', app = true }]",
            '3:19: server[0].route[0].path: the path "x" does not',
        ),
        (
            "[app]\n[[server]]\nroute = [{ path = '/', app = true }, { path = '/', respond = 204 }]",
            '3:47: server[0].route[1].path: the path "/" stands in line 3 of gateway.toml already',
        ),
        ("[[server]]\nroute = [{ path = '/', app = true }]", "2:30: server[0].route[0].app: there is no [app] table"),
        (
            "[upstream.app]\nservers = ['a:1']\n[[server]]\nroute = [{ path = '/', proxy = 'http://appp/' }]",
            '4:32: server[0].route[0].proxy: unknown upstream "appp" (did you mean "app"?)',
        ),
        (
            "[upstream.app]\nservers = ['a:1 weigth=2']\n[[server]]\nroute = [{ path = '/', proxy = 'http://app' }]",
            '2:12: upstream.app.servers[0]: unknown option "weigth" of an upstream server (did you mean "weight"?)',
        ),
        (
            "[[server]]\nroute = [{ path = '/', redirect = 'https://$hots/' }]",
            '2:35: server[0].route[0].redirect.to: unknown variable "$hots" (did you mean "$host"?)',
        ),
        (
            "[[server]]\nerror_page = { 404 = '@lost' }\nroute = [{ path = '/', respond = 204 }]",
            '2:22: server[0].error_page.404: this server has no route with the path "@lost"',
        ),
        ("[[server]]\nroute = [{ path = '/', respond = 99 }]", "2:34: server[0].route[0].respond: 99 is not a status"),
        ("a = \nb = [1\n", "1:5: not valid TOML"),
    ],
)
def test_each_mistake_is_told_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    assert f"gateway.toml:{problem}".replace("toml::", "toml:") in errors(tmp_path, text)[0]


def test_server_names_that_clash_are_a_warning(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, "[app]\n[[server]]\nnames = 'a.b'\n[[server]]\nnames = ['A.b']\n")
    assert [warning.message for warning in loaded.warnings] == [
        '"a.b" on 127.0.0.1:8000 is answered by server[0]; it is ignored here'
    ]


def test_options_of_an_address(tmp_path: Path) -> None:
    loaded = load_text(
        tmp_path,
        """
        [app]
        [[server]]
        listen = ":80"
        header_timeout = 5
        [[server]]
        listen = [":80 default_server backlog=7", "unix:/run/x.sock"]
        header_timeout = "1s"
        """,
    )
    assert loaded.plan["listen"] == [
        {"address": "0.0.0.0:80", "default_server": 1, "limits": {"header_timeout": 1000}},
        {"address": "unix:/run/x.sock", "default_server": 1, "limits": {"header_timeout": 1000}},
    ]
    assert loaded.sockets == {"0.0.0.0:80": SocketOptions(backlog=7)}


@pytest.mark.parametrize(
    ("url", "proxy", "address", "host"),
    [
        ("http://127.0.0.1:5000", {"upstream": "127.0.0.1:5000"}, "127.0.0.1:5000", "127.0.0.1:5000"),
        (
            "http://localhost/",
            {"upstream": "localhost:80", "authority": "localhost", "uri": "/"},
            "localhost:80",
            "localhost",
        ),
        ("http://[::1]:81/a?b", {"upstream": "[::1]:81", "uri": "/a?b"}, "[::1]:81", "[::1]:81"),
        ("http://unix:/a/b", {"upstream": "unix:/a/b"}, "unix:/a/b", "localhost"),
        ("http://unix:/a/b:/c", {"upstream": "unix:/a/b", "uri": "/c"}, "unix:/a/b", "localhost"),
    ],
)
def test_a_url_implies_an_upstream(tmp_path: Path, url: str, proxy: object, address: str, host: str) -> None:
    plan = load_text(tmp_path, f'[[server]]\nroute = [{{ path = "/x/", proxy = "{url}" }}]').plan
    assert plan["server"][0]["route"][0]["content"] == {"proxy": proxy}
    assert list(plan["upstream"].values()) == [{"server": [{"address": address}], "host": host}]


def test_access_logs_are_kept_once_and_can_be_turned_off(tmp_path: Path) -> None:
    loaded = load_text(
        tmp_path,
        """
        access_log = "-"
        [[server]]
        access_log = ["-", { path = "x.log", format = "$status $request" }]
        route = [{ path = "/", respond = 204, access_log = false }]
        """,
    )
    assert loaded.plan["access_log"] == [{"path": "-"}, {"path": str(tmp_path / "x.log"), "format": "$status $request"}]
    assert [settings["access_log"] for settings in loaded.plan["settings"]] == [[0], [0, 1], []]


def test_overrides_win_and_their_problems_name_the_command_line(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, EXAMPLE, {"app": {"workers": 9}, "gateway": {"io_threads": 2}})
    assert loaded.app["app"].workers == 9
    assert loaded.app["app"].threads == 2
    assert loaded.plan["gateway"] == {"io_threads": 2, "prefix": str(tmp_path)}
    assert errors(tmp_path, EXAMPLE, {"app": {"workers": -1}}) == [
        "command line: app.workers: must be at least 1, not -1"
    ]


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read: No such file or directory"):
        load(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.toml: is not UTF-8 text: byte 3"):
        load(tmp_path / "latin.toml")


def test_process_settings_stand_in_gateway(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, "[app]\n[gateway]\nuser = 'www'\nshutdown_timeout = '1m'\npid_file = 'x.pid'\n")
    assert loaded.process.user == "www"
    assert loaded.process.shutdown_timeout == 60.0
    assert loaded.process.pid_file == str(tmp_path / "x.pid")
    assert loaded.plan["gateway"]["shutdown_timeout"] == 60_000


MEASURE = """
import pathlib, re, sys, time
from buchner.config import load
start = time.process_time()
loaded = load(sys.argv[1])
size = len(loaded.plan_json())
seconds = time.process_time() - start
# Not getrusage: its peak has that of the process that forked this one, too.
peak = int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
print(seconds, peak // 1024, len(loaded.plan["server"]))
"""


def test_ten_thousand_servers_and_routes_load_within_two_seconds_and_100_mb(tmp_path: Path) -> None:
    servers = "".join(
        f'[[server]]\nnames = ["s{number}.example.com"]\nroute = [{{ path = "/", respond = 204 }}]\n'
        for number in range(10_000)
    )
    routes = "".join(f'[[server.route]]\npath = "/p{number}/"\nrespond = 204\n' for number in range(10_000))
    (tmp_path / "gateway.toml").write_text(servers + "[[server]]\n" + routes)
    # In a process of its own: memory is the peak of the whole process, the interpreter included.
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path / "gateway.toml"], capture_output=True, text=True, check=True
    )
    seconds, megabytes, count = result.stdout.split()
    assert float(seconds) < 2
    assert int(megabytes) < 100
    assert int(count) == 10_001


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("uwsgi://127.0.0.1:3031/path", 'has a URI, which uwsgi knows nothing of: take "/path" away'),
        ("uwsgi://unix:/run/app.sock:/path", 'has a URI, which uwsgi knows nothing of: take ":/path" away'),
        ("fastcgi://127.0.0.1", "has no port"),
        ("scgi://", "names no server"),
        (
            "ajp://127.0.0.1:8009",
            '"ajp://" is not supported as an upstream; http://, https://, uwsgi://, suwsgi://',
        ),
        ("fastcgi://one", '"one" is spoken to in http by another route'),
    ],
)
def test_urls_of_applications_that_lead_nowhere(tmp_path: Path, url: str, problem: str) -> None:
    text = """[upstream.one]
servers = ["127.0.0.1:1"]
[[server]]
listen = ["8080"]
route = [
    { path = "/", proxy = "http://one" },
    { path = "/a", proxy = "%s" },
]
"""
    (message,) = errors(tmp_path, text % url)
    assert message.startswith("gateway.toml:7:")
    assert problem in message
