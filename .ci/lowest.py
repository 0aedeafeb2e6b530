"""Prints the lowest versions that pyproject.toml allows, as constraints for pip.

Knows nothing of what those ask for themselves: pip takes the newest of that, as it does for anyone who has kept an old
version of what is named here.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement


def main() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))["project"]
    extras = {name: texts for name, texts in project["optional-dependencies"].items() if name != "lint"}
    lists = [project["dependencies"], *extras.values()]
    lowest: dict[str, str] = {}
    for requirement in (Requirement(text) for texts in lists for text in texts):
        if requirement.name == project["name"] or not (requirement.marker is None or requirement.marker.evaluate()):
            continue
        # One bound each: a requirement without one, or one that differs between extras, is a mistake.
        (bound,) = (part.version for part in requirement.specifier if part.operator == ">=")
        if lowest.setdefault(requirement.name, bound) != bound:
            raise SystemExit(f"pyproject.toml: {requirement.name} has more than one lowest version")
    for name, version in lowest.items():
        print(f"{name}=={version}")


if __name__ == "__main__":
    main()
