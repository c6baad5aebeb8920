"""Sites: an nginx.conf, and below it the requests with what their answers must be.

    #? GET /path?x=1 -h www.example.com -H "Cookie: a=b" -d body => 302 location=http://other/ "text of the answer"

`-h` is the Host (`test` unless given), `-H` a field, `-d` the body. Behind `=>` stand the status (`none`: the
connection is closed without an answer), then fields as `name=value`, and texts: each must be found in a field's
`name: value` or in the body.
"""

from __future__ import annotations

import re
import shlex
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from werkzeug.serving import make_server

from fakes.site_app import create

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.nginx import Answer


@dataclass
class Ask:
    """A request and what its answer must be."""

    line: str
    method: str
    target: str
    host: str = "test"
    fields: list[str] = field(default_factory=list)
    body: str | None = None
    status: int | None = None
    expected: list[str] = field(default_factory=list)

    def request(self) -> str:
        """Return the bytes of the request."""
        lines = [f"{self.method} {self.target} HTTP/1.1", f"Host: {self.host}", "Connection: close", *self.fields]
        if self.body is not None:
            lines += ["Content-Type: text/plain", f"Content-Length: {len(self.body)}"]
        return "\r\n".join(lines) + "\r\n\r\n" + (self.body or "")

    def check(self, answer: Answer) -> None:
        """Compare an answer with what is expected."""
        assert answer.status == self.status, f"{self.line}\n  {answer}"
        fields = [f"{name}: {value}" for name, value in answer.fields]
        text = answer.body.decode("latin-1")
        for wanted in self.expected:
            match = re.fullmatch(r"([a-z-]+)=(.*)", wanted)
            named = f"{match[1]}: {match[2]}" if match else wanted
            assert wanted in text or any(named in line for line in fields), f"{self.line}\n  {wanted!r} not in {answer}"


def read(path: Path) -> tuple[str, list[Ask]]:
    """Return the configuration and the requests of a site."""
    lines = path.read_text().splitlines()
    conf = "\n".join(line for line in lines if not line.startswith("#?"))
    return conf, [_ask(line[2:].strip()) for line in lines if line.startswith("#?")]


def _ask(line: str) -> Ask:
    request, _, expected = line.partition(" => ")
    method, target, *options = shlex.split(request)
    status, *texts = shlex.split(expected)
    ask = Ask(line, method, target, status=None if status == "none" else int(status), expected=texts)
    for option, value in zip(options[::2], options[1::2], strict=True):
        match option:
            case "-h":
                ask.host = value
            case "-H":
                ask.fields.append(value)
            case "-d":
                ask.body = value
            case _:
                raise ValueError(f"{line}: what is {option}?")
    return ask


class App:
    """The Flask app of the sites, by the name it answers with, on a free port."""

    def __init__(self, name: str) -> None:
        self.server = make_server("127.0.0.1", 0, create(name), threaded=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return self.server.server_port

    def stop(self) -> None:
        self.server.shutdown()
