"""The command-line clients through the hub, one turn at a time, without a terminal: Claude Code, Codex, Gemini CLI.

Each runs in an empty home and an empty project, with its telemetry, update checks and the like switched off as its
documentation says. test_ledger.py sees to it that they called nobody else.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from hub import PATIENCE_SECS, SENTENCE, eventually, script

CLIENTS = Path(os.environ["CLIENTS_HOME"], "npm/node_modules/.bin")
# Why clients/setup.sh had to leave them out, where it had.
NOT_RUN = Path(os.environ["CLIENTS_HOME"], "not-run")


@pytest.fixture
def run(tmp_path):
    """Runs a client in a fresh home; answers what it printed, and of one that failed without a word what it complained."""
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    project.mkdir()

    def run(name, *arguments, exit_status=0, **variables):
        if NOT_RUN.exists():
            pytest.skip(NOT_RUN.read_text().strip())
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
        return done.stderr if exit_status and not done.stdout else done.stdout

    run.home, run.project = home, project
    return run


NO_ROOM = "The total budget of this user has no room for this request"


def poor(hub, provider_type, upstream):
    """A user whose budget has no room for anything: its id and its key."""
    hub.groups += 1
    group = f"budget-{hub.groups}"
    provider = {"name": group, "provider_type": provider_type, "url": upstream.url, "key": "sk", "group_tag": group}
    hub.call("POST", "providers", provider)
    made = hub.call("POST", "users", {"name": group, "provider_group": group, "limit_total_usd": "0.000001"})
    return made["user"]["id"], made["key"]["secret"]


def assert_asked_once(hub, user):
    """The log has one request of the user, and its budget refused it."""
    rows = eventually(lambda: hub.call("GET", f"logs?user_id={user}")["items"] or None, "no log row")
    assert [(row["status"], row["blocked_by"]) for row in rows] == [(429, "limit_total")]


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
    user, key = poor(hub, "claude", upstream)
    result = claude(run, hub, key, "say hello", exit_status=1)
    assert NO_ROOM in result["result"], result
    assert_asked_once(hub, user)


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


def codex(run, hub, key, prompt, exit_status=0, **words):
    """One turn of Codex; the events it prints."""
    home = run.home / "codex"
    home.mkdir()
    headers = "".join(f"{name} = '{value}'" for name, value in script(**words).items()) if words else ""
    (home / "config.toml").write_text(CODEX.format(gateway=hub.gateway, headers=headers))
    options = ("--skip-git-repo-check", "--json", "--dangerously-bypass-approvals-and-sandbox")
    printed = run("codex", "exec", *options, prompt, exit_status=exit_status, CODEX_HOME=str(home), HUB_KEY=key)
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


def test_codex_does_not_ask_again_when_a_budget_is_used_up(run, hub, upstream):
    user, key = poor(hub, "codex", upstream)
    events = codex(run, hub, key, "say hello", exit_status=1)
    assert events[-1]["type"] == "turn.failed", events
    assert "Quota exceeded" in events[-1]["error"]["message"], events
    assert_asked_once(hub, user)


# --- Gemini CLI ---

# With a base URL of one's own it must be told that a plain key is meant.
GEMINI = {
    "security": {"auth": {"selectedType": "gemini-api-key"}},
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
    "privacy": {"usageStatisticsEnabled": False},
}


def gemini(run, hub, key, prompt, exit_status=0, model="gemini-2.5-pro"):
    """One turn of Gemini CLI; what it says, or why it did not."""
    settings = run.home / ".gemini/settings.json"
    settings.parent.mkdir()
    settings.write_text(json.dumps(GEMINI))
    printed = run(
        "gemini",
        *("-p", prompt, "-m", model, "--output-format", "json"),
        exit_status=exit_status,
        GEMINI_API_KEY=key,
        GOOGLE_GEMINI_BASE_URL=hub.gateway,
        GEMINI_CLI_TRUST_WORKSPACE="true",
    )
    return printed if exit_status else json.loads(printed)


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


def test_gemini_cli_shows_a_budget_that_is_used_up_and_does_not_ask_again(run, hub, upstream):
    user, key = poor(hub, "gemini", upstream)
    complaint = gemini(run, hub, key, "say hello", exit_status=429 % 256)
    assert NO_ROOM in complaint, complaint
    assert_asked_once(hub, user)


def test_gemini_cli_asks_for_each_model_of_its_own_choice_once_when_a_budget_is_used_up(run, hub, upstream):
    """It takes a quota for one model's, and has no word for one of them all."""
    user, key = poor(hub, "gemini", upstream)
    complaint = gemini(run, hub, key, "say hello", exit_status=429 % 256, model="auto")
    assert NO_ROOM in complaint, complaint
    rows = eventually(lambda: hub.call("GET", f"logs?user_id={user}")["items"] or None, "no log row")
    assert {row["blocked_by"] for row in rows} == {"limit_total"}
    assert len(rows) == len({row["model"] for row in rows}) <= 3
