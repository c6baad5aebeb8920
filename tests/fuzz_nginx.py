"""Compare Buchner with nginx on random configurations: ``make fuzz-nginx``; nginx/test_nginx_fuzz.py has a short run.

Prints each difference with the configuration and the request, and exits with 1 if there was one.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))

from helpers.fuzz import Maker
from helpers.nginx import Answer, Pair, comparable
from helpers.raw import Raw

if TYPE_CHECKING:
    from collections.abc import Iterator

_BUILT_IN = 300
BATCH = 40
"""Servers that one nginx and one Buchner have at a time."""


class Kept:
    """A connection that is opened again whenever the server has closed it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.raw: Raw | None = None

    def ask(self, request: str) -> Answer:
        """Return the answer to a request."""
        for _ in range(2):
            fresh = self.raw is None
            self.raw = self.raw or Raw(self.port)
            try:
                self.raw.send(request)
                reply = self.raw.reply(request.split(" ", 1)[0])
            except (EOFError, OSError):
                self.close()
                if fresh:
                    return Answer(None)
                continue
            if reply.get("connection") == "close":
                self.close()
            answer = comparable(reply, self.port)
            if request.startswith("HEAD") and reply.status >= _BUILT_IN:
                # the length of a built-in page, which isn't there to be told from others
                answer = replace(answer, fields=[one for one in answer.fields if not one[0].startswith("content-")])
            return answer
        return Answer(None)

    def close(self) -> None:
        """Close the connection."""
        if self.raw is not None:
            self.raw.socket.close()
            self.raw = None


def encoded(answer: Answer) -> Answer:
    """Encode the spaces that nginx writes into Location as variables have them, as Buchner does on purpose."""
    fields = [(name, value.replace(" ", "%20") if name == "location" else value) for name, value in answer.fields]
    return replace(answer, fields=fields)


def differences(directory: Path, nginx: str, seed: int, configs: int, requests: int) -> Iterator[str]:
    """Yield a description of each request that is answered differently.

    Args:
        directory: an empty directory.
        nginx: nginx's program.
        seed: of the random numbers.
        configs: number of servers.
        requests: number of requests to each.

    """
    maker = Maker(seed)
    for start in range(0, configs, BATCH):
        names = [f"s{number}" for number in range(start, min(start + BATCH, configs))]
        servers = {name: maker.server(name) for name in names}
        batch = directory / str(start)
        batch.mkdir()
        pair = Pair(batch, nginx, "default_type text/plain;\n" + "".join(servers.values()))
        theirs, ours = Kept(pair.nginx.port), Kept(pair.buchner.port)
        try:
            for name, text in servers.items():
                for _ in range(requests):
                    request = maker.request(name)
                    expected, answer = encoded(theirs.ask(request)), ours.ask(request)
                    if answer != expected:
                        yield f"{text}\n{request!r}\n  nginx:   {expected}\n  Buchner: {answer}\n"
        finally:
            theirs.close()
            ours.close()
            pair.stop()


def main() -> int:
    """Run as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configs", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--most", type=int, default=10, help="differences after which it ends")
    arguments = parser.parse_args()
    nginx = shutil.which("nginx")
    if nginx is None:
        sys.exit("nginx is not installed")
    found = 0
    with tempfile.TemporaryDirectory() as directory:
        args = Path(directory), nginx, arguments.seed, arguments.configs, arguments.requests
        for difference in differences(*args):
            sys.stdout.write(f"{difference}\n")
            found += 1
            if found == arguments.most:
                break
    size = f"{arguments.configs} configurations, {arguments.requests} requests each"
    sys.stdout.write(f"seed {arguments.seed}: {size}: {found} differences\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
