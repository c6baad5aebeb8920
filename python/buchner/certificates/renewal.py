"""When a certificate is renewed, and when a failed attempt is repeated."""

from __future__ import annotations

import base64
import datetime as dt
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from cryptography import x509

from buchner.certificates.failure import ODD, OUTAGE, TIMEOUT, Failure
from buchner.certificates.making import DAY
from buchner.certificates.state import Window

if TYPE_CHECKING:
    from buchner.certificates.pem import Pair
    from buchner.certificates.state import State

RENEW_AT = 2 / 3
"""Of the life of a certificate, if its authority does not say when."""
WARN_AT = 5 / 6
_SPREAD = 1 / 60
"""Of a life: certificates that were issued together are not renewed together."""
_REST = DAY / 2
"""Seconds after issuing in which no window counts: an authority that always says "now" would get no rest."""
_ASK_AGAIN = (60.0, DAY)
"""Seconds between two questions for renewal information; Retry-After is obeyed within (RFC 9773 section 4.3.2)."""
_ASK_AFTER_FAILURE = 300.0
_FIRST = 60.0
"""Seconds after the first failure."""
_LONGEST_OUTAGE = 900.0
"""Seconds between attempts while an authority is away: it comes back by itself."""
_LONGEST = 6 * 3600.0
"""Seconds between attempts while something here is wrong: authorities count failures, Let's Encrypt 5 an hour."""
_JITTER = 0.25


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What an authority says about the renewal of a certificate (RFC 9773 section 4.2).

    Args:
        start: Unix time at which the window begins.
        end: Unix time at which it ends.
        ask_again: Unix time at which it is to be asked again.
        explanation: Page that says why; empty if there is none.
    """

    start: float
    end: float
    ask_again: float
    explanation: str = ""

    @classmethod
    def of(cls, document: Any, now: float, retry_after: float) -> Self:
        """Read it from its JSON.

        Args:
            document: The JSON.
            now: Unix time.
            retry_after: Unix time of Retry-After; `now` if there was none.

        Raises:
            Failure: It is none.
        """
        try:
            window = document["suggestedWindow"]
            start, end = (dt.datetime.fromisoformat(window[key]).timestamp() for key in ("start", "end"))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise Failure("the authority's renewal information is none", ODD) from error
        if end <= start:
            raise Failure("the authority's renewal information ends before it begins", ODD)
        least, most = _ASK_AGAIN
        wait = retry_after - now if retry_after > now else most / 4
        page = document.get("explanationURL", "")
        page = page if isinstance(page, str) and page.startswith(("https://", "http://")) and page.isprintable() else ""
        return cls(start, end, now + min(max(wait, least), most), page[:300])


def certificate_id(certificate: x509.Certificate) -> str:
    """Return how renewal information names a certificate (RFC 9773 section 4.1).

    Raises:
        Failure: It does not say who issued it.
    """
    try:
        issuer = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        issuer = None
    if issuer is None:
        raise Failure("the certificate does not name the key of its issuer", ODD)
    serial = certificate.serial_number
    number = serial.to_bytes(serial.bit_length() // 8 + 1)  # DER: the first bit is the sign
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (issuer, number))


def note(state: State, suggestion: Suggestion, chance: random.Random) -> bool:
    """Remember a suggestion; returns whether the window is another one than before.

    Args:
        state: Of the certificate.
        suggestion: What its authority says.
        chance: Draws the moment in the window, once for each window.
    """
    state.ask_again, state.window_failures = suggestion.ask_again, 0
    window = state.window
    if window is not None and (window.start, window.end) == (suggestion.start, suggestion.end):
        return False
    moment = chance.uniform(suggestion.start, suggestion.end)
    state.window = Window(suggestion.start, suggestion.end, moment, suggestion.explanation)
    return True


def ask_later(state: State, now: float, until: float = 0.0) -> None:
    """Remember that the authority could not be asked for the window: it is asked again, ever less often."""
    state.window_failures += 1
    wait = min(_ASK_AFTER_FAILURE * 2.0 ** (state.window_failures - 1), DAY / 4)
    state.ask_again = max(now + wait, min(until, now + DAY))


def due(pair: Pair, state: State, name: str) -> float:
    """Return the Unix time at which a certificate is to be renewed.

    Args:
        pair: The certificate.
        state: What is remembered of it.
        name: Its name, which decides how it is spread.
    """
    spread = random.Random(name).random() * _SPREAD  # noqa: S311 - no secret
    own = pair.not_before + pair.life * (RENEW_AT - spread)
    if state.window is None:
        return own
    return min(max(state.window.chosen, state.issued_at + min(_REST, pair.life / 10)), pair.not_after)


def back_off(failure: Failure, failures: int, now: float, chance: random.Random) -> float:
    """Return the Unix time of the next attempt.

    Args:
        failure: Why the last one failed.
        failures: How many failed in a row, this one included.
        now: Unix time.
        chance: For the jitter, so that many certificates are not tried again together.
    """
    away = failure.code in (OUTAGE, TIMEOUT, ODD, "serverInternal", "badNonce")
    longest, factor = (_LONGEST_OUTAGE, 2.0) if away else (_LONGEST, 4.0)
    wait = min(_FIRST * factor ** min(failures - 1, 20), longest)
    wait *= 1 + chance.uniform(-_JITTER, _JITTER)
    if failure.until > now:
        return max(now + wait, failure.until + chance.uniform(0, _FIRST))
    return now + wait


def is_late(pair: Pair | None, now: float) -> bool:
    """Whether somebody has to be told: there is no certificate, or less than a sixth of its life is left."""
    return pair is None or now > pair.not_before + pair.life * WARN_AT
