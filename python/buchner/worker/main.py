"""A worker process: the main thread imports the app, then waits for control; each further thread is a slot.

A worker ends when it is told to. At the end of file on its control socket the supervisor is gone: then it serves until
the gateways have finished, and one that still imports the app is killed by the kernel. A SIGTERM sent to it directly
asks to be replaced, start-first; when the whole service stops, the supervisor says so on the socket.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import gc
import importlib
import io
import logging
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol

from buchner.errors import AppImportError
from buchner.log_format import LineFormatter
from buchner.supervisor.child import GROUP_SIGNALS, STACKS_SIGNAL, drop, raise_open_files
from buchner.worker import control as messages
from buchner.worker.descriptors import await_replacement, readable
from buchner.worker.folders import hidden, own_folders, wants_sendfile
from buchner.worker.inherited import keep
from buchner.worker.load import WsgiApp, load_app
from buchner.worker.options import Options, parse
from buchner.worker.patched import threads
from buchner.worker.static import max_content_length, static_folders

_CHECK_SECONDS = 5.0
_ORPHAN_DEADLINE_MS = 30_000
"""What a worker without a supervisor has to finish once the gateways are gone."""
_JITTER = 0.1
"""Workers reach their limits up to a tenth later than set, so that they are not all replaced at once."""


class Slots(Protocol):
    """The slot loop (`buchner._native.Slots`): the threads that run the app."""

    def attach(self, claim_fd: int, fds: list[int], first_slot: int, io_threads: int) -> None:
        """Take over the sockets of slots `first_slot`… of one gateway, and its claim memfd."""

    def start(self) -> None:
        """Start the threads; once."""

    def stop(self, deadline: float) -> bool:
        """Finish running requests within `deadline` seconds; False when some did not."""


SlotsFactory = Callable[..., Slots]


def main(arguments: list[str] | None = None, slots: SlotsFactory | None = None) -> int:
    """Run a worker; returns the exit status.

    Args:
        arguments: The command line, without the program's name.
        slots: Makes the slot loop; `buchner._native.Slots` when None.
    """
    options = parse(arguments)
    _set_up_dump(options.dump_fd)
    keep(options.counts_fd)
    raise_open_files()
    factory = slots or importlib.import_module("buchner._native").Slots
    if options.identity:
        drop(options.identity)
    _take_no_signals()
    control = socket.socket(fileno=options.control_fd)
    control.set_inheritable(False)
    _die_with_supervisor(on=True)
    if _is_alone(control):
        return 0
    _log_to_stderr()
    pid = os.getpid()
    try:
        app = load_app(options.target, options.pythonpath)
    except AppImportError as error:
        if os.getpid() == pid:
            with contextlib.suppress(OSError):
                messages.send(control, "failed", error=str(error), traceback=error.traceback)
        return AppImportError.exit_status
    if os.getpid() != pid:
        os._exit(0)  # the app forked while it was imported, and the child came back: it is no worker
    return serve(app, control, options, factory)


def serve(app: WsgiApp, control: socket.socket, options: Options, factory: SlotsFactory) -> int:
    """Serve as an ordinary worker, or as the preload process that forks them, with an app that is imported."""
    _die_with_supervisor(on=False)
    if options.preload:
        forked = _preload(app, control, options)
        if forked is None:
            return 0
        control = forked
    elif options.check:
        messages.send(control, "ready", **_ready(app, options))
        return 0
    return WorkerProcess(app, control, options, factory).run()


def _set_up_dump(fd: int) -> None:
    if fd >= 0:
        os.set_inheritable(fd, False)
        faulthandler.enable(fd)
        faulthandler.register(STACKS_SIGNAL, fd, all_threads=True)


def _not_ours(_number: int, _frame: object) -> None:
    """A signal that is for the supervisor.

    A handler, not SIG_IGN: programs that the app starts get the default action back at their exec.
    """


def _take_no_signals() -> None:
    """Until the app is imported, signals to the whole group are the supervisor's; it started us with them blocked."""
    for number in GROUP_SIGNALS:
        signal.signal(number, _not_ours)
    os.register_at_fork(after_in_child=_give_signals_back)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS)


def _give_signals_back() -> None:
    """In a child of the app's: signals are its own."""
    for number in GROUP_SIGNALS:
        if signal.getsignal(number) is _not_ours:
            signal.signal(number, signal.SIG_DFL)


def _die_with_supervisor(*, on: bool) -> None:
    """An import that hangs must not outlive the supervisor; afterwards the control socket tells."""
    with contextlib.suppress(OSError, AttributeError):
        importlib.import_module("buchner._native").die_with_parent(on)


def _is_alone(control: socket.socket) -> bool:
    """Whether the supervisor is gone already."""
    try:
        return control.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _log_to_stderr() -> None:
    """Give log lines of the worker, and of an app that set up no logging, a place to go; show prints at once."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logger = logging.getLogger("buchner")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _ready(app: WsgiApp, options: Options, slots: int = 0) -> messages.Message:
    """The fields of `ready`."""
    static = static_folders(app, precompressed=options.static_precompressed) if options.static else []
    return {
        "pid": os.getpid(),
        "app": options.target,
        "slots": slots,
        "static": [vars(folder) for folder in static],
        "folders": own_folders(app),
        "hidden": hidden(app),
        "x_sendfile": wants_sendfile(app),
        "max_content_length": max_content_length(app),
    }


def _is_handled(number: int) -> bool:
    """Whether the app has a handler for a signal."""
    nobodys = (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler, _not_ours, None)
    return signal.getsignal(number) not in nobodys


class WorkerProcess:
    """The main thread's part of a worker."""

    def __init__(self, app: WsgiApp, control: socket.socket, options: Options, factory: SlotsFactory) -> None:
        self._app = app
        self._control = control
        self._options = options
        self._asked_for_recycling = threading.Event()
        spread = 1 + random.random() * _JITTER  # noqa: S311 - no secret
        self._max_age_at = time.monotonic() + options.max_age * spread if options.max_age else None
        self._threads = threads(options.threads)
        self._slots = factory(
            app,
            self._threads,
            max_detached=options.max_detached,
            max_requests=int(options.max_requests * spread),
            on_recycle=self.recycle,
        )
        self._started = False
        self._masks = threading.local()
        self._handlers: dict[int, Callable[[int, object], None]] = {}
        self._gateways: set[int] = set()
        """Pidfds of the gateways it serves."""
        self._is_orphan = False

    def recycle(self, why: str) -> None:
        """Ask to be replaced, once; may be called by any thread."""
        if not self._asked_for_recycling.is_set():
            self._asked_for_recycling.set()
            with contextlib.suppress(OSError):
                messages.send(self._control, "recycle", why=why)

    def run(self) -> int:
        """Say that the app is there, then serve the control socket until the end; returns the exit status."""
        wakeup = self._take_signals()
        os.register_at_fork(
            before=self._hold_signals, after_in_parent=self._release_signals, after_in_child=self._leave_service
        )
        ready = _ready(self._app, self._options, self._threads)
        # What the import made stays: collections while requests run need not look at it.
        gc.collect()
        gc.freeze()
        try:
            messages.send(self._control, "ready", **ready)
        except OSError:
            return 0  # the supervisor is gone
        while True:
            watched = [wakeup, *self._gateways] + ([] if self._is_orphan else [self._control.fileno()])
            try:
                deadline_ms = self._take(watched)
            except OSError as error:
                if error.errno != errno.EBADF:
                    raise
                await_replacement()
            if deadline_ms is not None:
                return self._stop(deadline_ms)
            if self._is_orphan and not self._gateways:
                return self._stop(_ORPHAN_DEADLINE_MS)
            self._check_limits()

    def _take(self, watched: list[int]) -> int | None:
        """Take what there is to read; returns the deadline in milliseconds when it is time to stop."""
        for fd in readable(watched, _CHECK_SECONDS):
            if fd in self._gateways:
                self._gateways.discard(fd)
                os.close(fd)
            elif fd != self._control.fileno():
                with contextlib.suppress(BlockingIOError):
                    os.read(fd, 4096)
            else:
                deadline_ms = self._take_message()
                if deadline_ms is not None:
                    return deadline_ms
        return None

    def _attach(self, message: messages.Message, descriptors: list[int]) -> None:
        claim, *sockets = descriptors
        try:
            first_slot, pid = messages.number(message, "first_slot", 0), messages.number(message, "pid", 0)
            if first_slot == 0 and pid > 0:
                self._watch_gateway(pid)
            self._slots.attach(claim, sockets, first_slot, messages.number(message, "io_threads"))
            if not self._started:
                self._started = True
                self._slots.start()
        except (OSError, ValueError, RuntimeError) as error:  # no memory, no thread
            self._broken(f"it cannot start its threads: {error}")

    def _watch_gateway(self, pid: int) -> None:
        with contextlib.suppress(OSError):
            self._gateways.add(os.pidfd_open(pid))

    def _take_signals(self) -> int:
        """Handle the signals that reach the whole process group; returns what becomes readable when one comes."""
        read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT):
            # Handlers, not SIG_IGN: programs the app starts get the default action back at their exec.
            if not _is_handled(number):
                self._handle(number, lambda _number, _frame: None)
        for number, handler in (
            (signal.SIGINT, lambda _number, _frame: None),
            (signal.SIGTERM, lambda _number, _frame: self.recycle("SIGTERM was sent to the worker")),
        ):
            if _is_handled(number):
                logging.getLogger("buchner").warning(
                    "the app's handler of %s is replaced: that signal stops or replaces workers; "
                    "what the app does at its end can be registered with atexit",
                    signal.Signals(number).name,
                )
            self._handle(number, handler)
        return read_end

    def _handle(self, number: int, handler: Callable[[int, object], None]) -> None:
        self._handlers[number] = handler
        signal.signal(number, handler)

    def _hold_signals(self) -> None:
        """Before a fork: a signal to the child waits until its handlers are its own, or it would be lost."""
        self._masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, self._handlers)

    def _release_signals(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.before)

    def _leave_service(self) -> None:
        """Make a child that the app forked a process of the app's own: what is the worker's is not its business."""
        from buchner import _native  # loaded already

        signal.set_wakeup_fd(-1)
        for number, handler in self._handlers.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, signal.SIG_DFL)
        faulthandler.disable()
        faulthandler.unregister(STACKS_SIGNAL)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, self._control.fileno(), inheritable=False)
        os.close(null)
        _native.leave_gateways()
        self._release_signals()

    def _take_message(self) -> int | None:
        """Handle one message; returns the deadline in milliseconds when it is time to stop."""
        try:
            payload, descriptors, are_cut = messages.receive(self._control)
        except OSError as error:
            if error.errno == errno.EBADF:
                raise
            payload, descriptors, are_cut = b"", [], False
        if not payload:
            self._is_orphan = True  # the gateways finish what runs, for which they need their workers
            self._handle(signal.SIGTERM, lambda _number, _frame: os._exit(1))
            return None
        if are_cut:
            _close(descriptors)
            self._broken("no descriptors are left for the sockets of its threads (the limit of open files)")
            return None
        message = messages.decode(payload)
        match message.get("op"):
            case "ping":
                with contextlib.suppress(OSError):
                    messages.send(self._control, "pong")
            case "attach":
                self._attach(message, descriptors)
            case "reopen":
                write_to(descriptors)
            case "stop":
                return messages.number(message, "deadline_ms")
            case _:  # a newer supervisor, after an upgrade
                _close(descriptors)
        return None

    def _broken(self, cause: str) -> None:
        with contextlib.suppress(OSError):
            messages.send(self._control, "broken", cause=cause)

    def _stop(self, deadline_ms: int) -> int:
        signal.signal(signal.SIGTERM, lambda _number, _frame: None)
        if self._started:
            self._slots.stop(deadline_ms / 1000)
        _run_exit_handlers()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # threads of the app that are no daemons must not hold the process

    def _check_limits(self) -> None:
        limit = self._options.max_rss
        if limit and resident_bytes() > limit:
            self.recycle(f"its resident memory passed max_rss ({limit >> 20} MiB)")
        if self._max_age_at is not None and time.monotonic() > self._max_age_at:
            self.recycle(f"it reached max_age ({self._options.max_age:g} s)")


def _close(descriptors: list[int]) -> None:
    for fd in descriptors:
        os.close(fd)


def write_to(descriptors: list[int]) -> None:
    """Make the error log that came with a message standard error."""
    for fd in descriptors:
        sys.stderr.flush()
        os.dup2(fd, 2)
        os.close(fd)


def _run_exit_handlers() -> None:
    """What the app registered with atexit still runs."""
    import atexit

    atexit._run_exitfuncs()  # noqa: SLF001 - the documented name for it is interpreter shutdown


def resident_bytes() -> int:
    """This process's resident memory in bytes (proc(5), statm)."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def _preload(app: WsgiApp, control: socket.socket, options: Options) -> socket.socket | None:
    """Fork workers until the control socket ends; returns a worker's own control socket in each worker, None here.

    Forking twice makes each worker a child of the supervisor (a subreaper), which then reaps it like any other.
    """
    if threading.active_count() > 1:
        names = ", ".join(thread.name for thread in threading.enumerate() if thread is not threading.main_thread())
        logging.getLogger("buchner").warning(
            "preload: the app starts threads when it is imported (%s); they do not exist in its workers", names
        )
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: None)
    gc.collect()
    gc.freeze()
    messages.send(control, "ready", **_ready(app, options))
    while True:
        try:
            payload, descriptors, _are_cut = messages.receive(control)
        except OSError:
            return None
        if not payload:
            return None
        op = messages.decode(payload).get("op")
        if op == "reopen":
            write_to(descriptors)
            continue
        if op != "fork":  # a newer supervisor, after an upgrade
            _close(descriptors)
            continue
        middle = os.fork()
        if middle == 0:
            control.close()
            return _become_worker(descriptors)
        _close(descriptors)
        os.waitpid(middle, 0)


def _become_worker(descriptors: list[int]) -> socket.socket:
    own, dump = socket.socket(fileno=descriptors[0]), descriptors[1]
    middle = os.getpid()
    if os.fork():
        os._exit(0)
    while os.getppid() == middle:  # the supervisor believes its own children only
        time.sleep(0.001)
    with contextlib.suppress(OSError):
        messages.send(own, "forked")
    faulthandler.unregister(STACKS_SIGNAL)
    _set_up_dump(dump)
    random.seed()
    return own
