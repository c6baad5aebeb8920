"""Print the requirements of extras in pyproject.toml, one a line, so that tools install without building the wheel."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def requirements(names: list[str]) -> list[str]:
    """Return the dependencies of the package and of the extras `names`."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *(one for name in names for one in project["optional-dependencies"][name])]


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1:])))
