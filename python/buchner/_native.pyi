"""The native half of the package: the gateway process, and a worker's slot loop."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TextIO, TypeAlias

__version__: str

def gateway_main(fd: int) -> int:
    """Run the gateway process on the control socket `fd` until it is told to drain (docs/control-protocol.md)."""

def config_schema() -> str:
    """Return the JSON schema of the resolved plan."""

def check_config(json: str) -> None:
    """Raise `ValueError` if `json` is not a plan the gateway takes."""

def parse_toml(text: str) -> tuple[str, list[tuple[int, int, str]]]:
    """Return a TOML text as JSON, and its syntax errors: first byte, byte after the last, message."""

def toml_spans(text: str) -> dict[str, tuple[int, int, int, int]]:
    """Return, by JSON pointer, where a value stands: bytes of its key from and to, of its value from and to."""

def system_roots() -> tuple[list[bytes], list[str]]:
    """Return the certificates (DER) of the authorities that the system trusts, and errors while looking."""

def regex_groups(text: str) -> list[str]:
    """Return the names of a regular expression's groups; `ValueError` says what is wrong with it."""

def definable_variables() -> list[str]:
    """Return the names of the built-in variables that a configuration may define all the same."""

def ignorable_headers() -> list[str]:
    """Return the response headers of upstreams that `proxy_ignore_headers` may name."""

def variables() -> list[tuple[str, str]]:
    """Return name and description of every variable; a name with ``_`` at its end stands for a family."""

def become_subreaper() -> None:
    """Make orphaned descendants children of this process (prctl(2), PR_SET_CHILD_SUBREAPER), as they are PID 1's.

    Raises:
        OSError: The kernel refuses.
    """

def leave_gateways() -> None:
    """In a forked child: give up the worker's sockets to its gateways."""

def die_with_parent(on: bool) -> None:
    """Have this process killed when its parent ends (prctl(2), PR_SET_PDEATHSIG), or no longer.

    Raises:
        OSError: The kernel refuses.
    """

def give_back_memory() -> None:
    """Return what this process has freed to the system, now."""

class Slots:
    """The slot loop of a worker process (docs/worker-protocol.md): one Python thread per slot runs the app."""

    def __init__(
        self,
        app: Callable[..., Any],
        threads: int,
        *,
        max_detached: int = 1000,
        max_requests: int = 0,
        multiprocess: bool = True,
        errors: TextIO | None = None,
        on_recycle: Callable[[str], object] | None = None,
    ) -> None:
        """Make the slots; nothing runs before `start`.

        Args:
            app: The WSGI application (PEP 3333).
            threads: Number of slots.
            max_detached: Event streams and WebSockets that may leave their slot at a time; further ones stay on theirs.
            max_requests: After so many requests `on_recycle` is told, once; 0 is never. Serving goes on.
            multiprocess: `wsgi.multiprocess`.
            errors: `wsgi.errors`; standard error when None.
            on_recycle: Called by a slot's thread with the reason in words.

        Raises:
            ValueError: `threads` is 0.
        """

    def attach(self, claim_fd: int, fds: list[int], first_slot: int, io_threads: int) -> None:
        """Serve one more gateway; takes over all descriptors, also when it fails.

        Args:
            claim_fd: The memfd of the claim words, 4096 bytes.
            fds: Sockets: slot `first_slot` thread 0, thread 1, …, then the next slot.
            first_slot: Index of the first slot.
            io_threads: Sockets per slot.

        Raises:
            ValueError: The sockets don't fit the slots.
            OSError: A descriptor is not open, or the memfd is too small.
        """

    def start(self) -> None:
        """Start the threads; once.

        Raises:
            RuntimeError: They were started already, or no thread can be started.
        """

    def stop(self, deadline: float) -> bool:
        """Let running requests and detached answers finish.

        Args:
            deadline: Seconds to wait at most.

        Returns:
            True when all threads have ended. After False, end the process with `os._exit`: a thread is still inside
            the app.
        """

    def stats(self) -> dict[str, int]:
        """Numbers: `slots`, `busy`, `detached`, `requests`, `failed`."""

class _WafRequest(Protocol):
    """The header section of a request."""

    @property
    def client(self) -> tuple[str, int]: ...
    @property
    def server(self) -> tuple[str, int]: ...
    @property
    def server_name(self) -> bytes: ...
    @property
    def method(self) -> bytes: ...
    @property
    def target(self) -> bytes: ...
    @property
    def protocol(self) -> bytes: ...
    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]: ...
    @property
    def id(self) -> bytes: ...
    @property
    def user(self) -> bytes: ...

class _WafResponse(Protocol):
    """The header section of a response."""

    @property
    def status(self) -> int: ...
    @property
    def reason(self) -> bytes: ...
    @property
    def protocol(self) -> bytes: ...
    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]: ...

_WafOutcome: TypeAlias = tuple[str, int, int, int, bytes | None]

class WafRules:
    """The rules of a firewall, compiled; shared by all threads."""

    def __init__(self, sources: Sequence[tuple[str, str | None]]) -> None:
        """Read files (path, None) and texts (name, text), in order.

        Raises:
            ValueError: A rule cannot be used: file, line and the line itself.
        """

    def transaction(self) -> WafTransaction:
        """Begin the judgement of one request."""

    def __len__(self) -> int: ...
    def without_effect(self) -> list[tuple[str, int, str]]:
        """Return the directives that were accepted and have no effect: file, line, name."""

class WafTransaction:
    """One request and its response. The phases are called in order; each returns what to do instead, if anything.

    That is `deny`, `drop` or `redirect`, the status, the rule's id, the phase, and the URL of a redirect.
    """

    def request_head(self, request: _WafRequest) -> _WafOutcome | None:
        """Run phase 1.

        Raises:
            ValueError: An address is not an IP address.
        """

    def request_body(self, body: bytes) -> _WafOutcome | None:
        """Run phase 2."""

    def response_head(self, response: _WafResponse) -> _WafOutcome | None:
        """Run phase 3."""

    def response_body(self, body: bytes) -> _WafOutcome | None:
        """Run phase 4."""

    def finish(self) -> None:
        """Run phase 5 and save collections."""

    def wants_request_body(self) -> tuple[bool, int]:
        """Return whether rules look at the request's body, and at how many bytes of it."""

    def wants_response_body(self) -> tuple[bool, int]:
        """Return whether rules look at the response's body, and at how many bytes of it; after phase 3."""

    def number(self, name: str) -> int | None:
        """Return the number of a variable of TX, named in lower case."""

    def matches(self, start: int = 0) -> list[dict[str, Any]]:
        """Return the matches from the one of this index on."""
