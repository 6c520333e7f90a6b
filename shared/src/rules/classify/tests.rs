mod real;

use super::*;

fn of_status(code: u16, body: &str, model: &str) -> Verdict {
    let facts = ErrorFacts::read(body.as_bytes());
    classify(&AttemptEnd::Status { code, facts: &facts }, Some(model))
}

fn of_event(body: &str) -> Verdict {
    let facts = ErrorFacts::read(body.as_bytes());
    classify(&AttemptEnd::StreamError { facts: &facts }, Some("claude-opus-5"))
}

fn openai(code: &str, message: &str) -> String {
    format!(r#"{{"error":{{"message":"{message}","type":"invalid_request_error","code":"{code}"}}}}"#)
}

fn anthropic(kind: &str, message: &str) -> String {
    format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}}}}"#)
}

#[test]
fn a_status_alone_has_its_class_and_its_next_step() {
    use FailureClass::{Credential, NotFound, Overload, RateLimit, RequestFault, Server, Timeout};
    use Next::{NextProvider, NextProviderElseSame, RetrySameProvider, Stop};
    for (codes, class, next, may_have_cost_work) in [
        (&[401, 402, 403][..], Credential, NextProvider, false),
        (&[404], NotFound, NextProvider, false),
        (&[429], RateLimit, NextProvider, false),
        (&[529], Overload, NextProvider, false),
        (&[400, 405, 410, 413, 414, 415, 416, 422, 431, 451], RequestFault, Stop, false),
        (&[408, 409, 425, 500, 502, 503, 520, 522, 530, 599], Server, RetrySameProvider, true),
        (&[301, 302, 307, 308, 501, 505], Server, NextProvider, false),
        (&[504, 524], Timeout, NextProviderElseSame, true),
    ] {
        for code in codes {
            let verdict = of_status(*code, "", "claude-opus-5");
            assert_eq!((verdict.class, verdict.next), (class, next), "{code}");
            assert_eq!(verdict.may_have_cost_work, may_have_cost_work, "{code}");
        }
    }
}

#[test]
fn what_a_body_says_goes_before_its_status() {
    use FailureClass::{Credential, ModelMissing, Overload, RateLimit, RequestFault};
    let model = "claude-opus-5";
    for (code, body, class) in [
        (400, anthropic("invalid_request_error", "Your credit balance is too low to access"), Credential),
        (400, anthropic("invalid_request_error", "This organization has been disabled."), Credential),
        (
            400,
            anthropic("invalid_request_error", "You have reached your specified API usage limits."),
            Credential,
        ),
        (429, openai("insufficient_quota", "You exceeded your current quota"), Credential),
        (
            400,
            r#"{"error":{"code":400,"message":"API key not valid. Please","status":"INVALID_ARGUMENT"}}"#
                .into(),
            Credential,
        ),
        (403, anthropic("permission_error", "no"), Credential),
        (500, anthropic("overloaded_error", "Overloaded"), Overload),
        (
            503,
            r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#.into(),
            Overload,
        ),
        (503, openai("server_is_overloaded", "later"), Overload),
        (520, anthropic("rate_limit_error", "slow"), RateLimit),
        (403, r#"{"error":{"code":8,"message":"Quota","status":"RESOURCE_EXHAUSTED"}}"#.into(), RateLimit),
        (404, openai("model_not_found", "gone"), ModelMissing),
        (404, anthropic("not_found_error", "model: Claude-Opus-5"), ModelMissing),
        (403, openai("x", "Project `p` does not have access to model `claude-opus-5`"), ModelMissing),
        (
            400,
            openai("x", "The model `claude-opus-5` does not exist or you do not have access"),
            ModelMissing,
        ),
        (400, openai("x", "The 'claude-opus-5' model is not supported when using Codex"), ModelMissing),
        (404, openai("x", "not supported by any configured account in this group"), ModelMissing),
        // Words of a class in a place where they mean something else.
        (
            400,
            anthropic("invalid_request_error", "max_tokens: 9 > 8, the maximum for claude-opus-5"),
            RequestFault,
        ),
        (400, openai("x", "'reasoning.effort' does not support 'high' with claude-opus-5"), RequestFault),
        (400, anthropic("invalid_request_error", "tool overloaded is defined twice"), RequestFault),
        (400, anthropic("invalid_request_error", "tool_use_id toolu_1 not found"), RequestFault),
        (413, anthropic("request_too_large", "too large"), RequestFault),
    ] {
        assert_eq!(of_status(code, &body, model).class, class, "{code} {body}");
    }
}

#[test]
fn a_missing_page_is_no_missing_model() {
    for body in ["", "<html>404 Not Found</html>", r#"{"detail":"Not Found"}"#] {
        let verdict = of_status(404, body, "claude-opus-5");
        assert_eq!((verdict.class, verdict.next), (FailureClass::NotFound, Next::NextProvider), "{body}");
    }
}

#[test]
fn an_error_event_before_content_is_judged_by_its_type() {
    use FailureClass::{Credential, NotFound, Overload, RateLimit, RequestFault, Server, Timeout};
    for (body, class) in [
        (anthropic("overloaded_error", "Overloaded"), Overload),
        (anthropic("api_error", "The engine is currently overloaded"), Overload),
        (anthropic("rate_limit_error", "x"), RateLimit),
        (anthropic("authentication_error", "x"), Credential),
        (anthropic("permission_error", "x"), Credential),
        (anthropic("invalid_request_error", "prompt is too long"), RequestFault),
        (anthropic("not_found_error", "x"), NotFound),
        (anthropic("timeout_error", "x"), Timeout),
        (anthropic("api_error", "Internal"), Server),
        (r#"{"response":{"error":{"code":"server_is_overloaded","message":"x"}}}"#.into(), Overload),
        (r#"{"response":{"error":{"code":"invalid_prompt","message":"x"}}}"#.into(), RequestFault),
        (r#"{"response":{"error":{"code":"server_error","message":"x"}}}"#.into(), Server),
        (r#"{"error":{"code":503,"status":"UNAVAILABLE","message":"x"}}"#.into(), Server),
        (r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"x"}}"#.into(), RequestFault),
        ("not json".into(), Server),
    ] {
        assert_eq!(of_event(&body).class, class, "{body}");
    }
}

#[test]
fn an_account_that_forgot_a_response_is_not_at_fault_and_nobody_else_is_asked() {
    // The id has the model in it: that is no missing model.
    let message = "Previous response with id 'resp_gpt-5' not found.";
    let body = format!(
        r#"{{"error":{{"message":"{message}","type":"invalid_request_error","param":"previous_response_id","code":"previous_response_not_found"}}}}"#
    );
    let facts = ErrorFacts::read(body.as_bytes());
    for code in [400, 404] {
        let verdict = classify(&AttemptEnd::Status { code, facts: &facts }, Some("gpt-5"));
        assert_eq!((verdict.class, verdict.next), (FailureClass::RequestFault, Next::Stop), "{code}");
    }
}

#[test]
fn a_request_fault_under_status_200_is_a_fake_success_all_the_same() {
    let facts = ErrorFacts::read(anthropic("invalid_request_error", "x").as_bytes());
    let verdict = classify(&AttemptEnd::FakeSuccess { kind: FakeKind::Error, facts: &facts }, None);
    assert_eq!((verdict.class, verdict.next), (FailureClass::FakeSuccess, Next::RetrySameProvider));
    let facts = ErrorFacts::read(br#"{"error":{"code":"server_is_overloaded"}}"#);
    let verdict = classify(&AttemptEnd::FakeSuccess { kind: FakeKind::Error, facts: &facts }, None);
    assert_eq!(verdict.class, FailureClass::Overload);
}

#[test]
fn what_never_left_here_cost_nothing_and_what_was_cut_may_have() {
    let none = ErrorFacts::default();
    for (end, label, next, may_have_cost_work) in [
        (AttemptEnd::ConnectFailed(ConnectFailure::Refused), "connect_refused", Next::NextProvider, false),
        (AttemptEnd::ConnectFailed(ConnectFailure::TimedOut), "connect_timeout", Next::NextProvider, false),
        (AttemptEnd::Ours("secret_unreadable"), "secret_unreadable", Next::NextProvider, false),
        (AttemptEnd::Cut(CutPhase::BeforeHead), "cut_before_head", Next::RetrySameProvider, true),
        (AttemptEnd::Cut(CutPhase::BeforeContent), "cut_before_content", Next::RetrySameProvider, true),
        (AttemptEnd::Cut(CutPhase::AfterContent), "cut_after_content", Next::RetrySameProvider, true),
        (AttemptEnd::TimedOut(TimerPhase::Head), "timeout_head", Next::NextProviderElseSame, true),
        (AttemptEnd::TimedOut(TimerPhase::Whole), "timeout_whole", Next::NextProviderElseSame, true),
        (
            AttemptEnd::FakeSuccess { kind: FakeKind::Empty, facts: &none },
            "fake_success_empty",
            Next::RetrySameProvider,
            true,
        ),
    ] {
        let verdict = classify(&end, None);
        assert_eq!((verdict.label, verdict.next), (label, next));
        assert_eq!(verdict.may_have_cost_work, may_have_cost_work, "{label}");
    }
}

#[test]
fn a_seat_never_reads_of_an_accounts_troubles() {
    assert_eq!(FailureClass::Credential.public_label(), "provider_unavailable");
    assert_eq!(FailureClass::Overload.public_label(), "overload");
}
