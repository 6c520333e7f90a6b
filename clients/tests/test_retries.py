"""How often the SDKs ask, and how long they wait in between, for each class of the hub's own errors that can be provoked from
outside: by `x-should-retry` and `retry-after`, which win over the status (reference/protocols.md §6.1). Google's SDK goes by
the status alone, and asks again only when it is told to. That every error belongs to one of these classes is
gateway/src/reject/tests.rs."""

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
import websockets
from google import genai
from google.genai import errors, types

from hub import DIRECT, script

NOBODY = "cch-nobody-has-this-key-00000000000"
# Each fault comes with what the hub says then: its status, how often it is asked, and the pauses in between.
PROVIDERS_FAIL = {
    "all at their rate": ({"status": 429, "retry_after_secs": 7}, 429, [7, 7]),
    "all broken": ({"status": 500}, 503, [5, 5]),
    "all behind a broken gateway": ({"status": 502}, 503, [5, 5]),
    "all too late": ({"status": 504}, 503, [5, 5]),
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
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
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

    @staticmethod
    def tries(status, should_retry, retry_after):
        """So often it asks in all for what is answered like this."""
        return 3 if should_retry == "true" else 1

    def __init__(self, front, key):
        self.client = anthropic.Anthropic(api_key=key, base_url=front.url)

    def ask(self, stream=False, headers=None, content="Hi.", body=None, model=None):
        ask = {"model": model or self.model, "max_tokens": 9, "messages": [{"role": "user", "content": content}]}
        answer = self.client.messages.create(**ask, stream=stream, extra_headers=headers, extra_body=body)
        return list(answer) if stream else answer

    def elsewhere(self):
        self.client.post("/v1/no-such-thing", body={}, cast_to=object)

    def otherwise(self):
        """A path there is, by another method."""
        self.client.get("/v1/messages", cast_to=object)


class Chat:
    provider_type = "openai-compatible"
    model = "gpt-5.1"
    error = openai.APIStatusError

    @staticmethod
    def tries(status, should_retry, retry_after):
        """It waits for two minutes at most, and else leaves it."""
        return 3 if should_retry == "true" and int(retry_after) <= 120 else 1

    def __init__(self, front, key):
        self.client = openai.OpenAI(api_key=key, base_url=front.url + "/v1")

    def ask(self, stream=False, headers=None, content="Hi.", body=None, model=None):
        ask = {"model": model or self.model, "messages": [{"role": "user", "content": content}]}
        answer = self.client.chat.completions.create(**ask, stream=stream, extra_headers=headers, extra_body=body)
        return list(answer) if stream else answer

    def elsewhere(self):
        self.client.post("/no-such-thing", body={}, cast_to=object)

    def otherwise(self):
        self.client.get("/chat/completions", cast_to=object)


class Responses(Chat):
    provider_type = "codex"

    def ask(self, stream=False, headers=None, content="Hi.", body=None, model=None, **more):
        ask = {"model": model or self.model, "input": content, **more}
        answer = self.client.responses.create(**ask, stream=stream, extra_headers=headers, extra_body=body)
        return list(answer) if stream else answer

    def otherwise(self):
        self.client.get("/responses", cast_to=object)


class Google:
    """As it comes: it asks once."""

    provider_type = "gemini"
    model = "gemini-2.5-pro"
    error = errors.APIError
    retry_options = None

    def __init__(self, front, key):
        options = types.HttpOptions(base_url=front.url, retry_options=self.retry_options)
        self.client = genai.Client(api_key=key, http_options=options)

    @staticmethod
    def tries(status, should_retry, retry_after):
        return 1

    def ask(self, stream=False, headers=None, content="Hi.", body=None, model=None):
        config = types.GenerateContentConfig(http_options=types.HttpOptions(headers=headers, extra_body=body))
        ask = {"model": model or self.model, "contents": content, "config": config}
        if stream:
            return list(self.client.models.generate_content_stream(**ask))
        return self.client.models.generate_content(**ask)

    def elsewhere(self):
        self.client.files.list()


class GoogleToldToRetry(Google):
    """By the status alone, whatever the answer says: a budget's 429 as well."""

    retry_options = types.HttpRetryOptions(attempts=3)

    @staticmethod
    def tries(status, should_retry, retry_after):
        return 3 if status in (408, 429, 500, 502, 503, 504) else 1


STAINLESS = pytest.mark.parametrize("sdk", [Anthropic, Chat, Responses])
EVERY = pytest.mark.parametrize("sdk", [Anthropic, Chat, Responses, Google, GoogleToldToRetry])
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def refused(sdk, front, status, call):
    """Makes a call that is refused. The SDK's error, which says so as well, is answered."""
    with pytest.raises(sdk.error) as caught:
        call()
    assert (caught.value.code if issubclass(sdk, Google) else caught.value.status_code) == status
    assert {passed[0] for passed in front.passed} == {status}
    assert len(front.passed) == sdk.tries(*front.passed[0]), front.passed
    return caught.value


def refused_for_good(sdk, front, pauses, status, call):
    """Makes a call that no other try can mend: it is told so, and made once."""
    error = refused(sdk, front, status, call)
    assert (front.passed, pauses) == ([(status, "false", None)], [])
    return error


# --- what another try cannot mend: asked once ---


# What arrives is in order with nobody's configuration: the status, and how an SDK comes to send it.
NEVER_IN_ORDER = {
    "an encoding that nobody knows": (415, {"headers": {"content-encoding": "compress"}}),
    "a body that is not what its encoding says": (400, {"headers": {"content-encoding": "gzip"}}),
    "headers over 64 KiB": (431, {"headers": {f"x-long-{n}": "x" * 20_000 for n in range(4)}}),
    "keys that differ": (401, {"headers": {"x-api-key": NOBODY, "authorization": f"Bearer {NOBODY[::-1]}"}}),
    "a text where a number belongs": (400, {"body": {"max_tokens": "x", "max_output_tokens": "x", "generationConfig": 7}}),
}


@EVERY
@pytest.mark.parametrize("flaw", NEVER_IN_ORDER.values(), ids=NEVER_IN_ORDER.keys())
def test_what_is_not_in_order_is_not_tried_again(front, seat, pauses, sdk, flaw):
    status, words = flaw
    refused_for_good(sdk, front, pauses, status, lambda: sdk(front, seat).ask(**words))


@EVERY
@STREAM
def test_an_unknown_key_is_not_tried_again(front, pauses, sdk, stream):
    refused_for_good(sdk, front, pauses, 401, lambda: sdk(front, NOBODY).ask(stream))


@EVERY
def test_a_disabled_key_is_not_tried_again(hub, front, pauses, upstream, sdk):
    made = made_user(hub, sdk, upstream)
    hub.call("PATCH", "users/{}".format(made["user"]["id"]), {"is_enabled": False})
    refused_for_good(sdk, front, pauses, 401, lambda: sdk(front, made["key"]["secret"]).ask())


@EVERY
@STREAM
def test_a_model_that_is_not_allowed_is_not_tried_again(hub, front, pauses, upstream, sdk, stream):
    key = made_user(hub, sdk, upstream, allowed_models=["another-model"])["key"]["secret"]
    refused_for_good(sdk, front, pauses, 403, lambda: sdk(front, key).ask(stream))


@EVERY
def test_a_client_that_is_not_allowed_does_not_try_again(hub, front, pauses, upstream, sdk):
    key = made_user(hub, sdk, upstream, allowed_clients=["claude-code"])["key"]["secret"]
    refused_for_good(sdk, front, pauses, 403, lambda: sdk(front, key).ask())


@EVERY
def test_what_may_cost_anything_is_not_tried_again_under_a_strict_budget(hub, front, pauses, upstream, sdk):
    limited = {"limit_total_usd": "5", "quota_reservation": "strict"}
    key = made_user(hub, sdk, upstream, **limited)["key"]["secret"]
    refused_for_good(sdk, front, pauses, 400, lambda: sdk(front, key).ask(model="nobody-knows-what-it-costs"))


@EVERY
def test_an_unknown_path_is_not_tried_again(front, seat, pauses, sdk):
    refused_for_good(sdk, front, pauses, 404, lambda: sdk(front, seat).elsewhere())


@STAINLESS
def test_a_path_by_another_method_is_not_tried_again(front, seat, pauses, sdk):
    refused_for_good(sdk, front, pauses, 405, lambda: sdk(front, seat).otherwise())


@pytest.mark.parametrize("sdk", [Anthropic, Chat, Google, GoogleToldToRetry])
def test_an_unknown_model_is_not_tried_again(front, seat, pauses, sdk):
    client = sdk(front, seat).client
    look_up = client.models.get if issubclass(sdk, Google) else client.models.retrieve
    name = {"model" if issubclass(sdk, Google) else "model_id" if sdk is Anthropic else "model": "no-such"}
    refused_for_good(sdk, front, pauses, 404, lambda: look_up(**name))


@STAINLESS
def test_a_body_over_100_mib_is_not_tried_again(front, seat, pauses, sdk):
    refused_for_good(sdk, front, pauses, 413, lambda: sdk(front, seat).ask(content="x" * (100 << 20)))


def test_what_is_not_supported_is_not_tried_again(front, seat, pauses):
    refused_for_good(Responses, front, pauses, 400, lambda: Responses(front, seat).ask(background=True))


@STREAM
def test_a_conversation_whose_beginning_is_lost_is_not_tried_again(hub, front, pauses, upstream, stream):
    key = hub.seat(("codex", upstream.url), ("codex", upstream.url))
    go_on = lambda: Responses(front, key).ask(stream, previous_response_id="resp_nobody_made_it")
    assert refused_for_good(Responses, front, pauses, 404, go_on).code == "previous_response_not_found"


def test_a_websocket_is_not_tried_for_again(front, seat, pauses):
    with pytest.raises(websockets.InvalidStatus) as caught:
        Responses(front, seat).client.responses.connect().enter()
    assert caught.value.response.status_code == 426
    assert (front.passed, pauses) == ([(426, "false", None)], [])


def test_what_lives_at_one_account_is_not_tried_again(front, seat, pauses):
    refused_for_good(Responses, front, pauses, 404, Responses(front, seat).client.files.list)


@EVERY
def test_a_flood_of_wrong_keys_is_kept_up_by_google_s_sdk_alone(hub, front, pauses, sdk):
    """429, which SDKs try again by its status: here they are told not to."""
    wrong = f"flood-{sdk.__name__}-is-a-wrong-key"[::-1]
    throttled(hub, wrong)
    refused(sdk, front, 429, lambda: sdk(front, wrong).ask())
    assert set(front.passed) == {(429, "false", "300")}
    assert (len(front.passed), len(pauses)) == ((3, 2) if sdk is GoogleToldToRetry else (1, 0))


# --- budgets: money is not asked for again, a moment's rate is ---


BUDGET_WORDS = {
    Anthropic: ("type", "billing_error"),
    Chat: ("code", "insufficient_quota"),
    Responses: ("code", "insufficient_quota"),
    Google: ("status", "RESOURCE_EXHAUSTED"),
    GoogleToldToRetry: ("status", "RESOURCE_EXHAUSTED"),
}


@EVERY
@pytest.mark.parametrize(
    "window, stream",
    [("5h", False), ("daily", False), ("daily", True), ("weekly", False), ("monthly", False), ("total", False)],
)
def test_a_budget_that_is_used_up_is_asked_for_again_by_google_s_sdk_alone(hub, front, pauses, upstream, sdk, stream, window):
    key = made_user(hub, sdk, upstream, **{f"limit_{window}_usd": "1.00"})["key"]["secret"]
    # Dearer than anybody would have guessed.
    sdk(front, key).ask(headers=script(usage={"input": 10, "output": 1_000_000}))
    front.passed.clear()
    error = refused(sdk, front, 429, lambda: sdk(front, key).ask(stream))
    assert (len(front.passed), len(pauses)) == ((3, 2) if sdk is GoogleToldToRetry else (1, 0))
    for status, should_retry, retry_after in front.passed:
        assert (status, should_retry) == (429, "false")
        assert (retry_after is None) if window == "total" else 0 < int(retry_after) <= 31 * 90_000
    # Its vendor's word for it, which clients show instead of waiting.
    body = error.details if issubclass(sdk, Google) else error.body
    name, word = BUDGET_WORDS[sdk]
    told = body.get("error", body)
    assert told[name] == word
    assert "budget of this user is used up" in told["message"]


def test_google_s_sdk_told_to_leave_429_alone_does_not_ask_for_a_budget_again(hub, front, pauses, upstream):
    """What README says to those who want its retries and have budgets."""

    class Told(Google):
        retry_options = types.HttpRetryOptions(attempts=3, http_status_codes=[408, 500, 502, 503, 504])

    key = made_user(hub, Told, upstream, limit_total_usd="0.000001")["key"]["secret"]
    error = refused(Told, front, 429, lambda: Told(front, key).ask())
    assert (front.passed, pauses) == ([(429, "false", None)], [])
    [info] = error.details["error"]["details"]
    assert (info["reason"], info["metadata"]) == ("QUOTA_EXHAUSTED", {"code": "limit_total"})


@EVERY
@pytest.mark.parametrize("limit", ["rpm_limit", "limit_concurrent_sessions"])
def test_who_asks_too_often_is_told_when_to_come_back(hub, front, pauses, upstream, sdk, limit):
    key = made_user(hub, sdk, upstream, **{limit: 1})["key"]["secret"]
    sdk(front, key).ask(content="One conversation.")
    front.passed.clear()
    error = refused(sdk, front, 429, lambda: sdk(front, key).ask(content="Another one."))
    assert {should_retry for _, should_retry, _ in front.passed} == {"true"}
    told = [int(retry_after) for _, _, retry_after in front.passed]
    assert all(0 < secs <= (65 if limit == "rpm_limit" else 3_600) for secs in told)
    if sdk is Anthropic or (limit == "rpm_limit" and sdk is not Google):
        assert len(told) == 3
    # Longer than the SDK would wait for anybody, it waits as long as it likes.
    assert len(pauses) == len(told) - 1
    if issubclass(sdk, Google):
        [info, wait] = error.details["error"]["details"]
        assert (info["reason"], wait["retryDelay"]) == (limit, f"{told[-1]}s")


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


@EVERY
@STREAM
@pytest.mark.parametrize("fault", PROVIDERS_FAIL.values(), ids=PROVIDERS_FAIL.keys())
def test_when_no_provider_is_left_it_is_tried_again_as_the_hub_says(hub, ailing, front, pauses, sdk, stream, fault):
    script, status, expected = fault
    key = hub.seat((sdk.provider_type, ailing.url), (sdk.provider_type, ailing.url))
    ailing.follow(script)
    refused(sdk, front, status, lambda: sdk(front, key).ask(stream))
    assert {should_retry for _, should_retry, _ in front.passed} == {"true"}
    assert len(front.passed) == (1 if sdk is Google else 3)
    # Resting providers are not asked again; what is left of their rest is what the hub then says.
    told = [int(retry_after) for _, _, retry_after in front.passed]
    assert told[0] == expected[0]
    assert len(pauses) == len(told) - 1
    if not issubclass(sdk, Google):
        assert pauses == told[:2]


@EVERY
def test_where_no_provider_serves_the_dialect_it_is_tried_again_as_the_hub_says(hub, front, pauses, upstream, sdk):
    key = made_user(hub, sdk, upstream, provider_type="claude" if sdk is not Anthropic else "codex")["key"]["secret"]
    refused(sdk, front, 503, lambda: sdk(front, key).ask())
    assert front.passed == [(503, "true", "5")] * (1 if sdk is Google else 3)
    assert len(pauses) == len(front.passed) - 1


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


@EVERY
def test_an_error_behind_a_sign_of_life_is_not_tried_again(lively, ailing, pauses, sdk):
    """The seat has the head of its stream by then, and can only be told in it. What a provider may mend is tried until the
    caller's deadline then; this one is refused."""
    ailing.follow({"status": 400, "first_byte_delay_ms": 1_800})
    told = None
    with standing_before(lively.gateway) as front:
        try:
            events = sdk(front, lively.seat((sdk.provider_type, ailing.url))).ask(stream=True)
            told = events[-1].response.error.message
        except (anthropic.APIError, openai.APIError, errors.APIError) as error:
            told = str(error)
        assert (front.passed, pauses) == ([(200, None, None)], [])
    assert told


@STAINLESS
def test_what_nobody_serves_behind_a_sign_of_life_ends_by_the_caller_s_deadline(lively, ailing, pauses, sdk):
    """The SDK says how long it waits; it would not ask again."""
    ailing.follow({"status": 500, "first_byte_delay_ms": 900})
    told = None
    with standing_before(lively.gateway) as front:
        caller = sdk(front, lively.seat((sdk.provider_type, ailing.url)))
        caller.client = caller.client.with_options(timeout=5)
        try:
            events = caller.ask(stream=True)
            told = events[-1].response.error.message
        except (anthropic.APIError, openai.APIError) as error:
            told = str(error)
        assert (front.passed, pauses) == ([(200, None, None)], [])
    assert "provider" in told, told


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
