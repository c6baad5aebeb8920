"""What is remembered of a certificate between two runs: beside it on the disk, as JSON."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Stage(StrEnum):
    """What is being done for a certificate."""

    WANTED = "wanted"
    """There is none yet, and none was asked for."""
    ISSUING = "issuing"
    """An authority is being asked, for the first one or a renewal."""
    VALID = "valid"
    """There is one, and its renewal has a time."""
    WAITING = "waiting"
    """The last attempt failed; the next has a time."""
    FIXED = "fixed"
    """It was imported or belongs to certbot, and is not renewed here."""


class Window(msgspec.Struct):
    """When the authority wants a certificate to be renewed (RFC 9773 section 4.2), in Unix time."""

    start: float
    end: float
    chosen: float
    """A moment in it, drawn once."""
    explanation: str = ""
    """Page that says why, if the authority named one."""


class State(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is remembered; times are Unix times, 0 is never."""

    names: list[str] = []
    stage: Stage = Stage.WANTED
    authority: str = ""
    """URL of the directory of who issued it."""
    roots: str = ""
    """File with the roots that its HTTPS is checked with; empty: the public ones."""
    challenge: str = ""
    """The kind of challenge that was met last."""
    issued_at: float = 0.0
    next_try: float = 0.0
    """When it is renewed, or when the next attempt is due after a failure."""
    failures: int = 0
    """Attempts that failed in a row."""
    challenge_failures: int = 0
    """Challenges that failed in a row: another kind is tried next."""
    settings: str = ""
    """What was wanted at the last attempt; if that changes, nothing is waited for."""
    last_error: str = ""
    failed_at: float = 0.0
    warned_at: float = 0.0
    window: Window | None = None
    ask_again: float = 0.0
    """When the authority is asked for the window next."""
    window_failures: int = 0
    resting: dict[str, float] = {}
    """Authorities that refuse this certificate until a time: their rate limit."""
    on_demand: bool = False
    imported: bool = False
