"""The `anthropic` SDK through the hub."""

import asyncio
import hashlib

import anthropic
import pytest

from hub import FAULTS_OF_OPENED_STREAMS, PROVIDER_KEY, SENTENCE, changed, script

MODEL = "claude-sonnet-5-5"
ASK = {"model": MODEL, "max_tokens": 1000, "messages": [{"role": "user", "content": "Say hello."}]}
WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def client_of(hub, key, **options):
    """Without retries: the hub's own failover is to be seen, not the SDK's."""
    return anthropic.Anthropic(api_key=key, base_url=hub.gateway, max_retries=0, **options)


@pytest.fixture(scope="module")
def client(hub, seat):
    return client_of(hub, seat)


def stream(client, ask=ASK, **options):
    """The types of a stream's events and the message they add up to."""
    with client.messages.stream(**ask, **options) as events:
        return [event.type for event in events], events.get_final_message()


# --- what a client asks for ---


def test_a_whole_message(client):
    message = client.messages.create(**ASK)
    assert message.content[0].text == SENTENCE
    assert (message.model, message.stop_reason) == (MODEL, "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (25, 12)


def test_a_streamed_message(client):
    kinds, message = stream(client)
    assert message.content[0].text == SENTENCE
    assert kinds.count("content_block_delta") == 8
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (25, 12)


def test_the_raw_events_of_a_stream(client):
    kinds = [event.type for event in client.messages.create(**ASK, stream=True)]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_a_stream_of_the_async_client(hub, seat):
    async def text():
        async with anthropic.AsyncAnthropic(api_key=seat, base_url=hub.gateway, max_retries=0) as client:
            async with client.messages.stream(**ASK) as events:
                return "".join([piece async for piece in events.text_stream])

    assert asyncio.run(text()) == SENTENCE


def test_the_key_as_a_bearer_token(hub, seat):
    with anthropic.Anthropic(auth_token=seat, base_url=hub.gateway, max_retries=0) as client:
        assert client.messages.create(**ASK).content[0].text == SENTENCE


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_tool_is_called_and_its_result_answered(client, is_stream):
    ask = {**ASK, "tools": [WEATHER], "tool_choice": {"type": "auto"}}
    ask["messages"] = [{"role": "user", "content": "Please call the tool get_weather"}]
    headers = script(tool_call={"arguments": {"city": "Bern"}})
    turn = lambda: (
        stream(client, ask, extra_headers=headers)[1]
        if is_stream
        else client.messages.create(**ask, extra_headers=headers)
    )

    called = turn()
    call = called.content[-1]
    assert (called.stop_reason, call.type, call.name, call.input) == (
        "tool_use",
        "tool_use",
        "get_weather",
        {"city": "Bern"},
    )

    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    ask["messages"] += [{"role": "assistant", "content": called.content}, {"role": "user", "content": [result]}]
    answered = turn()
    assert (answered.stop_reason, answered.content[-1].text) == ("end_turn", SENTENCE)


@pytest.mark.parametrize("is_stream", [False, True])
def test_thinking_comes_with_its_signature_and_may_be_sent_back(client, is_stream):
    ask = {**ASK, "max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    message = stream(client, ask)[1] if is_stream else client.messages.create(**ask)
    thought, text = message.content
    assert thought.type == "thinking" and thought.thinking and thought.signature
    assert text.text == SENTENCE
    ask["messages"] = ask["messages"] + [
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": "Go on."},
    ]
    assert client.messages.create(**ask).stop_reason == "end_turn"


def test_each_class_of_tokens(client):
    spent = {"input": 3, "cache_read": 5, "cache_write_5m": 7, "cache_write_1h": 11, "output": 13}
    usage = stream(client, extra_headers=script(usage=spent))[1].usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (3, 5, 13)
    assert usage.cache_creation_input_tokens == 18
    assert (usage.cache_creation.ephemeral_5m_input_tokens, usage.cache_creation.ephemeral_1h_input_tokens) == (7, 11)


def test_a_stream_of_many_events_with_pings_between(client):
    headers = script(events=300, spacing_ms=1, ping_only={"for_ms": 30, "every_ms": 5})
    kinds, message = stream(client, extra_headers=headers)
    assert kinds.count("content_block_delta") == 300
    assert message.stop_reason == "end_turn"


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_compressed_answer(client, is_stream):
    headers = script(gzip=True)
    message = (
        stream(client, extra_headers=headers)[1]
        if is_stream
        else client.messages.create(**ASK, extra_headers=headers)
    )
    assert message.content[0].text == SENTENCE


def test_tokens_are_counted(client):
    assert client.messages.count_tokens(model=MODEL, messages=ASK["messages"]).input_tokens > 0


def test_the_models_are_listed(client):
    models = list(client.models.list(limit=1000))
    assert MODEL in {model.id for model in models}
    assert all(model.type == "model" and model.id.startswith("claude") for model in models)


def test_body_betas_and_unknown_headers_pass_as_they_are_and_keys_do_not(client, upstream, seat):
    raw = client.beta.messages.with_raw_response.create(
        **ASK, betas=["context-1m-2025-08-07", "no-such-beta"], extra_headers={"x-new-thing": "1"}
    )
    got = upstream.by_id(raw.headers["request-id"])["request"]
    headers = dict(got["headers"])
    assert headers["anthropic-beta"].split(",") == ["context-1m-2025-08-07", "no-such-beta"]
    assert headers["x-api-key"] == PROVIDER_KEY
    assert changed(raw.http_request.headers, headers) == {}
    assert got["body_sha256"] == hashlib.sha256(raw.http_request.content).hexdigest()
    assert seat not in str(got)


# --- errors: the SDK's own exceptions ---


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, anthropic.BadRequestError),
        (404, anthropic.NotFoundError),
        (413, anthropic.RequestTooLargeError),
        (422, anthropic.UnprocessableEntityError),
    ],
)
def test_a_request_at_fault_gets_the_upstream_s_own_words(hub, upstream, status, expected, is_stream):
    client = client_of(hub, hub.seat(("claude", upstream.url), ("claude", upstream.url)))
    words = f"messages.1.content.0: Invalid `signature` in `thinking` block ({status} é)"
    with pytest.raises(expected) as caught:
        client.messages.create(**ASK, stream=is_stream, extra_headers=script(status=status, error={"message": words}))
    error = caught.value
    assert error.status_code == status
    assert error.body["error"]["message"] == words
    record = upstream.by_id(error.request_id)
    assert hashlib.sha256(error.response.content).hexdigest() == record["answer"]["body_sha256"]


def test_a_wrong_key(hub, upstream):
    before = len(upstream.served())
    with pytest.raises(anthropic.AuthenticationError) as caught:
        client_of(hub, "cch-nobody-has-this-key-00000000000").messages.create(**ASK)
    assert caught.value.body["type"] == "error"
    assert caught.value.body["error"]["type"] == "authentication_error"
    assert len(upstream.served()) == before


def test_a_body_over_100_mib(client):
    ask = {**ASK, "messages": [{"role": "user", "content": "x" * (100 << 20)}]}
    with pytest.raises(anthropic.RequestTooLargeError) as caught:
        client.messages.create(**ask)
    assert caught.value.body["error"]["type"] == "request_too_large"


def test_an_unknown_path(client):
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.post("/v1/no-such-thing", body={}, cast_to=object)
    assert caught.value.body["error"]["type"] == "not_found_error"


def test_an_error_after_content_reaches_the_client(client):
    with pytest.raises(anthropic.APIStatusError) as caught:
        stream(client, extra_headers=script(error_event={"after_content": 2}))
    assert caught.value.body["error"]["type"] == "overloaded_error"


def test_a_stream_cut_after_content_is_an_error_and_no_short_answer(client):
    with pytest.raises(anthropic.APIStatusError) as caught:
        stream(client, extra_headers=script(cut={"mid_stream": 4}))
    assert caught.value.body["error"]["type"] == "api_error"


# --- failover ---


CREDIT = {
    "its credit is used up": {"status": 400, "error": {"message": "Your credit balance is too low to access this."}}
}


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(
    "fault", [pytest.param(words, id=name) for name, words in (FAULTS_OF_OPENED_STREAMS | CREDIT).items()]
)
def test_a_provider_that_fails_is_passed_over_unseen(hub, ailing, upstream, fault, is_stream):
    client = client_of(hub, hub.seat(("claude", ailing.url), ("claude", upstream.url)))
    ailing.follow(fault)
    before = len(ailing.served())
    raw = client.messages.with_raw_response.create(**ASK, stream=is_stream)
    if is_stream:
        kinds = [event.type for event in raw.parse()]
        assert (kinds[0], kinds.count("message_start"), kinds[-1]) == ("message_start", 1, "message_stop")
    else:
        assert raw.parse().content[0].text == SENTENCE
    assert len(ailing.served()) > before
    assert hub.log_row(raw.headers["x-request-id"])["status"] == 200


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"status": 429, "retry_after_secs": 30}, anthropic.RateLimitError),
        ({"status": 503}, anthropic.ServiceUnavailableError),
        ({"status": 529}, anthropic.ServiceUnavailableError),
        ({"status": 401}, anthropic.ServiceUnavailableError),
    ],
)
def test_when_no_provider_is_left_the_error_is_the_hub_s(hub, ailing, fault, expected):
    client = client_of(hub, hub.seat(("claude", ailing.url), ("claude", ailing.url)))
    ailing.follow(fault)
    before = len(ailing.served())
    with pytest.raises(expected) as caught:
        client.messages.create(**ASK, stream=True)
    assert len(ailing.served()) >= before + 2
    answer = caught.value.response
    assert (answer.headers["x-should-retry"], int(answer.headers["retry-after"]) > 0) == ("true", True)
    assert "x-api-key" not in answer.text
