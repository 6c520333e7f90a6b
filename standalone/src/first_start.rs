//! The first start with an upstream's key in the environment: makes the provider, a user and a key, and knows
//! the lines that a seat needs. Later starts change nothing.

use crate::client::LocalClient;
use anyhow::{Context, Result};
use http::Method;
use serde_json::{Value, json};
use shared::rules::upstream::BaseUrl;
use shared::secret::Secret;
use shared::vars::Vars;
use std::net::SocketAddr;

/// An upstream account named by the environment.
pub struct FromEnv {
    /// The variable that named it.
    pub variable: &'static str,
    /// Name and type of each provider it becomes: one account may speak two dialects.
    providers: &'static [(&'static str, &'static str)],
    seat: SeatLines,
    url: String,
    key: Secret,
}

/// What a seat of an account's clients sets.
#[derive(Clone, Copy)]
struct SeatLines {
    /// The variable for the address, and the path that its clients want behind it.
    address: (&'static str, &'static str),
    /// The variable for the key.
    key: &'static str,
}

impl FromEnv {
    /// The two lines a seat needs, to be pasted into a shell.
    #[must_use]
    pub fn seat_lines(&self, gateway: SocketAddr, key: &Secret) -> String {
        let (variable, path) = self.seat.address;
        format!("  export {variable}=http://{gateway}{path}\n  export {}={}", self.seat.key, key.expose())
    }
}

/// What a first start made.
pub struct Made {
    /// The key of the first user.
    pub seat_key: Secret,
}

/// Checks what the environment says of upstream accounts; problems are left in `vars`.
pub fn check(vars: &mut Vars<'_>) {
    for account in &ACCOUNTS {
        vars.optional(account.url_variable, "http(s)://host[:port][/path]", |t| BaseUrl::parse(t).ok());
    }
}

/// The upstream accounts that the environment names.
#[must_use]
pub fn accounts(lookup: &dyn Fn(&str) -> Option<String>) -> Vec<FromEnv> {
    ACCOUNTS
        .iter()
        .filter_map(|account| {
            let key = lookup(account.variable).filter(|k| !k.trim().is_empty())?;
            let url = lookup(account.url_variable).filter(|u| !u.trim().is_empty());
            Some(FromEnv {
                variable: account.variable,
                providers: account.providers,
                seat: account.seat,
                url: url.unwrap_or_else(|| account.url.to_owned()),
                key: Secret::new(key.trim()),
            })
        })
        .collect()
}

/// Makes providers, a user and a key, unless there are providers or users already.
pub async fn bootstrap(admin: &LocalClient, accounts: &[FromEnv]) -> Result<Option<Made>> {
    if accounts.is_empty()
        || !is_empty(admin, "/api/v1/providers").await?
        || !is_empty(admin, "/api/v1/users").await?
    {
        return Ok(None);
    }
    for account in accounts {
        for (name, provider_type) in account.providers {
            let body = json!({
                "name": name,
                "provider_type": provider_type,
                "url": account.url,
                "key": account.key.expose(),
            });
            admin.json(Method::POST, "/api/v1/providers", Some(&body)).await?;
        }
    }
    let made = admin.json(Method::POST, "/api/v1/users", Some(&json!({"name": "first user"}))).await?;
    let secret =
        made.pointer("/key/secret").and_then(Value::as_str).context("the new user came without a key")?;
    Ok(Some(Made { seat_key: Secret::new(secret) }))
}

async fn is_empty(admin: &LocalClient, path: &str) -> Result<bool> {
    let page = admin.json(Method::GET, path, None).await?;
    Ok(page.get("items").and_then(Value::as_array).is_none_or(Vec::is_empty))
}

struct Account {
    variable: &'static str,
    /// Another base URL, for a relay or a test.
    url_variable: &'static str,
    url: &'static str,
    providers: &'static [(&'static str, &'static str)],
    seat: SeatLines,
}

const ACCOUNTS: [Account; 3] = [
    Account {
        variable: "ANTHROPIC_API_KEY",
        url_variable: "ANTHROPIC_UPSTREAM_URL",
        url: "https://api.anthropic.com",
        providers: &[("anthropic", "claude")],
        seat: SeatLines { address: ("ANTHROPIC_BASE_URL", ""), key: "ANTHROPIC_AUTH_TOKEN" },
    },
    Account {
        variable: "OPENAI_API_KEY",
        url_variable: "OPENAI_UPSTREAM_URL",
        url: "https://api.openai.com",
        providers: &[("openai responses", "codex"), ("openai chat", "openai-compatible")],
        seat: SeatLines { address: ("OPENAI_BASE_URL", "/v1"), key: "OPENAI_API_KEY" },
    },
    Account {
        variable: "GEMINI_API_KEY",
        url_variable: "GEMINI_UPSTREAM_URL",
        url: "https://generativelanguage.googleapis.com",
        providers: &[("gemini", "gemini")],
        seat: SeatLines { address: ("GOOGLE_GEMINI_BASE_URL", ""), key: "GEMINI_API_KEY" },
    },
];
