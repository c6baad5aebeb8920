"""What the keeper is told: authorities, and certificates that are wanted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from buchner.certificates.names import normalise
from buchner.errors import ConfigError

AUTHORITIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
    "zerossl": "https://acme.zerossl.com/v2/DV90",
    "google": "https://dv.acme-v02.api.pki.goog/directory",
}
"""Directories by name; all but Let's Encrypt ask for an external account binding."""

HTTP, ALPN, DNS = "http-01", "tls-alpn-01", "dns-01"
CHALLENGES = (ALPN, HTTP, DNS)
"""In the order in which they are preferred: 443 is open anyway."""
MOST_NAMES = 100
"""Names of one certificate; Let's Encrypt takes no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """A certificate authority that speaks ACME, and how to be its client.

    Args:
        url: Its directory, or a name of `AUTHORITIES`.
        email: Contact of the account; some authorities demand one.
        eab_kid: Key identifier of an external account binding (RFC 8555 section 7.3.4).
        eab_key: Its MAC key, base64url.
        eab_algorithm: HS256, HS384 or HS512.
        profile: Which of the authority's profiles the certificate is to have (`shortlived`, …); empty: its default.
        roots: File with the roots that its own HTTPS is checked with; empty: the public ones.
        title: What messages call it; empty: its name in `AUTHORITIES`, or its host.
    """

    url: str = "letsencrypt"
    email: str = ""
    eab_kid: str = ""
    eab_key: str = field(default="", repr=False)
    eab_algorithm: str = "HS256"
    profile: str = ""
    roots: str = ""
    title: str = ""

    def resolved(self) -> Issuer:
        """Return it with the URL its name stands for, and a title.

        Raises:
            ConfigError: The URL is none, or half of a binding is missing.
        """
        url = AUTHORITIES.get(self.url, self.url)
        if not url.startswith("https://"):
            raise ConfigError(
                f'"{self.url}" is not an ACME authority: it has to be an https:// URL of its directory, or one of '
                f"{', '.join(AUTHORITIES)}"
            )
        if bool(self.eab_kid) != bool(self.eab_key):
            raise ConfigError(f"{self.url}: an external account binding has a key identifier and a key; one is missing")
        title = self.title or (self.url if self.url in AUTHORITIES else url.split("/")[2])
        return replace(self, url=url, title=title)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A certificate that is to be had, and kept.

    Args:
        names: What it is for; the first one is what it is called.
        issuers: Who is asked, in this order: the next one if one fails.
        challenges: Kinds that may be used, the preferred first; those nobody can answer are left out.
        key: Kind of its key, one of `making.KEYS`.
        on_demand: It was asked for by a client, not by the configuration.
    """

    names: tuple[str, ...]
    issuers: tuple[Issuer, ...] = (Issuer(),)
    challenges: tuple[str, ...] = CHALLENGES
    key: str = "p256"
    on_demand: bool = False

    @property
    def name(self) -> str:
        """What it is called."""
        return self.names[0]

    def resolved(self) -> Wanted:
        """Return it with normalised names and resolved authorities.

        Raises:
            ConfigError: A name cannot be had, or an authority is none.
        """
        names = tuple(dict.fromkeys(map(normalise, self.names)))
        if not 1 <= len(names) <= MOST_NAMES:
            raise ConfigError(f"a certificate has 1 to {MOST_NAMES} names, not {len(names)}")
        if unknown := set(self.challenges) - set(CHALLENGES):
            raise ConfigError(f'"{min(unknown)}" is not a challenge: {", ".join(CHALLENGES)} are')
        if not self.issuers:
            raise ConfigError(f"no authority is named for {names[0]}")
        if any(name.startswith("*.") for name in names) and DNS not in self.challenges:
            raise ConfigError(f"{names[0]}: wildcards take the challenge dns-01")
        return replace(self, names=names, issuers=tuple(issuer.resolved() for issuer in self.issuers))
