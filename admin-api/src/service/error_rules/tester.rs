//! What an error would mean, and what its seat would read, by the rules as they are now: the gateway's own decisions on
//! made-up facts.

use super::{ErrorRule, as_published, stored};
use crate::error::Error;
use crate::repo::entity::error_rules::Model;
use crate::repo::error_rules as repo;
use crate::service::Admin;
use shared::contract::breaker::Mark;
use shared::ids::ErrorRuleId;
use shared::protocol::Dialect;
use shared::rules::breaker::{Policy, mark};
use shared::rules::classify::{AttemptEnd, ErrorFacts, FailureClass, FakeKind, Next, Verdict, classify};
use shared::rules::error_rules::{ErrorRules, INSPECTED_BYTES, Shown, shown};
use shared::rules::retry::{FailedAttempt, FinalAnswer, final_answer};

/// An error as an upstream might write it.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its body.
    pub body: Vec<u8>,
    /// The HTTP status it stands under; a success: an error under a good status.
    pub status: u16,
    /// What the seat speaks.
    pub dialect: Dialect,
    /// The model the upstream was asked for.
    pub model: Option<String>,
}

/// What it means.
#[derive(Clone, Debug)]
pub struct Tested {
    /// The first rule that matches.
    pub rule: Option<ErrorRule>,
    /// What the gateway makes of it.
    pub verdict: Verdict,
    /// True when it counts against the provider's breaker.
    pub counts_for_breaker: bool,
    /// How long the upstream asks to wait, in seconds.
    pub retry_after_secs: Option<u64>,
    /// What the seat reads if nobody else serves it; `None`: an error of the gateway's own.
    pub shown: Option<Shown>,
    /// What an admin should know.
    pub warnings: Vec<String>,
}

/// Asks the rules.
pub async fn test(admin: Admin, question: Question) -> Result<Tested, Error> {
    let rows = repo::all(admin.db().reader()).await?;
    let rules = compiled(&rows, true)?;
    let facts = ErrorFacts::read_under(&question.body, &rules);
    let verdict = judged(&question, &facts);
    let matching = |id: ErrorRuleId| rows.iter().find(|row| row.id == id.0);
    let rule = facts.rule().and_then(matching).map(stored).transpose()?;
    let attempt = FailedAttempt { verdict, retry_after_secs: facts.retry_after_secs() };
    let status = (question.status >= 400).then_some(question.status);
    let decisive = verdict.rule.and_then(|id| rules.get(id));
    let shown = matches!(final_answer(&[attempt]), FinalAnswer::Relay { .. })
        .then(|| shown(decisive, verdict.class, (status, &facts), question.dialect, REQUEST_ID));
    let mut warnings = Warnings { question: &question, facts: &facts, verdict: &verdict, list: Vec::new() };
    warnings.of_body();
    warnings.of_rules(&rules, &compiled(&rows, false)?);
    warnings.of_seat(shown.as_ref(), decisive.and_then(|rule| rule.override_response.as_ref()));
    Ok(Tested {
        rule,
        verdict,
        counts_for_breaker: mark(&verdict, Policy::default()) == Mark::Failure,
        retry_after_secs: facts.retry_after_secs(),
        shown,
        warnings: warnings.list,
    })
}

/// The rules that are asked, or those that are not.
fn compiled(rows: &[Model], is_enabled: bool) -> Result<ErrorRules, Error> {
    let docs = rows.iter().filter(|row| row.is_enabled == is_enabled).map(as_published);
    Ok(ErrorRules::compile(&docs.collect::<Result<Vec<_>, _>>()?).0)
}

fn judged(question: &Question, facts: &ErrorFacts) -> Verdict {
    let end = match question.status {
        code @ 400.. => AttemptEnd::Status { code, facts },
        _ => AttemptEnd::FakeSuccess { kind: FakeKind::Error, facts },
    };
    classify(&end, question.model.as_deref())
}

struct Warnings<'a> {
    question: &'a Question,
    facts: &'a ErrorFacts,
    verdict: &'a Verdict,
    list: Vec<String>,
}

impl Warnings<'_> {
    fn of_body(&mut self) {
        let body = &self.question.body;
        if body.trim_ascii_start().starts_with(b"<") {
            self.list.push("a web page is not looked at by rules".to_owned());
        } else if body.len() > INSPECTED_BYTES {
            self.list
                .push(format!("rules look at the message and the first {INSPECTED_BYTES} bytes of a body"));
        }
    }

    fn of_rules(&mut self, asked: &ErrorRules, switched_off: &ErrorRules) {
        let body = &self.question.body;
        let message = self.facts.message();
        if let (Some(id), None) = (self.facts.rule(), self.verdict.rule) {
            let class = self.verdict.class.label();
            self.list
                .push(format!("rule {id} matches, but what is said of {} goes before rules", told(class)));
        }
        let ids = |rules: &ErrorRules, skipped| {
            let ids = rules.matching(message, body).skip(skipped).map(|rule| rule.id.to_string());
            ids.collect::<Vec<_>>().join(", ")
        };
        let behind = ids(asked, 1);
        if !behind.is_empty() {
            self.list.push(format!("rules that match as well, and are asked later: {behind}"));
        }
        let off = ids(switched_off, 0);
        if !off.is_empty() {
            self.list.push(format!("rules that would match, but are not enabled: {off}"));
        }
    }

    fn of_seat(&mut self, shown: Option<&Shown>, replaced: Option<&shared::model::ErrorBody>) {
        match (shown, self.verdict.next) {
            (None, _) => self.list.push(
                "the seat reads nothing of it: other providers are asked, and if none serves, the error is the gateway's own"
                    .to_owned(),
            ),
            (Some(_), Next::Stop) => {}
            (Some(_), _) => {
                self.list.push("the seat reads it only if every provider says so".to_owned());
            }
        }
        if self.question.status < 400 && shown.is_some() {
            self.list.push("the upstream said success: the status is the gateway's".to_owned());
        }
        if replaced.is_some_and(|body| !body.is_of(self.question.dialect)) {
            self.list
                .push("the replacement is of another dialect: its words are told in the caller's".to_owned());
        }
    }
}

fn told(class: &str) -> String {
    let is_vendors = class == FailureClass::Overload.label();
    let is_models = class == FailureClass::ModelMissing.label();
    let whom = if is_vendors {
        "the vendor"
    } else if is_models {
        "the model"
    } else {
        "the account"
    };
    format!("{whom} ({class})")
}

/// Stands for the id that each request has.
const REQUEST_ID: &str = "00000000-0000-0000-0000-000000000000";
