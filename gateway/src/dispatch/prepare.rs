//! Makes a request ready for one provider: URL, headers, the model's name, asked-for usage.

use super::Job;
use crate::live::Route;
use http::{HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use shared::model::Provider;
use shared::model::rules::redirected;
use shared::protocol::gemini::request::rename_models;
use shared::protocol::splice::{Segments, include_usage, replace_model, segments};
use shared::rules::upstream::{BodyForm, UpstreamTarget, join_url};

/// A request as one provider gets it. The same for each try: nothing in it is used up.
pub struct Prepared {
    /// Method, path and headers.
    pub head: RequestHeader,
    /// The body, without a copy of what did not change.
    pub body: Segments,
    /// The model the provider is asked for, when it is another than the seat's.
    pub upstream_model: Option<String>,
    /// True when usage was asked for on the seat's behalf, so that its extra chunk must be withheld.
    pub asked_for_usage: bool,
}

/// Makes a request ready. `Err` names what is wrong with the provider's configuration.
pub fn prepare(job: &Job<'_>, provider: &Provider, route: &Route) -> Result<Prepared, &'static str> {
    let asked = job.asked;
    let upstream_model = redirected(&provider.model_redirects, &asked.model).map(str::to_owned);
    let mut patches = Vec::new();
    if let Some(model) = &upstream_model {
        if asked.target.path_model.is_some() {
            patches.extend(rename_models(&asked.body.bytes, model));
        } else {
            patches.extend(replace_model(&asked.facts, model));
        }
    }
    let usage = if asked.family.asks_for_usage() { include_usage(&asked.facts) } else { None };
    let asked_for_usage = usage.is_some();
    patches.extend(usage);
    let body = segments(&asked.body.bytes, patches);

    let path = match &upstream_model {
        Some(model) => asked.target.path_for(asked.family, model),
        None => asked.target.path.clone(),
    };
    let target = join_url(&route.base, &path, asked.target.query.as_deref());
    let form = if asked.body.was_encoded { BodyForm::Decoded } else { BodyForm::AsSent };
    let headers = route.headers.request(job.headers, form);
    let head = head(&target, headers, body.len()).map_err(|_| "head_unusable")?;
    Ok(Prepared { head, body, upstream_model, asked_for_usage })
}

/// The head of a request to a provider.
pub fn head(
    target: &UpstreamTarget,
    headers: Vec<(HeaderName, HeaderValue)>,
    body_bytes: usize,
) -> pingora::Result<RequestHeader> {
    let path = target.path_and_query.as_bytes();
    let mut head = RequestHeader::build_no_case("POST", path, Some(headers.len() + 2))?;
    head.insert_header("host", target.origin.authority.as_str())?;
    for (name, value) in headers {
        head.append_header(name, value)?;
    }
    head.insert_header("content-length", body_bytes.to_string())?;
    Ok(head)
}
