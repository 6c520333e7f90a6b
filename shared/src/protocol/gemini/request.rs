//! The model's name where a Gemini body repeats what the path says.
//!
//! Google refuses a body that names another model than its path, so a redirect has to change both. Knows
//! nothing of redirects.

use crate::protocol::splice::Patch;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Puts another model wherever the body names one: at the top, in each of `requests` (`batchEmbedContents`)
/// and in `generateContentRequest` (`countTokens`). A body that cannot be read is left as it is: the upstream
/// has its say.
#[must_use]
pub fn rename_models(body: &[u8], new: &str) -> Vec<Patch> {
    let Ok(call) = serde_json::from_slice::<Call<'_>>(body) else { return Vec::new() };
    let nested = call.requests.iter().flatten().chain(&call.generate_content_request);
    let named = call.model.into_iter().chain(nested.filter_map(|request| request.model));
    named.filter_map(|model| rename(body, model.get(), new)).collect()
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    requests: Option<Vec<Request<'a>>>,
    #[serde(borrow, rename = "generateContentRequest", alias = "generate_content_request")]
    generate_content_request: Option<Request<'a>>,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
}

fn rename(body: &[u8], quoted: &str, new: &str) -> Option<Patch> {
    let old: String = serde_json::from_str(quoted).ok()?;
    let name = if old.starts_with(PREFIX) { format!("{PREFIX}{new}") } else { new.to_owned() };
    // The value borrows from the body, so its address tells its place.
    let start = (quoted.as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
    let with = Bytes::from(serde_json::Value::from(name).to_string());
    Some(Patch { range: start..start + quoted.len(), with })
}

const PREFIX: &str = "models/";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::splice::segments;

    fn renamed(body: &str) -> String {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let spliced = segments(&body, rename_models(&body, "new"));
        String::from_utf8(spliced.iter().flatten().copied().collect()).unwrap()
    }

    #[test]
    fn every_place_that_names_the_model_follows_a_redirect() {
        for (body, expected) in [
            (r#"{"model": "models/old","contents":[]}"#, r#"{"model": "models/new","contents":[]}"#),
            (r#"{"model":"old"}"#, r#"{"model":"new"}"#),
            (
                r#"{"requests":[{"model":"models/old","content":{"model":"x"}}, {"content":1},{"model":"models/o"}]}"#,
                r#"{"requests":[{"model":"models/new","content":{"model":"x"}}, {"content":1},{"model":"models/new"}]}"#,
            ),
            (
                r#"{"generateContentRequest":{"model":"models/old"}}"#,
                r#"{"generateContentRequest":{"model":"models/new"}}"#,
            ),
            (r#"{"contents":[]}"#, r#"{"contents":[]}"#),
            (r#"{"model":7,"requests":"no"}"#, r#"{"model":7,"requests":"no"}"#),
        ] {
            assert_eq!(renamed(body), expected);
        }
    }
}
