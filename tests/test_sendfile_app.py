"""X-Sendfile of an app: what it says about its folders becomes `sendfile_roots`, and Flask's `send_file` works."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from app_driver import AppGateway
from buchner.supervisor.messages import WorkerReady
from buchner.supervisor.plan import complete
from buchner.worker.folders import own_folders

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
    ready = WorkerReady(pid=1, app="x", folders=["/app", "/app/instance"])
    done = complete(given, {"app": ready})
    assert roots(done) == {"/0/": ["/app", "/app/instance"], "/1/": ["/srv"], "/other/": None}
    assert given == plan({}, {"sendfile_roots": ["/srv"]})


def test_equal_settings_are_interned_with_the_limit_on_bodies() -> None:
    given = plan({})
    given["server"].append(given["server"][0])
    done = complete(given, {"app": WorkerReady(pid=1, app="x", folders=["/app"], max_content_length=7)})
    assert done["settings"] == [{}, {"max_body": 7, "sendfile_roots": ["/app"]}]
    assert complete(given, {"app": WorkerReady(pid=1, app="x")}) == given


def test_a_flask_app_names_its_root_and_instance_folder(tmp_path: Path) -> None:
    flask = pytest.importorskip("flask")
    app = flask.Flask("shop", root_path=str(tmp_path), instance_path=str(tmp_path / "instance"))
    assert own_folders(app) == [str(tmp_path), str(tmp_path / "instance")]
    assert own_folders(lambda _environ, _start: []) == []


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
    with AppGateway(app, sendfile_roots=own_folders(app)) as gateway:
        status, head, body = gateway.ask("/report")
        assert (status, body) == (200, bytes(range(256)) * 100)
        assert "Content-Type: application/pdf" in head
        assert "Content-Disposition: attachment; filename=report.pdf" in head
        assert "x-sendfile" not in head.lower()
        status, head, body = gateway.ask("/report", headers="Range: bytes=1-3\r\n")
        assert (status, body) == (206, b"\x01\x02\x03")
        assert head.count("Content-Range: bytes 1-3/25600") == 1
        assert gateway.ask("/other")[0] == 500
