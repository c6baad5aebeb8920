"""Names of certificates."""

from __future__ import annotations

import pytest

from buchner.certificates.names import alpn_name, covers, normalise, why_not_public
from buchner.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("Shop.Example.", "shop.example"),
        ("*.Example.com", "*.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("*.straße.de", "*.xn--strae-oqa.de"),
        ("192.0.2.1", "192.0.2.1"),
        ("[2001:DB8::0:1]", "2001:db8::1"),
        ("_x.example", "_x.example"),
    ],
)
def test_normalise(name: str, normal: str) -> None:
    assert normalise(name) == normal


@pytest.mark.parametrize(
    "name",
    ["", "*", "a.*.b", "*.*.b", "w*.b", "-a.b", "a..b", "a b", "a/b", "../x", "x" * 64 + ".de", "a." * 127 + "de"],
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ConfigError):
        normalise(name)


@pytest.mark.parametrize(
    ("pattern", "name", "does"),
    [
        ("a.test", "a.test", True),
        ("*.a.test", "b.a.test", True),
        ("*.a.test", "a.test", False),
        ("*.a.test", "c.b.a.test", False),
        ("*.a.test", "*.a.test", True),
        ("*.test", "*.a.test", False),
        ("a.test", "*.a.test", False),
        ("*.0.0.1", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", True),
    ],
)
def test_covers(pattern: str, name: str, *, does: bool) -> None:
    assert covers(pattern, name) is does


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("example.com", ""),
        ("*.example.com", ""),
        ("8.8.8.8", ""),
        ("localhost", "localhost is not a public name"),
        ("a.local", "names that end in .local"),
        ("intranet", "intranet has no domain"),
        ("10.0.0.1", "10.0.0.1 is a private address"),
    ],
)
def test_what_no_public_authority_issues_for(name: str, why: str) -> None:
    assert why_not_public(name).startswith(why)
    assert bool(why_not_public(name)) == bool(why)


def test_the_server_name_of_a_challenge_for_an_address() -> None:
    assert alpn_name("192.0.2.5") == "5.2.0.192.in-addr.arpa"
    assert alpn_name("a.test") == "a.test"
