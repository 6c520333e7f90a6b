"""Starts the product and its simulated upstreams as processes, and speaks to their own doors."""

import json
import os
import re
import secrets
import subprocess
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BINARIES = Path(os.environ["HUB_BINARIES"])
PROVIDER_KEY = "sk-simulated"
PATIENCE_SECS = 30

# The simulator's names of token classes and the hub's.
CLASSES = {
    "input": "input_tokens",
    "cache_write_5m": "cache_write_5m_tokens",
    "cache_write_1h": "cache_write_1h_tokens",
    "cache_read": "cache_read_tokens",
    "output": "output_tokens",
}

# What the simulated upstream says unless it is told otherwise.
SENTENCE = "The simulated upstream answers plainly, word by word."

# Faults of a provider that a seat must not notice while another one can serve.
FAULTS = {
    "500": {"status": 500},
    "503": {"status": 503},
    "529": {"status": 529},
    "its rate is used up": {"status": 429, "retry_after_secs": 30},
    "its key is revoked": {"status": 401},
    "an error before content": {"error_event": "before_content"},
    "a cut before the head": {"cut": "before_head"},
    "a cut after the head": {"cut": "after_head"},
    "a web page": {"fake_success": "html"},
}

# The same for dialects whose streams open with an event that has no content yet, which Gemini's have not.
FAULTS_OF_OPENED_STREAMS = FAULTS | {"a cut after the opening event": {"cut": {"mid_stream": 1}}}


def script(**words):
    """Headers that tell the simulated upstream what to do with this one request (simulator/src/script.rs)."""
    return {"x-sim-script": json.dumps(words)}


class Upstream:
    """A simulated upstream: all four dialects on one port."""

    def __init__(self, url):
        self.url = url

    def follow(self, *scripts):
        """The scripts of the requests to come that bring none of their own; the last one stays."""
        call("POST", f"{self.url}/__sim/script", list(scripts) or [{}])

    def served(self):
        """A record for each request it has got."""
        return call("GET", f"{self.url}/__sim/served")

    def by_id(self, request_id):
        """The record of the request that it answered under this id."""
        return next(record for record in self.served() if record["id"] == request_id)


@dataclass
class Hub:
    """The product, running."""

    gateway: str
    admin: str
    token: str
    log: Path
    groups: int = 0

    def call(self, method, path, body=None):
        """A call of the admin API."""
        return call(method, f"{self.admin}/api/v1/{path}", body, {"authorization": f"Bearer {self.token}"})

    def seat(self, *providers):
        """The key of a new user whose requests go to these providers and no others: (type, upstream's URL), the
        first choice first. What one test does to its providers cannot reach another's."""
        self.groups += 1
        group = f"group-{self.groups}"
        for priority, (provider_type, url) in enumerate(providers):
            name = f"{group} {provider_type} {priority}"
            body = {"name": name, "provider_type": provider_type, "url": url, "key": PROVIDER_KEY}
            self.call("POST", "providers", {**body, "group_tag": group, "priority": priority})
        made = self.call("POST", "users", {"name": f"user of {group}", "provider_group": group})
        return made["key"]["secret"]

    def log_row(self, request_id):
        """The log row of a finished request; the books may be a moment behind."""
        return eventually(lambda: self.call("GET", f"logs/{request_id}"), f"no log row of {request_id}")

    def log_rows(self):
        """All log rows."""
        rows, cursor = [], ""
        while cursor is not None:
            page = self.call("GET", f"logs?limit=50{cursor and '&cursor=' + cursor}")
            rows += page["items"]
            cursor = page["next_cursor"]
        return rows


@contextmanager
def running_upstream():
    """An upstream of one's own."""
    with running("simulator", ["--listen", "127.0.0.1:0"], {}, subprocess.DEVNULL) as process:
        yield Upstream(line_of(process, r"simulator listens on (\S+)").group(1))


@contextmanager
def running_hub(data_dir, **variables):
    """The product on an empty database, with these variables and nothing of the caller's environment."""
    log = data_dir / "hub.log"
    token = secrets.token_hex(24)
    listen = {f"{name}_LISTEN": "127.0.0.1:0" for name in ("GATEWAY", "ADMIN", "OPS")}
    environment = {**listen, "ADMIN_TOKEN": token, "DATA_DIR": str(data_dir), **variables}
    with log.open("w") as stderr, running("claude-code-hub", [], environment, stderr) as process:
        gateway = line_of(process, r"seats\s+(http://\S+)").group(1)
        admin = line_of(process, r"admin API\s+(http://[^/\s]+)").group(1)
        yield Hub(gateway, admin, token, log)


@contextmanager
def running(name, arguments, environment, stderr):
    """A process of ours, told to stop at the end; it must stop in good order."""
    command = [BINARIES / name, *arguments]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        yield process
        process.terminate()
        process.stdout.read()
        assert process.wait(PATIENCE_SECS) == 0, f"{name} ended with status {process.returncode}"
    finally:
        process.kill()
        process.wait()


def line_of(process, pattern):
    """The first line of its output that matches."""
    deadline = threading.Timer(PATIENCE_SECS, process.kill)
    deadline.start()
    try:
        for line in process.stdout:
            if match := re.search(pattern, line):
                return match
    finally:
        deadline.cancel()
    raise AssertionError(f"{process.args[0]} did not say {pattern!r}")


def call(method, url, body=None, headers=None):
    """A JSON call on loopback, past any proxy."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with DIRECT.open(request, timeout=PATIENCE_SECS) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise Refused(error.code, f"{method} {url}: {error.code} {error.read().decode()}") from None


class Refused(Exception):
    """A call of ours that was answered with an error."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


def changed(sent, got):
    """The headers that a client sent and an upstream got otherwise, but for keys and what is of one connection."""
    expected = {"authorization", "x-api-key", "host", "connection", "accept-encoding", "content-length"}
    return {
        name: (value, got.get(name))
        for name, value in sent.items()
        if name not in expected and got.get(name) != value
    }


def eventually(look, complaint):
    """What `look` finds, as soon as it is there: not None and no 404. Each look is a call, which is pause enough."""
    until = time.monotonic() + PATIENCE_SECS
    while time.monotonic() < until:
        try:
            if (found := look()) is not None:
                return found
        except Refused as refused:
            if refused.status != 404:
                raise
    raise AssertionError(complaint)


DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
