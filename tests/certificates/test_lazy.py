"""Processes that have no certificates to look after are no heavier for them."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"acme", "cryptography", "dns", "josepy", "requests", "OpenSSL"}


@pytest.mark.parametrize(
    "modules",
    [
        "buchner.cli, buchner.cli.serve, buchner.cli.run, buchner.cli.start, buchner.serving",
        "buchner.supervisor.supervisor, buchner.supervisor.upgrade",
        "buchner.worker.main",
        "buchner.gateway",
        "buchner.certificates.names, buchner.certificates.state",
    ],
)
def test_these_import_nothing_of_certificates(modules: str) -> None:
    script = f"import sys, {modules}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert HEAVY & set(found) == set()
