"""A Flask app with one of everything a gateway must carry."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flask import Flask, Response, jsonify, render_template, request
from flask_sock import Sock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simple_websocket import Server

app = Flask(__name__)
sock = Sock(app)

UPLOAD_CHUNK = 64 * 1024


@app.route("/", methods=["GET", "POST"])
def page() -> str:
    """Show the page; greet whoever filled in the form."""
    return render_template("page.html", name=request.form.get("name", "").strip())


@app.get("/json")
def seen() -> Response:
    """Tell what the app sees of the request: right without ProxyFix."""
    return jsonify(
        method=request.method,
        url=request.url,
        address=request.remote_addr,
        prefix=request.script_root,
        headers=dict(request.headers),
    )


@app.get("/events")
def events() -> Response:
    """Stream the time, one event a second, until the reader goes away."""

    def ticks() -> Iterator[str]:
        while True:
            yield f"data: {datetime.now(UTC):%H:%M:%S} UTC\n\n"
            time.sleep(1)

    return Response(ticks(), mimetype="text/event-stream", headers={"Cache-Control": "no-store"})


@app.post("/upload")
def upload() -> Response:
    """Hash a body of any size as it comes in, holding 64 KiB of it at a time."""
    digest, size = hashlib.sha256(), 0
    while chunk := request.stream.read(UPLOAD_CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return jsonify(bytes=size, sha256=digest.hexdigest())


@sock.route("/echo")  # type: ignore[untyped-decorator]  # flask-sock has no types
def echo(socket: Server) -> None:
    """Answer each message with itself; flask-sock ends the loop when the browser leaves."""
    while True:
        socket.send(socket.receive())
