"""clients/setup.sh leaves the command-line clients out where nobody can have them, and says so; all else is a failure."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parents[1]
NOT_RUN = Path(os.environ["CLIENTS_HOME"], "not-run")
NEEDS_NPM = pytest.mark.skipif(NOT_RUN.exists(), reason="what it would install with is not to be had here")
# Nobody listens on this port.
NO_REGISTRY = {"npm_config_registry": "http://127.0.0.1:9/", "npm_config_fetch_retries": "0"}


@pytest.fixture
def tree(tmp_path):
    """As much of the repository as setup.sh looks at; its target is within."""
    shutil.copytree(CLIENTS, tmp_path / "clients", ignore=shutil.ignore_patterns("tests"))
    return tmp_path


def set_up(tree, **environment):
    """Its status, what it printed, and what it wrote down."""
    no_proxies = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    own = {"CARGO_TARGET_DIR": str(tree / "target"), "npm_config_cache": str(tree / "cache")}
    command = ["/bin/sh", str(tree / "clients/setup.sh"), "clis"]
    done = subprocess.run(command, env={**no_proxies, **own, **environment}, capture_output=True, text=True)
    not_run = tree / "target/clients/not-run"
    return done.returncode, done.stderr, not_run.read_text() if not_run.exists() else None


def test_without_npm_they_are_left_out_by_name(tree):
    tools = tree / "bin"
    tools.mkdir()
    for name in ("dirname", "mkdir", "cat", "rm"):
        (tools / name).symlink_to(shutil.which(name))
    status, printed, not_run = set_up(tree, PATH=str(tools))
    assert (status, not_run) == (0, "claude codex gemini: npm is missing. Install Node.js 20 or newer with npm.\n")
    assert "NOT RUN: Claude Code, Codex and Gemini CLI" in printed


@NEEDS_NPM
def test_without_a_network_they_are_left_out_by_name_and_tried_for_again(tree):
    status, printed, not_run = set_up(tree, **NO_REGISTRY)
    assert (status, not_run) == (0, "claude codex gemini: npm reaches no registry from here.\n"), printed
    assert "NOT RUN: Claude Code, Codex and Gemini CLI" in printed
    assert not (tree / "target/clients/npm").exists()


@NEEDS_NPM
def test_pins_that_npm_refuses_are_a_failure(tree):
    (tree / "clients/package-lock.json").write_text("{")
    status, printed, not_run = set_up(tree, **NO_REGISTRY)
    assert (status, not_run) == (1, None), printed
    assert "cannot be installed" in printed


@NEEDS_NPM
def test_an_installation_that_lacks_a_client_is_a_failure(tree):
    nothing = {"name": "pins", "version": "1.0.0"}
    lock = {**nothing, "lockfileVersion": 3, "packages": {"": nothing}}
    (tree / "clients/package.json").write_text(json.dumps(nothing))
    (tree / "clients/package-lock.json").write_text(json.dumps(lock))
    status, printed, not_run = set_up(tree, **NO_REGISTRY)
    assert (status, not_run) == (1, None), printed
    assert not (tree / "target/clients/npm/.pins").exists()
