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

from hub import PATIENCE_SECS, SENTENCE, eventually, script

CLIENTS = Path(os.environ["CLIENTS_HOME"], "npm/node_modules/.bin")


@pytest.fixture
def run(tmp_path):
    """Runs a client in a fresh home; answers what it printed."""
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    project.mkdir()

    def run(name, *arguments, exit_status=0, **variables):
        if not shutil.which(name, path=CLIENTS):
            pytest.skip(f"{name} is not there; clients/setup.sh said why (npm is missing, or it does not start here)")
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
        assert done.returncode == exit_status, f"{name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    run.home, run.project = home, project
    return run


@pytest.fixture
def new_requests(upstream):
    """The requests that the upstream got since the test began."""
    before = len(upstream.served())
    return lambda: upstream.served()[before:]


# --- Claude Code ---


def claude(run, hub, key, prompt, exit_status=0, **words):
    """One turn of Claude Code in print mode, and what the upstream is to do."""
    headers = "\n".join(f"{name}: {value}" for name, value in script(**words).items()) if words else ""
    printed = run(
        "claude",
        *("-p", prompt, "--output-format", "json"),
        exit_status=exit_status,
        ANTHROPIC_BASE_URL=hub.gateway,
        ANTHROPIC_AUTH_TOKEN=key,
        ANTHROPIC_CUSTOM_HEADERS=headers,
        CLAUDE_CONFIG_DIR=str(run.home / "claude"),
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        DISABLE_TELEMETRY="1",
        DISABLE_ERROR_REPORTING="1",
        DISABLE_AUTOUPDATER="1",
    )
    return json.loads(printed)


def test_claude_code_completes_a_turn(run, hub, seat, new_requests):
    result = claude(run, hub, seat, "say hello")
    assert (result["is_error"], result["num_turns"], result["result"]) == (False, 1, SENTENCE)
    assert (result["usage"]["input_tokens"], result["usage"]["output_tokens"]) == (25, 12)
    assert {request["request"]["path"] for request in new_requests()} == {"/v1/messages?beta=true"}


def test_claude_code_reads_a_file_when_it_is_told_to(run, hub, seat):
    note = run.project / "note.txt"
    note.write_text("a note")
    call = {"name": "Read", "arguments": {"file_path": str(note)}}
    result = claude(run, hub, seat, "read the note", tool_call=call)
    assert (result["is_error"], result["num_turns"], result["result"]) == (False, 2, SENTENCE)
    assert result["usage"]["output_tokens"] == 24


def test_claude_code_does_not_notice_a_failover(run, hub, ailing, upstream):
    ailing.follow({"status": 529})
    key = hub.seat(("claude", ailing.url), ("claude", upstream.url))
    before = len(ailing.served())
    result = claude(run, hub, key, "say hello")
    assert (result["is_error"], result["result"]) == (False, SENTENCE)
    assert len(ailing.served()) > before


def test_claude_code_shows_the_upstream_s_own_words(run, hub, upstream):
    key = hub.seat(("claude", upstream.url))
    words = "messages.1.content.0: Invalid `data` in `image` block"
    result = claude(run, hub, key, "say hello", exit_status=1, status=400, error={"message": words})
    assert result["result"] == f"API Error: 400 {words}"


def test_claude_code_shows_a_budget_that_is_used_up_and_does_not_ask_again(run, hub, upstream):
    hub.groups += 1
    group = f"budget-{hub.groups}"
    provider = {"name": group, "provider_type": "claude", "url": upstream.url, "key": "sk", "group_tag": group}
    hub.call("POST", "providers", provider)
    limited = {"name": group, "provider_group": group, "limit_total_usd": "0.000001"}
    made = hub.call("POST", "users", limited)
    result = claude(run, hub, made["key"]["secret"], "say hello", exit_status=1)
    assert "The total budget of this user has no room for this request" in result["result"], result
    rows = eventually(lambda: hub.call("GET", f"logs?user_id={made['user']['id']}")["items"] or None, "no log row")
    assert [(row["status"], row["blocked_by"]) for row in rows] == [(429, "limit_total")]


def test_claude_code_says_that_the_key_is_wrong(run, hub):
    result = claude(run, hub, "cch-nobody-has-this-key-00000000000", "say hello", exit_status=1)
    assert (result["api_error_status"], result["api_error_type"]) == (401, "authentication_error")


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
[model_providers.hub.http_headers]
{headers}
[analytics]
enabled = false
[features]
plugins = false
"""


def codex(run, hub, key, prompt, **words):
    """One turn of Codex; the events it prints."""
    home = run.home / "codex"
    home.mkdir()
    headers = "".join(f"{name} = '{value}'" for name, value in script(**words).items()) if words else ""
    (home / "config.toml").write_text(CODEX.format(gateway=hub.gateway, headers=headers))
    options = ("--skip-git-repo-check", "--json", "--dangerously-bypass-approvals-and-sandbox")
    printed = run("codex", "exec", *options, prompt, CODEX_HOME=str(home), HUB_KEY=key)
    return [json.loads(line) for line in printed.splitlines()]


def items_of(events, kind):
    """What Codex says of finished items of a kind."""
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    return [item for item in items if item["type"] == kind]


def test_codex_completes_a_turn(run, hub, seat, new_requests):
    events = codex(run, hub, seat, "say hello")
    assert [item["text"] for item in items_of(events, "agent_message")] == [SENTENCE]
    assert (events[-1]["type"], events[-1]["usage"]["output_tokens"]) == ("turn.completed", 12)
    assert {request["request"]["path"] for request in new_requests()} == {"/v1/responses"}


def test_codex_runs_a_command_when_it_is_told_to(run, hub, seat):
    call = {"name": "exec_command", "arguments": {"cmd": "echo a note"}}
    events = codex(run, hub, seat, "run the command", tool_call=call)
    assert [item["aggregated_output"] for item in items_of(events, "command_execution")] == ["a note\n"]
    assert [item["text"] for item in items_of(events, "agent_message")] == [SENTENCE]
    assert events[-1]["usage"]["output_tokens"] == 24


# --- Gemini CLI ---

# With a base URL of one's own it must be told that a plain key is meant.
GEMINI = {
    "security": {"auth": {"selectedType": "gemini-api-key"}},
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
    "privacy": {"usageStatisticsEnabled": False},
}


def gemini(run, hub, key, prompt):
    """One turn of Gemini CLI."""
    settings = run.home / ".gemini/settings.json"
    settings.parent.mkdir()
    settings.write_text(json.dumps(GEMINI))
    printed = run(
        "gemini",
        *("-p", prompt, "-m", "gemini-2.5-pro", "--output-format", "json"),
        GEMINI_API_KEY=key,
        GOOGLE_GEMINI_BASE_URL=hub.gateway,
        GEMINI_CLI_TRUST_WORKSPACE="true",
    )
    return json.loads(printed)


def test_gemini_cli_completes_a_turn(run, hub, seat, new_requests):
    result = gemini(run, hub, seat, "say hello")
    assert result["response"] == SENTENCE
    assert result["stats"]["models"]["gemini-2.5-pro"]["tokens"]["total"] == 37
    asked = {request["request"]["path"] for request in new_requests()}
    assert asked == {"/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"}


def test_gemini_cli_reads_a_file_when_it_is_told_to(run, hub, seat):
    # The upstream makes up each argument of the call as "simulated".
    (run.project / "simulated").write_text("a note")
    result = gemini(run, hub, seat, "Please call the tool read_file")
    assert result["stats"]["tools"]["byName"]["read_file"]["success"] == 1
    assert result["response"] == SENTENCE
