"""Prints the lowest version of every dependency in setup.cfg, as a constraints file of pip."""

import configparser
import re
from pathlib import Path

SETUP = Path(__file__).parents[1] / "setup.cfg"


def lowest_versions(setup_cfg: str) -> list[str]:
    """The constraints `name==floor` of all requirements, those of the extras included.

    Args:
        setup_cfg: text of the file.

    Returns:
        One constraint for each package, sorted.

    Raises:
        ValueError: a package is required without a floor, or with two that differ.
    """
    config = configparser.ConfigParser(interpolation=None)
    config.read_string(setup_cfg)
    texts = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    floors: dict[str, str] = {}
    for line in "\n".join(texts).splitlines():
        if not line.strip() or line.strip().startswith("%("):  # %(tools)s: another extra, which is read by itself
            continue
        match = re.match(r"([A-Za-z0-9_.-]+)>=([^,;\s]+)", line)
        if match is None:
            raise ValueError(f"setup.cfg: expected NAME>=FLOOR, found {line!r}")
        name, floor = match.groups()
        if floors.setdefault(name, floor) != floor:
            raise ValueError(f"setup.cfg: {name} has two floors, {floors[name]} and {floor}")
    return sorted(f"{name}=={floor}" for name, floor in floors.items())


if __name__ == "__main__":
    print("\n".join(lowest_versions(SETUP.read_text())))
