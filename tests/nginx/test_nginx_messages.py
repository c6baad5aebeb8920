"""What is said about an nginx.conf that is wrong: one message a slip, with the caret under the word that is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buchner.errors import ConfigError
from buchner.nginx.adapt import load_nginx

if TYPE_CHECKING:
    from pathlib import Path


def told(directory: Path, text: str) -> list[str]:
    """Return what is said about a file: line and column, message, and what the caret stands under."""
    path = directory / "nginx.conf"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_nginx(path, text)
    return [
        f"{problem.line}:{problem.column}: {problem.message} [{problem.source[problem.column - 1 :][: problem.width]}]"
        for problem in raised.value.problems
    ]


def server(text: str) -> str:
    """Return a file whose lines from the second on are these, in a server."""
    return f"server {{ listen 127.0.0.1:1;\n{text}\n}}\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("add_header A $nosuch;", '2:14: unknown variable "$nosuch" [$nosuch]'),
        ('add_header A "a b ${nosuch}c";', '2:19: unknown variable "$nosuch" [${nosuch}]'),
        ('return 200 "a $nosuch";', '2:15: unknown variable "$nosuch" [$nosuch]'),
        ("if ($nosuch = b) { return 204; }", '2:5: unknown variable "$nosuch" [$nosuch]'),
        (
            'location / { proxy_set_header A "\x01"; proxy_pass http://127.0.0.1:1; }',
            "2:33: the value of A has control",
        ),
        ('add_header A "\x01";', "2:14: the value of A has control characters"),
        ("location /a { }\nlocation /b { }\nlocation /a { }", '4:10: the path "/a" stands in line 2 of'),
        (
            "location ~ ^/a{2}$ { return 204; }",
            '2:12: "^/a" ends at the brace: a regular expression with braces stands',
        ),
        ("rewrite ^/(\\d{1,3})$ /b;", '2:9: "^/(\\d" ends at the brace'),
        ("if ($uri == b) { return 204; }", '2:1: "==" is no comparison: one "=" is, if ($uri = b)'),
        ('return 200 "$hots";', 'unknown variable "$hots" (did you mean "$host"?)'),
        ('set $mine 1; return 200 "$mien";', 'unknown variable "$mien" (did you mean "$mine"?)'),
        ("sticky;", '2:1: "sticky" is refused: this way of balancing is not supported yet. Without the directive'),
    ],
)
def test_what_is_said(text: str, says: str, tmp_path: Path) -> None:
    found = told(tmp_path, server(text))
    assert len(found) == 1, found
    assert says in found[0], found


@pytest.mark.parametrize("name", ["nginx_secure_link_secret", "is_crawler_link", "rate_limit_config", "zip", "server"])
def test_nothing_is_guessed_that_is_far_away(name: str, tmp_path: Path) -> None:
    (found,) = told(tmp_path, server(f'return 200 "${name}";'))
    assert f'unknown variable "${name}" [' in found


def test_a_variable_of_a_log_format_is_shown_where_it_stands(tmp_path: Path) -> None:
    text = "log_format own '$uri '\n  '$status $nosuch';\nserver { listen 127.0.0.1:1; access_log a.log own; }\n"
    assert told(tmp_path, text) == ['2:12: unknown variable "$nosuch" [$nosuch]']


def test_what_a_missing_file_may_define_is_not_told_one_by_one(tmp_path: Path) -> None:
    text = """include nosuch.conf;
        server { listen 127.0.0.1:1;
            access_log a.log nosuch;
            return 200 "$nosuch $other";
            add_header A $nosuch;
        }
    """
    found = told(tmp_path, text)
    assert len(found) == 1, found
    assert "cannot be read: No such file or directory; 4 names that nothing else defines may be in there" in found[0]


def test_a_file_without_a_server(tmp_path: Path) -> None:
    for text in ["events { }\n", "http { }\n", "events { }\nhttp { log_format a b; }\n"]:
        (found,) = told(tmp_path, text)
        assert 'no "server" block: nothing is listened on' in found


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            server("server_name {{ name }};\n{% if tls %}\nlisten 443;\n{% endif %}"),
            '2:13: "{{ name }}": this looks like',
        ),
        (server("{% for a in b %}\nlocation {{ a }} { }\n{% endfor %}"), '2:1: "{% for a in b %}": this looks like'),
        (server("root ${ROOT};\nlisten ${PORT};"), '2:6: "${ROOT}": this looks like a template that is not filled in'),
        (server("# {{ not }} this ${ONE}\nroot /a;\nlisten ${PORT};"), '4:8: "${PORT}": this looks like'),
    ],
)
def test_templates_are_recognised(text: str, shown: str, tmp_path: Path) -> None:
    found = told(tmp_path, text)
    assert len(found) == 1, found
    assert found[0].startswith(shown), found


def test_other_mistakes_beside_a_placeholder_are_told(tmp_path: Path) -> None:
    found = told(tmp_path, server("listen ${PORT};\nnosuch on;"))
    assert [line.split(":")[0] for line in found] == ["2", "3"]


def test_braces_that_are_no_template_are_left_alone(tmp_path: Path) -> None:
    found = told(tmp_path, server('return 200 "{{ a }}";\nnosuch on;'))
    assert any('unknown directive "nosuch"' in line for line in found), found
