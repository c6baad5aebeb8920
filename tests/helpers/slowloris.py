"""Holds connections whose request heads never end: `python -m helpers.slowloris PORT COUNT SECONDS`.

Each gets another byte of its head every SECONDS. Prints a line when all are open, and one with how many the server
has ended once its standard input is closed.
"""

from __future__ import annotations

import select
import socket
import sys
import time

HEAD = b"GET /slow HTTP/1.1\r\nHost: test\r\nX-Slow: "


def main(port: int, count: int, seconds: float) -> None:
    connections = []
    for _ in range(count):
        connections.append(socket.create_connection(("127.0.0.1", port), 30))
        connections[-1].sendall(HEAD)
    print("open", flush=True)  # noqa: T201 - to the test
    ended = 0
    due = time.monotonic() + seconds
    while not select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
        due = time.monotonic() + seconds
        for at, connection in enumerate(connections):
            try:
                connection.sendall(b"x")
            except OSError:
                connection.close()
                connections[at] = socket.create_connection(("127.0.0.1", port), 30)
                connections[at].sendall(HEAD)
                ended += 1
    print(ended, flush=True)  # noqa: T201 - to the test


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
