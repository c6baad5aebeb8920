"""Why an authority did not issue, in words for the person who has to act."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Protocol

from buchner.errors import BuchnerError

OUTAGE, ODD, TIMEOUT, RATE_LIMITED = "outage", "odd response", "timeout", "rateLimited"
"""Codes beside those of RFC 8555 section 6.7, and the one that is waited for."""

_ELSEWHERE = {
    OUTAGE, ODD, TIMEOUT, RATE_LIMITED, "serverInternal", "caa", "rejectedIdentifier", "unsupportedIdentifier",
    "externalAccountRequired", "userActionRequired", "accountDoesNotExist", "badPublicKey",
    "badSignatureAlgorithm", "invalidProfile", "unauthorizedAccount", "invalidContact", "unsupportedContact",
}  # fmt: skip
"""Failures that the next authority may not have; the others are about this machine, and the same for all."""

_UNTIL = re.compile(r"retry after (\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?: ?(?:UTC|Z))?", re.IGNORECASE)
_ADDRESS = re.compile(r"^(?:During secondary validation: )?([0-9a-fA-F.:]{3,45}): ")


class Failure(BuchnerError):  # noqa: N818 - as its messages call it
    """A certificate was not issued.

    Args:
        message: What happened, and what to do.
        code: Error of RFC 8555 section 6.7 without its prefix, or one of this module's.
        until: Unix time before which the authority is not to be asked again; 0: none was said.
    """

    def __init__(self, message: str, code: str = "", until: float = 0.0) -> None:
        super().__init__(message)
        self.code = code
        self.until = until

    @property
    def elsewhere(self) -> bool:
        """Whether another authority may well issue."""
        return self.code in _ELSEWHERE


class Resolver(Protocol):
    """Where names point, as this machine sees it."""

    def __call__(self, name: str) -> list[str]:
        """The addresses of a name; none if it has none."""


@dataclass(frozen=True, slots=True)
class Told:
    """A problem document (RFC 9457) of an authority, and when it was got.

    Args:
        code: Its type without `urn:ietf:params:acme:error:`.
        detail: Its text.
        name: The name concerned, or all of them.
        challenge: The kind of challenge that failed; empty if none did.
        authority: What messages call the authority.
        until: Unix time of Retry-After; 0: none.
    """

    code: str
    detail: str
    name: str
    challenge: str = ""
    authority: str = "the authority"
    until: float = 0.0


_WORDS = {
    "caa": "{authority} may not issue for {name}: a CAA record forbids it; add `{name} CAA 0 issue "
    '"DOMAIN-OF-THE-AUTHORITY"` to the zone, or use the authority it names',
    "dns": "{authority} cannot look up {name}: does it have an A or AAAA record in the public DNS, and is DNSSEC in "
    "order?",
    "dnssec": "{authority} cannot look up {name}, because the DNSSEC signatures of its zone are wrong: correct them",
    "unknownHost": "{authority} cannot look up {name}: does it have an A or AAAA record in the public DNS?",
    "invalidEmail": "{authority} refuses the e-mail address of the account: correct it",
    "rateLimited": "{authority} has issued too much, or seen too many failures: it takes no more for {name}{when}",
    "badCSR": "{authority} refuses the request for {name}: another kind of key may help",
    "badPublicKey": "{authority} refuses the key of the account or of {name}: another kind of key may help",
    "badSignatureAlgorithm": "{authority} does not take signatures of this kind of account key",
    "badNonce": "{authority} refuses each nonce: it has trouble of its own, or a proxy before it answers from a cache",
    "badRevocationReason": "{authority} does not take this reason for a revocation: leave it out",
    "alreadyRevoked": "the certificate of {name} is revoked already",
    "alreadyReplaced": "{authority} has renewed the certificate of {name} already",
    "accountDoesNotExist": "{authority} does not know the account of this machine; a new one is made at the next "
    "attempt",
    "externalAccountRequired": "{authority} takes only accounts that are bound to one of its own: set its key "
    "identifier and MAC key (external account binding)",
    "invalidContact": "{authority} refuses the e-mail address of the account: correct it",
    "unsupportedContact": "{authority} does not take a contact of this kind: it has to be an e-mail address",
    "invalidProfile": "{authority} has no such profile: leave it out, or use one it offers",
    "malformed": "{authority} does not understand the request for {name}",
    "orderNotReady": "{authority} is not ready to issue for {name}",
    "incorrectResponse": "{authority} got another response to the challenge for {name} than it expects: something else "
    "answers for {name}, such as a proxy, a CDN, or another server",
    "rejectedIdentifier": "{authority} does not issue for {name}, by its policy: use another authority or another name",
    "unsupportedIdentifier": "{authority} does not issue for names such as {name}: use another authority",
    "serverInternal": "{authority} has trouble of its own; nothing has to be done here",
    "userActionRequired": "{authority} wants something to be done first, such as agreeing to its terms",
    "conflict": "{authority} refuses the request for {name}: it conflicts with something it has",
    "compound": "{authority} refuses the request for {name} for several reasons",
    "autoRenewalCanceled": "{authority} has ended the automatic renewal of {name}",
    "autoRenewalExpired": "the automatic renewal of {name} at {authority} has expired",
    "autoRenewalCancellationInvalid": "{authority} has no automatic renewal of {name} to end",
    "autoRenewalRevocationNotSupported": "{authority} does not revoke {name}, which it renews by itself: end that "
    "instead",
}
"""Errors of RFC 8555 section 6.7, RFC 8739, RFC 9773 and of profiles; `explain` has the others."""

_PORTS = {"http-01": 80, "tls-alpn-01": 443}


def explain(told: Told, resolve: Resolver) -> Failure:
    """Turn a problem of an authority into words for the person who has to act.

    Args:
        told: The problem.
        resolve: Where names point; asked only if that may be the matter.
    """
    until = told.until or _until(told.detail)
    if told.code == "connection":
        text = _unreachable(told, resolve)
    elif told.code == "tls":
        text = f"{told.authority} could not make a TLS connection to port 443 of {told.name}{_points(told, resolve)}"
        text += ": does it reach this gateway, or something that ends TLS before it? http-01 goes over port 80 instead"
    elif told.code == "unauthorized":
        text = _unauthorized(told, resolve)
    else:
        words = _WORDS.get(told.code, "{authority} refuses {name}")
        text = words.format(name=told.name, authority=told.authority, when=when(until))
    if told.detail:
        text += f". It says: {''.join(filter(str.isprintable, ' '.join(told.detail.split())))[:400]}"
    return Failure(text, told.code, until)


def _unreachable(told: Told, resolve: Resolver) -> str:
    port = _PORTS.get(told.challenge, 80)
    if told.challenge == "dns-01":
        return f"{told.authority} could not ask the name servers of {told.name}"
    return (
        f"{told.authority} could not reach port {port} of {told.name}{_points(told, resolve)}: is that this machine, "
        f"and is port {port} open in its firewall and forwarded to it?"
    )


def _unauthorized(told: Told, resolve: Resolver) -> str:
    if told.challenge == "dns-01":
        return (
            f"{told.authority} did not find the record _acme-challenge.{told.name.removeprefix('*.')} that was made: "
            "the name servers may need longer to tell all of them (raise the propagation time), or the record went to "
            "another zone"
        )
    if told.challenge in _PORTS:
        return (
            f"another server answered for {told.name}{_points(told, resolve)}: the DNS has to point to this machine, "
            f"and a proxy or CDN before it has to pass port {_PORTS[told.challenge]} on"
        )
    return f"{told.authority} does not let this account do that for {told.name}"


def _points(told: Told, resolve: Resolver) -> str:
    found = _ADDRESS.match(told.detail)
    if found:
        return f" at {found[1]}"
    addresses = resolve(told.name.removeprefix("*."))
    return f" (which points to {', '.join(addresses[:4])})" if addresses else " (which has no address)"


def _until(detail: str) -> float:
    found = _UNTIL.search(detail)
    if not found:
        return 0.0
    return dt.datetime.fromisoformat(f"{found[1]}T{found[2]}+00:00").timestamp()


def when(until: float) -> str:
    """Return ` until …`, in UTC, or an empty text if no time is known."""
    if not until:
        return ""
    return f" until {dt.datetime.fromtimestamp(until, dt.UTC):%Y-%m-%d %H:%M} UTC"
