//! Which programs may call: rules on a seat's `User-Agent`.
//!
//! They keep order, not intruders: a program can call itself what it likes.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a calling program says it is: its `User-Agent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client<'a>(pub &'a str);

/// One line of `allowed_clients` or `blocked_clients`. Case never matters.
///
/// - One of [`ClientPattern::PRESETS`]: the program, under all its names.
/// - A text with `*`, which stands for any text: the whole `User-Agent`, or the name of one of its products.
/// - Any other text: the name of one of its products (`name` in `name/1.2`). `-`, `_` and blanks do not matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientPattern(String);

/// Why a client may not call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClientDenied {
    /// A blocked client.
    #[error("this client is blocked")]
    Blocked,
    /// None of the allowed clients.
    #[error("this client is not among the allowed ones")]
    NotAllowed,
    /// Only some are allowed, and this one does not say what it is.
    #[error("only some clients are allowed, and the request has no User-Agent")]
    Unnamed,
}

impl ClientDenied {
    /// The name used in logs and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Blocked => "client_blocked",
            Self::NotAllowed => "client_not_allowed",
            Self::Unnamed => "client_unnamed",
        }
    }
}

/// Asks whether a client may call: it is not blocked, and allowed where any are.
pub fn check(
    allowed: &[ClientPattern],
    blocked: &[ClientPattern],
    client: Option<Client<'_>>,
) -> Result<(), ClientDenied> {
    let is_in = |patterns: &[ClientPattern], client| patterns.iter().any(|pattern| pattern.matches(client));
    match client {
        Some(client) if is_in(blocked, client) => Err(ClientDenied::Blocked),
        _ if allowed.is_empty() => Ok(()),
        Some(client) if is_in(allowed, client) => Ok(()),
        Some(_) => Err(ClientDenied::NotAllowed),
        None => Err(ClientDenied::Unnamed),
    }
}

impl ClientPattern {
    /// Programs with several names, or with names that are hard to guess.
    pub const PRESETS: [&str; 9] = [
        "claude-code",
        "claude-code-cli",
        "claude-code-cli-sdk",
        "claude-code-vscode",
        "claude-code-sdk-ts",
        "claude-code-sdk-py",
        "claude-code-gh-action",
        "codex-cli",
        "gemini-cli",
    ];

    /// A pattern of this text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// True when it means this client.
    #[must_use]
    pub fn matches(&self, client: Client<'_>) -> bool {
        if let Some(preset) = PRESETS.iter().find(|preset| is_same(preset.name, &self.0)) {
            return preset.matches(client);
        }
        if self.0.contains('*') {
            fits(&self.0, client.0) || client.names().any(|name| fits(&self.0, name))
        } else {
            client.names().any(|name| is_same(name, &self.0))
        }
    }
}

impl<'a> Client<'a> {
    /// What stands before the first `/`, which may hold blanks; then the name of each product outside parentheses.
    fn names(self) -> impl Iterator<Item = &'a str> {
        let mut depth = 0_u32;
        let outside = self.0.split(move |c: char| {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => return depth > 0 || c == ' ',
            }
            true
        });
        std::iter::once(self.leading()).chain(outside.map(name_of)).filter(|name| !name.is_empty())
    }

    fn leading(self) -> &'a str {
        name_of(self.0).split('(').next().unwrap_or_default().trim()
    }

    /// What Claude Code says it was started as: the second word of `claude-cli/2.1 (external, sdk-ts, …)`.
    fn entry(self) -> Option<&'a str> {
        let (_, comment) = self.0.split_once('(')?;
        comment.split(')').next()?.split(',').nth(1).map(str::trim)
    }
}

struct Preset {
    name: &'static str,
    /// Its leading names, without blanks, `-` and `_`; with `*`, how they begin.
    leading: &'static [&'static str],
    /// What it must say it was started as.
    entry: Option<&'static str>,
}

impl Preset {
    fn matches(&self, client: Client<'_>) -> bool {
        let leading = client.leading();
        let is_called = |name: &&str| match name.strip_suffix('*') {
            Some(begin) => begins(leading, begin),
            None => is_same(leading, name),
        };
        self.leading.iter().any(is_called)
            && self
                .entry
                .is_none_or(|entry| client.entry().is_some_and(|said| said.eq_ignore_ascii_case(entry)))
    }
}

const CLAUDE: &[&str] = &["claudecli"];
const CODEX: &[&str] = &["codexcli", "codexclirs", "codexexec", "codextui", "codexvscode", "codexdesktop"];
const PRESETS: [Preset; 9] = [
    Preset { name: "claude-code", leading: CLAUDE, entry: None },
    Preset { name: "claude-code-cli", leading: CLAUDE, entry: Some("cli") },
    Preset { name: "claude-code-cli-sdk", leading: CLAUDE, entry: Some("sdk-cli") },
    Preset { name: "claude-code-vscode", leading: CLAUDE, entry: Some("claude-vscode") },
    Preset { name: "claude-code-sdk-ts", leading: CLAUDE, entry: Some("sdk-ts") },
    Preset { name: "claude-code-sdk-py", leading: CLAUDE, entry: Some("sdk-py") },
    Preset { name: "claude-code-gh-action", leading: CLAUDE, entry: Some("claude-code-github-action") },
    Preset { name: "codex-cli", leading: CODEX, entry: None },
    Preset { name: "gemini-cli", leading: &["geminicli*"], entry: None },
];

fn name_of(product: &str) -> &str {
    product.split('/').next().unwrap_or_default()
}

/// Without case, `-`, `_` and blanks.
fn squeezed(text: &str) -> impl Iterator<Item = u8> {
    text.bytes().filter(|b| !matches!(b, b'-' | b'_' | b' ')).map(|b| b.to_ascii_lowercase())
}

fn is_same(one: &str, other: &str) -> bool {
    squeezed(one).eq(squeezed(other))
}

fn begins(text: &str, begin: &str) -> bool {
    let mut text = squeezed(text);
    begin.bytes().all(|wanted| text.next() == Some(wanted))
}

/// `*` stands for any text. Goes back to the last `*` only, so the work is bounded by the product of the lengths.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                last_star = Some((p, t));
                p += 1;
            }
            Some(wanted) if wanted.eq_ignore_ascii_case(byte) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star, from)) = last_star else { return false };
                last_star = Some((star, from + 1));
                p = star + 1;
                t = from + 1;
            }
        }
    }
    pattern.iter().skip(p).all(|rest| *rest == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLI: &str = "claude-cli/2.1.7 (external, cli)";
    const SDK: &str = "claude-cli/2.1.7 (external, sdk-ts, agent-sdk/0.1.30)";
    const CODEX_RS: &str = "codex_cli_rs/0.50.0 (Ubuntu 24.4.0; x86_64) vscode/1.105.0";
    const GEMINI: &str = "GeminiCLI/0.11.0/gemini-2.5-pro (linux; x64)";
    const PYTHON: &str = "Anthropic/Python 0.71.0";

    fn matches(pattern: &str, user_agent: &str) -> bool {
        ClientPattern::new(pattern).matches(Client(user_agent))
    }

    fn patterns(texts: &[&str]) -> Vec<ClientPattern> {
        texts.iter().map(|text| ClientPattern::new(*text)).collect()
    }

    #[test]
    fn a_preset_knows_a_program_by_all_its_names() {
        for (pattern, yes, no) in [
            ("claude-code", CLI, CODEX_RS),
            ("Claude_Code", SDK, "claude-client/1.0"),
            ("claude-code-cli", CLI, SDK),
            ("claude-code-sdk-ts", SDK, CLI),
            ("claude-code-sdk-py", "claude-cli/2 (external, sdk-py)", SDK),
            ("claude-code-cli-sdk", "claude-cli/2 (external, sdk-cli)", CLI),
            ("claude-code-vscode", "claude-cli/2 (external, claude-vscode, agent-sdk/0.1)", CLI),
            ("claude-code-gh-action", "claude-cli/2 (external, claude-code-github-action)", CLI),
            ("codex-cli", CODEX_RS, CLI),
            ("codex-cli", "Codex Desktop/1.2 (Mac OS)", GEMINI),
            ("codex-cli", "codex_exec/0.50.0 (Linux)", "my-codex-cli/1.0"),
            ("codex-cli", "codex-tui/0.60.0", PYTHON),
            ("gemini-cli", GEMINI, CLI),
        ] {
            assert!(matches(pattern, yes), "{pattern} means {yes}");
            assert!(!matches(pattern, no), "{pattern} does not mean {no}");
        }
        for (preset, name) in PRESETS.iter().zip(ClientPattern::PRESETS) {
            assert_eq!(preset.name, name);
        }
    }

    #[test]
    fn a_plain_text_is_the_name_of_a_product() {
        for (pattern, yes) in [
            ("claude-cli", CLI),
            ("CLAUDE_CLI", CLI),
            ("vscode", CODEX_RS),
            ("anthropic", PYTHON),
            ("codex desktop", "Codex Desktop/1.2"),
            ("curl", "curl"),
            ("tool", "(comment) tool/1"),
        ] {
            assert!(matches(pattern, yes), "{pattern} means {yes}");
        }
        for (pattern, no) in [
            ("claude", CLI),
            ("cli", CLI),
            ("ubuntu", CODEX_RS),
            ("0.50.0", CODEX_RS),
            ("agent-sdk", SDK),
            ("", CLI),
            ("curl", ""),
        ] {
            assert!(!matches(pattern, no), "{pattern} does not mean {no}");
        }
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, user_agent, is_match) in [
            ("*", "curl/8", true),
            ("claude-cli/2.*", CLI, true),
            ("claude-cli/1.*", CLI, false),
            ("CLAUDE*CLI)", CLI, true),
            ("*python*", PYTHON, true),
            ("codex*", CODEX_RS, true),
            ("vs*", CODEX_RS, true),
            ("*rs", CODEX_RS, true),
            ("*ubuntu*", CODEX_RS, true),
            ("ubuntu*", CODEX_RS, false),
            ("*a*b", "xaxbxa", false),
        ] {
            assert_eq!(matches(pattern, user_agent), is_match, "{pattern} and {user_agent}");
        }
    }

    #[test]
    fn the_blocked_are_refused_before_the_allowed_are_asked() {
        let ask = |allowed: &[&str], blocked: &[&str], client: Option<&'static str>| {
            check(&patterns(allowed), &patterns(blocked), client.map(Client))
        };
        assert_eq!(ask(&[], &[], None), Ok(()));
        assert_eq!(ask(&[], &["codex-cli"], None), Ok(()));
        assert_eq!(ask(&[], &["codex-cli"], Some(CLI)), Ok(()));
        assert_eq!(ask(&["claude-code"], &[], Some(CLI)), Ok(()));
        assert_eq!(ask(&["claude-code"], &["claude-code-sdk-ts"], Some(SDK)), Err(ClientDenied::Blocked));
        assert_eq!(ask(&["claude-code"], &[], Some(GEMINI)), Err(ClientDenied::NotAllowed));
        assert_eq!(ask(&["*"], &[], None), Err(ClientDenied::Unnamed));
    }

    proptest! {
        #[test]
        fn a_glob_says_what_the_regular_expression_of_it_says(pattern in "[ab*]{0,8}", text in "[abA]{0,12}") {
            let expression = format!("(?is)^{}$", pattern.replace('*', ".*"));
            prop_assert_eq!(fits(&pattern, &text), regex::Regex::new(&expression).unwrap().is_match(&text));
        }

        #[test]
        fn any_text_is_compared_without_harm(pattern: String, user_agent: String) {
            let client = Client(&user_agent);
            let met = ClientPattern::new(pattern.clone()).matches(client);
            prop_assert_eq!(met, ClientPattern::new(pattern.to_ascii_uppercase()).matches(client));
        }
    }
}
