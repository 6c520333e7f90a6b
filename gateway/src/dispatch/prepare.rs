//! Makes a request ready for one provider: URL, headers, the model's name, asked-for usage.

use super::Job;
use crate::live::Route;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use shared::model::Provider;
use shared::model::rules::redirected;
use shared::protocol::gemini::request::rename_models;
use shared::protocol::splice::{Segments, include_usage, replace_model, segments};
use shared::rules::upstream::{BodyForm, UpstreamTarget, join_url};

/// A request as one provider gets it. The same for each try: nothing in it is used up.
pub struct Prepared {
    target: UpstreamTarget,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The body, without a copy of what did not change.
    pub body: Segments,
    /// The model the provider is asked for, when it is another than the seat's.
    pub upstream_model: Option<String>,
    /// True when usage was asked for on the seat's behalf, so that its extra chunk must be withheld.
    pub asked_for_usage: bool,
}

/// Makes a request with these headers ready. `Err` names what is wrong with the provider's configuration.
pub fn prepare(
    job: &Job<'_>,
    headers: &HeaderMap,
    provider: &Provider,
    route: &Route,
) -> Result<Prepared, &'static str> {
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
    let headers = route.headers.request(headers, form);
    Ok(Prepared { target, headers, body, upstream_model, asked_for_usage })
}

impl Prepared {
    /// Method, path and headers, for one try.
    pub fn head(&self) -> http::Result<RequestHeader> {
        head(&self.target, &self.headers, self.body.len())
    }
}

/// The head of a request to a provider. Made without Pingora's setters, which parse each name anew.
pub fn head(
    target: &UpstreamTarget,
    headers: &[(HeaderName, HeaderValue)],
    body_bytes: usize,
) -> http::Result<RequestHeader> {
    let (mut head, ()) = http::Request::post(target.path_and_query.as_str()).body(())?.into_parts();
    head.headers.try_reserve(headers.len() + 2)?;
    head.headers.insert(HOST, HeaderValue::from_str(&target.origin.authority)?);
    for (name, value) in headers {
        head.headers.try_append(name, value.clone())?;
    }
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body_bytes));
    Ok(head.into())
}
