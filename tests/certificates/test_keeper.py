"""The keeper, by a clock that the tests move and an authority they play; at the end with the real Pebble."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from buchner.certificates.challenges import Solvers
from buchner.certificates.clock import WallClock
from buchner.certificates.demand import AllowList, Demand
from buchner.certificates.failure import OUTAGE, RATE_LIMITED, Failure
from buchner.certificates.keeper import Keeper
from buchner.certificates.making import DAY, SELF_SIGNED, builder, key_pem, new_key, subject_names
from buchner.certificates.pem import Pair, parse_pair
from buchner.certificates.renewal import Suggestion
from buchner.certificates.settings import ALPN, DNS, HTTP, Issuer, Wanted
from buchner.certificates.state import Stage, State
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from buchner.certificates.storage import Storage
    from helpers.pebble import FaultyProxy, Pebble, Responders

NOW = 1_800_000_000.0
ONE = Issuer(url="https://one.test/dir", title="One")
TWO = Issuer(url="https://two.test/dir", title="Two")
HOUR = 3600.0


class Nothing:
    """Meets every challenge."""

    def put(self, *_: Any) -> None:
        """Nothing."""

    def drop(self, *_: Any) -> None:
        """Nothing."""

    present = remove = put


class Moved:
    """A clock that the test moves."""

    def __init__(self, now: float = NOW) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        time.sleep(min(seconds, 0.05))


@dataclass
class Served:
    """A sink: what is served, and each change."""

    pairs: dict[str, Pair] = field(default_factory=dict)
    changes: list[tuple[str, bool]] = field(default_factory=list)

    def put(self, name: str, names: tuple[str, ...], pair: Pair, *, temporary: bool) -> None:
        assert all(pair.covers(one) for one in names) or not temporary
        self.pairs[name] = pair
        self.changes.append((name, temporary))

    def drop(self, name: str) -> None:
        del self.pairs[name]


@dataclass
class Authority:
    """An authority that the test plays."""

    clock: Moved
    fault: Callable[[Issuer, str], Failure | Exception | None] = lambda _issuer, _kind: None
    window: Callable[[], Suggestion | None] = lambda: None
    orders: list[tuple[str, str, str]] = field(default_factory=list)
    """Title, first name and kind of challenge of each."""
    times: list[float] = field(default_factory=list)
    replaced: list[bool] = field(default_factory=list)
    days: float = 90
    hold: threading.Event | None = None
    running: int = 0
    most: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def connect(self, issuer: Issuer, *_: Any) -> Any:
        return _Errand(self, issuer)


@dataclass
class _Errand:
    authority: Authority
    issuer: Issuer

    def issue(self, wanted: Wanted, kind: str, replaces: object = None) -> Pair:
        ca = self.authority
        with ca._lock:
            ca.orders.append((self.issuer.title, wanted.name, kind))
            ca.times.append(ca.clock.now())
            ca.replaced.append(replaces is not None)
            ca.running += 1
            ca.most = max(ca.most, ca.running)
        try:
            if ca.hold is not None:
                ca.hold.wait(20)
            if (fault := ca.fault(self.issuer, kind)) is not None:
                raise fault
            return issued(wanted.names, ca.clock.now(), ca.days)
        finally:
            with ca._lock:
                ca.running -= 1

    def suggestion(self, _certificate: object) -> Suggestion | None:
        return self.authority.window()


def issued(names: tuple[str, ...], now: float, days: float = 90) -> Pair:
    key = new_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test authority")])
    certificate = (
        builder(name, name, key, days, now)
        .add_extension(subject_names(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    return parse_pair(certificate.public_bytes(serialization.Encoding.PEM), key_pem(key), now=now)


@dataclass
class Scene:
    """A keeper with all it needs."""

    storage: Storage
    clock: Moved
    authority: Authority
    served: Served
    keeper: Keeper

    def keep(self, *names: str, **more: Any) -> None:
        about = {"issuers": (ONE,), **more}
        self.keeper.keep([Wanted(names=(name,), **about) for name in names])

    def pass_time(self, seconds: float, *, every: float = 15.0) -> None:
        """Let time pass in steps, as `run` makes them."""
        until = self.clock.time + seconds
        while self.clock.time < until:
            self.now()
            self.clock.time = min(until, self.clock.time + every)
        self.now()

    def now(self) -> None:
        self.keeper.step()
        self.keeper.settle()

    def state(self, name: str) -> State:
        return self.storage.state(name)


@pytest.fixture
def make(storage: Storage) -> Iterator[Callable[..., Scene]]:
    """Make keepers of one storage: `make(demand=…)`."""
    made: list[Keeper] = []

    def stage(clock: Moved | None = None, **more: Any) -> Scene:
        clock = clock or Moved()
        authority, served = Authority(clock), Served()
        nothing = Nothing()
        about = {"solvers": Solvers(nothing, nothing, nothing), "chance": random.Random(5), **more}
        keeper = Keeper(storage, served, clock=clock, connect=authority.connect, **about)
        made.append(keeper)
        return Scene(storage, clock, authority, served, keeper)

    yield stage
    for keeper in made:
        keeper.close()


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The log, also if an earlier test has set it up for a service."""
    logger = logging.getLogger("buchner")
    before = logger.propagate
    logger.propagate = True
    caplog.set_level(logging.INFO, "buchner")
    yield caplog
    logger.propagate = before


def warnings(heard: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in heard.records if record.levelno >= logging.WARNING]


# The first one


def test_self_signed_at_once_then_issued(make: Callable[..., Scene]) -> None:
    stage = make()
    stage.keep("a.test")
    assert stage.served.pairs["a.test"].issuer == SELF_SIGNED
    stage.now()
    assert stage.served.changes == [("a.test", True), ("a.test", False)]
    kept = stage.storage.read("a.test")
    assert kept is not None
    assert kept.chain == stage.served.pairs["a.test"].chain
    state = stage.state("a.test")
    assert (state.stage, state.authority, state.challenge) == (Stage.VALID, ONE.url, ALPN)
    assert NOW + 58 * DAY < state.next_try < NOW + 60 * DAY


def test_a_hundred_names_in_one_start(make: Callable[..., Scene]) -> None:
    stage = make()
    names = [f"n{number}.test" for number in range(100)]
    stage.keep(*names)
    assert len(stage.served.pairs) == 100
    stage.now()
    assert Counter(name for _, name, _ in stage.authority.orders) == Counter(names)
    assert stage.authority.most <= 4
    renewals = {stage.state(name).next_try for name in names}
    assert len(renewals) == 100
    assert max(renewals) - min(renewals) > DAY


def test_a_certificate_on_the_disk_is_served_and_not_ordered(make: Callable[..., Scene], storage: Storage) -> None:
    kept = issued(("a.test",), NOW)
    storage.write("a.test", kept)
    stage = make()
    stage.keep("a.test")
    stage.now()
    assert stage.served.changes == [("a.test", False)]
    assert stage.served.pairs["a.test"].serial == kept.serial
    assert stage.authority.orders == []


@pytest.mark.parametrize("harm", ["cut off", "another name"])
def test_one_that_does_not_fit_is_ordered_anew(harm: str, make: Callable[..., Scene], storage: Storage) -> None:
    storage.write("a.test", issued(("b.test",), NOW))
    if harm == "cut off":
        (storage.root / "live" / "a.test" / "fullchain.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nMII")
    stage = make()
    stage.keep("a.test")
    stage.now()
    assert stage.served.pairs["a.test"].names == ("a.test",)


def test_names_that_are_no_longer_wanted_are_dropped(make: Callable[..., Scene]) -> None:
    stage = make()
    stage.keep("a.test", "b.test")
    stage.now()
    stage.keep("b.test")
    assert list(stage.served.pairs) == ["b.test"]
    stage.now()
    assert len(stage.authority.orders) == 2


# Renewal


def test_renewed_at_two_thirds_of_life(make: Callable[..., Scene]) -> None:
    stage = make()
    stage.keep("a.test")
    stage.now()
    first = stage.served.pairs["a.test"]
    stage.pass_time(58 * DAY, every=HOUR)
    assert len(stage.authority.orders) == 1
    stage.pass_time(3 * DAY, every=HOUR)
    assert len(stage.authority.orders) == 2
    assert stage.authority.replaced == [False, True]
    assert stage.served.pairs["a.test"].serial != first.serial


def test_renewed_when_the_authority_wants_it(make: Callable[..., Scene], heard: pytest.LogCaptureFixture) -> None:
    stage = make()
    window = [Suggestion(NOW + 40 * DAY, NOW + 41 * DAY, 0)]
    stage.authority.window = lambda: replace(window[0], ask_again=stage.clock.time + 6 * HOUR)
    stage.keep("a.test")
    stage.pass_time(2 * DAY, every=HOUR)
    assert NOW + 40 * DAY <= stage.state("a.test").next_try <= NOW + 41 * DAY
    window[0] = Suggestion(NOW, NOW + HOUR, 0, "https://one.test/incident")
    stage.pass_time(7 * HOUR, every=HOUR)
    assert len(stage.authority.orders) == 2
    assert "One wants it to be renewed now: https://one.test/incident" in heard.text
    stage.pass_time(10 * DAY, every=HOUR)
    assert len(stage.authority.orders) <= 22  # it says so of each new one, too


def test_renewal_information_that_cannot_be_had_leaves_two_thirds(make: Callable[..., Scene]) -> None:
    stage = make()
    asked: list[float] = []

    def refuse() -> None:
        asked.append(stage.clock.time)
        raise Failure("no", OUTAGE)

    stage.authority.window = refuse
    stage.keep("a.test")
    stage.pass_time(57 * DAY, every=HOUR)
    assert len(stage.authority.orders) == 1
    assert 4 * 50 < len(asked) < 4 * 57 + 12
    stage.pass_time(4 * DAY, every=HOUR)
    assert len(stage.authority.orders) == 2


def test_a_wish_is_fulfilled_now(make: Callable[..., Scene]) -> None:
    stage = make()
    stage.keep("a.test", "b.test")
    stage.now()
    stage.storage.wish_renewal("a.test")
    stage.now()
    assert [name for _, name, _ in stage.authority.orders].count("a.test") == 2
    assert len(stage.authority.orders) == 3


# Failures


def test_an_outage_of_an_hour(make: Callable[..., Scene], heard: pytest.LogCaptureFixture) -> None:
    """Few questions, for all certificates together; a warning; issued a quarter of an hour after it ends."""
    stage = make()
    back = NOW + HOUR
    stage.authority.fault = lambda *_: Failure("away", OUTAGE) if stage.clock.time < back else None
    stage.keep(*(f"n{number}.test" for number in range(20)))
    stage.pass_time(HOUR)
    assert 5 <= len(stage.authority.orders) <= 45
    assert len(set(stage.authority.times)) <= 20
    assert any("is not" not in text and "not issued (attempt" in text for text in warnings(heard))
    asked = len(stage.authority.orders)
    stage.pass_time(20 * 60)
    assert all(stage.served.pairs[f"n{number}.test"].issuer == "Test authority" for number in range(20))
    assert len(stage.authority.orders) - asked == 20
    assert stage.state("n1.test").last_error == ""


def test_a_rate_limit_is_waited_for_and_another_authority_is_asked(make: Callable[..., Scene]) -> None:
    stage = make()
    until = NOW + 2 * DAY

    def limited(issuer: Issuer, _kind: str) -> Failure | None:
        return Failure("too many", RATE_LIMITED, until) if issuer.title == "One" and stage.clock.time < until else None

    stage.authority.fault = limited
    stage.keep("a.test", issuers=(ONE, TWO))
    stage.now()
    assert [title for title, _, _ in stage.authority.orders] == ["One", "Two"]
    assert stage.state("a.test").authority == TWO.url
    stage.keep("a.test", "b.test")
    stage.pass_time(1.9 * DAY, every=600)
    assert [title for title, name, _ in stage.authority.orders if name == "b.test"] == ["One"]
    state = stage.state("b.test")
    assert state.resting == {ONE.url: until}
    assert until <= state.next_try <= until + 60
    stage.pass_time(0.2 * DAY, every=600)
    assert stage.state("b.test").stage == Stage.VALID


def test_what_is_wrong_here_is_not_taken_to_the_next_authority(make: Callable[..., Scene]) -> None:
    stage = make()
    stage.authority.fault = lambda *_: Failure("port 80 is closed", "connection")
    stage.keep("a.test", issuers=(ONE, TWO))
    stage.pass_time(HOUR)
    assert {title for title, _, _ in stage.authority.orders} == {"One"}
    assert 3 <= len(stage.authority.orders) <= 5


def test_after_a_challenge_that_failed_another_kind_is_tried_and_kept(make: Callable[..., Scene]) -> None:
    stage = make()
    stage.authority.fault = lambda _issuer, kind: Failure("no", "connection") if kind != DNS else None
    stage.keep("a.test")
    stage.pass_time(HOUR)
    assert [kind for _, _, kind in stage.authority.orders] == [ALPN, HTTP, DNS]
    stage.pass_time(62 * DAY, every=HOUR)
    assert [kind for _, _, kind in stage.authority.orders] == [ALPN, HTTP, DNS, DNS]


def test_nobody_can_meet_a_challenge(make: Callable[..., Scene], heard: pytest.LogCaptureFixture) -> None:
    stage = make(solvers=Solvers(http=Nothing()))
    stage.keep("*.a.test", "b.test")
    stage.now()
    assert [name for _, name, _ in stage.authority.orders] == ["b.test"]
    assert "no challenge can be met for *.a.test: wildcards take dns-01" in warnings(heard)[0]


def test_warnings_come_after_three_failures_and_near_the_end(
    make: Callable[..., Scene], heard: pytest.LogCaptureFixture
) -> None:
    stage = make()
    stage.keep("a.test")
    stage.now()
    stage.authority.fault = lambda *_: Failure("caa", "caa")
    stage.clock.time = stage.state("a.test").next_try
    stage.pass_time(120)
    assert 1 <= stage.state("a.test").failures < 3
    assert warnings(heard) == []
    stage.pass_time(6 * HOUR, every=600)
    assert any("not issued (attempt 3): caa" in text for text in warnings(heard))
    heard.clear()
    stage.pass_time(16 * DAY, every=HOUR)
    daily = [text for text in warnings(heard) if "certificate of a.test ends in " in text]
    assert 1 <= len(daily) <= 3
    stage.pass_time(16 * DAY, every=HOUR)
    assert any("certificate of a.test ended 0" in text for text in warnings(heard))
    assert stage.served.pairs["a.test"].issuer == "Test authority"


def test_a_restart_waits_as_long_but_not_if_something_was_changed(make: Callable[..., Scene]) -> None:
    stage = make()
    stage.authority.fault = lambda *_: Failure("no", "connection")
    stage.keep("a.test")
    stage.pass_time(HOUR)
    again = make(clock=stage.clock)
    again.keep("a.test")
    again.pass_time(60)
    assert again.authority.orders == []
    again.keep("a.test", issuers=(TWO,))
    again.now()
    assert again.state("a.test").authority == TWO.url


def test_what_nobody_expected_stops_neither_this_nor_the_others(
    make: Callable[..., Scene], heard: pytest.LogCaptureFixture
) -> None:
    stage = make()
    broken = [True]
    stage.authority.fault = lambda *_: ZeroDivisionError("oops") if broken[0] else None
    stage.keep("a.test")
    stage.now()
    assert "unexpected: ZeroDivisionError: oops" in stage.state("a.test").last_error
    assert "unexpected" in heard.text
    broken[0] = False
    stage.pass_time(120)
    assert stage.state("a.test").stage == Stage.VALID


def test_a_full_disk_does_not_take_the_certificate_away(
    make: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch, heard: pytest.LogCaptureFixture
) -> None:
    stage = make()
    stage.keep("a.test")

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        stage.now()
        stage.pass_time(HOUR)
    assert stage.served.pairs["a.test"].issuer == "Test authority"
    assert len(stage.authority.orders) == 1
    assert "it is used, and will be ordered again" in heard.text


def test_a_step_waits_for_nothing(make: Callable[..., Scene]) -> None:
    stage = make(errands=1)
    stage.authority.hold = threading.Event()
    stage.keep("a.test", "b.test")
    began = time.monotonic()
    for _ in range(5):
        stage.keeper.step()
    stage.keep("a.test", "b.test", "c.test")
    assert time.monotonic() - began < 5
    assert stage.served.pairs["c.test"].issuer == SELF_SIGNED
    assert len(stage.authority.orders) <= 1
    stage.authority.hold.set()
    stage.keeper.settle()


# Two keepers


def test_two_keepers_with_one_directory(make: Callable[..., Scene]) -> None:
    """One orders, the other serves what it finds."""
    one = make()
    two = make(clock=one.clock)
    one.authority.hold = threading.Event()
    one.keep("a.test")
    two.keep("a.test")
    one.keeper.step()
    wait_for(lambda: one.authority.orders, "the first keeper's order")
    two.now()
    assert two.authority.orders == []
    assert two.served.pairs["a.test"].issuer == SELF_SIGNED
    one.authority.hold.set()
    one.keeper.settle()
    two.pass_time(60)
    assert two.authority.orders == []
    assert two.served.pairs["a.test"].serial == one.served.pairs["a.test"].serial
    one.pass_time(61 * DAY, every=HOUR)
    two.now()
    assert two.served.pairs["a.test"].serial == one.served.pairs["a.test"].serial
    assert len(one.authority.orders) + len(two.authority.orders) == 2


# On demand


@pytest.fixture
def demanded(make: Callable[..., Scene]) -> Scene:
    clock = Moved()
    template = Wanted(names=("x",), issuers=(ONE,))
    return make(clock, demand=Demand(template, AllowList(("*.shop.test",)), limit=3, clock=clock))


def ask(stage: Scene, *names: str) -> None:
    for name in names:
        stage.keeper.request(name)
    wait_for(lambda: not stage.keeper._asked, "the decision")
    stage.now()


def test_names_that_clients_ask_for(demanded: Scene) -> None:
    ask(
        demanded,
        "a.shop.test",
        "A.shop.test.",
        "evil.test",
        "*.shop.test",
        "127.0.0.1",
        "localhost",
        "a/b.shop.test",
        "",
    )
    assert list(demanded.served.pairs) == ["a.shop.test"]
    assert len(demanded.authority.orders) == 1


def test_not_more_new_names_than_the_limit(demanded: Scene, heard: pytest.LogCaptureFixture) -> None:
    ask(demanded, *(f"n{number}.shop.test" for number in range(5)))
    assert len(demanded.served.pairs) == 3
    assert "too many new names" in heard.text
    demanded.clock.time += 61
    ask(demanded, *(f"n{number}.shop.test" for number in range(5)))
    assert len(demanded.served.pairs) == 5


def test_they_outlive_a_restart_and_are_renewed_while_permitted(demanded: Scene, make: Callable[..., Scene]) -> None:
    ask(demanded, "a.shop.test", "b.shop.test")
    demanded.keeper.keep([])
    clock = demanded.clock
    allowed = AllowList(("a.shop.test",))
    again = make(clock, demand=Demand(Wanted(names=("x",), issuers=(ONE,)), allowed, clock=clock))
    again.keeper.keep([])
    again.now()
    assert sorted(again.served.pairs) == ["a.shop.test", "b.shop.test"]
    assert again.authority.orders == []
    again.pass_time(61 * DAY, every=HOUR)
    assert list(again.served.pairs) == ["a.shop.test"]
    assert [name for _, name, _ in again.authority.orders] == ["a.shop.test"]
    assert again.storage.names() == ["a.shop.test"]


def test_without_demand_nobody_gets_one(make: Callable[..., Scene]) -> None:
    stage = make()
    stage.keeper.request("a.test")
    stage.now()
    assert stage.served.pairs == {}


# In a thread, with the real Pebble


def test_a_hundred_names_of_pebble(pebble: Pebble, responders: Responders, storage: Storage) -> None:
    served, clock = Served(), WallClock()
    keeper = Keeper(storage, served, responders.solvers(), clock=clock)
    thread = threading.Thread(target=keeper.run)
    names = [f"h{number}.test" for number in range(100)]
    keeper.keep([Wanted(names=(name,), issuers=(pebble.issuer(),), challenges=(HTTP,)) for name in names])
    thread.start()
    try:
        wait_for(
            lambda: served.changes.count((names[-1], False)) and len(served.changes) == 200, "all certificates", 90
        )
    finally:
        keeper.close()
        thread.join()
    assert all(served.pairs[name].issuer.startswith("Pebble") for name in names)
    assert len(list((storage.root / "accounts").iterdir())) == 1


def test_an_hour_without_the_real_authority(
    proxy: FaultyProxy, pebble: Pebble, responders: Responders, storage: Storage
) -> None:
    clock, served = Moved(time.time()), Served()
    keeper = Keeper(storage, served, responders.solvers(), clock=clock, chance=random.Random(3))
    stage = Scene(storage, clock, Authority(clock), served, keeper)
    back = clock.time + HOUR
    proxy.fault = lambda *_: (503, {"Retry-After": "120"}, b"") if clock.time < back else None
    try:
        stage.keep("outage.test", issuers=(pebble.issuer(url=proxy.url),))
        stage.pass_time(HOUR)
        assert 4 <= len(proxy.requests) <= 12
        assert "has trouble of its own (503)" in stage.state("outage.test").last_error
        assert served.pairs["outage.test"].issuer == SELF_SIGNED
        stage.pass_time(20 * 60)
        assert served.pairs["outage.test"].issuer.startswith("Pebble")
        stage.pass_time(900)
        assert stage.state("outage.test").window is not None
    finally:
        keeper.close()


def test_closing_does_not_wait_for_an_authority(pebble: Pebble, storage: Storage) -> None:
    """It waits for a challenge that nobody meets."""

    class Slow(Nothing):
        def put(self, *_: Any) -> None:
            clock.sleep(600)

    clock = WallClock()
    keeper = Keeper(storage, Served(), Solvers(http=Slow()), clock=clock)
    keeper.keep([Wanted(names=("slow.test",), issuers=(pebble.issuer(),))])
    keeper.step()
    wait_for(lambda: storage.account(pebble.url), "the account")
    began = time.monotonic()
    keeper.close()
    assert time.monotonic() - began < 20
    assert not storage.is_kept
