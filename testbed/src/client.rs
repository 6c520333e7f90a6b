//! A small HTTP client: one call, one answer, JSON both ways.

use crate::PATIENCE;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::net::SocketAddr;
use tokio::time::timeout;

/// Calls one server, under one token unless told otherwise.
#[derive(Clone)]
pub struct Client {
    http: Http<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
    token: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub text: String,
}

impl Answer {
    /// Reads an answer to its end; each piece of it must come in time.
    pub async fn whole(answer: Response<Incoming>) -> Self {
        let (head, mut body) = answer.into_parts();
        let mut bytes = Vec::new();
        while let Some(piece) = timeout(PATIENCE, body.frame()).await.expect("the next piece in time") {
            bytes.extend_from_slice(piece.expect("a whole body").data_ref().map_or(&[][..], |data| data));
        }
        Self { status: head.status.as_u16(), headers: head.headers, text: String::from_utf8(bytes).unwrap() }
    }

    /// The body.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {} {:?}", self.status, self.text))
    }

    /// The body, after the status was checked.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// Checks that this is a problem document with this status and code.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], format!("urn:claude-code-hub:problem:{code}"));
        problem
    }

    /// A header's text; empty when it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

impl Client {
    /// A client without a token, whose every call has a connection of its own.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        // Idle connections would make the server wait for them when it stops.
        let http = Http::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        Self { http, address, token: None }
    }

    /// The same under this token.
    #[must_use]
    pub fn under(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// Whom it calls.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    /// `POST`.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, &[JSON], &body.to_string()).await
    }

    /// `PUT`.
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send("PUT", path, &[JSON], &body.to_string()).await
    }

    /// `PATCH`.
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send("PATCH", path, &[JSON], &body.to_string()).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], "").await
    }

    /// Sends under the token, with further headers.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let token = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let mut headers = headers.to_vec();
        headers.extend(token.iter().map(|token| ("authorization", &**token)));
        self.send_raw(method, path, &headers, body).await
    }

    /// Sends just this.
    pub async fn send_raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        Answer::whole(self.open(method, path, headers, body).await).await
    }

    /// The same, answered as soon as the answer begins.
    pub async fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response<Incoming> {
        self.try_open(method, path, headers, body).await.expect("an answer")
    }

    /// The same of a server that may die meanwhile; `None`: it did.
    pub async fn try_open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<Response<Incoming>> {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        timeout(PATIENCE, self.http.request(request)).await.expect("an answer in time").ok()
    }
}

/// What most bodies are.
pub const JSON: (&str, &str) = ("content-type", "application/json");
