use super::*;
use crate::testing::error_rule;
use proptest::prelude::*;
use serde_json::json;

fn compiled(docs: &[ErrorRuleDoc]) -> ErrorRules {
    let (rules, unusable) = ErrorRules::compile(docs);
    assert_eq!(unusable, []);
    rules
}

fn found(rules: &ErrorRules, message: &str, body: &str) -> Option<i64> {
    rules.find(message, body.as_bytes()).map(|rule| rule.id.0)
}

fn fault(rule: Option<&ErrorRule>, status: Option<u16>, dialect: Dialect) -> Shown {
    shown(rule, FailureClass::RequestFault, (status, &ErrorFacts::default()), dialect, "r-1")
}

#[test]
fn a_refusal_under_a_success_gets_a_status_that_says_so() {
    let told = |class, status, body: &str| {
        let facts = ErrorFacts::read(body.as_bytes());
        shown(None, class, (status, &facts), Dialect::Gemini, "r").status
    };
    assert_eq!(told(FailureClass::RequestFault, Some(200), ""), 400);
    assert_eq!(told(FailureClass::RequestFault, None, ""), 400);
    assert_eq!(told(FailureClass::ModelMissing, None, ""), 404);
    assert_eq!(told(FailureClass::RequestFault, None, r#"{"error":{"code":413}}"#), 413);
    assert_eq!(told(FailureClass::RequestFault, Some(500), r#"{"error":{"code":413}}"#), 500);
}

#[test]
fn the_lowest_priority_is_asked_first_then_the_oldest() {
    let rule = |id, priority| ErrorRuleDoc { priority, ..error_rule(id, "too long") };
    let rules = compiled(&[rule(3, 10), rule(2, 10), rule(1, 20)]);
    assert_eq!(found(&rules, "too long", ""), Some(2));
    let all: Vec<i64> = rules.matching("too long", b"").map(|rule| rule.id.0).collect();
    assert_eq!(all, [2, 3, 1]);
    assert_eq!(found(&rules, "too short", ""), None);
    assert_eq!(found(&ErrorRules::default(), "too long", "too long"), None);
}

#[test]
fn message_and_body_are_looked_at_a_page_is_not() {
    let rules = compiled(&[error_rule(1, "too \"long\"")]);
    assert_eq!(found(&rules, "too \"long\"", r#"{"error":"too \"long\""}"#), Some(1), "the message, decoded");
    assert_eq!(found(&rules, "", r#"too "long""#), Some(1), "the body as it came");
    assert_eq!(found(&rules, "", "\n<html>too \"long\""), None);
    let far = format!("{}too \"long\"", " ".repeat(INSPECTED_BYTES));
    assert_eq!(found(&rules, "", &far), None, "beyond what is looked at");
}

#[test]
fn a_rule_of_a_later_release_is_left_out_and_the_others_count() {
    let (rules, unusable) = ErrorRules::compile(&[
        ErrorRuleDoc { match_type: "similar".to_owned(), ..error_rule(1, "x") },
        ErrorRuleDoc { match_type: "regex".to_owned(), ..error_rule(2, r"(?<=a)x") },
        error_rule(3, "fine"),
        ErrorRuleDoc {
            override_response: Some(r#"{"new":"shape"}"#.to_owned()),
            override_status_code: Some(299),
            ..error_rule(4, "bare")
        },
    ]);
    let named: Vec<(i64, &str)> = unusable.iter().map(|u| (u.id.0, u.reason)).collect();
    assert_eq!(
        named,
        [(1, "match_type"), (2, "pattern"), (4, "override_response"), (4, "override_status_code")]
    );
    assert_eq!(rules.len(), 2);
    assert_eq!(found(&rules, "fine", ""), Some(3));
    let bare = rules.get(ErrorRuleId(4)).unwrap();
    assert_eq!(fault(Some(bare), Some(400), Dialect::Anthropic), Shown { status: 400, body: None });
}

#[test]
fn a_seat_reads_the_upstreams_words_unless_a_rule_has_others() {
    let asked = |status, response: Option<serde_json::Value>| {
        let doc = ErrorRuleDoc {
            override_response: response.map(|r| r.to_string()),
            override_status_code: status,
            ..error_rule(1, "x")
        };
        compiled(&[doc])
    };
    let told = |rules: &ErrorRules, dialect| fault(rules.get(ErrorRuleId(1)), Some(500), dialect);
    assert_eq!(told(&asked(None, None), Dialect::Gemini), Shown { status: 500, body: None });
    assert_eq!(told(&asked(Some(413), None), Dialect::Gemini), Shown { status: 413, body: None });
    let openai = json!({"error": {"message": "Start anew.", "type": "invalid_request_error"}});
    let rules = asked(Some(400), Some(openai.clone()));
    let same = told(&rules, Dialect::OpenaiChat);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&same.body.unwrap()).unwrap(), openai);
    let other = told(&rules, Dialect::Anthropic);
    assert_eq!(other.status, 400);
    let body: serde_json::Value = serde_json::from_slice(&other.body.unwrap()).unwrap();
    assert_eq!(
        body,
        json!({"type": "error", "error": {"type": "invalid_request_error", "message": "Start anew."}, "request_id": "r-1"})
    );
}

#[test]
fn every_default_can_be_used_together() {
    let defaults = default_rules().unwrap();
    let docs: Vec<ErrorRuleDoc> = (1..)
        .zip(&defaults)
        .map(|(id, rule)| ErrorRuleDoc {
            match_type: rule.match_type.as_str().to_owned(),
            category: rule.category.as_str().to_owned(),
            priority: rule.priority,
            ..error_rule(id, &rule.pattern)
        })
        .collect();
    assert_eq!(compiled(&docs).len(), defaults.len());
    for rule in &defaults {
        let is_slug = rule.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        assert!(is_slug && !rule.description.is_empty() && rule.description.len() <= 200, "{}", rule.name);
        // An admin's own rules begin at 100.
        assert!(rule.priority >= 1_000, "{}", rule.name);
    }
}

#[test]
fn no_default_takes_a_breakdown_for_the_requests_fault() {
    let (rules, _) = ErrorRules::compile(&crate::testing::default_error_rules());
    for text in [
        // Go, and with it half of all relays, says so of a timeout.
        "context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
        "context canceled",
        "Internal server error",
        "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
        "rate limit exceeded",
        "You exceeded your current quota, please check your plan and billing details.",
        "This request would exceed your account's rate limit. Please try again later.",
        "Number of request tokens has exceeded your per-minute rate limit",
        "Too many tokens, please wait before trying again.",
        "do request failed: Post \"https://upstream\": EOF",
        "No available accounts",
        "model_not_found",
        "Invalid request: token is disabled",
        "",
    ] {
        assert_eq!(rules.find(text, text.as_bytes()), None, "{text}");
    }
}

proptest! {
    #[test]
    fn the_first_rule_found_is_the_first_that_matches_alone(
        patterns in prop::collection::vec("[ab.|]{1,4}", 1..8),
        message in "[ab]{0,6}",
    ) {
        let docs: Vec<ErrorRuleDoc> = (1..)
            .zip(&patterns)
            .map(|(id, pattern)| ErrorRuleDoc { match_type: "regex".to_owned(), ..error_rule(id, pattern) })
            .collect();
        let (all, _) = ErrorRules::compile(&docs);
        let alone = docs.iter().find(|doc| {
            let (one, _) = ErrorRules::compile(std::slice::from_ref(*doc));
            one.find(&message, b"").is_some()
        });
        prop_assert_eq!(all.find(&message, b"").map(|rule| rule.id), alone.map(|doc| doc.id));
    }

    #[test]
    fn no_body_makes_the_rules_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let (rules, _) = ErrorRules::compile(&[error_rule(1, "too long")]);
        let _ = rules.find("", &body);
    }
}
