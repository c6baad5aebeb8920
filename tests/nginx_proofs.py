"""Drop each supported directive of nginx.conf, and see each of its proofs fail: ``make nginx-proofs``.

tests/data/nginx_proofs.txt names the proofs. One that passes while its directive does nothing proves nothing; it is
printed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from helpers.places import TESTS
from helpers.proofs import proofs

IMPORTED = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
"""The package has been imported, to change it, before pytest can rewrite the assertions of its plugin."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a proof while its directive did nothing.

    Args:
        directive: the directive.
        proof: the test, as pytest names it below tests/.
        failed: the test failed, as it has to.
        said: the first line of the failure.
    """

    directive: str
    proof: str
    failed: bool
    said: str


def outcome(directive: str, proof: str) -> Outcome:
    """Run a test while a directive does nothing."""
    path = os.pathsep.join([str(TESTS / "dropped"), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *IMPORTED, str(TESTS / proof)],
        cwd=TESTS.parent,
        env=os.environ | {"BUCHNER_DROPPED": directive, "PYTHONPATH": path, "CI": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    said = re.search(r"^E +(.*)", run.stdout, re.MULTILINE)
    return Outcome(
        directive, proof, run.returncode == 1 and said is not None, said[1] if said else run.stdout.strip()[-200:]
    )


def main() -> int:
    """Run as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directive", nargs="*", help="directives to look at; all of them by default")
    parser.add_argument("--verbose", action="store_true", help="say how each proof failed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    pairs = [
        (name, proof)
        for name, tests in proofs().items()
        for proof in tests
        if name in arguments.directive or not arguments.directive
    ]
    vain = 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for found in pool.map(outcome, *zip(*pairs, strict=True)):
            vain += not found.failed
            if arguments.verbose or not found.failed:
                verdict = "fails without it" if found.failed else "PASSES WITHOUT IT"
                sys.stdout.write(f"{found.directive}: {found.proof} {verdict}: {found.said[:200]}\n")
                sys.stdout.flush()
    sys.stdout.write(f"{len(pairs)} proofs, {vain} of them prove nothing\n")
    return 1 if vain else 0


if __name__ == "__main__":
    sys.exit(main())
