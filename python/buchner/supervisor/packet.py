"""What both ends of a control socket agree on, without msgspec: workers use this too, and each would pay for it."""

from __future__ import annotations

MAX_PACKET = 1 << 18
"""Bytes of one packet; larger documents travel in a memfd."""
MAX_DESCRIPTORS = 250
"""Descriptors of one packet (the kernel's SCM_MAX_FD is 253)."""
