"""The regression tests of the OWASP Core Rule Set, through a gateway: each eighth, or all in `make waf`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from helpers.crs import core_rules
from waf.crs_suite import EXCEPTIONS, Albedo, Client, read_tests, run, toml

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.gateway import Gateway

WANTED = os.environ.get("BUCHNER_CRS_SUITE", "sample")
"""`sample`, `whole`, or the beginning of names: 920100-3."""


@pytest.mark.timeout(900)
def test_the_rules_find_in_the_gateway_what_their_own_tests_expect(
    tmp_path: Path, run_gateway: Callable[[str], Gateway]
) -> None:
    rules = core_rules()
    everything = read_tests(rules)
    if not everything and os.environ.get("CI") != "true":
        pytest.skip(f"the rule set in {rules} has no tests: remove it and run scripts/install-peers.sh")
    assert len(everything) > 4000, "the tests of a whole rule set"
    if WANTED == "sample":
        tests = everything[::8]
    else:
        tests = [test for test in everything if WANTED == "whole" or test.name.startswith(WANTED)]
    assert tests, f"no test's name begins with {WANTED}"
    upstream = Albedo()
    try:
        gateway = run_gateway(toml(tmp_path, rules, upstream.port))
        result = run(Client(gateway, tmp_path), tests)
    finally:
        upstream.close()
    sys.stdout.write(f"\n{len(tests)} of {len(everything)} tests: {result}\n")
    assert len(result.passed) + len(result.listed) + len(result.failed) == len(tests)
    assert not result.failed, str(result)
    assert set(EXCEPTIONS) <= {test.name for test in everything}, "each is a test"
