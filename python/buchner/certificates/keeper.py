"""The keeper: has every certificate that is wanted issued, and renewed before it ends.

It runs in a thread or process of its own. `step` never waits for an authority: errands run in a few threads, one for
a certificate at a time. What it knows is on the disk, so that a restart goes on where it was, and a second keeper with
the same directory works beside it: who has the lock of a certificate does its errand, and the other finds the result.

Stages of a certificate::

    wanted ──▶ issuing ──▶ valid ──▶ issuing ──▶ …
                 │  ▲
                 ▼  │ back-off, Retry-After
               waiting
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import random
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Protocol

from buchner.certificates.challenges import Solvers
from buchner.certificates.clock import Clock, Interrupted, WallClock
from buchner.certificates.demand import Demand
from buchner.certificates.failure import ODD, OUTAGE, RATE_LIMITED, TIMEOUT, Failure, when
from buchner.certificates.making import DAY, self_signed
from buchner.certificates.pem import Pair
from buchner.certificates.renewal import Suggestion, ask_later, back_off, due, is_late, note
from buchner.certificates.settings import Issuer, Wanted
from buchner.certificates.state import Stage, State
from buchner.certificates.storage import Storage, file_name
from buchner.errors import BuchnerError, ConfigError

logger = logging.getLogger("buchner")

_LOOK = 15.0
"""Seconds between two looks at the disk: wishes, and certificates that another keeper has renewed."""
_BUSY_ELSEWHERE = 10.0
_TOLERATED = 3
"""Failures in a row from which on they are warnings."""
_ERRANDS = 4
"""Threads: certificates that are ordered at a time."""
_CHALLENGE_FAILED = {"connection", "unauthorized", "tls", "dns", "incorrectResponse", "unsupportedIdentifier"}
_AWAY = {OUTAGE, TIMEOUT, ODD, "serverInternal"}


class Sink(Protocol):
    """Who serves the certificates; called in any thread of the keeper."""

    def put(self, name: str, names: tuple[str, ...], pair: Pair, *, temporary: bool) -> None:
        """Serve a certificate from now on.

        Args:
            name: What it is called; it takes the place of the one before.
            names: The names it is wanted for.
            pair: Certificate, chain and key.
            temporary: It is self-signed, until an authority has issued one.
        """

    def drop(self, name: str) -> None:
        """Serve it no more."""


class Errand(Protocol):
    """What the keeper asks of an authority; `client.Client` is the real one."""

    def issue(self, wanted: Wanted, kind: str, replaces: object = None) -> Pair:
        """Order a certificate and wait for it."""

    def suggestion(self, certificate: object) -> Suggestion | None:
        """Ask when a certificate is to be renewed."""


Connect = Callable[[Issuer, Storage, Solvers, Clock], Errand]


def connect(issuer: Issuer, storage: Storage, solvers: Solvers, clock: Clock) -> Errand:
    """Make a client of an authority."""
    from buchner.certificates.client import Client

    client: Errand = Client(issuer, storage, solvers, clock)  # type: ignore[assignment]  # its certificates are x509's
    return client


@dataclass
class _Entry:
    """A certificate that is wanted.

    Args:
        wanted: What for.
        state: What is remembered.
        pair: The one that is there; None: none.
        version: Of the pair on the disk.
        stand_in: The self-signed one that is served meanwhile.
        errand: What is under way.
        look_again: Not before this time, whatever is due: another keeper is at it.
    """

    wanted: Wanted
    state: State
    pair: Pair | None = None
    version: str = ""
    stand_in: Pair | None = None
    errand: Future[None] | None = None
    look_again: float = 0.0

    @property
    def busy(self) -> bool:
        return self.errand is not None and not self.errand.done()

    @property
    def fits(self) -> bool:
        """Whether there is a certificate for all its names."""
        return self.pair is not None and all(self.pair.covers(name) for name in self.wanted.names)

    def renew_at(self) -> float:
        """When it is to be ordered."""
        if not self.fits or self.pair is None:
            return self.state.next_try
        return max(due(self.pair, self.state, self.wanted.name), self.state.next_try if self.state.failures else 0.0)

    def due(self) -> float:
        """When there is something to do."""
        moment = self.renew_at()
        if self.fits and self._issuer() is not None:
            moment = min(moment, self.state.ask_again)
        return max(moment, self.look_again)

    def _issuer(self) -> Issuer | None:
        return next((one for one in self.wanted.issuers if one.url == self.state.authority), None)


@dataclass
class _Away:
    """An authority that could not be asked: nobody asks it before `until`."""

    failures: int = 0
    until: float = 0.0
    why: str = ""


@dataclass
class Keeper:
    """Keeps certificates.

    Args:
        storage: Where.
        sink: Who serves them.
        solvers: Who meets challenges.
        demand: Which names clients may ask for; None: none.
        clock: The time.
        chance: Draws moments and jitter.
        connect: Makes clients of authorities.
        errands: Certificates that are ordered at a time.
    """

    storage: Storage
    sink: Sink
    solvers: Solvers
    demand: Demand | None = None
    clock: Clock = field(default_factory=WallClock)
    chance: random.Random = field(default_factory=random.SystemRandom)
    connect: Connect = connect
    errands: int = _ERRANDS
    _entries: dict[str, _Entry] = field(default_factory=dict, init=False)
    _away: dict[str, _Away] = field(default_factory=dict, init=False)
    _asked: set[str] = field(default_factory=set, init=False)
    _wishes: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        """Say that this directory is kept."""
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(self.errands, "certificates")
        self._held = contextlib.ExitStack()
        self._held.enter_context(self.storage.lock("keeper", shared=True))

    # What is wanted

    def keep(self, wanted: Iterable[Wanted]) -> None:
        """Keep these certificates from now on, and those that were asked for by clients; others are dropped.

        Each is served at once: as it lies on the disk, else self-signed.

        Raises:
            ConfigError: One cannot be had.
        """
        found = {one.name: one for one in (one.resolved() for one in wanted)}
        if self.demand is not None:
            for name in self.storage.names():
                state = self.storage.state(name)
                if state.on_demand and state.names and state.names[0] not in found:
                    found |= self._on_demand(state.names[0])
        with self._lock:
            for name in self._entries.keys() - found.keys():
                del self._entries[name]
                self.sink.drop(name)
            for one in found.values():
                self._keep(one)
        self._wake.set()

    def _on_demand(self, name: str) -> dict[str, Wanted]:
        """A certificate of an earlier run; whether it is still permitted is asked when it is renewed."""
        assert self.demand is not None
        one = replace(self.demand.template, names=(name,), on_demand=True)
        try:
            return {name: one.resolved()}
        except ConfigError:
            return {}

    def _keep(self, wanted: Wanted) -> None:
        entry = self._entries.get(wanted.name)
        if entry is not None and entry.wanted == wanted:
            return
        state = self.storage.state(wanted.name)
        told = _fingerprint(wanted)
        if state.settings != told:
            state.settings, state.next_try, state.failures, state.challenge_failures = told, 0.0, 0, 0
        state.names, state.on_demand = list(wanted.names), wanted.on_demand
        if entry is None:
            entry = self._entries[wanted.name] = _Entry(wanted, state)
        entry.wanted, entry.state, entry.version = wanted, state, ""
        self._read(entry)
        self._stand_in(entry)

    def _read(self, entry: _Entry) -> None:
        """Take a certificate from the disk, if there is another one than before."""
        name = entry.wanted.name
        version = self.storage.version(name)
        if version == entry.version:
            return
        try:
            pair = self.storage.read(name)
        except ConfigError as error:
            logger.warning("certificate of %s: %s; it is ordered anew", name, error)
            pair = None
        entry.pair, entry.version = pair, version
        if pair is not None:
            self.sink.put(name, entry.wanted.names, pair, temporary=False)

    def _stand_in(self, entry: _Entry) -> None:
        now = self.clock.now()
        if entry.pair is not None or (entry.stand_in is not None and now < entry.stand_in.not_after - 7 * DAY):
            return
        entry.stand_in = self_signed(entry.wanted.names, now=now)
        self.sink.put(entry.wanted.name, entry.wanted.names, entry.stand_in, temporary=True)

    def request(self, name: str) -> None:
        """Have a certificate for a server name of a client's, if that is permitted; returns at once."""
        with self._lock:
            if self.demand is None or self._over.is_set() or name in self._asked:
                return
            if any(one == name for entry in self._entries.values() for one in entry.wanted.names):
                return
            self._asked.add(name)
        self._pool.submit(self._consider, name, self.demand)

    def _consider(self, name: str, demand: Demand) -> None:
        try:
            wanted = demand.wanted(name)
            if wanted is None:
                return
            with self._lock:
                if wanted.name in self._entries:
                    return
                if not demand.take():
                    logger.warning("certificate of %s: not ordered, too many new names were asked for of late", name)
                    return
                self._keep(wanted.resolved())
            self._wake.set()
        except Exception:
            logger.exception("certificate of %s: could not be considered", name)
        finally:
            with self._lock:
                self._asked.discard(name)

    # Time passes

    def run(self) -> None:
        """Keep the certificates until `close`; whatever goes wrong, it goes on."""
        while not self._over.is_set():
            try:
                pause = self.step()
            except Exception:
                logger.exception("certificates: the keeper stumbled, and goes on")
                pause = _LOOK
            self._wake.wait(max(0.05, min(pause, _LOOK)))
            self._wake.clear()

    def step(self) -> float:
        """Begin what is due; returns the seconds until something else is."""
        now = self.clock.now()
        self._wishes |= self.storage.take_wishes()
        following = now + DAY
        with self._lock:
            for entry in list(self._entries.values()):
                if entry.busy:
                    continue
                if file_name(entry.wanted.name) in self._wishes:
                    self._wishes.discard(file_name(entry.wanted.name))
                    entry.state.next_try, entry.state.failures, entry.look_again = 0.0, 0, 0.0
                    entry.errand = self._pool.submit(self._run, entry, wished=True)
                    continue
                self._read(entry)
                self._stand_in(entry)
                self._warn(entry, now)
                if entry.state.imported:
                    continue
                if (moment := entry.due()) <= now:
                    entry.errand = self._pool.submit(self._run, entry)
                else:
                    following = min(following, moment)
        return following - now

    def settle(self) -> None:
        """Wait until no errand is under way; for tests and single runs."""
        while busy := [entry.errand for entry in self._entries.values() if entry.busy]:
            for errand in busy:
                if errand is not None:
                    errand.result()

    def close(self) -> None:
        """End; errands that wait give up, the others are finished."""
        self._over.set()
        self._wake.set()
        if isinstance(self.clock, WallClock):
            self.clock.over.set()
        self._pool.shutdown(cancel_futures=True)
        self._held.close()

    def _warn(self, entry: _Entry, now: float) -> None:
        """Warn once a day of a certificate that nears its end."""
        state, pair = entry.state, entry.pair
        if pair is None or not is_late(pair, now) or now < state.warned_at + DAY:
            return
        state.warned_at = now
        left = (pair.not_after - now) / DAY
        ends = f"ends in {left:.1f} days" if left > 0 else f"ended {-left:.1f} days ago"
        why = "it was imported, so import a new one" if state.imported else state.last_error or "it is being renewed"
        logger.warning("certificate of %s %s: %s", entry.wanted.name, ends, why)
        self._save(entry)

    # An errand

    def _run(self, entry: _Entry, *, wished: bool = False) -> None:
        name = entry.wanted.name
        try:
            with self.storage.lock(f"certificate-{name}") as had:
                if had:
                    self._errand(entry, wished=wished)
                else:
                    entry.look_again = self.clock.now() + _BUSY_ELSEWHERE
        except Interrupted:
            return
        except Exception as error:  # whatever it is, the others are kept
            logger.exception("certificate of %s: unexpected", name)
            self._failed(entry, [Failure(f"unexpected: {type(error).__name__}: {error}", "here")])
        finally:
            self._wake.set()

    def _errand(self, entry: _Entry, *, wished: bool) -> None:
        if self.storage.version(entry.wanted.name) != entry.version:  # another keeper was faster
            entry.state = self.storage.state(entry.wanted.name)
            with self._lock:
                self._read(entry)
        now = self.clock.now()
        if not wished:
            self._ask(entry, now)
            if entry.renew_at() > now:
                self._schedule(entry)
                return
        if entry.wanted.on_demand and not self._permitted(entry):
            return
        entry.state.stage = Stage.ISSUING
        self._save(entry)
        failures: list[Failure] = []
        for issuer in entry.wanted.issuers:
            try:
                self._issue(entry, issuer)
            except Failure as failure:
                failures.append(failure)
                if not failure.elsewhere:
                    break
            else:
                return
        self._failed(entry, failures)

    def _permitted(self, entry: _Entry) -> bool:
        """Whether a name may still have a certificate; if not, it is not kept any more."""
        name = entry.wanted.name
        if self.demand is not None and self.demand.wanted(name) is not None:
            return True
        logger.info("certificate of %s: no more permitted, so it is not renewed", name)
        with self._lock:
            if self._entries.pop(name, None) is not None:
                self.sink.drop(name)
        self.storage.forget(name)
        return False

    def _ask(self, entry: _Entry, now: float) -> None:
        """Ask the authority when it wants a certificate to be renewed."""
        state, pair, issuer = entry.state, entry.pair, entry._issuer()  # noqa: SLF001 - its own
        if pair is None or issuer is None or now < state.ask_again or now > pair.not_after:
            return
        if self._away.get(issuer.url, _Away()).until > now:
            state.ask_again = self._away[issuer.url].until
            return
        try:
            told = self.connect(issuer, self.storage, self.solvers, self.clock).suggestion(pair.leaf())
        except Failure as failure:
            ask_later(state, now, failure.until)
            return
        if told is None:
            state.window, state.ask_again = None, now + DAY
        elif note(state, told, self.chance) and told.start < now:
            page = f": {told.explanation}" if told.explanation else ""
            logger.info("certificate of %s: %s wants it to be renewed now%s", entry.wanted.name, issuer.title, page)

    def _issue(self, entry: _Entry, issuer: Issuer) -> None:
        wanted, state, now = entry.wanted, entry.state, self.clock.now()
        self._refuse_resting(state, issuer, now)
        kind = self._kind(entry)
        replaces = entry.pair.leaf() if entry.pair is not None and state.authority == issuer.url else None
        try:
            pair = self.connect(issuer, self.storage, self.solvers, self.clock).issue(wanted, kind, replaces)
        except Failure as failure:
            self._note(entry, issuer, failure)
            raise
        self._away.pop(issuer.url, None)
        self._issued(entry, issuer, kind, pair)

    def _refuse_resting(self, state: State, issuer: Issuer, now: float) -> None:
        """Leave an authority alone that has asked for it, or that is away."""
        state.resting = {url: until for url, until in state.resting.items() if until > now}
        if until := state.resting.get(issuer.url, 0.0):
            raise Failure(f"{issuer.title} is not asked{when(until)}: its rate limit", RATE_LIMITED, until)
        away = self._away.get(issuer.url)
        if away is not None and away.until > now:
            raise Failure(away.why, "away", away.until)

    def _kind(self, entry: _Entry) -> str:
        """The kind of challenge: the one that was met last; after a failure the next one."""
        wanted, state = entry.wanted, entry.state
        kinds = self.solvers.kinds(wanted.challenges, wanted.names)
        if not kinds:
            raise Failure(
                f"no challenge can be met for {wanted.name}: wildcards take dns-01 (a DNS provider has to be set), "
                "other names take port 80 (http-01) or port 443 (tls-alpn-01)",
                "here",
            )
        if state.challenge in kinds:
            kinds = [state.challenge, *(kind for kind in kinds if kind != state.challenge)]
        return kinds[state.challenge_failures % len(kinds)]

    def _note(self, entry: _Entry, issuer: Issuer, failure: Failure) -> None:
        """Remember what a failure says about the authority and the challenge."""
        now = self.clock.now()
        if failure.code in _CHALLENGE_FAILED:
            entry.state.challenge_failures += 1
        if failure.code == RATE_LIMITED and failure.until > now:
            entry.state.resting[issuer.url] = failure.until
        if failure.code in _AWAY:
            with self._lock:
                away = self._away.setdefault(issuer.url, _Away())
                away.failures += 1
                away.until = back_off(failure, away.failures, now, self.chance)
                away.why = str(failure)

    def _issued(self, entry: _Entry, issuer: Issuer, kind: str, pair: Pair) -> None:
        wanted, state, now = entry.wanted, entry.state, self.clock.now()
        name, first = wanted.name, entry.pair is None
        try:
            self.storage.write(name, pair)
        except BuchnerError as error:
            logger.error("%s; it is used, and will be ordered again after a restart", error)  # noqa: TRY400 - words
        state.stage, state.authority, state.challenge, state.issued_at = Stage.VALID, issuer.url, kind, now
        state.roots = issuer.roots
        state.failures = state.challenge_failures = state.window_failures = 0
        state.last_error, state.failed_at, state.warned_at, state.window = "", 0.0, 0.0, None
        state.ask_again, state.resting = now + self.chance.uniform(60, 600), {}
        with self._lock:
            entry.pair, entry.version, entry.stand_in = pair, self.storage.version(name), None
            if self._entries.get(name) is entry:
                self.sink.put(name, wanted.names, pair, temporary=False)
        self._schedule(entry)
        days = (pair.not_after - now) / DAY
        logger.info(
            "certificate of %s: %s by %s (%s), valid for %.0f days",
            ", ".join(wanted.names[:5]), "issued" if first else "renewed", issuer.title, kind, days,
        )  # fmt: skip

    def _schedule(self, entry: _Entry) -> None:
        """Remember when it is renewed."""
        if entry.fits and not entry.state.failures:
            entry.state.stage, entry.state.next_try = Stage.VALID, entry.renew_at()
        self._save(entry)

    def _failed(self, entry: _Entry, failures: list[Failure]) -> None:
        """Remember a failure and when to try again: as soon as one of the authorities may be asked."""
        state, now = entry.state, self.clock.now()
        tried = [failure for failure in failures if failure.code != "away"]
        if tried:
            state.failures += 1
        state.stage, state.failed_at = Stage.WAITING, now
        state.last_error = "; ".join(dict.fromkeys(str(failure) for failure in failures))
        state.next_try = min(
            failure.until + self.chance.uniform(0, 30)
            if failure.code == "away"
            else back_off(failure, max(state.failures, 1), now, self.chance)
            for failure in failures
        )
        self._save(entry)
        late = state.failures >= _TOLERATED or is_late(entry.pair, now)
        logger.log(
            logging.WARNING if late and tried else logging.INFO,
            "certificate of %s: not issued (attempt %d): %s. The next attempt is in %.0f min",
            entry.wanted.name, state.failures, state.last_error, (state.next_try - now) / 60,
        )  # fmt: skip

    def _save(self, entry: _Entry) -> None:
        try:
            self.storage.save_state(entry.wanted.name, entry.state)
        except BuchnerError as error:
            logger.error("certificate of %s: %s", entry.wanted.name, error)  # noqa: TRY400 - words


def _fingerprint(wanted: Wanted) -> str:
    """What was wanted, short, and without secrets."""
    told = (wanted.names, [(one.url, one.profile, one.eab_kid) for one in wanted.issuers], wanted.challenges)
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]
