"""Who meets the challenges of an authority: the gateway (HTTP-01, TLS-ALPN-01) or name servers (DNS-01).

The gateway's half is behind two Protocols; a call returns once every socket answers accordingly.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self

from buchner.certificates.making import challenge_certificate
from buchner.certificates.names import alpn_name, as_address
from buchner.certificates.settings import ALPN, DNS, HTTP

if TYPE_CHECKING:
    from collections.abc import Sequence


class HttpChallenges(Protocol):
    """Responses to `GET /.well-known/acme-challenge/TOKEN` on port 80, on any host (RFC 8555 section 8.3)."""

    def put(self, token: str, answer: str) -> None:
        """Respond with `answer` to a token from now on."""

    def drop(self, token: str) -> None:
        """Forget a token; an unknown one is nothing."""


class AlpnChallenges(Protocol):
    """Handshakes with the ALPN protocol `acme-tls/1` alone, on port 443 (RFC 8737)."""

    def put(self, name: str, certificate: bytes, key: bytes) -> None:
        """Shake hands by this certificate (DER) and key (DER, PKCS #8) if the server name is `name`."""

    def drop(self, name: str) -> None:
        """Forget a name; an unknown one is nothing."""


class DnsProvider(Protocol):
    """TXT records in a zone (RFC 8555 section 8.4); plug-ins implement it, see `plugins`."""

    def present(self, record: str, value: str) -> None:
        """Add a value to the TXT records of a name, beside others; return once the name servers have it.

        Args:
            record: The whole name, without the dot at its end.
            value: The text.

        Raises:
            BuchnerError: It could not be done, in words.
        """

    def remove(self, record: str, value: str) -> None:
        """Take this value away again; one that is gone is nothing."""


@dataclass(frozen=True, slots=True)
class Task:
    """One challenge that is to be met.

    Args:
        kind: http-01, tls-alpn-01 or dns-01.
        name: The name it is about, without `*.`.
        token: Its token, base64url.
        authorization: The key authorization (RFC 8555 section 8.1).
        digest: SHA-256 of it.
        text: The digest, base64url, as TXT records have it.
    """

    kind: str
    name: str
    token: str
    authorization: str
    digest: bytes
    text: str


@dataclass
class Solvers:
    """Who can meet which challenge.

    Args:
        http: HTTP-01; None: nobody.
        alpn: TLS-ALPN-01; None: nobody.
        dns: DNS-01; None: nobody.
    """

    http: HttpChallenges | None = None
    alpn: AlpnChallenges | None = None
    dns: DnsProvider | None = None

    def kinds(self, allowed: Sequence[str], names: Sequence[str]) -> list[str]:
        """The kinds that can be met for all names, in the order of `allowed`."""
        can = {HTTP: self.http, ALPN: self.alpn, DNS: self.dns}
        kinds = [kind for kind in allowed if can[kind] is not None]
        if any(name.startswith("*.") for name in names):
            return [kind for kind in kinds if kind == DNS]
        if any(as_address(name) for name in names):
            return [kind for kind in kinds if kind != DNS]
        return kinds

    def meet(self, task: Task) -> None:
        """Meet a challenge.

        Raises:
            BuchnerError: It could not be done, in words.
        """
        if task.kind == HTTP and self.http is not None:
            self.http.put(task.token, task.authorization)
        elif task.kind == ALPN and self.alpn is not None:
            self.alpn.put(alpn_name(task.name), *challenge_certificate(task.name, task.digest))
        elif task.kind == DNS and self.dns is not None:
            self.dns.present(f"_acme-challenge.{task.name}", task.text)

    def end(self, task: Task) -> None:
        """Clear up after a challenge; what fails is left lying."""
        with contextlib.suppress(Exception):
            if task.kind == HTTP and self.http is not None:
                self.http.drop(task.token)
            elif task.kind == ALPN and self.alpn is not None:
                self.alpn.drop(alpn_name(task.name))
            elif task.kind == DNS and self.dns is not None:
                self.dns.remove(f"_acme-challenge.{task.name}", task.text)


@dataclass
class Cleanup:
    """The challenges that are being met; each is ended at the end.

    Args:
        solvers: Who meets them.
    """

    solvers: Solvers
    tasks: list[Task] = field(default_factory=list)

    def meet(self, task: Task) -> None:
        """Meet a challenge; it is ended also if this fails halfway."""
        self.tasks.append(task)
        self.solvers.meet(task)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for task in reversed(self.tasks):
            self.solvers.end(task)
