"""Failures in words: every error an authority knows has some, and they name what to do."""

from __future__ import annotations

import re

import pytest
from acme.messages import ERROR_CODES

from buchner.certificates.failure import Failure, Told, explain, when


def told(code: str, detail: str = "", challenge: str = "http-01", until: float = 0.0) -> Failure:
    return explain(
        Told(code, detail, "shop.example", challenge, "The CA", until), lambda _name: ["192.0.2.7"]
    )  # fmt: skip


@pytest.mark.parametrize("code", sorted(ERROR_CODES))
def test_every_error_of_the_standard_has_words(code: str) -> None:
    """More than the words for what nobody has heard of."""
    failure = told(code)
    assert str(failure) != str(told("brandNew"))
    assert failure.code == code
    assert "{" not in str(failure)


@pytest.mark.parametrize(
    ("code", "detail", "challenge", "words"),
    [
        (
            "connection", "192.0.2.9: Fetching http://shop.example/: Timeout during connect", "http-01",
            "could not reach port 80 of shop.example at 192.0.2.9: is that this machine",
        ),
        ("connection", "refused", "tls-alpn-01", "port 443 of shop.example (which points to 192.0.2.7)"),
        ("connection", "", "dns-01", "could not ask the name servers of shop.example"),
        ("caa", "CAA record prevents issuance", "", "a CAA record forbids it; add `shop.example CAA 0"),
        ("unauthorized", "192.0.2.9: Invalid response", "http-01", "server answered for shop.example at 192"),
        ("unauthorized", "", "tls-alpn-01", "has to pass port 443 on"),
        ("unauthorized", "Incorrect TXT record", "dns-01", "did not find the record _acme-challenge.shop.example"),
        ("unauthorized", "account is deactivated", "", "does not let this account do that"),
        ("tls", "", "tls-alpn-01", "something that ends TLS before it? http-01 goes over port 80"),
        ("dns", "NXDOMAIN looking up A", "http-01", "does it have an A or AAAA record"),
        ("externalAccountRequired", "", "", "set its key identifier and MAC key"),
        ("brandNew", "x", "", "The CA refuses shop.example. It says: x"),
    ],
)  # fmt: skip
def test_what_to_do(code: str, detail: str, challenge: str, words: str) -> None:
    text = str(told(code, detail, challenge))
    assert words in text
    assert not detail or text.endswith(f". It says: {detail}")


def test_until_when() -> None:
    """By Retry-After, else by what Let's Encrypt writes."""
    text = "too many certificates (5) already issued, retry after 2026-12-03 12:30:00 UTC: see https://x"
    failure = told("rateLimited", text)
    assert when(failure.until) == " until 2026-12-03 12:30 UTC"
    assert "it takes no more for shop.example until 2026-12-03 12:30 UTC. It says" in str(failure)
    assert told("rateLimited", text, until=5.0).until == 5.0
    assert told("rateLimited", "retry after some time").until == 0.0


def test_which_failures_another_authority_may_not_have() -> None:
    assert all(told(code).elsewhere for code in ("rateLimited", "caa", "serverInternal", "rejectedIdentifier"))
    assert not any(told(code).elsewhere for code in ("connection", "dns", "unauthorized", "tls", "malformed"))


def test_what_an_authority_says_cannot_forge_lines_of_the_log() -> None:
    text = str(told("malformed", "a\nb\x1b[2J\u202e" + "x" * 1000))
    assert re.search(r"It says: a b\[2Jx+$", text)
    assert len(text) < 600
