"""The Flask app behind the sites: it says who it is and what it was asked."""

from flask import Flask, Response, abort, redirect, request
from flask_sock import Sock

SHOWN = ("Host", "Cookie")


def create(name: str) -> Flask:
    app = Flask(__name__, static_folder=None)

    @app.route("/", defaults={"path": ""}, methods=["GET", "POST", "PUT"])
    @app.route("/<path:path>", methods=["GET", "POST", "PUT"])
    def anything(path):
        lines = [f"{name} {request.method} {request.environ['RAW_URI']}"]
        fields = sorted((key, value) for key, value in request.headers if key in SHOWN or key.startswith("X-"))
        # What the gateway adds of its own accord, a new one each time.
        lines += [f"{key}: {value}" for key, value in fields if key not in ("X-Request-Id", "X-Forwarded-Host")]
        data = request.get_data(as_text=True)
        return Response("\n".join(lines) + f"\nbody {data}\n", mimetype="text/plain")

    @app.route("/login")
    def login():
        answer = redirect("http://internal.example/home")
        answer.set_cookie("session", "ok", domain="internal.example", path="/")
        return answer

    @app.route("/go")
    def go():
        return redirect("/home")

    @app.route("/missing")
    @app.route("/embed/missing")
    def missing():
        return Response(f"{name} has no such page\n", 404, mimetype="text/plain")

    @app.route("/broken")
    def broken():
        return Response("broken\n", 500, mimetype="text/plain")

    @app.route("/powered")
    def powered():
        return Response("x", headers={"X-Powered-By": "Flask"})

    add_services(app, name)
    return app


def add_services(app, name):
    sock = Sock(app)

    @app.route("/auth")
    def auth():
        match request.cookies.get("session"):
            case "ok":
                return Response(status=204, headers={"X-Auth-User": "alice"})
            case "blocked":
                return abort(403)
            case _:
                return Response(status=401)

    @app.route("/accel/<path:path>")
    def accel(path):
        return Response("not this", headers={"X-Accel-Redirect": f"/protected/{path}"}, mimetype="text/plain")

    @app.route("/events")
    def events():
        first = int(request.headers.get("Last-Event-Id", 0)) + 1
        stream = (f"id: {number}\ndata: {number}\n\n" for number in range(first, 4))
        return Response(stream, headers={"X-Accel-Buffering": "no"}, mimetype="text/event-stream")

    @app.route("/page")
    def page():
        return '<p>Acme and Acme</p><a href="http://internal.example/home">home</a>'

    @sock.route("/chat")
    def chat(ws):
        while True:
            ws.send(f"{name}: {ws.receive()}")
