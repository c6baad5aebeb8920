"""A Flask hello."""

from __future__ import annotations

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    """Answer 65 bytes."""
    return "x" * 65
