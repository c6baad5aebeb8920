"""The messages of the control protocol (docs/control-protocol.md), one class each.

A message is one JSON object whose `op` names its class. Unknown fields are ignored, so either side may be newer.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

PROTOCOL = 1
"""Version of the protocol; a gateway that says another one in `hello` is not used."""


_Text = Annotated[str, Meta(max_length=4096)]
_Number = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
_Token = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,256}\Z")]
_KeyAuthorization = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.-]{1,512}\Z")]
_AbsolutePath = Annotated[str, Meta(max_length=4096, pattern=r"\A/[^\0]*\Z")]
_UrlPath = Annotated[str, Meta(max_length=4096, pattern=r"\A(/[^\x00-\x1f\x7f]*)?\Z")]
_FieldValue = Annotated[str, Meta(max_length=1024, pattern=r"\A[\t\x20-\x7e\x80-\xff]*\Z")]


def printable(text: str, *, lines: bool = False) -> str:
    """The text with its control characters escaped, so that what a child says cannot be taken for a line of the log.

    Args:
        text: What it said.
        lines: Whether it may have several lines (a traceback).
    """
    kept = "\n\t" if lines else ""
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


class Message(msgspec.Struct, tag_field="op", kw_only=True):
    """The base of all messages."""


# Supervisor → gateway


class Listen(Message, tag="listen"):
    """A listening socket, under the key the plan names it by."""

    address: str


class Plan(Message, tag="plan"):
    """A resolved configuration, in a memfd that travels with it."""

    id: int


class Worker(Message, tag="worker"):
    """A worker that is ready to serve; its claim memfd and slot sockets travel with it."""

    pool: str
    worker: int
    pid: int
    slots: int
    first_slot: int = 0


class Retire(Message, tag="retire"):
    """Give this worker no new request; answered by `retired`."""

    worker: int


class Gone(Message, tag="gone"):
    """This worker's process has ended."""

    worker: int
    cause: str


class Reopen(Message, tag="reopen"):
    """Reopen log files; to workers too. Where the error log is a file, the new one travels with it."""


class Drain(Message, tag="drain"):
    """Finish what runs, then exit."""

    deadline_ms: int


class StatusQuestion(Message, tag="status"):
    """Ask for counters; answered by `status`."""

    id: int


class Challenges(Message, tag="challenges"):
    """What challenges of certificate authorities are responded to with; the whole table. Answered by `challenged`.

    The keeper of certificates sends it to the supervisor, which passes it on.
    """

    id: _Number
    http: Annotated[dict[_Token, _KeyAuthorization], Meta(max_length=1000)] = {}
    """By token (RFC 8555 section 8.3)."""


# Gateway → supervisor


class Hello(Message, tag="hello"):
    """The gateway's first packet."""

    protocol: int
    version: _Text
    pid: int


class PlanReady(Message, tag="ready"):
    """The plan is in force and accepting."""

    id: int


class Refused(Message, tag="refused"):
    """The plan was not taken; nothing has changed."""

    id: int
    error: str

    def __post_init__(self) -> None:
        """Make the words fit for the log."""
        self.error = printable(self.error, lines=True)


class Retired(Message, tag="retired"):
    """The worker's last ordinary request is answered."""

    worker: _Number


class Stuck(Message, tag="stuck"):
    """A request passed its `app_timeout`."""

    worker: _Number
    pool: str
    slot: _Number
    thread_ms: _Number = 0
    request: str = ""
    request_id: str = ""

    def __post_init__(self) -> None:
        """Make the words fit for a line of the log."""
        self.request = printable(self.request)[:4096]
        self.request_id = printable(self.request_id)[:256]


class Lost(Message, tag="lost"):
    """This worker can't be used any more, whatever its process does: replace it."""

    worker: _Number
    cause: _Text

    def __post_init__(self) -> None:
        """Make the words fit for a line of the log."""
        self.cause = printable(self.cause)


class StatusAnswer(Message, tag="status"):
    """The gateway's counters."""

    id: int
    status: dict[str, Any]


class Challenged(Message, tag="challenged"):
    """The table with this number is in force; from a gateway, and passed on to the keeper of certificates."""

    id: _Number


class Drained(Message, tag="drained"):
    """Nothing is left; the gateway's process ends."""


FromGateway = Hello | PlanReady | Refused | Retired | Stuck | Lost | StatusAnswer | Challenged | Drained


# Worker → supervisor


class StaticFolder(msgspec.Struct, kw_only=True):
    """A folder the gateway may serve itself."""

    url_path: _UrlPath
    """Prefix without a trailing slash, as the app routes it (`/static`)."""
    folder: _AbsolutePath
    """Absolute path."""
    cache_control: _FieldValue | None = None
    """`Cache-Control` the app itself would send."""
    leave: Annotated[list[_Text], Meta(max_length=1000)] = []
    """Ends of names whose type or coding only the app knows."""
    precompressed: bool = False
    """Precompressed siblings may be sent."""


class Forked(Message, tag="forked"):
    """The first message of a worker that a preload process forked, once it is the supervisor's child.

    It says nothing of itself: the pid is the sender's by SCM_CREDENTIALS, and has to be an unknown child's.
    """


class WorkerReady(Message, tag="ready"):
    """The app is imported."""

    pid: int
    app: _Text
    slots: Annotated[int, Meta(ge=0, le=10_000)] = 0
    """Its threads, where they are fewer than it was asked for; 0: as many."""
    static: Annotated[list[StaticFolder], Meta(max_length=1000)] = []
    folders: Annotated[list[_AbsolutePath], Meta(max_length=1000)] = []
    """Folders that the app's `X-Sendfile` may name files in."""
    hidden: Annotated[list[_Text], Meta(max_length=1000)] = []
    """What it may not name there (`sendfile_except`)."""
    x_sendfile: bool = False
    """The app asks for `X-Sendfile` to be obeyed."""
    max_content_length: _Number | None = None


class Failed(Message, tag="failed"):
    """The app could not be imported; the process exits with 3."""

    error: str
    traceback: str = ""

    def __post_init__(self) -> None:
        """Make the words fit for the log."""
        self.error = printable(self.error, lines=True)
        self.traceback = printable(self.traceback, lines=True)


class Recycle(Message, tag="recycle"):
    """The worker reached a limit: replace it, then retire it."""

    why: _Text

    def __post_init__(self) -> None:
        """Make the words fit for a line of the log."""
        self.why = printable(self.why)


class Pong(Message, tag="pong"):
    """The worker's main thread runs."""


class Broken(Message, tag="broken"):
    """The worker can't serve any more: kill and replace it."""

    cause: _Text

    def __post_init__(self) -> None:
        """Make the words fit for a line of the log."""
        self.cause = printable(self.cause)


FromWorker = Forked | WorkerReady | Failed | Recycle | Pong | Broken


# Keeper of certificates → supervisor


class Issued(Message, tag="issued"):
    """A certificate is in the storage."""

    name: Annotated[str, Meta(max_length=256)]


FromKeeper = Challenges | Issued
ToKeeper = Challenged | Reopen


# Supervisor → worker


class Attach(Message, tag="attach"):
    """Serve requests of this gateway too; a claim memfd and the worker's socket ends travel with it."""

    gateway: int
    slots: int
    io_threads: int
    first_slot: int = 0
    pid: int = 0
    """The gateway's process; a worker whose supervisor is gone serves until it ends."""


class Stop(Message, tag="stop"):
    """Finish running requests, then exit 0."""

    deadline_ms: int


class Fork(Message, tag="fork"):
    """To a preload process: fork a worker; its control socket and its dump file travel with it."""

    worker: int


class Ping(Message, tag="ping"):
    """Does the main thread run? Answered by `pong`, unless C code holds the interpreter."""


ToWorker = Attach | Stop | Fork | Ping | Reopen
