"""The `google-genai` SDK through the hub. It calls `/v1/models/{m}:verb` unless told `v1beta`."""

import asyncio
import hashlib

import pytest
from google import genai
from google.genai import errors, types

from hub import FAULTS, PROVIDER_KEY, SENTENCE, script

MODEL = "gemini-2.5-pro"
ASK = {"model": MODEL, "contents": "Say hello."}
WEATHER = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="get_weather",
            parameters_json_schema={
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        )
    ]
)


def client_of(hub, key, api_version=None, **words):
    """A client whose requests all bring this script. It does not retry unless asked to, and closes when it is let
    go of."""
    options = types.HttpOptions(
        base_url=hub.gateway, api_version=api_version, headers=script(**words) if words else {}
    )
    return genai.Client(api_key=key, http_options=options)


@pytest.fixture(scope="module", params=[None, "v1beta"], ids=["the SDK's own version", "v1beta"])
def client(hub, seat, request):
    return client_of(hub, seat, request.param)


def stream(client, **options):
    return list(client.models.generate_content_stream(**ASK, **options))


def text_of(chunks):
    return "".join(chunk.text or "" for chunk in chunks)


# --- what a client asks for ---


def test_a_whole_answer(client):
    answer = client.models.generate_content(**ASK)
    assert (answer.text, answer.candidates[0].finish_reason) == (SENTENCE, "STOP")
    assert (answer.usage_metadata.prompt_token_count, answer.usage_metadata.candidates_token_count) == (25, 12)


def test_a_streamed_answer(client):
    chunks = stream(client)
    assert len(chunks) > 1
    assert text_of(chunks) == SENTENCE
    assert (chunks[-1].candidates[0].finish_reason, chunks[-1].usage_metadata.total_token_count) == ("STOP", 37)


def test_a_stream_of_the_async_client(client):
    async def text():
        chunks = await client.aio.models.generate_content_stream(**ASK)
        return text_of([chunk async for chunk in chunks])

    assert asyncio.run(text()) == SENTENCE


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_tool_is_called_and_its_result_answered(hub, seat, is_stream):
    client = client_of(hub, seat, tool_call={"arguments": {"city": "Bern"}})
    contents = [types.Content(role="user", parts=[types.Part(text="What is the weather?")])]

    def turn():
        ask = {"model": MODEL, "contents": contents, "config": types.GenerateContentConfig(tools=[WEATHER])}
        if not is_stream:
            return client.models.generate_content(**ask).candidates[0].content.parts
        chunks = client.models.generate_content_stream(**ask)
        return [part for chunk in chunks for part in chunk.candidates[0].content.parts or []]

    called = turn()
    calls = [part.function_call for part in called if part.function_call]
    assert [(call.name, call.args) for call in calls] == [("get_weather", {"city": "Bern"})]

    result = types.Part.from_function_response(name="get_weather", response={"sky": "sunny"})
    contents += [types.Content(role="model", parts=called), types.Content(role="user", parts=[result])]
    assert "".join(part.text or "" for part in turn()) == SENTENCE


def test_the_sdk_s_own_tool_loop(client):
    cities = []

    def get_weather(city: str) -> str:
        """The weather of a city."""
        cities.append(city)
        return "sunny"

    config = types.GenerateContentConfig(tools=[get_weather])
    answer = client.models.generate_content(model=MODEL, contents="please call the tool get_weather", config=config)
    assert (cities, answer.text) == (["simulated"], SENTENCE)


def test_thoughts_and_each_class_of_tokens(hub, seat):
    spent = {"input": 3, "cache_read": 5, "output": 13, "reasoning": 7}
    config = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True))
    client = client_of(hub, seat, usage=spent)
    answer = client.models.generate_content(**ASK, config=config)
    usage = answer.usage_metadata
    assert answer.candidates[0].content.parts[0].thought
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (8, 5)
    assert (usage.candidates_token_count, usage.thoughts_token_count) == (6, 7)


def test_a_stream_of_many_events_with_pings_between(hub, seat):
    client = client_of(hub, seat, events=300, spacing_ms=1, ping_only={"for_ms": 30, "every_ms": 5})
    assert len([chunk for chunk in stream(client) if chunk.text]) == 300


def test_tokens_are_counted(client):
    assert client.models.count_tokens(**ASK).total_tokens > 0


def test_embeddings(client):
    answer = client.models.embed_content(model="gemini-embedding-001", contents=["one", "two"])
    assert [len(embedding.values) > 0 for embedding in answer.embeddings] == [True, True]


def test_the_models_are_listed(client):
    assert f"models/{MODEL}" in {model.name for model in client.models.list()}


def test_keys_of_seats_do_not_pass(client, upstream, seat):
    answer = client.models.generate_content(**ASK)
    request = upstream.by_id(answer.sdk_http_response.headers["x-upstream-request-id"])["request"]
    assert dict(request["headers"])["x-goog-api-key"] == PROVIDER_KEY
    assert seat not in str(request)


# --- errors: the SDK's own exceptions ---


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("status", [400, 404, 413])
def test_a_request_at_fault_gets_the_upstream_s_own_words(hub, upstream, status, is_stream):
    words = f"Please use a valid role: user, model. ({status} é)"
    key = hub.seat(("gemini", upstream.url), ("gemini", upstream.url))
    client = client_of(hub, key, status=status, error={"message": words})
    with pytest.raises(errors.ClientError) as caught:
        stream(client) if is_stream else client.models.generate_content(**ASK)
    error = caught.value
    assert (error.code, error.message) == (status, words)
    record = upstream.by_id(error.response.headers["x-upstream-request-id"])
    assert hashlib.sha256(error.response.content).hexdigest() == record["answer"]["body_sha256"]


def test_a_wrong_key(hub, upstream):
    client = client_of(hub, "cch-nobody-has-this-key-00000000000")
    before = len(upstream.served())
    with pytest.raises(errors.ClientError) as caught:
        client.models.generate_content(**ASK)
    assert (caught.value.code, caught.value.status) == (401, "UNAUTHENTICATED")
    assert len(upstream.served()) == before


def test_an_error_after_content_reaches_the_client(hub, seat):
    client = client_of(hub, seat, error_event={"after_content": 2})
    with pytest.raises(errors.APIError):
        stream(client)


def test_a_stream_cut_after_content_is_an_error_and_no_short_answer(hub, seat):
    client = client_of(hub, seat, cut={"mid_stream": 4})
    with pytest.raises(errors.ServerError) as caught:
        stream(client)
    assert caught.value.status == "INTERNAL"


# --- failover ---


@pytest.mark.parametrize("fault", [pytest.param(words, id=name) for name, words in FAULTS.items()])
def test_a_provider_that_fails_is_passed_over_unseen(hub, ailing, upstream, fault):
    client = client_of(hub, hub.seat(("gemini", ailing.url), ("gemini", upstream.url)))
    ailing.follow(fault)
    before = len(ailing.served())
    assert text_of(stream(client)) == SENTENCE
    assert len(ailing.served()) > before


@pytest.mark.parametrize(
    ("fault", "expected", "code", "status"),
    [
        ({"status": 429, "retry_after_secs": 30}, errors.ClientError, 429, "RESOURCE_EXHAUSTED"),
        ({"status": 503}, errors.ServerError, 503, "UNAVAILABLE"),
        ({"status": 401}, errors.ServerError, 503, "UNAVAILABLE"),
    ],
)
def test_when_no_provider_is_left_the_error_is_the_hub_s(hub, ailing, fault, expected, code, status):
    client = client_of(hub, hub.seat(("gemini", ailing.url), ("gemini", ailing.url)))
    ailing.follow(fault)
    before = len(ailing.served())
    with pytest.raises(expected) as caught:
        stream(client)
    assert (caught.value.code, caught.value.status) == (code, status)
    assert len(ailing.served()) >= before + 2
