"""The native half as the configuration uses it: memory it frees goes back to the system at once.

Parsing a big file takes 30 times its size for a moment. The allocator would keep that for later, which the gateway's
request path wants and the supervisor does not, so it is told otherwise where the supervisor loads it. Child processes
do not inherit the setting.
"""

from __future__ import annotations

import os

_DELAY = "MIMALLOC_PURGE_DELAY"

_unset = _DELAY not in os.environ
os.environ.setdefault(_DELAY, "0")  # read when the extension is loaded
from buchner import _native  # noqa: E402 - after the setting it depends on
from buchner.errors import ConfigError  # noqa: E402

if _unset:
    del os.environ[_DELAY]


def check_plan(plan: str) -> None:
    """Have the gateway's own code read a plan.

    Args:
        plan: its JSON.

    Raises:
        ConfigError: it would refuse it; the message says where in the plan.

    """
    try:
        _native.check_config(plan)
    except ValueError as error:
        raise ConfigError(str(error)) from error


check_config = _native.check_config
parse_toml = _native.parse_toml
regex_groups = _native.regex_groups
system_roots = _native.system_roots
toml_spans = _native.toml_spans
variables = _native.variables
definable_variables = _native.definable_variables
ignorable_headers = _native.ignorable_headers
become_subreaper = _native.become_subreaper
die_with_parent = _native.die_with_parent
give_back_memory = _native.give_back_memory
