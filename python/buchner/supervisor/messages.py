"""The messages of the control protocol (docs/control-protocol.md), one class each.

A message is one JSON object whose `op` names its class. Unknown fields are ignored, so either side may be newer.
"""

from __future__ import annotations

from typing import Any

import msgspec

PROTOCOL = 1
"""Version of the protocol; a gateway that says another one in `hello` is not used."""


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


# Gateway → supervisor


class Hello(Message, tag="hello"):
    """The gateway's first packet."""

    protocol: int
    version: str
    pid: int


class PlanReady(Message, tag="ready"):
    """The plan is in force and accepting."""

    id: int


class Refused(Message, tag="refused"):
    """The plan was not taken; nothing has changed."""

    id: int
    error: str


class Retired(Message, tag="retired"):
    """The worker's last ordinary request is answered."""

    worker: int


class Stuck(Message, tag="stuck"):
    """A request passed its `app_timeout`."""

    worker: int
    pool: str
    slot: int
    thread_ms: int = 0
    request: str = ""
    request_id: str = ""


class StatusAnswer(Message, tag="status"):
    """The gateway's counters."""

    id: int
    status: dict[str, Any]


class Drained(Message, tag="drained"):
    """Nothing is left; the gateway's process ends."""


FromGateway = Hello | PlanReady | Refused | Retired | Stuck | StatusAnswer | Drained


# Worker → supervisor


class StaticFolder(msgspec.Struct, kw_only=True):
    """A folder the gateway may serve itself."""

    url_path: str
    """Prefix without a trailing slash, as the app routes it (`/static`)."""
    folder: str
    """Absolute path."""
    cache_control: str | None = None
    """`Cache-Control` the app itself would send."""


class Forked(Message, tag="forked"):
    """Sent on a worker's own socket when a preload process forked it: the pid of the worker to come."""

    pid: int


class WorkerReady(Message, tag="ready"):
    """The app is imported."""

    pid: int
    app: str
    static: list[StaticFolder] = []
    folders: list[str] = []
    """Folders that the app's `X-Sendfile` may name files in."""
    max_content_length: int | None = None


class Failed(Message, tag="failed"):
    """The app could not be imported; the process exits with 3."""

    error: str
    traceback: str = ""


class Recycle(Message, tag="recycle"):
    """The worker reached a limit: replace it, then retire it."""

    why: str


class Pong(Message, tag="pong"):
    """The worker's main thread runs."""


FromWorker = Forked | WorkerReady | Failed | Recycle | Pong


# Supervisor → worker


class Attach(Message, tag="attach"):
    """Serve requests of this gateway too; a claim memfd and the worker's socket ends travel with it."""

    gateway: int
    slots: int
    io_threads: int
    first_slot: int = 0


class Stop(Message, tag="stop"):
    """Finish running requests, then exit 0."""

    deadline_ms: int


class Fork(Message, tag="fork"):
    """To a preload process: fork a worker; its control socket and its dump file travel with it."""

    worker: int


class Ping(Message, tag="ping"):
    """Does the main thread run? Answered by `pong`, unless C code holds the interpreter."""


ToWorker = Attach | Stop | Fork | Ping | Reopen
