"""X-Sendfile of an app: what it says about its folders becomes `sendfile_roots`, and Flask's `send_file` works."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from app_driver import AppGateway
from buchner.supervisor.messages import WorkerReady
from buchner.supervisor.plan import complete
from buchner.worker.folders import hidden, own_folders, wants_sendfile

if TYPE_CHECKING:
    from pathlib import Path


def plan(*settings: dict[str, Any]) -> dict[str, Any]:
    routes = [
        {"path": f"/{index}/", "content": {"app": {"pool": "app"}}, "settings": index} for index in range(len(settings))
    ]
    other = {"path": "/other/", "content": {"proxy": {"upstream": "x"}}, "settings": 0}
    return {
        "settings": list(settings),
        "server": [{"listen": [0], "names": [], "settings": 0, "route": [*routes, other]}],
    }


def roots(done: dict[str, Any]) -> dict[str, Any]:
    return {
        route["path"]: done["settings"][route["settings"]].get("sendfile_roots") for route in done["server"][0]["route"]
    }


def test_an_apps_folders_are_the_default_of_its_routes_only() -> None:
    given = plan({}, {"sendfile_roots": ["/srv"]})
    ready = WorkerReady(pid=1, app="x", folders=["/app"], hidden=["*.py"], x_sendfile=True)
    done = complete(given, {"app": ready})
    assert roots(done) == {"/0/": ["/app"], "/1/": ["/srv"], "/other/": None}
    assert done["settings"][2] == {"sendfile_roots": ["/app"], "sendfile_except": ["*.py"]}
    assert given == plan({}, {"sendfile_roots": ["/srv"]})


def test_an_app_that_does_not_ask_for_it_has_no_roots_unless_the_setting_is_on() -> None:
    ready = WorkerReady(pid=1, app="x", folders=["/app"])
    done = complete(plan({}, {"sendfile_headers": True}), {"app": ready})
    assert roots(done) == {"/0/": None, "/1/": ["/app"], "/other/": None}
    asking = WorkerReady(pid=1, app="x", folders=["/app"], x_sendfile=True)
    done = complete(plan({"sendfile_headers": False}, {"sendfile_roots": []}), {"app": asking})
    assert roots(done) == {"/0/": None, "/1/": [], "/other/": None}


def test_equal_settings_are_interned_with_the_limit_on_bodies() -> None:
    given = plan({})
    given["server"].append(given["server"][0])
    ready = WorkerReady(pid=1, app="x", folders=["/app"], max_content_length=7, x_sendfile=True)
    done = complete(given, {"app": ready})
    assert done["settings"] == [
        {},
        {"max_body": 0, "request_buffering_max": 7, "sendfile_roots": ["/app"], "sendfile_except": []},
    ]
    assert complete(given, {"app": WorkerReady(pid=1, app="x")}) == given


def test_a_flask_app_names_its_root_and_hides_its_instance_folder(tmp_path: Path) -> None:
    flask = pytest.importorskip("flask")
    app = flask.Flask("shop", root_path=str(tmp_path), instance_path=str(tmp_path / "instance"))
    assert own_folders(app) == [str(tmp_path)]
    assert {str(tmp_path / "instance"), str(tmp_path / "templates"), "*.py", ".*"} <= set(hidden(app))
    assert own_folders(lambda _environ, _start: []) == hidden(lambda _environ, _start: []) == []
    assert not wants_sendfile(app)
    app.config["USE_X_SENDFILE"] = True
    assert wants_sendfile(app)


def test_without_flask_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flask", None)
    assert own_folders(object()) == []


def test_flask_hands_its_files_over_to_the_gateway(tmp_path: Path) -> None:
    flask = pytest.importorskip("flask")
    (tmp_path / "report.pdf").write_bytes(bytes(range(256)) * 100)
    app = flask.Flask("shop", root_path=str(tmp_path), instance_path=str(tmp_path / "instance"))
    app.config["USE_X_SENDFILE"] = True
    app.add_url_rule("/report", view_func=lambda: flask.send_file("report.pdf", as_attachment=True), endpoint="report")
    app.add_url_rule("/other", view_func=lambda: flask.send_file("/etc/hostname"), endpoint="other")
    with AppGateway(app, sendfile_roots=own_folders(app), sendfile_except=hidden(app)) as gateway:
        status, head, body = gateway.ask("/report")
        assert (status, body) == (200, bytes(range(256)) * 100)
        assert "Content-Type: application/pdf" in head
        assert "Content-Disposition: attachment; filename=report.pdf" in head
        assert "x-sendfile" not in head.lower()
        status, head, body = gateway.ask("/report", headers="Range: bytes=1-3\r\n")
        assert (status, body) == (206, b"\x01\x02\x03")
        assert head.count("Content-Range: bytes 1-3/25600") == 1
        assert gateway.ask("/other")[0] == 500


def relay(environ: dict[str, Any], start: Any) -> list[bytes]:
    """Sends back what the client names, as an app does that relays headers."""
    start("200 OK", [("Content-Type", "text/plain"), ("X-Sendfile", environ["HTTP_X_NAME"])])
    return [b"the app's own body"]


SECRETS = ["app.py", "instance/app.db", ".env", "templates/a.html", "package/.git/config", "a/__pycache__/x.pyc"]


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    for name in [*SECRETS, "uploads/a.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"SECRET" if name in SECRETS else b"for all")
    return tmp_path


@pytest.mark.parametrize("settings", [{}, {"sendfile_headers": True}, {"sendfile_headers": False}])
@pytest.mark.parametrize("development", [True, False])
def test_x_sendfile_that_nobody_asked_for_is_dropped(
    secrets: Path, settings: dict[str, Any], *, development: bool
) -> None:
    with AppGateway(relay, gateway={"development": development}, **settings) as gateway:
        for name in [*SECRETS, "uploads/a.txt"]:
            status, head, body = gateway.ask("/", headers=f"X-Name: {secrets / name}\r\n")
            assert (status, body) == (200, b"the app's own body")
            assert ("X-Buchner-Dropped: X-Sendfile" in head) == development
            assert "X-Sendfile: /" not in head


def test_the_default_roots_hide_code_templates_and_the_instance_folder(secrets: Path) -> None:
    flask = pytest.importorskip("flask")
    app = flask.Flask("shop", root_path=str(secrets), instance_path=str(secrets / "instance"))
    with AppGateway(relay, sendfile_roots=own_folders(app), sendfile_except=hidden(app)) as gateway:
        assert gateway.ask("/", headers=f"X-Name: {secrets}/uploads/a.txt\r\n")[2] == b"for all"
        names = [*SECRETS, "uploads/../app.py", "./app.py", "/instance/app.db", "instance//app.db"]
        for name in names:
            status, _head, body = gateway.ask("/", headers=f"X-Name: {secrets}/{name}\r\n")
            assert status in (403, 404, 500), name
            assert b"SECRET" not in body, name
