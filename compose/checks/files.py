"""The files under test, read as an engine reads them."""

import re
from pathlib import Path

from ruamel.yaml import YAML

REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE = REPOSITORY / "compose"
COMPOSE_FILE = COMPOSE / "docker-compose.yml"
DOCKERFILES = [REPOSITORY / "Dockerfile.gateway", REPOSITORY / "Dockerfile.admin"]
OURS = ["gateway-1", "gateway-2", "admin"]

_REFERENCE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?:(?P<kind>:-|:\?)(?P<rest>[^}]*))?\})")


def references(text):
    """(name, kind, rest) of each `${NAME}`, `${NAME:-default}` and `${NAME:?why}`."""
    found = (match.group("name", "kind", "rest") for match in _REFERENCE.finditer(text))
    return [reference for reference in found if reference[0]]


def interpolated(value, variables):
    """A value of a compose file with its variables filled in; KeyError when one is needed and not set."""
    if isinstance(value, dict):
        return {key: interpolated(inner, variables) for key, inner in value.items()}
    if isinstance(value, list):
        return [interpolated(inner, variables) for inner in value]
    if not isinstance(value, str):
        return value

    def fill(match):
        name, kind, rest = match.group("name", "kind", "rest")
        if name is None:
            return "$"
        text = variables.get(name, "")
        if not text and kind == ":?":
            raise KeyError(f"{name}: {rest}")
        return text or (rest if kind == ":-" else "")

    return _REFERENCE.sub(fill, value)


def dotenv(path):
    """The variables of an env file, without quoting: ours needs none."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def compose(variables):
    """docker-compose.yml, filled in."""
    return interpolated(YAML(typ="safe").load(COMPOSE_FILE.read_text()), variables)


def instructions(path):
    """A Dockerfile's instructions: (keyword, rest), continued lines joined, comments gone."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.strip():
            keyword, _, rest = line.strip().partition(" ")
            yield keyword.upper(), rest.strip()


def documented():
    """The variables in README's table of the configuration."""
    section = (REPOSITORY / "README.md").read_text().partition("\n## Configuration\n")[2].partition("\n## ")[0]
    first_cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for cell in first_cells for name in re.findall(r"`([A-Z0-9_]+)`", cell)}


def seconds(duration):
    """`630s`, `1300ms` in seconds."""
    number, unit = re.fullmatch(r"([0-9]+)(ms|s|m)", str(duration)).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60}[unit]


def mebibytes(size):
    """`2g`, `512mb`, `256m` in MiB."""
    number, unit = re.fullmatch(r"([0-9]+)([mg])b?", str(size)).groups()
    return int(number) * {"m": 1, "g": 1024}[unit]
