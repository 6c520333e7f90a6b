"""The `openai` SDK through the hub: chat, embeddings, completions, responses."""

import asyncio
import hashlib
import json

import openai
import pytest
from pydantic import BaseModel

from hub import FAULTS_OF_OPENED_STREAMS, PROVIDER_KEY, SENTENCE, changed, script

MODEL = "gpt-5.1"
EMBEDDER = "text-embedding-3-small"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}]}
RESPONSE = {"model": MODEL, "input": "Say hello."}
WEATHER = {
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


class City(BaseModel):
    """A structured answer."""

    city: str


def client_of(hub, key):
    """Without retries: the hub's own failover is to be seen, not the SDK's."""
    return openai.OpenAI(api_key=key, base_url=hub.gateway + "/v1", max_retries=0)


@pytest.fixture(scope="module")
def client(hub, seat):
    return client_of(hub, seat)


def chunks_of(client, **options):
    """The chunks of a chat stream."""
    return list(client.chat.completions.create(**CHAT, stream=True, **options))


def text_of(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def events_of(client, ask=RESPONSE, **options):
    """The events of a response's stream."""
    return list(client.responses.create(**ask, stream=True, **options))


# --- chat ---


def test_a_whole_completion(client):
    completion = client.chat.completions.create(**CHAT)
    assert completion.choices[0].message.content == SENTENCE
    assert (completion.model, completion.choices[0].finish_reason) == (MODEL, "stop")
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (25, 12)


def test_a_stream_shows_no_usage_that_was_not_asked_for_but_is_booked(client, hub):
    raw = client.chat.completions.with_raw_response.create(**CHAT, stream=True)
    chunks = list(raw.parse())
    assert text_of(chunks) == SENTENCE
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    row = hub.log_row(raw.headers["x-request-id"])
    assert (row["input_tokens"], row["output_tokens"]) == (25, 12)


def test_a_stream_shows_the_usage_that_was_asked_for(client):
    chunks = chunks_of(client, stream_options={"include_usage": True})
    assert text_of(chunks) == SENTENCE
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 37)
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_usage_declined_by_the_client_stays_hidden(client, hub):
    raw = client.chat.completions.with_raw_response.create(
        **CHAT, stream=True, stream_options={"include_usage": False}
    )
    assert all(chunk.usage is None and chunk.choices for chunk in raw.parse())
    assert hub.log_row(raw.headers["x-request-id"])["output_tokens"] == 12


def test_a_stream_of_the_async_client(hub, seat):
    async def text():
        async with openai.AsyncOpenAI(api_key=seat, base_url=hub.gateway + "/v1", max_retries=0) as client:
            chunks = await client.chat.completions.create(**CHAT, stream=True)
            return text_of([chunk async for chunk in chunks])

    assert asyncio.run(text()) == SENTENCE


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_chat_tool_is_called_and_its_result_answered(client, is_stream):
    messages = [{"role": "user", "content": "Please call the tool get_weather"}]

    def turn():
        ask = {"model": MODEL, "messages": messages, "tools": [{"type": "function", "function": WEATHER}]}
        headers = script(tool_call={"arguments": {"city": "Bern"}})
        if not is_stream:
            return client.chat.completions.create(**ask, extra_headers=headers).choices[0]
        with client.chat.completions.stream(**ask, extra_headers=headers) as events:
            return events.get_final_completion().choices[0]

    called = turn()
    call = called.message.tool_calls[0]
    assert (called.finish_reason, call.function.name) == ("tool_calls", "get_weather")
    assert json.loads(call.function.arguments) == {"city": "Bern"}

    asked = {
        "id": call.id,
        "type": "function",
        "function": {"name": "get_weather", "arguments": call.function.arguments},
    }
    messages.append({"role": "assistant", "tool_calls": [asked]})
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "sunny"})
    answered = turn()
    assert (answered.finish_reason, answered.message.content) == ("stop", SENTENCE)


def test_a_structured_answer(client):
    headers = script(text='{"city":"Bern"}')
    completion = client.chat.completions.parse(**CHAT, response_format=City, extra_headers=headers)
    assert completion.choices[0].message.parsed == City(city="Bern")


def test_cached_and_reasoning_tokens(client):
    spent = {"input": 3, "cache_read": 5, "output": 13, "reasoning": 7}
    usage = chunks_of(client, stream_options={"include_usage": True}, extra_headers=script(usage=spent))[-1].usage
    assert (usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens) == (8, 5)
    assert (usage.completion_tokens, usage.completion_tokens_details.reasoning_tokens) == (13, 7)


def test_a_chat_stream_of_many_events_with_pings_between(client):
    headers = script(events=300, spacing_ms=1, ping_only={"for_ms": 30, "every_ms": 5})
    chunks = chunks_of(client, extra_headers=headers)
    assert len([chunk for chunk in chunks if chunk.choices[0].delta.content]) == 300


# --- the other endpoints of the chat dialect ---


@pytest.mark.parametrize("encoding", ["base64", "float"])
def test_embeddings(client, encoding):
    answer = client.embeddings.create(model=EMBEDDER, input=["one", "two"], encoding_format=encoding)
    assert [len(item.embedding) > 0 for item in answer.data] == [True, True]
    assert answer.usage.prompt_tokens == 25


def test_completions(client):
    ask = {"model": "gpt-5.1", "prompt": "Say hello."}
    assert client.completions.create(**ask).choices[0].text == SENTENCE
    pieces = client.completions.create(**ask, stream=True)
    assert "".join(choice.text for chunk in pieces for choice in chunk.choices) == SENTENCE


def test_the_models_are_listed(client):
    assert MODEL in {model.id for model in client.models.list()}


def test_body_and_headers_pass_as_they_are_and_keys_do_not(client, upstream, seat):
    raw = client.chat.completions.with_raw_response.create(**CHAT, extra_headers={"x-new-thing": "1"})
    got = upstream.by_id(raw.headers["x-upstream-request-id"])["request"]
    headers = dict(got["headers"])
    assert headers["authorization"] == f"Bearer {PROVIDER_KEY}"
    assert changed(raw.http_request.headers, headers) == {}
    assert got["body_sha256"] == hashlib.sha256(raw.http_request.content).hexdigest()
    assert seat not in str(got)


# --- responses ---


def test_a_whole_response(client):
    response = client.responses.create(**RESPONSE)
    assert (response.output_text, response.status) == (SENTENCE, "completed")
    assert (response.usage.input_tokens, response.usage.output_tokens) == (25, 12)


def test_a_streamed_response(client):
    events = events_of(client)
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == SENTENCE
    assert events[-1].response.usage.total_tokens == 37


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_response_s_tool_is_called_and_its_result_answered(client, is_stream):
    conversation = [{"role": "user", "content": "Please call the tool get_weather"}]

    def turn():
        ask = {"model": MODEL, "input": conversation, "tools": [{"type": "function", **WEATHER}]}
        headers = script(tool_call={"arguments": {"city": "Bern"}})
        if not is_stream:
            return client.responses.create(**ask, extra_headers=headers)
        with client.responses.stream(**ask, extra_headers=headers) as events:
            for _ in events:
                pass
            return events.get_final_response()

    call = turn().output[-1]
    assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", "get_weather", {"city": "Bern"})

    conversation.append(
        {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}
    )
    conversation.append({"type": "function_call_output", "call_id": call.call_id, "output": "sunny"})
    assert turn().output_text == SENTENCE


def test_reasoning_comes_before_the_answer(client):
    response = client.responses.create(**RESPONSE, reasoning={"effort": "low", "summary": "auto"})
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.output[0].summary[0].text


def test_a_structured_response(client):
    response = client.responses.parse(**RESPONSE, text_format=City, extra_headers=script(text='{"city":"Bern"}'))
    assert response.output_parsed == City(city="Bern")


def test_an_incomplete_response_says_why_and_what_it_took(client):
    last = events_of(client, extra_headers=script(stop_reason="max_output_tokens"))[-1]
    assert (last.type, last.response.incomplete_details.reason) == ("response.incomplete", "max_output_tokens")
    assert last.response.usage.total_tokens == 37


def test_a_response_that_fails_after_content_reaches_the_client(client):
    last = events_of(client, extra_headers=script(error_event={"after_content": 2}))[-1]
    assert (last.type, last.response.status) == ("response.failed", "failed")


def test_a_conversation_is_compacted(client):
    assert client.responses.compact(**RESPONSE).output


# --- errors: the SDK's own exceptions ---


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, openai.BadRequestError),
        (404, openai.NotFoundError),
        (413, openai.APIStatusError),
        (422, openai.UnprocessableEntityError),
    ],
)
def test_a_request_at_fault_gets_the_upstream_s_own_words(hub, upstream, api, status, expected):
    client = client_of(hub, seat_of(hub, api, upstream, upstream))
    words = f"Invalid value: 'tool'. Supported values are: 'user' ({status} é)"
    with pytest.raises(expected) as caught:
        ask_of(api, client)(extra_headers=script(status=status, error={"message": words}))
    error = caught.value
    assert (error.status_code, error.body["message"]) == (status, words)
    record = upstream.by_id(error.response.headers["x-upstream-request-id"])
    assert hashlib.sha256(error.response.content).hexdigest() == record["answer"]["body_sha256"]


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_wrong_key(hub, upstream, api):
    before = len(upstream.served())
    with pytest.raises(openai.AuthenticationError) as caught:
        ask_of(api, client_of(hub, "cch-nobody-has-this-key-00000000000"))()
    assert caught.value.code == "invalid_api_key"
    assert len(upstream.served()) == before


def test_a_body_without_a_model(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{**CHAT, "model": ""})
    assert caught.value.code == "no_model"


def test_what_the_hub_does_not_serve_is_refused_in_dialect(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.retrieve("resp_123")
    assert caught.value.code == "stateful_resource"
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**RESPONSE, background=True)
    assert caught.value.code == "background_not_supported"


def test_a_chat_stream_cut_after_content_is_an_error_and_no_short_answer(client):
    with pytest.raises(openai.APIError):
        chunks_of(client, extra_headers=script(cut={"mid_stream": 6}))


def test_a_response_cut_after_content_has_failed(client):
    last = events_of(client, extra_headers=script(cut={"mid_stream": 6}))[-1]
    assert (last.type, last.response.error.code) == ("response.failed", "server_error")


# --- failover ---


def seat_of(hub, api, *upstreams):
    """A seat of its own with a provider for this API at each of the upstreams."""
    provider_type = {"chat": "openai-compatible", "responses": "codex"}[api]
    return hub.seat(*((provider_type, upstream.url) for upstream in upstreams))


def ask_of(api, client):
    """The call of this API that streams."""
    if api == "chat":
        return lambda **options: client.chat.completions.create(**CHAT, stream=True, **options)
    return lambda **options: client.responses.create(**RESPONSE, stream=True, **options)


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("fault", [pytest.param(words, id=name) for name, words in FAULTS_OF_OPENED_STREAMS.items()])
def test_a_provider_that_fails_is_passed_over_unseen(hub, ailing, upstream, fault, api):
    client = client_of(hub, seat_of(hub, api, ailing, upstream))
    ailing.follow(fault)
    before = len(ailing.served())
    events = list(ask_of(api, client)())
    if api == "chat":
        assert text_of(events) == SENTENCE
        assert [bool(chunk.choices[0].delta.role) for chunk in events].count(True) == 1
    else:
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert events[-1].response.output_text == SENTENCE
    assert len(ailing.served()) > before


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize(
    ("fault", "expected", "status"),
    [
        ({"status": 429, "retry_after_secs": 30}, openai.RateLimitError, 429),
        ({"status": 503}, openai.InternalServerError, 503),
        ({"status": 401}, openai.InternalServerError, 503),
    ],
)
def test_when_no_provider_is_left_the_error_is_the_hub_s(hub, ailing, api, fault, expected, status):
    client = client_of(hub, seat_of(hub, api, ailing, ailing))
    ailing.follow(fault)
    before = len(ailing.served())
    with pytest.raises(expected) as caught:
        ask_of(api, client)()
    assert caught.value.status_code == status
    assert len(ailing.served()) >= before + 2
    assert int(caught.value.response.headers["retry-after"]) > 0
    assert PROVIDER_KEY not in caught.value.response.text
