"""A short run of the differential fuzzer; `make fuzz-nginx` is the long one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuzz_nginx import differences

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_random_configurations_mean_the_same_as_in_nginx(require_peer: Callable[[str], str], tmp_path: Path) -> None:
    found = list(differences(tmp_path, require_peer("nginx"), seed=7, configs=40, requests=25))
    assert not found, found[0]
