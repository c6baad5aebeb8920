"""Random servers and requests for comparing Buchner with nginx: locations, rewrites, conditions, normalisation.

Every server answers with what it knows of the request, so that a request which takes another way, or takes it with
other variables, has another answer. All is drawn from one seed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

_SEGMENTS = ("a", "b", "ab", "abc", "a.b", "x.php", "x.gif", "B", "a b", "é")
_ENCODED = {"a b": ("a%20b", "a%20b"), "é": ("%c3%a9", "%C3%A9")}
_REGEXES = (
    r"\.php$",
    r"\.(gif|b)$",
    r"^/a",
    r"^/(a|b)(b*)",
    r"^/(?<first>[^/]+)/(?<rest>.*)$",
    r"/(.)b(.?)",
    r"b$",
    r"^/[^/]*$",
    r"a/(.*)/(.*)",
    r"A",
)
_TARGETS = ("/a", "/b/$1", "/ab/x.php", "/$1$2", "/a/b/c", "/$first/$v", "/a?q=$1", "/b?", "/ab/$1?z=$2", "/x$uri")
_SHOWN = "$uri|$args|$is_args|$1|$2|$v|$first|$rest|$request_uri|$document_uri|$arg_q|$arg_z"
_VALUES = ("", "0", "1", "$1", "$uri", "$arg_q", "x$v", "$http_x", "$args")


@dataclass
class Maker:
    """Makes servers and requests.

    Args:
        seed: of the random numbers.
    """

    seed: int
    _random: random.Random = field(init=False)
    _count: int = 0

    def __post_init__(self) -> None:
        """Start the random numbers."""
        self._random = random.Random(self.seed)

    def server(self, name: str) -> str:
        """Return a `server` block that listens on PORT under a name."""
        lines = ["server {", "listen 127.0.0.1:PORT;", f"server_name {name};", 'set $v "";', 'set $first "";']
        lines.append('set $rest "";')
        if self._chance(0.2):
            lines.append("absolute_redirect off;")
        if self._chance(0.3):
            lines += self._steps(2, inside=False)
        lines += self._level("/", 0)
        lines.append(f'return 200 "none {_SHOWN}"; ' if self._chance(0.05) else "")
        return "\n    ".join(filter(None, lines)) + "\n}\n"

    def _level(self, prefix: str, depth: int) -> list[str]:
        """Return locations whose paths begin with `prefix`."""
        lines: list[str] = []
        taken: set[tuple[str, str]] = set()
        for _ in range(self._random.randint(2, 6) if depth == 0 else self._random.randint(0, 2)):
            kind = self._pick(("", "", "", "=", "^~", "~", "~*"))
            text = self._pick(_REGEXES) if kind.startswith("~") else self._path(prefix)
            same = "regex" + kind if kind.startswith("~") else "=" if kind == "=" else "prefix"
            if (same, text) in taken:
                continue
            taken.add((same, text))
            lines.append(f'location {kind} "{text}" {{')
            if self._chance(0.1):
                lines.append("internal;")
            lines += self._steps(3, inside=True)
            if depth < 2 and kind != "=" and not kind.startswith("~") and self._chance(0.4):
                lines += self._level(text, depth + 1)
            elif kind.startswith("~") and depth < 2 and self._chance(0.2):
                lines += [f'location ~ "{self._pick(_REGEXES)}" {{', *self._steps(2, inside=True), self._answer(), "}"]
            lines += [self._answer(), "}"]
        return lines

    def _path(self, prefix: str) -> str:
        path = prefix + "/".join(self._pick(_SEGMENTS) for _ in range(self._random.randint(0, 2)))
        return path + "/" if self._chance(0.4) and not path.endswith("/") else path

    def _answer(self) -> str:
        self._count += 1
        if self._chance(0.08):
            return self._pick(
                ("return 404;", "return 403;", "return 301 /to$uri$is_args$args;", "return 302 http://o.org/;")
            )
        return f'return 200 "{self._count} {_SHOWN}";'

    def _steps(self, most: int, *, inside: bool) -> list[str]:
        lines: list[str] = []
        for _ in range(self._random.randint(0, most)):
            kind = self._random.random()
            if kind < 0.35:
                lines.append(self._rewrite())
            elif kind < 0.6:
                lines.append(f'set $v "{self._pick(_VALUES)}";')
            elif kind < 0.65:
                lines.append(f'set $args "{self._pick(("s=1", "$args&s=1", ""))}";')
            elif kind < 0.7:
                lines.append("break;")
            else:
                body = [self._pick((self._rewrite(), f'set $v "{self._pick(_VALUES)}";', "break;", self._answer()))]
                if inside and self._chance(0.3):
                    self._count += 1
                    body.insert(0, f"add_header X-If {self._count};")
                lines += [f"if ({self._condition()}) {{", *body, "}"]
        return lines

    def _rewrite(self) -> str:
        flag = self._pick(("", "", "last", "break", "redirect", "permanent"))
        target = self._pick((*_TARGETS, "http://o.org/$1"))
        return f'rewrite "{self._pick(_REGEXES)}" "{target}" {flag};'

    def _condition(self) -> str:
        variable = self._pick(("$uri", "$args", "$arg_q", "$v", "$http_x", "$request_method", "$1"))
        kind = self._pick(("", "=", "!=", "~", "~*", "!~", "!~*"))
        if not kind:
            return variable if variable != "$1" else "$v"
        variable = "$v" if variable == "$1" else variable
        value = self._pick(("", "0", "1", "a", "GET", "/a", "$arg_z")) if kind.endswith("=") else self._pick(_REGEXES)
        return f'{variable} {kind} "{value}"'

    def request(self, host: str) -> str:
        """Return the bytes of a request to a host, on a connection that lives on."""
        segments = []
        for _ in range(self._random.randint(0, 4)):
            segment = self._pick(
                (*_SEGMENTS, *_SEGMENTS, "", ".", "..", "...", "%2e", "%2E%2e", "+", "a%2fb", "%41", "a;b")
            )
            segments.append(self._pick(_ENCODED.get(segment, (segment, segment))))
        target = "/" + "/".join(segments) + self._pick(("", "", "/", "%zz" if self._chance(0.05) else ""))
        target += self._pick(("", "", "?", "?q=1", "?q=a%20b&z=2", "?x", "?q=0&q=2", "?Q=u", "?z==&&q"))
        field_ = self._pick(("", "", "X: 1\r\n", "X: /a/b\r\n", "X: \r\n"))
        method = self._pick(("GET", "GET", "GET", "HEAD"))
        return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{field_}\r\n"

    def _pick(self, choices: tuple[str, ...]) -> str:
        return self._random.choice(choices)

    def _chance(self, part: float) -> bool:
        return self._random.random() < part
