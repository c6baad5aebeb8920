"""A client of one ACME authority (RFC 8555), over certbot's library, for one thread and one errand.

Added here: more patience with refused nonces, TLS-ALPN-01 (RFC 8737), renewal information and `replaces` (RFC 9773),
addresses (RFC 8738), and failures in words. Nothing an authority sends ends in another exception than `Failure`.
"""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import requests
import urllib3
from acme import challenges as kinds
from acme import client as acme_client
from acme import errors, messages
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from josepy.b64 import b64encode
from josepy.json_util import field
from josepy.jwa import ES256
from josepy.jwk import JWK, JWKEC

from buchner.certificates.challenges import Cleanup, Solvers, Task
from buchner.certificates.clock import Clock, Interrupted
from buchner.certificates.failure import ODD, OUTAGE, RATE_LIMITED, TIMEOUT, Failure, Told, explain, when
from buchner.certificates.making import key_pem, new_key, request_pem
from buchner.certificates.names import as_address, why_not_public
from buchner.certificates.pem import Pair, parse_pair
from buchner.certificates.renewal import Suggestion, certificate_id
from buchner.certificates.settings import AUTHORITIES, Issuer, Wanted
from buchner.certificates.storage import Account, Storage
from buchner.errors import BuchnerError

if TYPE_CHECKING:
    from acme.messages import AuthorizationResource, OrderResource

_NONCES = 10
"""Attempts with a nonce each; RFC 8555 section 6.5 wants the request to be repeated."""
_LARGEST = 1 << 20
"""Bytes of a response."""
_LONGEST = 60.0
"""Seconds a response may take, however steadily it trickles in."""
_PATIENCE = 300.0
"""Seconds that challenges and issuing may take each."""
_WAIT = (0.25, 30.0)
"""Seconds between two looks; Retry-After is obeyed within."""


@kinds.ChallengeResponse.register
class AlpnResponse(kinds.KeyAuthorizationChallengeResponse):
    """Response to a TLS-ALPN-01 challenge."""

    typ = "tls-alpn-01"


@kinds.Challenge.register
class Alpn(kinds.KeyAuthorizationChallenge):
    """TLS-ALPN-01 challenge (RFC 8737), which the library has no more."""

    typ = "tls-alpn-01"
    response_cls = AlpnResponse

    def validation(self, account_key: JWK, **_: Any) -> str:
        """Return the key authorization."""
        return self.key_authorization(account_key)


class NewOrder(messages.NewOrder):
    """An order that says which certificate it renews (RFC 9773 section 5)."""

    replaces: str | None = field("replaces", omitempty=True)


class Network(acme_client.ClientNetwork):
    """HTTP with an authority: bounded responses, refused nonces repeated, the last response kept."""

    last: requests.Response | None = None

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Post; a refused nonce is replaced by a fresh one."""
        for attempt in range(_NONCES):
            try:
                return self._post_once(*args, **kwargs)
            except messages.Error as error:
                self._nonces.clear()
                if _code(error) != "badNonce" or attempt == _NONCES - 1:
                    raise
        raise AssertionError

    def _send_request(self, method: str, url: str, *args: Any, **kwargs: Any) -> requests.Response:
        self.last = None
        response = super()._send_request(method, url, *args, **kwargs, stream=True)
        self.last = response
        return response


class _BoundedSession(requests.Session):
    """A session with bounds: of size and time, of HTTPS, and without redirects."""

    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> requests.Response:
        if not str(url).startswith("https://"):
            raise requests.exceptions.InvalidURL(f"{str(url)[:200]} is not https")
        until = time.monotonic() + _LONGEST
        kwargs["allow_redirects"] = False
        response = super().request(method, url, *args, **kwargs)
        data = b""
        try:
            while piece := response.raw.read1(65536, decode_content=True):
                data += piece
                if len(data) > _LARGEST:
                    raise requests.exceptions.ContentDecodingError("its response has more than 1 MiB")
                if time.monotonic() > until:
                    raise requests.exceptions.ReadTimeout
        except urllib3.exceptions.HTTPError as error:
            raise requests.exceptions.ConnectionError(error) from error
        finally:
            response.raw.release_conn()
        response._content, response._content_consumed = data, True  # noqa: SLF001 - as `content` does
        return response


class _Client(acme_client.ClientV2):
    """The library's client, with an order that names what it replaces, and one look at a resource."""

    net: Network

    def order(self, order: NewOrder, csr: bytes) -> OrderResource:
        """Place an order, and get its authorizations."""
        response = self._post(self.directory["newOrder"], order)
        body = messages.Order.from_json(response.json())
        found = [self.authorization(url) for url in body.authorizations]
        return messages.OrderResource(
            body=body, uri=response.headers["Location"], authorizations=found, csr_pem=csr
        )  # fmt: skip

    def authorization(self, url: str) -> AuthorizationResource:
        """Look at an authorization."""
        return self._authzr_from_response(self._post_as_get(url), uri=url)

    def look(self, order: OrderResource) -> OrderResource:
        """Look at an order."""
        found: OrderResource = order.update(body=messages.Order.from_json(self._post_as_get(order.uri).json()))
        return found

    def download(self, order: OrderResource) -> bytes:
        """Get the certificate of an order, PEM."""
        content: bytes = self._post_as_get(order.body.certificate).content
        return content

    def renewal_information(self, certificate: x509.Certificate) -> tuple[Any, requests.Response] | None:
        """Ask when to renew a certificate (RFC 9773 section 4.1); None if the authority does not tell."""
        try:
            base = self.directory["renewalInfo"]
        except KeyError:
            return None
        response = self.net.get(f"{base.rstrip('/')}/{certificate_id(certificate)}")
        return response.json(), response


class AcmeClient(Protocol):
    """What the keeper needs of a client; `Client` is the real one."""

    def issue(self, wanted: Wanted, kind: str, replaces: x509.Certificate | None) -> Pair:
        """Order a certificate and wait for it."""

    def suggestion(self, certificate: x509.Certificate) -> Suggestion | None:
        """Ask when a certificate is to be renewed."""


class Client:
    """One errand at one authority.

    Args:
        issuer: The authority, resolved.
        storage: Has the account, which is made if need be.
        solvers: Who meets its challenges.
        clock: The time.
    """

    def __init__(self, issuer: Issuer, storage: Storage, solvers: Solvers, clock: Clock) -> None:
        self._issuer = issuer
        self._storage = storage
        self._solvers = solvers
        self._clock = clock
        self._network: Network | None = None
        self._connected: _Client | None = None

    # Errands

    def issue(self, wanted: Wanted, kind: str, replaces: x509.Certificate | None = None) -> Pair:
        """Order a certificate and wait for it.

        Args:
            wanted: What for.
            kind: The kind of challenge to meet.
            replaces: The certificate that it renews, if this authority has issued it.

        Raises:
            Failure: It was not issued.
        """
        names = wanted.names
        if self._issuer.url in AUTHORITIES.values() and (why := next(filter(None, map(why_not_public, names)), "")):
            raise Failure(f"no public authority issues for it: {why}; use the local authority", "rejectedIdentifier")
        key = new_key(wanted.key)
        csr = request_pem(names, key)
        with self._words(names):
            client = self._client()
            try:
                order = self._order(client, names, csr, replaces)
            except messages.Error as error:
                if _code(error) != "accountDoesNotExist":
                    raise
                self._storage.forget_account(self._issuer.url)
                self._connected = None
                client = self._client()
                order = self._order(client, names, csr, replaces)
            with Cleanup(self._solvers) as cleanup:
                self._prove(client, order, kind, cleanup)
            chain = client.download(self._finalize(client, order))
            pair = parse_pair(chain, key_pem(key), names=names, now=self._clock.now())
        if lacking := [name for name in names if not pair.covers(name)]:
            raise Failure(f"{self._issuer.title} has issued a certificate that lacks {', '.join(lacking)}", ODD)
        return pair

    def suggestion(self, certificate: x509.Certificate) -> Suggestion | None:
        """Ask when a certificate is to be renewed (RFC 9773); None if the authority does not tell.

        Raises:
            Failure: The authority could not be asked.
        """
        with self._words(("renewal information",)):
            told = self._client(account=False).renewal_information(certificate)
            if told is None:
                return None
            document, response = told
            now = self._clock.now()
            return Suggestion.of(document, now, _retry_after(response, now))

    def revoke(self, certificate: x509.Certificate, reason: int = 0) -> None:
        """Revoke a certificate (RFC 8555 section 7.6).

        Args:
            certificate: Which.
            reason: Code of RFC 5280 section 5.3.1.

        Raises:
            Failure: It was not revoked.
        """
        with self._words(("the certificate",)):
            self._client().revoke(certificate, reason)

    # The account

    def _client(self, *, account: bool = True) -> _Client:
        if self._connected is None:
            self._connected = self._connect()
        client = self._connected
        if account and client.net.account is None:
            with self._storage.lock(f"account-{self._issuer.url}", wait=True):
                self._log_in(client)
        return client

    def _connect(self) -> _Client:
        from buchner import __version__

        self._network = network = Network(None, alg=ES256, user_agent=f"Buchner/{__version__}", timeout=30)
        network.session = _BoundedSession()
        if self._issuer.roots:
            network.verify_ssl = self._issuer.roots  # type: ignore[assignment]  # requests takes a file as well
        return _Client(_Client.get_directory(self._issuer.url, network), network)

    def _log_in(self, client: _Client) -> None:
        """Use the account that is kept, or make one."""
        kept = self._storage.account(self._issuer.url)
        if kept is not None:
            client.net.key = JWKEC(key=serialization.load_pem_private_key(kept.key.encode(), None))
            client.net.account = messages.RegistrationResource(body=messages.Registration(), uri=kept.url)
            return
        private = new_key()
        client.net.key = JWKEC(key=private)
        binding = None
        if self._issuer.eab_kid:
            binding = messages.ExternalAccountBinding.from_data(
                client.net.key.public_key(), self._issuer.eab_kid, self._issuer.eab_key, client.directory,
                self._issuer.eab_algorithm,
            )  # fmt: skip
        elif client.external_account_required():
            raise explain(Told("externalAccountRequired", "", "", authority=self._issuer.title), _resolve)
        about: dict[str, Any] = {"terms_of_service_agreed": True, "external_account_binding": binding}
        if self._issuer.email:
            about["email"] = self._issuer.email
        account = client.new_account(messages.NewRegistration.from_data(**about))
        if not account.uri:
            raise Failure(f"{self._issuer.title} has made an account without an address", ODD)
        self._storage.save_account(
            self._issuer.url, Account(account.uri, key_pem(private).decode(), self._issuer.email)
        )  # fmt: skip

    # An order

    def _order(
        self, client: _Client, names: Sequence[str], csr: bytes, replaces: x509.Certificate | None
    ) -> OrderResource:
        identifiers = [
            messages.Identifier(
                typ=messages.IDENTIFIER_IP if as_address(name) else messages.IDENTIFIER_FQDN, value=name
            )
            for name in names
        ]
        about: dict[str, Any] = {"identifiers": identifiers}
        if self._issuer.profile:
            about["profile"] = self._issuer.profile
        if replaces is not None and "renewalInfo" in _keys(client.directory):
            try:
                return client.order(NewOrder(**about, replaces=certificate_id(replaces)), csr)
            except errors.ConflictError:
                pass  # replaced already (RFC 9773 section 5)
            except messages.Error as error:
                if _code(error) in ("rateLimited", "serverInternal", "accountDoesNotExist"):
                    raise
        return client.order(NewOrder(**about), csr)

    def _prove(self, client: _Client, order: OrderResource, kind: str, cleanup: Cleanup) -> None:
        """Meet a challenge for each name that is not proved yet, and wait until all are."""
        pending = [one for one in order.authorizations if one.body.status == messages.STATUS_PENDING]
        responses = []
        for authorization in pending:
            challenge = self._choose(authorization, kind)
            key = client.net.key
            answer = challenge.chall.key_authorization(key)
            digest = hashlib.sha256(answer.encode()).digest()
            text = b64encode(digest).decode()
            name = authorization.body.identifier.value
            cleanup.meet(Task(kind, name, challenge.chall.encode("token"), answer, digest, text))
            responses.append((challenge, challenge.chall.response(key)))
        for challenge, response in responses:
            client.answer_challenge(challenge, response)
        for authorization in order.authorizations:
            found = self._await(
                partial(client.authorization, authorization.uri),
                lambda one: one.body.status not in (messages.STATUS_PENDING, messages.STATUS_PROCESSING),
                client,
                f"{self._issuer.title} has not looked at the challenge for {authorization.body.identifier.value} "
                f"within {_PATIENCE:.0f} s",
            )
            if found.body.status != messages.STATUS_VALID:
                raise self._refused(found, kind)

    def _choose(self, authorization: AuthorizationResource, kind: str) -> messages.ChallengeBody:
        name = authorization.body.identifier.value
        offered = [one.chall.typ for one in authorization.body.challenges if isinstance(one.chall.typ, str)]
        for challenge in authorization.body.challenges:
            if getattr(challenge.chall, "typ", "") == kind:
                return challenge
        raise Failure(
            f"{self._issuer.title} does not take {kind} for {name}, only {', '.join(offered) or 'nothing known here'}",
            "unsupportedIdentifier",
        )

    def _refused(self, authorization: AuthorizationResource, kind: str) -> Failure:
        name = authorization.body.identifier.value
        for challenge in authorization.body.challenges:
            if challenge.error is not None:
                kind = getattr(challenge.chall, "typ", kind)
                return self._explain(challenge.error, (name,), kind)
        return Failure(f"{self._issuer.title} says that {name} is not proved, and not why", "unauthorized")

    def _finalize(self, client: _Client, order: OrderResource) -> OrderResource:
        """Ask for the certificate and wait for it."""
        late = f"{self._issuer.title} has not issued within {_PATIENCE:.0f} s"
        decided = (messages.STATUS_READY, messages.STATUS_VALID, messages.STATUS_INVALID)
        order = self._await(lambda: client.look(order), lambda one: one.body.status in decided, client, late)
        if order.body.status == messages.STATUS_READY:
            client.begin_finalization(order)
            order = self._await(
                lambda: client.look(order),
                lambda one: one.body.status in (messages.STATUS_VALID, messages.STATUS_INVALID),
                client,
                late,
            )
        if order.body.status == messages.STATUS_INVALID:
            if order.body.error is not None:
                raise order.body.error
            raise Failure(f"{self._issuer.title} has ended the order without a reason", "serverInternal")
        return order

    def _await(
        self, look: Callable[[], Any], done: Callable[[Any], bool], client: _Client, late: str
    ) -> Any:  # fmt: skip
        """Look again and again until it is done."""
        until, pause = self._clock.now() + _PATIENCE, _WAIT[0]
        while not done(found := look()):
            now = self._clock.now()
            if now > until:
                raise Failure(late, TIMEOUT)
            asked = _retry_after(client.net.last, now) - now
            self._clock.sleep(min(max(asked, pause), _WAIT[1]))
            pause = min(pause * 1.5, 5.0)
        return found

    # Words

    @contextlib.contextmanager
    def _words(self, names: Sequence[str]) -> Iterator[None]:
        """Turn whatever an authority or the network does into a `Failure`."""
        title = self._issuer.title
        try:
            yield
        except (Failure, Interrupted):
            raise
        except messages.Error as error:
            raise self._explain(error, names, "") from error
        except requests.exceptions.SSLError as error:
            raise Failure(f"the HTTPS of {title} cannot be trusted: {_reason(error)}", OUTAGE) from error
        except requests.exceptions.InvalidURL as error:
            raise Failure(f"{title} gave an address that is not to be used: {error}", ODD) from error
        except requests.exceptions.InvalidJSONError as error:
            raise self._odd(error) from error
        except requests.exceptions.Timeout as error:
            raise Failure(f"{title} does not respond", OUTAGE) from error
        except requests.exceptions.RequestException as error:
            raise Failure(f"{title} cannot be reached: {_reason(error)}", OUTAGE) from error
        except BuchnerError as error:  # a hook, a name server, the gateway, or a certificate that does not fit
            raise Failure(str(error), "here") from error
        except Exception as error:
            raise self._odd(error) from error

    def _odd(self, error: Exception) -> Failure:
        """What is neither a problem document nor what the standard says."""
        title, response = self._issuer.title, self._last()
        status = 0 if response is None else response.status_code
        until = _retry_after(response, 0.0, self._clock.now())
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return Failure(f"{title} takes no more requests{when(until)} (429)", RATE_LIMITED, until)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return Failure(f"{title} has trouble of its own ({status}){when(until)}", OUTAGE, until)
        about = f"{type(error).__name__}: {str(error)[:120]}" if str(error) else type(error).__name__
        told = f"status {status}, " if status else ""
        return Failure(
            f"{title} responds with something that is not ACME ({told}{about}): is its address right, and is there a "
            "proxy before it?",
            ODD,
            until,
        )

    def _explain(self, error: messages.Error, names: Sequence[str], kind: str) -> Failure:
        name = str(error.identifier.value) if error.identifier is not None else ", ".join(names[:3])
        details = [error.detail, *(one.detail for one in error.subproblems or ())]
        detail = "; ".join(str(one) for one in details if one)
        response = self._last()
        until = 0.0
        if response is not None and not response.ok:
            until = _retry_after(response, 0.0, self._clock.now())
        return explain(Told(_code(error), detail, name, kind, self._issuer.title, until), _resolve)

    def _last(self) -> requests.Response | None:
        return self._network.last if self._network is not None else None


def _code(error: messages.Error) -> str:
    return str(error.typ).rpartition(":")[2]


def _keys(directory: messages.Directory) -> set[str]:
    return set(directory.to_partial_json())


def _resolve(name: str) -> list[str]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def _reason(error: Exception) -> str:
    """The last cause of an error of requests, which wraps others."""
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    return (str(cause) or type(cause).__name__)[:200]


def _retry_after(response: requests.Response | None, default: float, now: float | None = None) -> float:
    """Return the Unix time of Retry-After (RFC 9110 section 10.2.3), or `default`."""
    value = response.headers.get("Retry-After", "").strip() if response is not None else ""
    if value.isascii() and value.isdigit():
        return (default if now is None else now) + min(float(value), 30 * 86400.0)
    try:
        return email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return default
