"""Responses of a generator: 300 MB in pieces of the size that the path names, in bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask, Response

if TYPE_CHECKING:
    from collections.abc import Iterator

TOTAL = 300_000_000

app = Flask(__name__)


def _pieces(size: int) -> Iterator[bytes]:
    piece = b"x" * size
    for _ in range(TOTAL // size):
        yield piece


@app.get("/<int:size>")
def pieces(size: int) -> Response:
    """Answer with pieces of `size` bytes."""
    return Response(_pieces(size), mimetype="application/octet-stream")
