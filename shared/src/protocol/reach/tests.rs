use super::*;
use serde_json::{Value, json};

const NOTHING: Reach = Reach {
    outgrows_body: false,
    has_tools: false,
    server_uses: Some(0),
    searches: false,
    max_tool_calls: None,
    is_fast: false,
    is_anywhere: false,
    inputs: 1,
    foretells: false,
    swelling: 0,
};

fn of(body: &Value) -> Reach {
    reach(&serde_json::to_vec(body).unwrap())
}

#[test]
fn what_is_written_out_reaches_for_nothing() {
    let bodies = [
        json!({"messages": [{"role": "user", "content": "see https://example.com/a.png"}]}),
        json!({"system": [{"type": "text", "text": "url"}], "messages": [{"role": "user", "content": [
            {"type": "document", "citations": {"enabled": false}, "source":
                {"type": "text", "media_type": "text/plain", "data": "base64"}},
            {"type": "text", "text": "file_id"}]}]}),
        json!({"messages": [{"role": "assistant", "content": [
            {"type": "tool_use", "id": "t", "name": "WebFetch", "input": {"url": "https://example.com"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "ok"}]}]}),
        json!({"messages": [{"role": "assistant", "audio": null, "tool_calls": [{"id": "c", "type": "function",
                "function": {"name": "f", "arguments": "{\"url\":\"https://example.com\"}"}}]}]}),
        json!({"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{\"file_id\": \"x\"}"},
            {"type": "reasoning", "encrypted_content": "x"}]}),
        json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}, {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"url": "https://example.com"}}}]}]}),
        json!({"model": "text", "prompt": "go on"}),
    ];
    for body in bodies {
        assert_eq!(of(&body), NOTHING, "{body}");
    }
}

#[test]
fn content_elsewhere_is_found_in_each_dialect() {
    let parts = [
        json!({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}),
        json!({"type": "document", "source": {"type": "file", "file_id": "file_1"}}),
        json!({"type": "container_upload", "file_id": "file_1"}),
        json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}),
        json!({"type": "file", "file": {"file_id": "file-1"}}),
        json!({"type": "input_image", "image_url": "https://example.com/a.png"}),
        json!({"type": "input_file", "file_url": "https://example.com/a.pdf"}),
        json!({"type": "input_file", "file_id": "file-1"}),
        json!({"fileData": {"mimeType": "video/mp4", "fileUri": "gs://a/b"}}),
        json!({"file_data": {"mime_type": "video/mp4", "file_uri": "gs://a/b"}}),
        json!({"role": "assistant", "audio": {"id": "audio_1"}}),
        json!({"type": "tool_result", "content": [{"type": "image", "source": {"type": "url", "url": "https://a"}}]}),
    ];
    for part in parts {
        for body in [
            json!({"messages": [{"role": "user", "content": [part]}]}),
            json!({"input": [{"role": "user", "content": [part]}]}),
            json!({"contents": [{"parts": [part]}]}),
        ] {
            assert!(of(&body).outgrows_body, "{body}");
        }
    }
    for body in [
        json!({"input": "go on", "previous_response_id": "resp_1"}),
        json!({"input": "go on", "conversation": {"id": "conv_1"}}),
        json!({"input": "go on", "conversation": "conv_1"}),
        json!({"prompt": {"id": "pmpt_1"}}),
        json!({"input": [{"type": "item_reference", "id": "msg_1"}]}),
        json!({"contents": [], "cachedContent": "cachedContents/1"}),
        json!({"content": {"parts": [{"fileData": {"fileUri": "gs://a/b"}}]}}),
        json!({"requests": [{"content": {"parts": [{"fileData": {"fileUri": "gs://a/b"}}]}}]}),
    ] {
        assert!(of(&body).outgrows_body, "{body}");
    }
}

#[test]
fn tools_of_the_provider_are_told_from_the_callers_and_counted() {
    let with = |tools: Value| of(&json!({"tools": tools, "messages": []}));
    let schema = json!({"type": "object", "properties": {"url": {"type": "string"}}});
    let own = with(json!([
        {"name": "WebFetch", "input_schema": schema},
        {"type": "custom", "name": "x", "input_schema": schema},
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
        {"type": "function", "function": {"name": "f", "parameters": schema}},
        {"functionDeclarations": [{"name": "f", "parameters": schema}]},
    ]));
    assert_eq!(own, Reach { has_tools: true, ..NOTHING });
    let bounded = with(json!([
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
        {"max_uses": 2, "type": "web_fetch_20250910", "name": "web_fetch"},
        {"name": "mine", "max_uses": 9},
    ]));
    assert_eq!(bounded.server_uses, Some(7));
    for tool in [
        json!({"type": "web_search_20250305", "name": "web_search"}),
        json!({"type": "code_execution_20250825", "name": "code_execution"}),
        json!({"type": "file_search", "vector_store_ids": ["vs_1"]}),
        json!({"type": "mcp", "server_url": "https://example.com"}),
        // Bound by no `max_uses`: each run of code is another turn, and so is each question to the other model.
        json!({"type": "web_search_20260209", "name": "web_search", "max_uses": 5}),
        json!({"type": "code_execution_20250825", "name": "code_execution", "max_uses": 5}),
        json!({"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-4-8", "max_uses": 1}),
        json!({"type": "shell", "environment": {"type": "container_auto"}}),
        json!({"googleSearch": {}}),
        json!({"url_context": {}}),
    ] {
        assert_eq!(with(json!([tool])).server_uses, None, "{tool}");
    }
    assert_eq!(with(json!([{"type": "shell", "environment": {"type": "local"}}])).server_uses, Some(0));
    assert_eq!(with(json!({"googleSearch": {}})), Reach { has_tools: true, server_uses: None, ..NOTHING });
}

/// The dated releases too. What bounds one bounds no other tool, and only where it is the API's own field.
#[test]
fn openais_searches_are_bound_by_the_limit_over_all_tools_alone() {
    for kind in ["web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"]
    {
        let body = json!({"tools": [{"type": kind, "external_web_access": false}, {"type": "custom", "name": "apply_patch"}]});
        assert_eq!(of(&body), Reach { has_tools: true, searches: true, ..NOTHING }, "{kind}");
    }
    let limited = json!({"tools": [{"type": "web_search"}], "max_tool_calls": 3});
    assert_eq!(of(&limited), Reach { has_tools: true, searches: true, max_tool_calls: Some(3), ..NOTHING });
    let twice = reach(br#"{"max_tool_calls": 1, "max_tool_calls": 8, "max_tool_calls": 2}"#);
    assert_eq!(twice.max_tool_calls, Some(8), "whichever of them counts");
    let other = json!({"tools": [{"type": "web_search"}, {"type": "code_interpreter"}], "max_tool_calls": 3});
    assert_eq!(of(&other).server_uses, None);
    let elsewhere =
        json!({"metadata": {"max_tool_calls": 3}, "tools": [{"type": "web_search", "max_tool_calls": 3}]});
    assert_eq!(of(&elsewhere).max_tool_calls, None);
}

#[test]
fn what_makes_tokens_dearer_is_seen() {
    assert!(of(&json!({"speed": "fast"})).is_fast);
    assert!(!of(&json!({"speed": "standard", "messages": [{"speed": "fast"}]})).is_fast);
    assert!(reach(br#"{"speed": "fast", "speed": "standard"}"#).is_fast);
    assert!(of(&json!({"inference_geo": "global"})).is_anywhere);
    assert!(!of(&json!({"inference_geo": "us"})).is_anywhere);
    assert!(!of(&json!({})).is_anywhere, "a workspace has a default of its own");
    assert!(!reach(br#"{"inference_geo": "global", "inference_geo": "us"}"#).is_anywhere);
}

#[test]
fn what_lets_the_provider_go_on_by_itself_has_no_bound() {
    for body in [
        json!({"mcp_servers": [{"type": "url", "url": "https://example.com"}]}),
        json!({"web_search_options": {}}),
        json!({"search_parameters": {"mode": "auto"}}),
        json!({"fallbacks": [{"model": "claude-opus-4-8"}]}),
        json!({"fallbacks": "default"}),
        json!({"prompt": {"id": "pmpt_1"}}),
        json!({"context_management": {"edits": [{"type": "compact_20260112"}]}}),
        json!({"context_management": [{"type": "compaction", "compact_threshold": 1_000}]}),
    ] {
        assert_eq!(of(&body).server_uses, None, "{body}");
    }
    for body in [
        json!({"mcp_servers": [], "fallbacks": null, "web_search_options": null}),
        json!({"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}}),
    ] {
        assert_eq!(of(&body), NOTHING, "{body}");
    }
}

#[test]
fn media_in_the_body_outgrow_it() {
    let data = "data:image/png;base64,aGk=";
    for part in [
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}),
        json!({"type": "document", "source": {"type": "base64", "data": "aGk="}}),
        json!({"type": "tool_result", "content": [{"type": "image", "source": {"type": "base64", "data": "aGk="}}]}),
        json!({"type": "document", "citations": {"enabled": true}, "source": {"type": "text", "data": "hi"}}),
        json!({"type": "image_url", "image_url": {"url": data, "detail": "high"}}),
        json!({"type": "input_image", "image_url": data}),
        json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}}),
        json!({"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}),
        json!({"type": "image_generation_call", "result": "aGk="}),
        json!({"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": data}}),
        json!({"inlineData": {"mimeType": "video/mp4", "data": "aGk="}}),
        json!({"inline_data": {"mime_type": "video/mp4", "data": "aGk="}}),
        json!({"functionResponse": {"name": "f", "parts": [{"inlineData": {"data": "aGk="}}]}}),
    ] {
        for body in [
            json!({"messages": [{"role": "user", "content": [part]}]}),
            json!({"input": [part]}),
            json!({"contents": [{"parts": [part]}]}),
            json!({"requests": [{"content": {"parts": [part]}}]}),
        ] {
            assert!(of(&body).outgrows_body, "{body}");
        }
    }
}

#[test]
fn inputs_that_are_read_each_by_itself_are_counted() {
    for (body, inputs) in [
        (json!({"prompt": "a"}), 1),
        (json!({"prompt": ["a", "b", "c"]}), 3),
        (json!({"prompt": [1, 2, 3]}), 1),
        (json!({"prompt": [[1, 2], [3]]}), 2),
        (json!({"input": "a"}), 1),
        (json!({"input": ["a", "b"]}), 2),
        (json!({"input": [[1], [2], [3]]}), 3),
        (json!({"input": [{"role": "user", "content": "a"}, {"role": "user", "content": ["b", "c"]}]}), 1),
        (json!({"requests": [{"content": {"parts": [{"text": "a"}, {"text": "b"}]}}, {"content": {}}]}), 2),
        (json!({"messages": ["a", "b"]}), 1),
    ] {
        assert_eq!(of(&body).inputs, inputs, "{body}");
    }
}

#[test]
fn a_foretold_answer_is_seen() {
    assert!(of(&json!({"prediction": {"type": "content", "content": "let x = 1;"}})).foretells);
    assert!(!of(&json!({"prediction": null})).foretells);
}

#[test]
fn what_normalization_adds_is_counted_escaped_or_not() {
    for (body, swelling) in [
        ("{\"messages\": [{\"content\": \"\u{FDFA}\"}]}", 30),
        (r#"{"messages": [{"content": "\uFDFA"}]}"#, 30),
        (r#"{"tools": [{"input_schema": {"\u3316": "\u00bc"}}]}"#, 15 + 3),
        (r#"{"messages": [{"content": "漢字 한국어 \ud83d\ude00 नमस्ते"}]}"#, 0),
    ] {
        assert_eq!(reach(body.as_bytes()).swelling, swelling, "{body}");
    }
}

#[test]
fn what_cannot_be_read_reaches_for_everything() {
    for body in [b"{\"messages\": [\"\\ud800".as_slice(), b""] {
        let Reach { outgrows_body, has_tools, server_uses, foretells, .. } = reach(body);
        assert_eq!((outgrows_body, has_tools, server_uses, foretells), (true, true, None, true));
    }
}
