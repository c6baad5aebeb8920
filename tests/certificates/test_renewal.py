"""When certificates are renewed and failed attempts repeated; no clock is waited for."""

from __future__ import annotations

import base64
import datetime as dt
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from buchner.certificates.failure import OUTAGE, Failure
from buchner.certificates.making import DAY, new_key, self_signed
from buchner.certificates.renewal import Suggestion, ask_later, back_off, certificate_id, due, is_late, note
from buchner.certificates.state import State

if TYPE_CHECKING:
    from buchner.certificates.pem import Pair

NOW = 1_800_000_000.0
PAIR = replace(self_signed(["a.test"], now=NOW), not_before=NOW, not_after=NOW + 90 * DAY)


def suggestion(start: float, end: float, ask_again: float = NOW + 3600, page: str = "") -> Suggestion:
    return Suggestion(NOW + start * DAY, NOW + end * DAY, ask_again, page)


def text(unix: float) -> str:
    return dt.datetime.fromtimestamp(unix, dt.UTC).isoformat().replace("+00:00", "Z")


def test_without_a_word_of_the_authority_at_two_thirds_of_life() -> None:
    moments = {due(PAIR, State(), f"{number}.test") for number in range(100)}
    assert len(moments) == 100
    assert max(moments) <= NOW + 60 * DAY
    assert min(moments) >= NOW + 58.4 * DAY
    assert due(PAIR, State(), "a.test") == due(PAIR, State(), "a.test")


def test_at_a_moment_in_the_window_that_is_drawn_once() -> None:
    state, chance = State(), random.Random(1)
    assert note(state, suggestion(55, 57), chance)
    moment = due(PAIR, state, "a.test")
    assert NOW + 55 * DAY <= moment <= NOW + 57 * DAY
    assert not note(state, suggestion(55, 57, NOW + 9999), chance)
    assert due(PAIR, state, "a.test") == moment
    assert state.ask_again == NOW + 9999
    assert note(state, suggestion(-1, 0.5), chance)
    assert due(PAIR, state, "a.test") < NOW + DAY


def test_a_window_after_the_end_does_not_let_it_expire() -> None:
    state = State()
    note(state, suggestion(200, 300), random.Random(1))
    assert due(PAIR, state, "a.test") == PAIR.not_after


def test_renewal_information_is_read() -> None:
    window = {"start": text(NOW), "end": text(NOW + 60)}
    document = {"suggestedWindow": window, "explanationURL": "https://ca.test/why"}
    assert Suggestion.of(document, NOW, NOW + 21600) == Suggestion(NOW, NOW + 60, NOW + 21600, "https://ca.test/why")


@pytest.mark.parametrize(("retry", "wait"), [(0, 21600), (1, 60), (7200, 7200), (10 * DAY, DAY)])
def test_it_is_asked_again_neither_too_often_nor_too_rarely(retry: float, wait: float) -> None:
    document = {"suggestedWindow": {"start": text(NOW), "end": text(NOW + 60)}}
    assert Suggestion.of(document, NOW, NOW + retry).ask_again == NOW + wait


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        None,
        {"suggestedWindow": None},
        {"suggestedWindow": {"start": text(NOW)}},
        {"suggestedWindow": {"start": "soon", "end": "later"}},
        {"suggestedWindow": {"start": 5, "end": 6}},
        {"suggestedWindow": {"start": text(NOW), "end": text(NOW)}},
        {"suggestedWindow": {"start": text(NOW), "end": text(NOW - 1)}},
    ],
)
def test_what_is_no_renewal_information(document: object) -> None:
    with pytest.raises(Failure):
        Suggestion.of(document, NOW, NOW)


def test_an_explanation_that_is_no_page_is_left_out() -> None:
    document = {"suggestedWindow": {"start": text(NOW), "end": text(NOW + 60)}}
    for page in ("javascript:x", 5, "https://x/\n[emerg]"):
        assert Suggestion.of({**document, "explanationURL": page}, NOW, NOW).explanation == ""


def test_an_authority_that_cannot_be_asked_is_asked_ever_less_often() -> None:
    state, waits = State(), []
    for _ in range(9):
        ask_later(state, NOW)
        waits.append(state.ask_again - NOW)
    assert waits == [300, 600, 1200, 2400, 4800, 9600, 19200, 21600, 21600]
    ask_later(state, NOW, until=NOW + 40000)
    assert state.ask_again == NOW + 40000


@pytest.mark.parametrize(
    ("serial", "part"), [(0x87654321, b"\x00\x87\x65\x43\x21"), (0x7F, b"\x7f"), (0x80, b"\x00\x80")]
)
def test_how_renewal_information_names_a_certificate(serial: int, part: bytes) -> None:
    """RFC 9773 section 4.1: key identifier of the issuer and DER of the serial number, whose first bit is its sign."""
    key, name = new_key(), x509.Name([])
    identifier = bytes.fromhex("69885B6B87463FE4BD1B19BC4F7C4DA4E56AE6C0")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2027, 1, 1, tzinfo=dt.UTC))
        .add_extension(x509.AuthorityKeyIdentifier(identifier, None, None), critical=False)
        .sign(key, hashes.SHA256())
    )
    first, second = (base64.urlsafe_b64decode(one + "==") for one in certificate_id(certificate).split("."))
    assert (first, second) == (identifier, part)
    if serial == 0x87654321:  # the example of the RFC
        assert certificate_id(certificate) == "aYhba4dGP-S9Gxm8T3xNpOVq5sA.AIdlQyE"


def waits(code: str, count: int, until: float = 0.0) -> list[float]:
    chance = random.Random(7)
    return [back_off(Failure("x", code, until), number, NOW, chance) - NOW for number in range(1, count + 1)]


def test_an_outage_is_tried_again_soon_and_then_every_quarter_of_an_hour() -> None:
    found = waits(OUTAGE, 8)
    for wait, middle in zip(found, [60, 120, 240, 480, 900, 900, 900, 900], strict=True):
        assert middle * 0.75 <= wait <= middle * 1.25
    assert len({wait / 900 for wait in found[4:]}) == 4


def test_what_is_wrong_here_is_tried_again_rarely() -> None:
    """Let's Encrypt takes 5 failed validations of a name an hour."""
    found = waits("connection", 200)
    for wait, middle in zip(found, [60, 240, 960, 3840, 15360, 21600, 21600], strict=False):
        assert middle * 0.75 <= wait <= middle * 1.25
    assert sum(found[:3]) < 3600 < sum(found[:5])
    assert max(found) <= 6 * 3600 * 1.25


def test_retry_after_is_obeyed_also_when_it_is_days() -> None:
    found = waits("rateLimited", 20, NOW + 3 * DAY)
    assert all(3 * DAY <= wait <= 3 * DAY + 60 for wait in found)
    assert len(set(found)) == 20


@pytest.mark.parametrize(("pair", "day", "late"), [(PAIR, 74, False), (PAIR, 76, True), (None, 0, True)])
def test_when_somebody_has_to_be_told(pair: Pair | None, day: float, *, late: bool) -> None:
    assert is_late(pair, NOW + day * DAY) is late


def test_a_new_certificate_is_left_in_peace_whatever_the_authority_says() -> None:
    state = State(issued_at=NOW)
    note(state, suggestion(-1, -0.5), random.Random(1))
    assert due(PAIR, state, "a.test") == NOW + DAY / 2
    assert due(replace(PAIR, not_after=NOW + 2 * DAY), state, "a.test") == NOW + 0.2 * DAY
