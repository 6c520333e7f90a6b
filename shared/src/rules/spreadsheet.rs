//! Text that a spreadsheet would take for a formula, and run.

use std::borrow::Cow;

/// A cell's text as it is shown and never run: what begins like a formula gets an apostrophe before it, as a person
/// would type it. Models, clients and sessions are named by whoever calls.
#[must_use]
pub fn inert(text: &str) -> Cow<'_, str> {
    if text.starts_with(FORMULA_STARTS) { format!("'{text}").into() } else { text.into() }
}

/// Those of OWASP's page on CSV injection; the wide ones are the same to a spreadsheet in Chinese or Japanese.
const FORMULA_STARTS: [char; 11] =
    ['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_like_a_formula_is_text() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\u{ff1d}1", "'=1"] {
            assert!(inert(text).starts_with('\''), "{text:?}");
        }
        for text in ["", "claude-sonnet-4", "a=1", " =1", "1-2"] {
            assert_eq!(inert(text), text);
        }
    }
}
