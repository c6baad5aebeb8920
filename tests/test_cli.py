"""The command line: wrong flags, missing apps, files with mistakes; finding and importing apps."""

from __future__ import annotations

import mimetypes
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from buchner.cli import cli
from buchner.cli.find import find_app
from buchner.errors import AppImportError
from buchner.serving import Serving
from buchner.worker.load import load_app, split_target
from buchner.worker.static import max_content_length, static_folders

if TYPE_CHECKING:
    from collections.abc import Iterator

flask = pytest.importorskip("flask")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("PORT", "FLASK_APP", "WEB_CONCURRENCY", "LISTEN_PID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BUCHNER_STATE_DIR", str(tmp_path / "state"))
    return tmp_path


def run(*words: str) -> Any:
    return CliRunner().invoke(cli, list(words))


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["serve", "--wrong"], 2, "No such option"),
        (["serve", "a:b", "--workers", "0"], 2, "0 is not in the range"),
        (["serve", "a:b", "--bind", "::1:80"], 2, "an IPv6 address goes into brackets"),
        (["serve"], 2, "no app to serve"),
        (["serve", "a:b", "--trusted-proxies", "nonsense"], 2, "nonsense"),
        (["run", "missing.toml"], 2, "does not exist"),
        (["status"], 1, "no Buchner of this user is running"),
    ],
)
def test_wrong_use_is_told_in_words(here: Path, words: list[str], status: int, message: str) -> None:
    result = run(*words)
    assert result.exit_code == status, result.output
    assert message in result.output


def test_check_names_the_place_of_a_mistake(here: Path) -> None:
    Path("gateway.toml").write_text('[app]\ntarget = "shop:app"\nworkrs = 2\n')
    result = run("check", "gateway.toml")
    assert result.exit_code == 2
    assert "gateway.toml:3:1" in result.output
    assert "workers" in result.output
    Path("gateway.toml").write_text('[app]\ntarget = "shop:app"\n')
    assert run("check", "gateway.toml").output == "gateway.toml is right: 1 server, 1 app\n"


def test_help_shows_examples(here: Path) -> None:
    assert "buchner serve shop:app" in run("--help").output
    assert "--trusted-proxies" in run("serve", "--help").output


def test_the_app_is_found_as_flask_does(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("app.py").touch()
    assert find_app(None) == "app.py"
    Path("wsgi.py").touch()
    assert find_app(None) == "wsgi.py"
    monkeypatch.setenv("FLASK_APP", "shop")
    assert find_app(None) == "shop"
    assert find_app("other:app") == "other:app"


def test_port_and_defaults(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Serving("a:b").addresses() == ["127.0.0.1:8000"]
    monkeypatch.setenv("PORT", "5000")
    assert Serving("a:b").addresses() == ["0.0.0.0:5000"]
    assert Serving("a:b", ["8080"]).addresses() == ["127.0.0.1:8080"]


def test_flags_become_a_plan(here: Path) -> None:
    loaded = Serving("a:b", ["8080"], timeout=5, log_format="json", mount="/shop/", max_body="1m").load()
    assert loaded.listen == ["127.0.0.1:8080"]
    (route,) = loaded.plan["server"][0]["route"]
    assert route["path"] == "/shop/"
    assert route["content"]["app"] == {"pool": "app", "mount": "/shop"}
    settings = loaded.plan["settings"][route["settings"]]
    assert (settings["app_timeout"], settings["max_body"]) == (5000, 1 << 20)
    assert loaded.plan["access_log"][0]["format"] == "json"


@pytest.mark.parametrize(
    ("target", "parts"),
    [("shop", ("shop", None)), ("shop:app", ("shop", "app")), ('shop:make("a:b")', ("shop", 'make("a:b")'))],
)
def test_targets_are_split(target: str, parts: tuple[str, str | None]) -> None:
    assert split_target(target) == parts


SHOP = """
from flask import Flask
app = Flask(__name__)
def create_app(name="shop", debug=False):
    made = Flask(name)
    made.config["MADE"] = debug
    return made
def raw(environ, start_response): return []
class holder: application = raw
"""


ASGI = """
async def asynchronous(scope, receive, send): pass
def plain_asgi(scope, receive, send): pass
class Asgi:
    async def __call__(self, scope, receive, send): pass
"""


def test_apps_are_imported(here: Path) -> None:
    Path("shop_a.py").write_text(SHOP)
    assert load_app("shop_a").name == "shop_a"  # type: ignore[attr-defined]
    assert load_app("shop_a.py:app") is load_app("shop_a:app")
    assert load_app('shop_a:create_app("x", debug=True)').config["MADE"] is True  # type: ignore[attr-defined]
    assert load_app("shop_a:holder.application").__name__ == "raw"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("shop_missing", 'no module "shop_missing"'),
        ("shop_b:ap", 'has no "ap" .*app'),
        ("shop_b:create_app(1+x)", "only literal arguments"),
        ("shop_b:create_app(3, 4, 5)", "TypeError"),
        ("shop_b:__name__", "not a WSGI app"),
        ("shop_b:asynchronous", "is an ASGI app"),
        ("shop_b:Asgi()", "is an ASGI app"),
        ("shop_b:plain_asgi", "is an ASGI app"),
        ("site:app", r"site\.py, of Python's own standard library, and not .*site\.py"),
        ("time", "a built-in module, of Python's own"),
        ("no/such/file.py", "there is no file"),
    ],
)
def test_what_cannot_be_imported_is_told(here: Path, target: str, message: str) -> None:
    Path("shop_b.py").write_text(SHOP + ASGI)
    for name in ("site", "time"):
        Path(f"{name}.py").write_text(SHOP)
    with pytest.raises(AppImportError, match=message):
        load_app(target)


def test_a_traceback_shows_the_apps_frames_only(here: Path) -> None:
    Path("shop_c.py").write_text("def f():\n    raise ValueError('boom')\nf()\n")
    with pytest.raises(AppImportError) as caught:
        load_app("shop_c")
    assert "shop_c.py" in caught.value.traceback
    assert "worker/load.py" not in caught.value.traceback


def app_with_static(here: Path) -> Any:
    (here / "static").mkdir(exist_ok=True)
    return flask.Flask("shop", root_path=str(here))


def test_static_folders_are_found_with_their_cache_control(here: Path) -> None:
    app = app_with_static(here)
    app.config.update(SEND_FILE_MAX_AGE_DEFAULT=60, MAX_CONTENT_LENGTH=1000)
    (here / "admin").mkdir()
    app.register_blueprint(
        flask.Blueprint("admin", "shop", root_path=str(here), static_folder="admin", url_prefix="/a")
    )
    found = {folder.url_path: folder for folder in static_folders(app)}
    assert set(found) == {"/static", "/a/admin"}
    assert found["/static"].cache_control == "public, max-age=60"
    assert max_content_length(app) == 1000
    assert static_folders(SimpleNamespace()) == []


def guarded_by_login(app: Any) -> None:
    app.before_request(lambda: None)


def headers_added(app: Any) -> None:
    app.after_request(lambda response: response)


def wrapped_in_middleware(app: Any) -> None:
    inner = app.wsgi_app
    app.wsgi_app = lambda environ, start_response: inner(environ, start_response)


def view_replaced(app: Any) -> None:
    app.view_functions["static"] = lambda filename: filename


def route_below(app: Any) -> None:
    app.add_url_rule("/static/special", view_func=lambda: "special", endpoint="special")


def hosts_checked(app: Any) -> None:
    app.config["TRUSTED_HOSTS"] = ["shop.example"]


def hosts_checked_by_the_request(app: Any) -> None:
    app.request_class = type("Request", (flask.Request,), {"trusted_hosts": ["shop.example"]})


def subdomains_matched(app: Any) -> None:
    app.subdomain_matching = True
    app.config["SERVER_NAME"] = "shop.example"


def receiver_connected(app: Any) -> None:
    flask.request_started.connect(abort_all, app)


def receiver_of_all_apps_connected(_app: Any) -> None:
    flask.request_finished.connect(abort_all)


def abort_all(_sender: Any, **_details: Any) -> None:
    flask.abort(403)


def method_of_the_object_replaced(app: Any) -> None:
    app.full_dispatch_request = lambda: "all the same"


CHANGES = [
    guarded_by_login,
    headers_added,
    wrapped_in_middleware,
    view_replaced,
    route_below,
    hosts_checked,
    hosts_checked_by_the_request,
    subdomains_matched,
    receiver_connected,
    receiver_of_all_apps_connected,
    method_of_the_object_replaced,
]


@pytest.fixture(autouse=True)
def no_receivers() -> Iterator[None]:
    yield
    for signal in (flask.request_started, flask.request_finished):
        signal.disconnect(abort_all)


def test_names_that_only_the_app_knows_the_type_of_are_left_to_it(here: Path) -> None:
    usual = static_folders(app_with_static(here))[0].leave
    assert {".gz", ".br", ".svgz", ".tgz"} <= set(usual)
    assert not {".js", ".wasm", ".unityweb"} & set(usual)
    mimetypes.add_type("application/x-unity", ".unityweb")
    mimetypes.add_type("text/x-own", ".js")
    try:
        assert set(static_folders(app_with_static(here))[0].leave) == {*usual, ".unityweb", ".js"}
    finally:
        mimetypes.init()


@pytest.mark.parametrize("change", CHANGES)
def test_a_guarded_folder_is_left_to_the_app(here: Path, change: Any) -> None:
    app = app_with_static(here)
    change(app)
    assert static_folders(app) == []
