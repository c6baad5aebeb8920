"""Child processes: started with exec, reaped in one place, their end told in words."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from buchner.supervisor.child import GROUP_SIGNALS


@dataclass(eq=False)
class Child:
    """A process that this one has to reap."""

    pid: int
    name: str
    on_exit: Callable[[int], None]
    """Called with the status as `subprocess` has it: the exit status, or minus the signal's number."""
    dump: int = -1
    """A memfd the process writes stacks to, and the crash report of `faulthandler`."""
    ended: bool = False
    _popen: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, unless the process has ended and was reaped, or is not a child of this one."""
        if not self.ended and is_child(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def end(self, status: int) -> None:
        """Note the end of the process; called by the `Reaper`."""
        self.ended = True
        if self._popen is not None:
            self._popen.returncode = status
        self.on_exit(status)

    def take_dump(self) -> str:
        """What the process wrote to its dump file since the last time."""
        if self.dump < 0:
            return ""
        size = os.fstat(self.dump).st_size
        text = os.pread(self.dump, size, 0).decode(errors="replace")
        os.ftruncate(self.dump, 0)
        return text.strip()

    def close(self) -> None:
        """Close the dump file."""
        if self.dump >= 0:
            os.close(self.dump)
            self.dump = -1


def is_child(pid: int) -> bool:
    """Whether a process is a child of this one: the kernel's word, and it stays true until we reap it."""
    if pid <= 1:
        return False
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except OSError:
        return False
    return True


class Reaper:
    """Waits for all children of this process, the adopted ones too (PID 1, subreaper)."""

    def __init__(self) -> None:
        self._children: dict[int, Child] = {}

    def spawn(
        self,
        name: str,
        command: Sequence[str],
        on_exit: Callable[[int], None],
        *,
        pass_fds: Sequence[int] = (),
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        dump: int = -1,
        output: int | None = None,
        hold_signals: bool = False,
    ) -> Child:
        """Start a program; raises OSError where it cannot be started.

        Args:
            name: What messages call it.
            command: The program and its arguments.
            on_exit: See `Child`.
            pass_fds: Descriptors it inherits.
            cwd: Its working directory.
            env: Its environment.
            dump: See `Child`; inherited too.
            output: Where its standard output and error go; ours when None.
            hold_signals: It starts with the signals blocked that often reach a whole process group, and takes them
                when it is ready to.
        """
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS if hold_signals else ())
        try:
            popen = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                pass_fds=[*pass_fds, *([dump] if dump >= 0 else [])],
                cwd=cwd,
                stdout=output,
                stderr=output,
                env=None if env is None else dict(env),
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return self.adopt(Child(popen.pid, name, on_exit, dump, _popen=popen))

    def adopt(self, child: Child) -> Child:
        """Reap this process too: a child from before an upgrade, or one that another process forked for us."""
        self._children[child.pid] = child
        return child

    def is_stranger(self, pid: int) -> bool:
        """Whether a process is a child of this one that nobody has adopted."""
        return pid not in self._children and is_child(pid)

    def reap(self) -> None:
        """Collect every child that has ended; called on SIGCHLD. Strangers (orphans we inherited) are just reaped."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            if child is not None:
                child.end(os.waitstatus_to_exitcode(status))

    def children(self) -> list[Child]:
        """The processes that run."""
        return list(self._children.values())


def dump_file(name: str) -> int:
    """A memfd for stacks; writes always append, so that it can be emptied under the writer."""
    import fcntl

    fd = os.memfd_create(f"buchner-{name}-stacks")
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    return fd


def python_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this package in a new interpreter.

    `-P` keeps the working directory off the import path: an app's `selectors.py` must not break Buchner's own imports.
    """
    return [sys.executable, "-P", *_interpreter_flags(), "-m", module, *arguments]


def _interpreter_flags() -> list[str]:
    return [flag for flag in subprocess._args_from_interpreter_flags() if flag != "-P"]  # type: ignore[attr-defined]  # noqa: SLF001


@dataclass
class MemoryEvents:
    """The kernel's count of processes it killed for memory in our control group (cgroup v2 `memory.events`)."""

    path: Path | None = field(default_factory=lambda: _memory_events_file())
    _seen: int = 0

    def __post_init__(self) -> None:
        self._seen = self._read()

    def _read(self) -> int:
        if self.path is None:
            return 0
        with contextlib.suppress(OSError, ValueError):
            for line in self.path.read_text().splitlines():
                key, _, value = line.partition(" ")
                if key == "oom_kill":
                    return int(value)
        return 0

    def killed_since_last_asked(self) -> bool:
        """Whether the count went up since the last call."""
        before, self._seen = self._seen, self._read()
        return self._seen > before


def _memory_events_file() -> Path | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            hierarchy, _, group = line.split(":", 2)
            if hierarchy == "0":
                path = Path(f"/sys/fs/cgroup{group}/memory.events")
                if path.exists():
                    return path
    return None


def kernel_log_names(pid: int) -> bool:
    """Whether the kernel's log says that it killed this process for memory (root, or kernel.dmesg_restrict=0)."""
    try:
        fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    needle = f"Killed process {pid} ".encode()
    try:
        while True:
            try:
                record = os.read(fd, 8192)
            except BrokenPipeError:
                continue
            except OSError:
                return False
            if needle in record:
                return True
    finally:
        os.close(fd)


def cause(status: int, pid: int, memory: MemoryEvents, asked: str | None = None) -> str:
    """How a process ended, in words that follow "worker 3 ".

    Args:
        status: As `Child.on_exit` gets it.
        pid: Its pid.
        memory: To tell the kernel's out-of-memory killer from others.
        asked: Why this supervisor killed it, where it did.
    """
    if asked is not None:
        return f"was killed: {asked}"
    if status >= 0:
        return "ended by itself (exit status 0)" if status == 0 else f"exited with status {status}"
    if -status == signal.SIGKILL:
        if memory.killed_since_last_asked() or kernel_log_names(pid):
            return "was killed by the kernel (out of memory)"
        return "was killed (SIGKILL)"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    crashes = {
        "SIGSEGV": "invalid memory access",
        "SIGABRT": "abort",
        "SIGBUS": "bus error",
        "SIGILL": "illegal instruction",
        "SIGFPE": "arithmetic error",
    }
    return f"crashed ({name}, {crashes[name]})" if name in crashes else f"was killed ({name})"
