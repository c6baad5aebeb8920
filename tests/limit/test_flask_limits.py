"""`buchner.limits` in Flask code: in the process, and counted once for all workers of a service."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
from flask import Blueprint, Flask, Response, make_response, request
from flask.views import MethodView

from buchner import counts
from buchner.counts import Count
from buchner.limits import Limiter, current_limit, get_remote_address, limit
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flask.testing import FlaskClient

    from helpers.gateway import Gateway


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    counts.table().clear()
    yield
    counts.table().clear()


def _app(**views: Callable[..., Any]) -> FlaskClient:
    app = Flask(__name__)
    for name, view in views.items():
        app.add_url_rule(f"/{name}", name, view, methods=["GET", "POST"])
    return app.test_client()


def _statuses(client: FlaskClient, path: str, count: int, **options: Any) -> list[int]:
    return [client.get(path, **options).status_code for _ in range(count)]


def test_a_view_has_a_rate() -> None:
    @limit("3/hour")
    def view() -> str:
        found = current_limit()
        assert found is not None
        return f"{found.limit}: {found.remaining}"

    client = _app(view=view)
    first = client.get("/view")
    assert (first.text, first.headers["RateLimit"], first.headers["RateLimit-Policy"]) == (
        "3 per 1 hour: 2",
        '"3 per 1 hour";r=2;t=1200',
        '"3 per 1 hour";q=3;w=3600',
    )
    assert _statuses(client, "/view", 3) == [200, 200, 429]
    refused = client.get("/view")
    assert "3 per 1 hour" in refused.text
    assert 1190 <= int(refused.headers["Retry-After"]) <= 1200
    assert client.get("/view", environ_base={"REMOTE_ADDR": "10.0.0.1"}).status_code == 200


def test_keys_costs_and_conditions() -> None:
    @limit("4/hour", key="$http_x_key", cost=lambda: int(request.args.get("cost", 1)))
    def by_key() -> str:
        return ""

    @limit("1/hour", key=lambda: request.args.get("who"), when=lambda: request.args.get("free") is None)
    def by_call() -> str:
        return ""

    @limit("1/hour;100/day", methods=["POST"])
    def posts() -> str:
        return ""

    client = _app(by_key=by_key, by_call=by_call, posts=posts)
    assert _statuses(client, "/by_key", 9) == [200] * 9  # an empty key is not counted
    assert _statuses(client, "/by_key?cost=2", 3, headers={"X-Key": "a"}) == [200, 200, 429]
    assert _statuses(client, "/by_key", 5, headers={"X-Key": "b"}) == [200] * 4 + [429]
    assert _statuses(client, "/by_call?who=a", 2) == [200, 429]
    assert _statuses(client, "/by_call?who=a&free", 2) == [200, 200]
    assert _statuses(client, "/posts", 3) == [200] * 3
    assert [client.post("/posts").status_code for _ in range(2)] == [200, 429]


def test_what_one_rate_refuses_no_other_counts() -> None:
    @limit("2/hour", scope="wide")
    @limit("1/hour;2/day")
    def both() -> str:
        return ""

    @limit("2/hour", scope="wide")
    def wide() -> str:
        return ""

    client = _app(both=both, wide=wide)
    assert _statuses(client, "/both", 2) == [200, 429]
    # The outer one was counted before the inner one refused; the two rates of the inner one are one decision.
    assert _statuses(client, "/wide", 1) == [429]


def test_a_blueprint_and_deducting_by_the_response() -> None:
    app = Flask(__name__)
    blueprint = limit("2/hour")(Blueprint("api", __name__, url_prefix="/api"))

    @blueprint.get("/a")
    @blueprint.get("/b")
    def both() -> str:
        return ""

    @app.get("/login")
    @limit("2/hour", deduct_when=lambda response: response.status_code == 401)
    def login() -> tuple[str, int]:
        return "", 200 if "right" in request.args else 401

    app.register_blueprint(blueprint)
    client = app.test_client()
    assert [client.get(path).status_code for path in ("/api/a", "/api/b", "/api/a")] == [200, 200, 429]
    assert _statuses(client, "/login?right", 5) == [200] * 5
    assert _statuses(client, "/login", 3) == [401, 401, 429]
    assert _statuses(client, "/login?right", 1) == [429]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("often",), "is not a rate"),
        (("",), "is no rate"),
        (("1/s;never",), "is not a rate"),
        (("1/s", "$nothing"), r"\$nothing is no variable"),
    ],
)
def test_a_wrong_rate_is_found_when_the_app_is_imported(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        limit(*arguments)


# The examples of Flask-Limiter's documentation, with the import changed.


def test_the_quickstart() -> None:
    app = Flask(__name__)
    limiter = Limiter(
        get_remote_address, app=app, default_limits=["200 per day", "50 per hour"], storage_uri="memory://"
    )

    @app.route("/slow")
    @limiter.limit("1 per day")
    def slow() -> str:
        return ":("

    @app.route("/medium")
    @limiter.limit("1/second", override_defaults=False)
    def medium() -> str:
        return ":|"

    @app.route("/fast")
    def fast() -> str:
        return ":)"

    @app.route("/ping")
    @limiter.exempt
    def ping() -> str:
        return "PONG"

    client = app.test_client()
    assert _statuses(client, "/slow", 2) == [200, 429]
    assert "1 per 1 day" in client.get("/slow").text
    assert _statuses(client, "/fast", 51) == [200] * 50 + [429]
    assert _statuses(client, "/ping", 60) == [200] * 60
    assert _statuses(client, "/medium", 2) == [200, 429]


def test_shared_limits_filters_blueprints_and_class_views() -> None:
    app = Flask(__name__)
    limiter = Limiter(get_remote_address, default_limits=["3/hour"], headers_enabled=True)
    mysql = limiter.shared_limit("2/hour", scope="mysql")

    @app.route("/one")
    @mysql
    def one() -> str:
        return ""

    @app.route("/two")
    @mysql
    def two() -> str:
        return ""

    @limiter.request_filter
    def inner() -> bool:
        return "letmein" in request.args

    class View(MethodView):
        decorators = [limiter.limit("1/hour", per_method=True)]  # noqa: RUF012 - as the example has it

        def get(self) -> str:
            return "get"

        def post(self) -> str:
            return "post"

    app.add_url_rule("/view", view_func=View.as_view("view"))
    login, regular, free = (Blueprint(name, __name__, url_prefix=f"/{name}") for name in ("login", "regular", "free"))
    for blueprint in (login, regular, free):
        blueprint.add_url_rule("/", "index", lambda: "")
    limiter.limit("1/hour")(login)
    limiter.exempt(free)
    for blueprint in (login, regular, free):
        app.register_blueprint(blueprint)
    limiter.init_app(app)
    client = app.test_client()
    assert [client.get(path).status_code for path in ("/one", "/two", "/one", "/two")] == [200, 200, 429, 429]
    assert _statuses(client, "/one?letmein", 3) == [200] * 3
    assert [client.get("/view").status_code, client.post("/view").status_code, client.get("/view").status_code] == [
        200,
        200,
        429,
    ]
    assert _statuses(client, "/login/", 2) == [200, 429]
    assert _statuses(client, "/regular/", 4) == [200, 200, 200, 429]
    assert _statuses(client, "/free/", 9) == [200] * 9
    limiter.reset()
    told = client.get("/regular/").headers
    assert (told["X-RateLimit-Limit"], told["X-RateLimit-Remaining"]) == ("3", "2")


def test_messages_breaches_and_blocks() -> None:
    app = Flask(__name__)

    def too_many(breached: Any) -> Response:
        return make_response(f"no more than {breached.limit}", 418)

    limiter = Limiter(get_remote_address, app=app)

    @app.route("/a")
    @limiter.limit("1/hour", error_message="chill!")
    def a() -> str:
        return ""

    @app.route("/b")
    @limiter.limit("1/hour", on_breach=too_many, exempt_when=lambda: "admin" in request.args)
    def b() -> str:
        return ""

    @app.route("/c")
    def c() -> str:
        with limiter.limit(lambda: "2/hour"):
            return "inside"

    client = app.test_client()
    assert _statuses(client, "/a", 2) == [200, 429]
    assert "chill!" in client.get("/a").text
    assert _statuses(client, "/b?admin", 3) == [200] * 3
    assert _statuses(client, "/b", 2) == [200, 418]
    assert client.get("/b").text == "no more than 1 per 1 hour"
    assert _statuses(client, "/c", 3) == [200, 200, 429]


@pytest.mark.parametrize("options", [{"storage_uri": "redis://127.0.0.1"}, {"default_limits": ["never"]}])
def test_what_is_not_taken_is_said(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"storage_uri|is not a rate"):
        Limiter(get_remote_address, **options)
    with pytest.raises(TypeError, match="given by name"):
        Limiter(Flask(__name__))


# The table.


def test_a_bucket_empties_with_time() -> None:
    clock = [10**12]
    table = counts.Table(counts.create(), lambda: clock[0])

    def ask(cost: int = 1) -> counts.Left:
        return table.hit([Count(b"a", 4, 8, cost)])[0]

    assert [ask().remaining for _ in range(4)] == [3, 2, 1, 0]
    refused = ask()
    assert (refused.granted, refused.wait, refused.reset) == (False, 2.0, 8.0)
    clock[0] += 2_000_000
    assert (ask().granted, ask().granted) == (True, False)
    clock[0] += 60_000_000
    assert (ask(3).remaining, ask(2).granted, ask().granted) == (1, False, True)


def test_a_full_set_gives_up_what_is_empty_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "_SETS", 1)
    table = counts.Table(counts.create())
    for number in range(9):
        table.hit([Count(b"%d" % number, 1, 3600 + number)])
    granted = [table.hit([Count(b"%d" % number, 1, 3600 + number)], peek=True)[0].granted for number in range(9)]
    assert granted == [True] + [False] * 8


def test_threads_count_every_request() -> None:
    table = counts.Table(counts.create())
    granted: list[bool] = []

    def ask() -> None:
        granted.extend(table.hit([Count(b"a", 500, 86_400), Count(b"b", 1000, 86_400)])[0].granted for _ in range(200))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert granted.count(True) == 500


APP = """
import os
from flask import Flask
from buchner.limits import limit

app = Flask(__name__)

@app.get("/")
@limit("20/day")
def index():
    return str(os.getpid())

@app.get("/pid")
def pid():
    return str(os.getpid())
"""


@pytest.mark.parametrize("preload", ["false", "true"])
def test_workers_count_together(preload: str, run_gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    (tmp_path / "counted.py").write_text(APP)
    gateway = run_gateway(
        f'[app]\ntarget = "counted:app"\nworkers = 1\npreload = {preload}\npythonpath = ["{tmp_path}"]\n'
        '[[server]]\n[[server.route]]\npath = "/"\napp = true\n'
    )
    seen = []
    for _ in range(3):
        replies = [gateway.get("/") for _ in range(8)]
        seen += [reply.status for reply in replies]
        pid = gateway.get("/pid").body
        os.kill(int(pid), signal.SIGTERM)
        wait_for(lambda pid=pid: gateway.get("/pid").body != pid, "another worker")  # type: ignore[misc]
    assert seen == [200] * 20 + [429] * 4
