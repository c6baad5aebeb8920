"""DNS-01 by dynamic updates (RFC 2136), signed by TSIG (RFC 8945): bind, Knot, PowerDNS and others take them.

Needs `dnspython`: `pip install buchner[rfc2136]`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from buchner.certificates.clock import Clock, WallClock
from buchner.errors import BuchnerError, ConfigError

try:
    import dns.exception
    import dns.message
    import dns.name
    import dns.query
    import dns.rcode
    import dns.rdatatype
    import dns.tsig
    import dns.tsigkeyring
    import dns.update
except ImportError as missing:
    raise ConfigError("DNS-01 by RFC 2136 needs dnspython: pip install 'buchner[rfc2136]'") from missing

if TYPE_CHECKING:
    from collections.abc import Callable

ALGORITHMS = ("hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224", "hmac-sha1")
_TTL = 60


@dataclass
class Rfc2136:
    """The primary name server of a zone.

    Args:
        server: Its address, not a name.
        key_name: Name of the TSIG key; empty: updates are not signed.
        key_secret: Its secret, base64.
        algorithm: One of `ALGORITHMS`.
        zone: The zone; empty: the server is asked for it.
        port: Of the server.
        propagation: Seconds to wait after an update, until the other name servers have it.
        timeout: Seconds an exchange may take.
        clock: The time.

    Raises:
        ConfigError: The key is none.
    """

    server: str
    key_name: str = ""
    key_secret: str = field(default="", repr=False)
    algorithm: str = "hmac-sha256"
    zone: str = ""
    port: int = 53
    propagation: float = 0.0
    timeout: float = 10.0
    clock: Clock | None = None
    _key: dict[str, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Read the key."""
        self._key = {}
        if self.algorithm not in ALGORITHMS:
            raise ConfigError(f'"{self.algorithm}" is not a TSIG algorithm: {", ".join(ALGORITHMS)} are')
        if self.key_name:
            try:
                ring = dns.tsigkeyring.from_text({self.key_name: (self.algorithm, self.key_secret)})
            except (ValueError, dns.exception.DNSException) as error:
                raise ConfigError(f"the TSIG key {self.key_name} is not base64") from error
            self._key = {"keyring": ring, "keyname": self.key_name, "keyalgorithm": self.algorithm}

    def present(self, record: str, value: str) -> None:
        """See `challenges.DnsProvider`."""
        self._update(record, lambda update, name: update.add(name, _TTL, "TXT", f'"{value}"'))
        if self.propagation:
            (self.clock or WallClock()).sleep(self.propagation)

    def remove(self, record: str, value: str) -> None:
        """See `challenges.DnsProvider`."""
        self._update(record, lambda update, name: update.delete(name, "TXT", f'"{value}"'))

    def _update(self, record: str, change: Callable[[dns.update.UpdateMessage, dns.name.Name], None]) -> None:
        name = dns.name.from_text(record)
        zone = dns.name.from_text(self.zone) if self.zone else self._zone(name)
        if not name.is_subdomain(zone):
            raise BuchnerError(f"{record} is not in the zone {self.zone} of the name server {self.server}")
        update = dns.update.UpdateMessage(zone, **self._key)
        change(update, name.relativize(zone))
        code = self._ask(update).rcode()
        if code != dns.rcode.NOERROR:
            text = dns.rcode.to_text(code)
            raise BuchnerError(
                f"the name server {self.server} refuses the update of {record} ({text}): may the key "
                f"{self.key_name or '(none is set)'} update TXT records of {zone.to_text(omit_final_dot=True)}?"
            )

    def _zone(self, name: dns.name.Name) -> dns.name.Name:
        """Ask for the start of authority: the name in the response is the zone's."""
        query = dns.message.make_query(name, "SOA", use_edns=0)
        query.flags = 0
        if self._key:
            query.use_tsig(self._key["keyring"], self._key["keyname"], algorithm=self.algorithm)
        response = self._ask(query)
        for rrset in (*response.answer, *response.authority):
            if rrset.rdtype == dns.rdatatype.SOA and name.is_subdomain(rrset.name):
                return rrset.name
        raise BuchnerError(
            f"the name server {self.server} has no zone for {name.to_text(omit_final_dot=True)} "
            f"({dns.rcode.to_text(response.rcode())})"
        )

    def _ask(self, message: dns.message.Message) -> dns.message.Message:
        """Send a message over TCP, where no other host can forge the response."""
        try:
            return dns.query.tcp(message, self.server, timeout=self.timeout, port=self.port)
        except dns.tsig.PeerError as error:
            raise BuchnerError(
                f"the name server {self.server} does not take the TSIG key {self.key_name}: {error}"
            ) from error
        except dns.exception.Timeout as error:
            raise BuchnerError(f"the name server {self.server} does not respond within {self.timeout:g} s") from error
        except (OSError, ValueError, EOFError, dns.exception.DNSException) as error:
            about = str(error) or type(error).__name__
            raise BuchnerError(f"the name server {self.server} cannot be asked: {about}") from error
