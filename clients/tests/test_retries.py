"""How often the SDKs ask, and how long they wait in between, for each of the hub's own errors: by `x-should-retry` and
`retry-after`, which win over the status (reference/protocols.md §6.1). Google's SDK goes by the status alone, and asks again
only when it is told to."""

import http.client
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types

from hub import DIRECT, script

NOBODY = "cch-nobody-has-this-key-00000000000"
# Each fault comes with what the hub says then: its status, how often it is asked, and the pauses in between.
PROVIDERS_FAIL = {
    "all at their rate": ({"status": 429, "retry_after_secs": 7}, 429, [7, 7]),
    "all broken": ({"status": 500}, 503, [5, 5]),
    "all unavailable": ({"status": 503}, 503, [5, 5]),
    "all overloaded, with a hint": ({"status": 529, "retry_after_secs": 9}, 503, [9, 9]),
    "all refuse their key": ({"status": 401}, 503, [5, 5]),
    "all cut": ({"cut": "before_head"}, 503, [5, 5]),
    "all say nothing": ({"fake_success": "empty"}, 503, [5, 5]),
}


class Front:
    """Stands before the gateway and notes what passes: (status, x-should-retry, retry-after) of each request."""

    def __init__(self, url):
        self.url = url
        self.passed = []


@contextmanager
def standing_before(gateway):
    target = urlsplit(gateway).netloc
    passed = []

    class Pass(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            onward = http.client.HTTPConnection(target, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            onward.request(self.command, self.path, body, headers)
            answer = onward.getresponse()
            content = answer.read()
            passed.append((answer.status, answer.headers["x-should-retry"], answer.headers["retry-after"]))
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "connection", "date"):
                    self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            onward.close()

        do_GET = do_POST

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Pass) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        front = Front("http://127.0.0.1:{}".format(server.server_address[1]))
        front.passed = passed
        yield front
        server.shutdown()


@pytest.fixture
def front(hub):
    with standing_before(hub.gateway) as front:
        yield front


@pytest.fixture
def pauses(monkeypatch):
    """How long the SDK would have slept. It does not."""
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


class Anthropic:
    provider_type = "claude"
    model = "claude-sonnet-5-5"
    error = anthropic.APIStatusError

    def __init__(self, front, key):
        self.client = anthropic.Anthropic(api_key=key, base_url=front.url)

    def ask(self, stream=False, headers=None, content="Hi."):
        ask = {"model": self.model, "max_tokens": 9, "messages": [{"role": "user", "content": content}]}
        answer = self.client.messages.create(**ask, stream=stream, extra_headers=headers)
        return list(answer) if stream else answer

    def elsewhere(self):
        self.client.post("/v1/no-such-thing", body={}, cast_to=object)


class Chat:
    provider_type = "openai-compatible"
    model = "gpt-5.1"
    error = openai.APIStatusError

    def __init__(self, front, key):
        self.client = openai.OpenAI(api_key=key, base_url=front.url + "/v1")

    def ask(self, stream=False, headers=None, content="Hi."):
        ask = {"model": self.model, "messages": [{"role": "user", "content": content}]}
        answer = self.client.chat.completions.create(**ask, stream=stream, extra_headers=headers)
        return list(answer) if stream else answer

    def elsewhere(self):
        self.client.post("/no-such-thing", body={}, cast_to=object)


class Responses(Chat):
    provider_type = "codex"

    def ask(self, stream=False, headers=None, content="Hi.", **more):
        answer = self.client.responses.create(
            model=self.model, input=content, stream=stream, extra_headers=headers, **more
        )
        return list(answer) if stream else answer


STAINLESS = pytest.mark.parametrize("sdk", [Anthropic, Chat, Responses])
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def refused(sdk, front, status, call):
    """Makes a call that is refused; the SDK's error says so as well."""
    with pytest.raises(sdk.error) as caught:
        call()
    assert caught.value.status_code == status
    assert {passed[0] for passed in front.passed} == {status}


# --- what another try cannot mend: asked once ---


@STAINLESS
@STREAM
def test_an_unknown_key_is_not_tried_again(front, pauses, sdk, stream):
    refused(sdk, front, 401, lambda: sdk(front, NOBODY).ask(stream))
    assert (front.passed, pauses) == ([(401, "false", None)], [])


@STAINLESS
def test_a_disabled_key_is_not_tried_again(hub, front, pauses, upstream, sdk):
    made = made_user(hub, sdk, upstream)
    hub.call("PATCH", "users/{}".format(made["user"]["id"]), {"is_enabled": False})
    refused(sdk, front, 401, lambda: sdk(front, made["key"]["secret"]).ask())
    assert (front.passed, pauses) == ([(401, "false", None)], [])


@STAINLESS
@STREAM
def test_a_model_that_is_not_allowed_is_not_tried_again(hub, front, pauses, upstream, sdk, stream):
    key = made_user(hub, sdk, upstream, allowed_models=["another-model"])["key"]["secret"]
    refused(sdk, front, 403, lambda: sdk(front, key).ask(stream))
    assert (front.passed, pauses) == ([(403, "false", None)], [])


@STAINLESS
def test_an_unknown_path_is_not_tried_again(front, seat, pauses, sdk):
    refused(sdk, front, 404, lambda: sdk(front, seat).elsewhere())
    assert (front.passed, pauses) == ([(404, "false", None)], [])


def test_an_unknown_model_is_not_tried_again(front, seat, pauses):
    refused(Chat, front, 404, lambda: Chat(front, seat).client.models.retrieve("no-such-model"))
    assert (front.passed, pauses) == ([(404, "false", None)], [])


@STAINLESS
def test_a_body_over_100_mib_is_not_tried_again(front, seat, pauses, sdk):
    refused(sdk, front, 413, lambda: sdk(front, seat).ask(content="x" * (100 << 20)))
    assert (front.passed, pauses) == ([(413, "false", None)], [])


def test_what_is_not_supported_is_not_tried_again(front, seat, pauses):
    refused(Responses, front, 400, lambda: Responses(front, seat).ask(background=True))
    assert (front.passed, pauses) == ([(400, "false", None)], [])


@STAINLESS
def test_a_flood_of_wrong_keys_is_not_kept_up(hub, front, pauses, sdk):
    """429, which SDKs try again by its status: here they are told not to."""
    wrong = f"flood-{sdk.__name__}"[:8] + "-is-a-wrong-key"
    throttled(hub, wrong)
    refused(sdk, front, 429, lambda: sdk(front, wrong).ask())
    assert (front.passed, pauses) == ([(429, "false", "300")], [])


# --- budgets: money is not asked for again, a moment's rate is ---


@STAINLESS
@STREAM
def test_a_budget_that_is_used_up_is_not_tried_again(hub, front, pauses, upstream, sdk, stream):
    key = made_user(hub, sdk, upstream, limit_daily_usd="1.00")["key"]["secret"]
    # Dearer than anybody would have guessed.
    sdk(front, key).ask(headers=script(usage={"input": 10, "output": 1_000_000}))
    front.passed.clear()
    with pytest.raises(sdk.error) as caught:
        sdk(front, key).ask(stream)
    [(status, should_retry, retry_after)] = front.passed
    assert (status, should_retry, pauses) == (429, "false", [])
    assert 0 < int(retry_after) <= 90_000
    assert "The daily budget of this user is used up" in caught.value.message
    # Its vendor's word for it, which clients show instead of waiting.
    body = caught.value.body
    assert body.get("error", body)["type"] == ("billing_error" if sdk is Anthropic else "insufficient_quota")


@STAINLESS
def test_who_asks_too_often_is_told_when_to_come_back(hub, front, pauses, upstream, sdk):
    key = made_user(hub, sdk, upstream, rpm_limit=1)["key"]["secret"]
    sdk(front, key).ask()
    front.passed.clear()
    refused(sdk, front, 429, lambda: sdk(front, key).ask())
    assert [should_retry for _, should_retry, _ in front.passed] == ["true"] * 3
    told = [int(retry_after) for _, _, retry_after in front.passed]
    assert all(0 < secs <= 65 for secs in told)
    # Longer than the SDK would wait for anybody, it waits as long as it likes.
    assert len(pauses) == 2


def test_a_seat_reads_how_its_own_budget_stands(hub, front, upstream):
    key = made_user(hub, Anthropic, upstream, limit_5h_usd="4.00")["key"]["secret"]
    client = Anthropic(front, key).client
    ask = {"model": Anthropic.model, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi."}]}
    client.messages.create(**ask, extra_headers=script(usage={"input": 0, "output": 300_001}))
    answer = client.messages.with_raw_response.create(**ask)
    told = {name: value for name, value in answer.headers.items() if "ratelimit" in name}
    assert told["anthropic-ratelimit-unified-5h-utilization"].startswith("0.75"), told
    assert told["anthropic-ratelimit-unified-status"] == "allowed_warning"
    assert int(told["anthropic-ratelimit-unified-5h-reset"]) > time.time()


# --- what another try may mend: asked three times, after the pauses that the hub names ---


@STAINLESS
@STREAM
@pytest.mark.parametrize("fault", PROVIDERS_FAIL.values(), ids=PROVIDERS_FAIL.keys())
def test_when_no_provider_is_left_it_is_tried_again_as_the_hub_says(hub, ailing, front, pauses, sdk, stream, fault):
    script, status, expected = fault
    key = hub.seat((sdk.provider_type, ailing.url), (sdk.provider_type, ailing.url))
    ailing.follow(script)
    refused(sdk, front, status, lambda: sdk(front, key).ask(stream))
    assert [should_retry for _, should_retry, _ in front.passed] == ["true"] * 3
    # Resting providers are not asked again; what is left of their rest is what the hub then says.
    told = [int(retry_after) for _, _, retry_after in front.passed]
    assert pauses == told[:2]
    assert told[0] == expected[0]


# --- what has begun is over: a stream is never asked for again by itself ---


@STAINLESS
@pytest.mark.parametrize("fault", [{"cut": {"mid_stream": 6}}, {"error_event": {"after_content": 2}}], ids=["cut", "error"])
def test_a_stream_that_breaks_after_content_is_not_tried_again(hub, ailing, front, pauses, sdk, fault):
    ailing.follow(fault)
    ended = False
    try:
        events = sdk(front, hub.seat((sdk.provider_type, ailing.url))).ask(stream=True)
        ended = getattr(events[-1], "type", None) == "response.failed"
    except (anthropic.APIError, openai.APIError):
        ended = True
    assert ended
    assert (front.passed, pauses) == ([(200, None, None)], [])


# --- Google's ---


def google(front, key, attempts=None):
    retry = None if attempts is None else types.HttpRetryOptions(attempts=attempts)
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=front.url, retry_options=retry))


def ask_google(client):
    client.models.generate_content(model="gemini-2.5-pro", contents="Say hello.")


@pytest.mark.parametrize("attempts", [None, 3], ids=["as it comes", "told to try thrice"])
@pytest.mark.parametrize("fault", PROVIDERS_FAIL.values(), ids=PROVIDERS_FAIL.keys())
def test_google_s_sdk_tries_again_only_when_told_to(hub, ailing, front, pauses, attempts, fault):
    script, status, _ = fault
    key = hub.seat(("gemini", ailing.url), ("gemini", ailing.url))
    ailing.follow(script)
    with pytest.raises(errors.APIError) as caught:
        ask_google(google(front, key, attempts))
    assert caught.value.code == status
    assert [passed[0] for passed in front.passed] == [status] * (attempts or 1)
    assert len(pauses) == (attempts or 1) - 1


@pytest.mark.parametrize("status", [401, 403])
def test_google_s_sdk_does_not_try_again_what_cannot_be_mended(hub, upstream, front, pauses, status):
    key = NOBODY
    if status == 403:
        key = made_user(hub, None, upstream, provider_type="gemini", allowed_models=["another"])["key"]["secret"]
    with pytest.raises(errors.ClientError) as caught:
        ask_google(google(front, key, 3))
    assert caught.value.code == status
    assert (front.passed, pauses) == ([(status, "false", None)], [])


def made_user(hub, sdk, upstream, provider_type=None, **more):
    """A user with a provider that is well."""
    hub.groups += 1
    group = f"retries-{hub.groups}"
    provider = {"name": group, "provider_type": provider_type or sdk.provider_type, "url": upstream.url, "key": "sk"}
    hub.call("POST", "providers", {**provider, "group_tag": group})
    return hub.call("POST", "users", {"name": f"user of {group}", "provider_group": group, **more})


def throttled(hub, key):
    """Fails with this key until the gateway has had enough of it."""
    for _ in range(25):
        request = urllib.request.Request(hub.gateway + "/v1/models", headers={"x-api-key": key})
        try:
            DIRECT.open(request)
        except urllib.error.HTTPError as error:
            if error.code == 429:
                return
    raise AssertionError("never throttled")
