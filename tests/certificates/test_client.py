"""The ACME client against the real Pebble: all challenges, renewal, revocation, and an authority that misbehaves."""

from __future__ import annotations

import base64
import datetime as dt
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from buchner.certificates.challenges import Solvers
from buchner.certificates.client import Client
from buchner.certificates.clock import WallClock
from buchner.certificates.failure import ODD, OUTAGE, Failure
from buchner.certificates.making import self_signed
from buchner.certificates.renewal import certificate_id
from buchner.certificates.settings import ALPN, DNS, HTTP, Issuer, Wanted
from helpers.pebble import EAB_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from buchner.certificates.storage import Storage
    from helpers.pebble import Fault, FaultyProxy, Pebble, Responders


def client(issuer: Issuer, storage: Storage, responders: Responders | None = None) -> Client:
    return Client(issuer, storage, responders.solvers() if responders else Solvers(), WallClock())


def wanted(*names: str, **more: Any) -> Wanted:
    return Wanted(names=names, **more).resolved()


@pytest.mark.parametrize("kind", [HTTP, ALPN, DNS])
def test_each_challenge(kind: str, pebble: Pebble, storage: Storage, responders: Responders) -> None:
    pair = client(pebble.issuer(), storage, responders).issue(wanted("a.shop.test", "b.shop.test"), kind)
    assert pair.names == ("a.shop.test", "b.shop.test")
    assert len(pair.chain) == 2
    assert pair.warnings == ()
    assert pair.issuer.startswith("Pebble Intermediate")
    assert (responders.http.tokens, responders.alpn.contexts, responders.dns.values) == ({}, {}, [])


def test_a_wildcard_and_its_base_share_a_record(pebble: Pebble, storage: Storage, responders: Responders) -> None:
    pair = client(pebble.issuer(), storage, responders).issue(wanted("*.w.test", "w.test"), DNS)
    assert set(pair.names) == {"*.w.test", "w.test"}


@pytest.mark.parametrize("kind", [HTTP, ALPN])
def test_an_address(kind: str, pebble: Pebble, storage: Storage, responders: Responders) -> None:
    assert client(pebble.issuer(), storage, responders).issue(wanted("127.0.0.1"), kind).names == ("127.0.0.1",)


def test_profiles_and_kinds_of_keys(pebble: Pebble, storage: Storage, responders: Responders) -> None:
    pebble.need("renewalInfo")
    errand = client(pebble.issuer(profile="shortlived"), storage, responders)
    pair = errand.issue(wanted("short.test", key="rsa2048"), HTTP)
    assert pair.life == pytest.approx(6 * 86400, abs=10)
    assert isinstance(pair.leaf().public_key(), rsa.RSAPublicKey)
    pair = errand.issue(wanted("short.test", key="p384"), HTTP)
    key = pair.leaf().public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp384r1"


def test_the_account_is_kept(proxy: FaultyProxy, pebble: Pebble, storage: Storage, responders: Responders) -> None:
    issuer = pebble.issuer(url=proxy.url, email="me@shop.test")
    for _ in range(2):
        client(issuer, storage, responders).issue(wanted("kept.test"), HTTP)
    assert storage.account(issuer.url) is not None
    made = [path for _, path, body in proxy.requests if "sign-me-up" in path and b'"jwk"' not in body]
    accepted = [path for _, path, _ in proxy.requests if "sign-me-up" in path]
    assert made
    assert 1 <= len(accepted) <= 10  # once, and again for each nonce that was refused


def test_many_refused_nonces(run_pebble: Callable[..., Pebble], storage: Storage, responders: Responders) -> None:
    pebble = run_pebble(PEBBLE_WFE_NONCEREJECT="40")
    errand = client(pebble.issuer(), storage, responders)
    with pytest.raises(Failure) as caught:  # its challenges go to ports where nobody is; all before that has worked
        errand.issue(wanted("nonce.test"), HTTP)
    assert caught.value.code == "connection"


def test_renewal_by_the_authoritys_information(pebble: Pebble, storage: Storage, responders: Responders) -> None:
    pebble.need("renewalInfo")
    errand = client(pebble.issuer(), storage, responders)
    first = errand.issue(wanted("ari.test"), HTTP)
    told = errand.suggestion(first.leaf())
    assert told is not None
    assert first.not_before < told.start < told.end < first.not_after
    now = dt.datetime.now(dt.UTC)
    window = {"start": (now - dt.timedelta(hours=2)).isoformat(), "end": (now - dt.timedelta(hours=1)).isoformat()}
    document = {"suggestedWindow": window, "explanationURL": "https://ca.test/incident"}
    pebble.renew_within(first.chain_pem, json.dumps(document))
    told = errand.suggestion(first.leaf())
    assert told is not None
    assert told.end < time.time()
    assert told.explanation == "https://ca.test/incident"


def test_an_order_names_what_it_replaces(
    proxy: FaultyProxy, pebble: Pebble, storage: Storage, responders: Responders
) -> None:
    """RFC 9773 section 5: once; a second time the authority says 409, and it is ordered as any other."""
    pebble.need("renewalInfo")
    errand = client(pebble.issuer(url=proxy.url), storage, responders)
    first = errand.issue(wanted("again.test"), HTTP)
    for _ in range(2):
        proxy.requests.clear()
        assert errand.issue(wanted("again.test"), HTTP, first.leaf()).serial != first.serial
    orders = [
        json.loads(base64.urlsafe_b64decode(json.loads(body)["payload"] + "=="))
        for _, path, body in proxy.requests
        if "order-plz" in path
    ]
    assert orders[0]["replaces"] == certificate_id(first.leaf())
    assert "replaces" not in orders[-1]


def test_a_certificate_without_the_key_of_its_issuer_has_no_renewal_information() -> None:
    pair = self_signed(["a.test"])
    with pytest.raises(Failure, match="does not name the key of its issuer"):
        certificate_id(pair.leaf())


def test_revocation(pebble: Pebble, storage: Storage, responders: Responders) -> None:
    errand = client(pebble.issuer(), storage, responders)
    pair = errand.issue(wanted("gone.test"), HTTP)
    errand.revoke(pair.leaf(), 4)
    assert pebble.status_of(pair.serial)["Status"] == "Revoked"
    with pytest.raises(Failure, match="revoked already"):
        errand.revoke(pair.leaf(), 4)


def test_bound_accounts(run_pebble: Callable[..., Pebble], storage: Storage) -> None:
    pebble = run_pebble(bindings=True)
    with pytest.raises(Failure, match="key identifier and MAC key") as caught:
        client(pebble.issuer(), storage).issue(wanted("eab.test"), HTTP)
    assert caught.value.code == "externalAccountRequired"
    with pytest.raises(Failure, match="could not reach") as caught:
        client(pebble.issuer(eab_kid="kid-1", eab_key=EAB_KEY), storage).issue(wanted("eab.test"), HTTP)
    assert storage.account(pebble.issuer().url) is not None


def test_an_authority_that_has_forgotten_the_account(pebble: Pebble, storage: Storage, responders: Responders) -> None:
    issuer = pebble.issuer()
    client(issuer, storage, responders).issue(wanted("forgotten.test"), HTTP)
    account = storage.account(issuer.url)
    assert account is not None
    account.url += "0000"
    storage.save_account(issuer.url, account)
    client(issuer, storage, responders).issue(wanted("forgotten.test"), HTTP)
    found = storage.account(issuer.url)
    assert found is not None
    assert found.url != account.url


# What a person has to act on


def test_another_server_answers(pebble: Pebble, storage: Storage, responders: Responders) -> None:
    class Elsewhere:
        def put(self, token: str, answer: str) -> None:
            """The DNS points elsewhere: nobody here is asked."""

        def drop(self, token: str) -> None:
            """Nothing."""

    errand = Client(pebble.issuer(), storage, Solvers(http=Elsewhere()), WallClock())
    with pytest.raises(Failure, match=r"another server answered for elsewhere\.test.*has to point to this machine"):
        errand.issue(wanted("elsewhere.test"), HTTP)
    assert responders.http.seen


def test_a_port_that_is_closed(run_pebble: Callable[..., Pebble], storage: Storage) -> None:
    pebble = run_pebble()

    class Nobody:
        def put(self, token: str, answer: str) -> None:
            """Nobody listens."""

        def drop(self, token: str) -> None:
            """Nothing."""

    errand = Client(pebble.issuer(), storage, Solvers(http=Nobody()), WallClock())
    with pytest.raises(Failure, match=r"could not reach port 80 of closed\.test .*open in its firewall") as caught:
        errand.issue(wanted("closed.test"), HTTP)
    assert not caught.value.elsewhere


def test_a_name_without_address(pebble: Pebble, storage: Storage, responders: Responders) -> None:
    pebble.tell_dns("set-servfail", host="nowhere.test")
    with pytest.raises(Failure, match=r"nowhere\.test") as caught:
        client(pebble.issuer(), storage, responders).issue(wanted("nowhere.test"), HTTP)
    assert caught.value.code in ("dns", "connection", "unauthorized")


def test_a_missing_record(pebble: Pebble, storage: Storage) -> None:
    class Late:
        def present(self, record: str, value: str) -> None:
            """The name servers have not heard of it."""

        def remove(self, record: str, value: str) -> None:
            """Nothing."""

    errand = Client(pebble.issuer(), storage, Solvers(dns=Late()), WallClock())
    with pytest.raises(Failure, match=r"did not find the record _acme-challenge\.late\.test"):
        errand.issue(wanted("late.test"), DNS)


def test_a_name_it_does_not_issue_for(pebble: Pebble, storage: Storage, responders: Responders) -> None:
    with pytest.raises(Failure, match=r"does not issue for .*blocked\.test, by its policy") as caught:
        client(pebble.issuer(), storage, responders).issue(wanted("x.blocked.test"), HTTP)
    assert caught.value.elsewhere


def test_names_that_are_not_public_are_not_asked_for(storage: Storage) -> None:
    with pytest.raises(Failure, match=r"names that end in \.local are not public; use the local authority"):
        client(Issuer().resolved(), storage).issue(wanted("printer.local"), HTTP)


def test_a_challenge_it_does_not_take(pebble: Pebble, storage: Storage, responders: Responders) -> None:
    with pytest.raises(Failure, match=r"does not take http-01 for wild\.test, only dns"):
        client(pebble.issuer(), storage, responders).issue(wanted("*.wild.test"), HTTP)


# An authority, or something before it, that misbehaves


@pytest.fixture
def proxied(proxy: FaultyProxy, pebble: Pebble, storage: Storage, responders: Responders) -> Iterator[Client]:
    """A client of Pebble through the proxy; nothing is left of its challenges."""
    yield client(pebble.issuer(url=proxy.url, title="Proxy"), storage, responders)
    assert responders.http.tokens == {}


PROBLEM = {"Content-Type": "application/problem+json"}


def problem(code: str, detail: str = "because", status: int = 403, **headers: str) -> Fault:
    text = json.dumps({"type": f"urn:ietf:params:acme:error:{code}", "detail": detail, "status": status})
    return status, {**PROBLEM, **headers}, text.encode()


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ((0, {}, b""), OUTAGE, "cannot be reached"),
        ((503, {"Retry-After": "120"}, b"<html>maintenance"), OUTAGE, r"has trouble of its own \(503\) until 20"),
        ((500, {}, b""), OUTAGE, r"has trouble of its own \(500\)"),
        ((429, {"Retry-After": "3600"}, b"slow down"), "rateLimited", r"no more requests until 20.* UTC \(429\)"),
        (problem("rateLimited", "too many", 429, **{"Retry-After": "3600"}), "rateLimited", "no more .* until 20"),
        ((200, {}, b"<html>a captive portal"), ODD, "something that is not ACME"),
        ((200, {"Content-Type": "application/json"}, b"[]"), ODD, "something that is not ACME"),
        ((200, {"Content-Type": "application/json"}, b"{}"), ODD, "something that is not ACME"),
        ((200, {"Content-Type": "application/json"}, b'{"newNonce": 5}'), ODD, "not ACME|not to be used"),
        ((301, {"Location": "http://127.0.0.1:1/"}, b""), ODD, r"not ACME \(status 301"),
        ((200, {"X-Length": "5000"}, b"{"), OUTAGE, "cannot be reached"),
        ((200, {}, b"x" * (2 << 20)), OUTAGE, "more than 1 MiB"),
        ((400, PROBLEM, b'{"type": 7, "detail": ["x"]}'), None, "Proxy"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["/dir", "/nonce-plz", "/order-plz", "/certZ/"])
def test_wrong_responses_become_words(
    place: str, fault: Fault, code: str | None, words: str, proxied: Client, proxy: FaultyProxy
) -> None:
    proxy.fault = lambda _method, path, _body: fault if path.startswith(place) else None
    if place == "/nonce-plz" and fault[0] in (200, 301, 400):
        return  # the body of a HEAD is not looked at
    if place == "/certZ/" and fault[0] == 200:
        words, code = ".", None  # read as PEM
    with pytest.raises(Failure, match=words) as caught:
        proxied.issue(wanted("odd.test"), HTTP)
    assert code is None or caught.value.code == code
    if "Retry-After" in fault[1]:
        assert caught.value.until == pytest.approx(time.time() + int(fault[1]["Retry-After"]), abs=30)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("caa", "a CAA record forbids it"),
        ("userActionRequired", "wants something to be done first"),
        ("somethingNew", "refuses odd.test"),
    ],
)
def test_problems_of_an_order(code: str, words: str, proxied: Client, proxy: FaultyProxy) -> None:
    proxy.fault = lambda _method, path, _body: problem(code, "see https://ca.test/x") if "order-plz" in path else None
    with pytest.raises(Failure, match=rf"{words}.*It says: see https://ca\.test/x"):
        proxied.issue(wanted("odd.test"), HTTP)


def test_an_authority_that_is_not_trusted(pebble: Pebble, storage: Storage) -> None:
    with pytest.raises(Failure, match="the HTTPS of Pebble cannot be trusted") as caught:
        client(pebble.issuer(roots=""), storage).issue(wanted("a.test"), HTTP)
    assert caught.value.elsewhere


def test_addresses_that_are_not_https_are_not_followed(proxy: FaultyProxy, pebble: Pebble, storage: Storage) -> None:
    document = dict.fromkeys(("newNonce", "newAccount", "newOrder"), "http://127.0.0.1:1/")
    fault = 200, {"Content-Type": "application/json"}, json.dumps(document).encode()
    proxy.fault = lambda _method, path, _body: fault if path == "/dir" else None
    with pytest.raises(Failure, match="gave an address that is not to be used") as caught:
        client(pebble.issuer(url=proxy.url), storage).issue(wanted("a.test"), HTTP)
    assert caught.value.code == ODD
