"""Ports that tests choose: nobody else gets them."""

from __future__ import annotations

import socket

import pytest

from helpers.gateway import free_port, hold


def test_a_free_port_is_kept_from_others_and_a_server_may_listen_on_it_again_and_again() -> None:
    port = free_port()
    for _ in range(2):
        with pytest.raises(OSError, match="in use"):
            hold(port)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        with (
            socket.create_server(("127.0.0.1", port)) as server,
            socket.create_connection(("127.0.0.1", port)) as client,
            server.accept()[0] as connection,
        ):
            connection.sendall(b"x")
            assert client.recv(1) == b"x"
