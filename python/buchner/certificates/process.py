"""The keeper in a process of its own, a child of the supervisor (docs/control-protocol.md).

It has no other way in than its control socket. What it issues is in the storage; the supervisor reads it there.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import re
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from buchner.certificates.challenges import Solvers
from buchner.certificates.clock import WallClock
from buchner.certificates.keeper import Keeper
from buchner.certificates.plugins import dns_provider
from buchner.certificates.settings import CHALLENGES, Issuer, Wanted
from buchner.certificates.storage import Storage
from buchner.config.model import KeptCertificates
from buchner.errors import BuchnerError, ConfigError
from buchner.log_format import LineFormatter
from buchner.supervisor.child import STACKS_SIGNAL
from buchner.supervisor.messages import Challenged, Challenges, Issued, Message, Reopen, ToKeeper
from buchner.supervisor.packet import MAX_DESCRIPTORS, MAX_PACKET

if TYPE_CHECKING:
    from buchner.certificates.pem import Pair

logger = logging.getLogger("buchner")

_CONFIRM_SECONDS = 15.0
"""What the gateway has to confirm a challenge: a plan that it compiles meanwhile goes first."""
_END_SECONDS = 2.0
"""What errands have to take their challenges back once the supervisor is gone."""
_NUMBER = re.compile(r"\d+(\.\d+)?")
_GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT)


def main(arguments: list[str] | None = None) -> int:
    """Keep certificates until the supervisor closes the control socket; returns the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    options = dict(zip(words[::2], words[1::2], strict=False))
    if len(words) % 2 or options.keys() != {"--control-fd", "--settings-fd", "--dump-fd"}:
        sys.stderr.write("The supervisor starts this process: see `buchner serve --help`.\n")
        return 2
    for number in _GROUP_SIGNALS:
        signal.signal(number, lambda *_: None)  # programs of DNS hooks begin with the default
    dump = int(options["--dump-fd"])
    faulthandler.enable(dump)
    faulthandler.register(STACKS_SIGNAL, dump, all_threads=True)
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    settings = int(options["--settings-fd"])
    kept = msgspec.json.decode(os.pread(settings, os.fstat(settings).st_size, 0), type=KeptCertificates)
    os.close(settings)
    control = socket.socket(fileno=int(options["--control-fd"]))
    control.set_inheritable(False)
    os.set_inheritable(dump, False)
    try:
        Process(control, Storage(Path(kept.directory))).run(kept)
    except BuchnerError as error:
        logger.error("certificates cannot be kept: %s", error)  # noqa: TRY400 - words, no frames
        return 1
    return 0


class Process:
    """The keeper's end of the control socket: it takes challenges to the gateway, and says what was issued.

    Args:
        control: The socket.
        storage: Where certificates are kept.
    """

    write_again = 60.0
    """Seconds between two attempts to keep a certificate on a full disk."""

    def __init__(self, control: socket.socket, storage: Storage) -> None:
        self._control = control
        self._storage = storage
        self._lock = threading.Lock()
        self._answers: dict[str, str] = {}
        self._last = 0
        self._confirmed: dict[int, threading.Event] = {}

    def run(self, kept: KeptCertificates) -> None:
        """Keep certificates until the socket is closed."""
        clock = WallClock()
        settings = kept.settings
        provider = dns_provider(settings.dns, options_of(settings.dns_options)) if settings.dns else None
        keeper = Keeper(self._storage, self, Solvers(http=HttpTokens(self), dns=provider), clock=clock)
        keeper.keep(wanted(kept))
        threading.Thread(target=keeper.run, name="keeper", daemon=True).start()
        self._listen()
        closing = threading.Thread(target=keeper.close, daemon=True)
        closing.start()
        closing.join(_END_SECONDS)
        sys.stderr.flush()
        os._exit(0)  # an errand may wait for an authority for a minute

    def _listen(self) -> None:
        decoder = msgspec.json.Decoder(ToKeeper)
        while True:
            try:
                payload, descriptors, _, _ = socket.recv_fds(self._control, MAX_PACKET, MAX_DESCRIPTORS)
            except OSError:
                return
            if not payload:
                return
            message: ToKeeper | None = None
            with contextlib.suppress(msgspec.MsgspecError):  # of a newer supervisor
                message = decoder.decode(payload)
            if isinstance(message, Challenged):
                if event := self._confirmed.get(message.id):
                    event.set()
            elif isinstance(message, Reopen) and descriptors:
                os.dup2(descriptors[0], 2)
            for descriptor in descriptors:
                os.close(descriptor)

    def _send(self, message: Message) -> None:
        self._control.send(msgspec.json.encode(message))

    # Challenges

    def meet(self, token: str, answer: str) -> None:
        """Have a token answered; returns when the gateway does.

        Raises:
            BuchnerError: It did not say so in time.
        """
        event = threading.Event()
        with self._lock:
            self._answers[token] = answer
            number = self._tell(event)
        try:
            if not event.wait(_CONFIRM_SECONDS):
                raise BuchnerError(f"the gateway did not take the challenge in {_CONFIRM_SECONDS:g} s")
        finally:
            self._confirmed.pop(number, None)

    def forget(self, token: str) -> None:
        """Have a token answered no more."""
        with self._lock:
            if self._answers.pop(token, None) is not None:
                self._tell(None)

    def _tell(self, event: threading.Event | None) -> int:
        self._last += 1
        if event is not None:
            self._confirmed[self._last] = event
        self._send(Challenges(id=self._last, http=self._answers))
        return self._last

    # Certificates

    def put(self, name: str, names: tuple[str, ...], pair: Pair, *, temporary: bool) -> None:  # noqa: ARG002 - a Sink
        """See `keeper.Sink`: the supervisor makes stand-ins of its own."""
        if temporary:
            return
        if self._is_on_disk(name, pair):
            with self._lock:
                self._send(Issued(name=name))
        else:
            self._write_later(name, pair)

    def _is_on_disk(self, name: str, pair: Pair) -> bool:
        """Whether the storage has this certificate, or a later one."""
        try:
            kept = self._storage.read(name)
        except ConfigError:
            return False
        return kept is not None and (kept.serial == pair.serial or kept.not_after > pair.not_after)

    def _write_later(self, name: str, pair: Pair) -> None:
        """Keep what the disk had no room for once it has; the keeper finds it there and calls `put` again."""

        def write() -> None:
            if self._is_on_disk(name, pair):
                return
            try:
                self._storage.write(name, pair)
            except BuchnerError:
                self._write_later(name, pair)

        timer = threading.Timer(self.write_again, write)
        timer.daemon = True
        timer.start()

    def drop(self, name: str) -> None:
        """See `keeper.Sink`."""


class HttpTokens:
    """See `challenges.HttpChallenges`.

    Args:
        process: Whose socket leads to the gateway.
    """

    def __init__(self, process: Process) -> None:
        self._process = process

    def put(self, token: str, answer: str) -> None:
        """Respond to a token from now on."""
        self._process.meet(token, answer)

    def drop(self, token: str) -> None:
        """Forget a token."""
        self._process.forget(token)


def wanted(kept: KeptCertificates) -> list[Wanted]:
    """What the keeper is to keep.

    Raises:
        ConfigError: A name or an authority cannot be used.
    """
    told = kept.settings
    issuer = Issuer(
        url=told.authority,
        email=told.email or "",
        eab_kid=told.eab_kid or "",
        eab_key=told.eab_key or "",
        profile=told.profile or "",
        roots=told.roots or "",
    )
    challenges = tuple(told.challenges) or CHALLENGES
    return [
        Wanted(names=names, issuers=(issuer,), challenges=challenges, key=told.key_type).resolved()
        for names in kept.names
    ]


def options_of(texts: dict[str, str]) -> dict[str, Any]:
    """The settings of a DNS provider: seconds and ports are numbers."""
    return {name: float(text) if _NUMBER.fullmatch(text) else text for name, text in texts.items()}
