"""The command-line clients through the hub, one turn at a time, without a terminal: Claude Code, Codex, Gemini CLI.

Each runs in an empty home and an empty project, with its telemetry, update checks and the like switched off as its
documentation says. test_ledger.py sees to it that they called nobody else.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hub import PATIENCE_SECS, SENTENCE, script

CLIENTS = Path(os.environ["CLIENTS_HOME"], "npm/node_modules/.bin")


@pytest.fixture
def run(tmp_path):
    """Runs a client in a fresh home; answers what it printed."""
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    project.mkdir()

    def run(name, *arguments, **variables):
        if not shutil.which(name, path=CLIENTS):
            pytest.skip(f"{name} is not installed: npm is missing, or its package has no binary for this machine")
        proxies = {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy")}
        environment = {**proxies, "PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(tmp_path), **variables}
        done = subprocess.run(
            [CLIENTS / name, *arguments],
            env=environment,
            cwd=project,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_SECS,
        )
        assert done.returncode == 0, f"{name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    run.home, run.project = home, project
    return run


@pytest.fixture
def new_requests(upstream):
    """The requests that the upstream got since the test began."""
    before = len(upstream.served())
    return lambda: upstream.served()[before:]


# --- Claude Code ---


def claude(run, hub, seat, *arguments, **variables):
    """One turn of Claude Code in print mode."""
    printed = run(
        "claude",
        *arguments,
        "--output-format",
        "json",
        ANTHROPIC_BASE_URL=hub.gateway,
        ANTHROPIC_AUTH_TOKEN=seat,
        CLAUDE_CONFIG_DIR=str(run.home / "claude"),
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        DISABLE_TELEMETRY="1",
        DISABLE_ERROR_REPORTING="1",
        DISABLE_AUTOUPDATER="1",
        **variables,
    )
    return json.loads(printed)


def test_claude_code_completes_a_turn(run, hub, seat, new_requests):
    result = claude(run, hub, seat, "-p", "say hello")
    assert (result["is_error"], result["num_turns"], result["result"]) == (False, 1, SENTENCE)
    assert (result["usage"]["input_tokens"], result["usage"]["output_tokens"]) == (25, 12)
    assert {request["request"]["path"] for request in new_requests()} == {"/v1/messages?beta=true"}


def test_claude_code_reads_a_file_when_it_is_told_to(run, hub, seat):
    (run.project / "note.txt").write_text("a note")
    call = script(tool_call={"name": "Read", "arguments": {"file_path": str(run.project / "note.txt")}})
    headers = "".join(f"{name}: {value}" for name, value in call.items())
    result = claude(run, hub, seat, "-p", "read the note", ANTHROPIC_CUSTOM_HEADERS=headers)
    assert (result["is_error"], result["num_turns"], result["result"]) == (False, 2, SENTENCE)
    assert result["usage"]["output_tokens"] == 24


def test_claude_code_does_not_notice_a_failover(run, hub, ailing, upstream):
    ailing.follow({"status": 529})
    key = hub.seat(("claude", ailing.url), ("claude", upstream.url))
    before = len(ailing.served())
    result = claude(run, hub, key, "-p", "say hello")
    assert (result["is_error"], result["result"]) == (False, SENTENCE)
    assert len(ailing.served()) > before


# --- Codex ---

# Plug-ins are fetched from the vendor's hosts at each start.
CODEX = """
model = "gpt-5.1-codex"
model_provider = "hub"
check_for_update_on_startup = false
[model_providers.hub]
name = "Claude Code Hub"
base_url = "{gateway}/v1"
env_key = "HUB_KEY"
wire_api = "responses"
[analytics]
enabled = false
[features]
plugins = false
"""


def test_codex_completes_a_turn(run, hub, seat, new_requests):
    home = run.home / "codex"
    home.mkdir()
    (home / "config.toml").write_text(CODEX.format(gateway=hub.gateway))
    printed = run("codex", "exec", "--skip-git-repo-check", "--json", "say hello", CODEX_HOME=str(home), HUB_KEY=seat)
    events = [json.loads(line) for line in printed.splitlines()]
    messages = [event["item"]["text"] for event in events if event.get("item", {}).get("type") == "agent_message"]
    assert messages == [SENTENCE]
    assert (events[-1]["type"], events[-1]["usage"]["output_tokens"]) == ("turn.completed", 12)
    assert {request["request"]["path"] for request in new_requests()} == {"/v1/responses"}


# --- Gemini CLI ---

# With a base URL of one's own it must be told that a plain key is meant.
GEMINI = {
    "security": {"auth": {"selectedType": "gemini-api-key"}},
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
    "privacy": {"usageStatisticsEnabled": False},
}


def test_gemini_cli_completes_a_turn(run, hub, seat, new_requests):
    settings = run.home / ".gemini/settings.json"
    settings.parent.mkdir()
    settings.write_text(json.dumps(GEMINI))
    printed = run(
        "gemini",
        "-p",
        "say hello",
        "-m",
        "gemini-2.5-pro",
        "--output-format",
        "json",
        GEMINI_API_KEY=seat,
        GOOGLE_GEMINI_BASE_URL=hub.gateway,
        GEMINI_CLI_TRUST_WORKSPACE="true",
    )
    result = json.loads(printed)
    assert result["response"] == SENTENCE
    assert result["stats"]["models"]["gemini-2.5-pro"]["tokens"]["total"] == 37
    asked = {request["request"]["path"] for request in new_requests()}
    assert asked == {"/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"}
