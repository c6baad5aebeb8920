"""Keys of requests, under the names that Flask-Limiter has for them."""

from __future__ import annotations

from flask import request


def get_remote_address() -> str:
    """Return the address of the client."""
    return request.remote_addr or "127.0.0.1"


def get_ipaddr() -> str:
    """Return the address of the client; what proxies say of it has been looked at by the gateway."""
    return get_remote_address()
