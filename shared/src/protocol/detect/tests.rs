use super::*;
use proptest::prelude::*;

fn head<'a>(method: &'a Method, path: &'a str) -> RequestHead<'a> {
    RequestHead {
        method,
        path,
        has_anthropic_version: false,
        has_goog_api_key: false,
        is_websocket_upgrade: false,
    }
}

fn post(path: &str) -> Result<Route<'_>, Miss> {
    detect(&head(&Method::POST, path))
}

fn family(path: &str) -> Option<Family> {
    match post(path) {
        Ok(Route::Proxied(endpoint)) => Some(endpoint.family),
        _ => None,
    }
}

#[test]
fn every_proxied_path_has_its_family() {
    for (path, expected) in [
        ("/v1/messages", Family::AnthropicMessages),
        ("/v1/messages/count_tokens", Family::AnthropicCountTokens),
        ("/v1/responses", Family::OpenaiResponses),
        ("/v1/responses/compact", Family::OpenaiResponsesCompact),
        ("/v1/chat/completions", Family::OpenaiChat),
        ("/v1/completions", Family::OpenaiCompletions),
        ("/v1/embeddings", Family::OpenaiEmbeddings),
        ("/v1beta/models/gemini-2.5-pro:generateContent", Family::GeminiGenerate),
        ("/v1/models/gemini-2.5-pro:streamGenerateContent", Family::GeminiStreamGenerate),
        ("/v1/publishers/google/models/g:countTokens", Family::GeminiCountTokens),
        ("/v1beta/models/text-embedding-004:embedContent", Family::GeminiEmbed),
        ("/v1beta/models/text-embedding-004:batchEmbedContents", Family::GeminiEmbed),
    ] {
        assert_eq!(family(path), Some(expected), "{path}");
        assert_eq!(family(&format!("{path}/")), Some(expected), "{path}/");
        assert_eq!(family(&format!("{path}//")), None, "{path}//");
        let get = detect(&head(&Method::GET, path));
        let refused = Miss::MethodNotAllowed { dialect: expected.dialect(), allow: "POST" };
        assert_eq!(get, Err(refused), "{path}");
    }
}

#[test]
fn one_trailing_slash_is_not_forwarded() {
    let Ok(Route::Proxied(endpoint)) = post("/v1/messages/") else { panic!("not proxied") };
    assert_eq!(endpoint.path, "/v1/messages");
}

#[test]
fn a_model_in_the_path_is_decoded_and_can_be_replaced() {
    let path = "/v1beta/models/gemini%2D2.5%3apro:streamGenerateContent/";
    let Ok(Route::Proxied(endpoint)) = post(path) else { panic!("not proxied") };
    let model = endpoint.path_model.as_ref().unwrap();
    assert_eq!(model.value, "gemini-2.5:pro");
    assert_eq!(&endpoint.path[model.range.clone()], "gemini%2D2.5%3apro");
    assert_eq!(endpoint.path_with_model("a/b:ü"), "/v1beta/models/a%2Fb%3A%C3%BC:streamGenerateContent");
}

#[test]
fn a_path_that_could_be_read_otherwise_is_unknown() {
    for segment in [
        "", ".", "..", "%2e%2e", "a/b", "a%2fb", "a%2Fb", "a%5cb", "a%252fb", "a%", "a%2", "a%zz", "a%00",
        "a%20b", "a b", "a%ff", "a%3fb", "a%23b", "../x", "/x",
    ] {
        let path = format!("/v1beta/models/{segment}:generateContent");
        assert_eq!(post(&path), Err(Miss::UnknownPath { dialect: Dialect::Gemini }), "{path}");
    }
    for path in ["", "v1/messages", "//v1/messages", "/v1//messages", "/v1/./messages", "/V1/messages"] {
        assert!(matches!(post(path), Err(Miss::UnknownPath { .. })), "{path}");
    }
    assert!(matches!(post("/v1/x/../messages"), Err(Miss::UnknownPath { .. })));
    assert!(matches!(post("/v1/messages%2f"), Err(Miss::UnknownPath { .. })));
}

#[test]
fn pages_of_our_own_answer_get_and_head() {
    for (path, page) in
        [("/", LocalPage::Root), ("/_ping", LocalPage::Ping), ("/api/hello", LocalPage::Hello)]
    {
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(detect(&head(&method, path)), Ok(Route::Local(page)));
        }
        assert!(matches!(post(path), Err(Miss::MethodNotAllowed { allow: "GET, HEAD", .. })));
    }
}

#[test]
fn a_list_of_models_has_the_shape_of_its_caller() {
    let plain = head(&Method::GET, "/v1/models");
    let listing = |head: RequestHead<'_>| match detect(&head) {
        Ok(Route::Models { listing, model: None }) => Some(listing),
        _ => None,
    };
    let anthropic = RequestHead { has_anthropic_version: true, ..plain };
    let google = RequestHead { has_goog_api_key: true, ..plain };
    assert_eq!(listing(plain), Some(ModelListing::Openai));
    assert_eq!(listing(anthropic), Some(ModelListing::Anthropic));
    assert_eq!(listing(google), Some(ModelListing::Gemini));
    assert_eq!(listing(RequestHead { path: "/v1beta/models", ..anthropic }), Some(ModelListing::Gemini));
    assert_eq!(
        post("/v1/models"),
        Err(Miss::MethodNotAllowed { dialect: Dialect::OpenaiChat, allow: "GET, HEAD" })
    );
}

#[test]
fn one_model_can_be_asked_for_by_name() {
    let model = |path| match detect(&head(&Method::GET, path)) {
        Ok(Route::Models { listing, model: Some(model) }) => Some((listing, model)),
        _ => None,
    };
    let openai = |name: &str| Some((ModelListing::Openai, name.to_owned()));
    assert_eq!(model("/v1/models/gpt-5"), openai("gpt-5"));
    assert_eq!(model("/v1/models/ft%3Agpt-4o:org/"), openai("ft:gpt-4o:org"));
    assert_eq!(model("/v1beta/models/g"), Some((ModelListing::Gemini, "g".to_owned())));
    for path in ["/v1/models/a/b", "/v1/models/%2e%2e", "/v1/modelsx", "/v1beta/models/m:generateContent"] {
        assert_eq!(model(path), None, "{path}");
    }
    assert!(matches!(post("/v1/models/gpt-5"), Err(Miss::UnknownPath { .. })));
}

#[test]
fn what_lives_at_one_account_is_not_proxied() {
    for (path, dialect) in [
        ("/v1/responses/resp_1", Dialect::OpenaiResponses),
        ("/v1/responses/resp_1/cancel", Dialect::OpenaiResponses),
        ("/v1/chat/completions/chatcmpl-1", Dialect::OpenaiChat),
        ("/v1/files", Dialect::OpenaiChat),
        ("/v1/batches/b1", Dialect::OpenaiChat),
        ("/v1/messages/batches", Dialect::Anthropic),
        ("/v1beta/cachedContents/1", Dialect::Gemini),
        ("/v1beta/models/m:batchGenerateContent", Dialect::Gemini),
    ] {
        assert_eq!(post(path), Err(Miss::StatefulResource { dialect }), "{path}");
    }
    for path in ["/v1/responses/input_tokens", "/v1/filesystem", "/v1beta/models/m:predict"] {
        assert!(matches!(post(path), Err(Miss::UnknownPath { .. })), "{path}");
    }
}

#[test]
fn a_websocket_on_responses_is_told_to_use_http() {
    let upgrade = |path| RequestHead { is_websocket_upgrade: true, ..head(&Method::GET, path) };
    assert_eq!(detect(&upgrade("/v1/responses")), Err(Miss::WebsocketUpgrade));
    assert!(matches!(detect(&upgrade("/v1/messages")), Err(Miss::MethodNotAllowed { .. })));
}

#[test]
fn an_unknown_path_is_refused_in_the_callers_dialect() {
    let unknown = |head: RequestHead<'_>| match detect(&head) {
        Err(Miss::UnknownPath { dialect }) => Some(dialect),
        _ => None,
    };
    let plain = head(&Method::POST, "/v1/audio/speech");
    assert_eq!(unknown(plain), Some(Dialect::OpenaiChat));
    assert_eq!(unknown(RequestHead { has_anthropic_version: true, ..plain }), Some(Dialect::Anthropic));
    assert_eq!(unknown(RequestHead { has_goog_api_key: true, ..plain }), Some(Dialect::Gemini));
    assert_eq!(unknown(RequestHead { path: "/v1/messages/x", ..plain }), Some(Dialect::Anthropic));
    assert_eq!(unknown(RequestHead { path: "/elsewhere", ..plain }), Some(Dialect::Anthropic));
}

#[test]
fn counting_is_free_and_only_generation_streams() {
    for family in Family::ALL {
        assert!(family.counts_towards_rpm() || !family.is_billed(), "{}", family.as_str());
        assert!(family.is_billed() || !family.may_stream(), "{}", family.as_str());
    }
    assert!(!Family::AnthropicCountTokens.is_billed() && !Family::GeminiCountTokens.counts_towards_rpm());
    assert!(Family::OpenaiResponsesCompact.is_billed());
    assert!(Family::GeminiStreamGenerate.wants_stream(None));
    assert!(!Family::GeminiGenerate.wants_stream(Some(true)));
    assert!(Family::OpenaiChat.wants_stream(Some(true)) && !Family::OpenaiChat.wants_stream(None));
}

proptest! {
    #[test]
    fn any_path_has_an_answer(
        path in prop_oneof![".*", "/v1(beta)?/(models|messages|responses)/[a%2fF.:/\\\\é]{0,12}(:countTokens)?/?"]
    ) {
        if let Ok(Route::Proxied(Endpoint { path_model: Some(model), path: kept, .. })) = post(&path) {
            prop_assert!(!model.value.is_empty() && !model.value.contains(['/', '\\', '%']));
            prop_assert!(model.value != ".." && kept.get(model.range).is_some());
        }
    }

    #[test]
    fn a_replaced_model_is_read_back(model in "[a-z0-9._:@é+-]{1,20}") {
        prop_assume!(model != "." && model != "..");
        let Ok(Route::Proxied(endpoint)) = post("/v1beta/models/x:generateContent") else {
            panic!("not proxied")
        };
        let path = endpoint.path_with_model(&model);
        let Ok(Route::Proxied(again)) = post(&path) else { panic!("{path}") };
        prop_assert_eq!(again.path_model.map(|m| m.value), Some(model));
    }
}
