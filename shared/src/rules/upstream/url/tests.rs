use super::*;
use proptest::prelude::*;

fn join(base: &str, path: &str) -> String {
    join_url(&BaseUrl::parse(base).unwrap(), path, None).path_and_query
}

#[test]
fn a_base_url_is_joined_however_it_was_pasted() {
    for (base, path, expected) in [
        // 1: the path goes on from the base.
        ("https://x", "/v1/messages", "/v1/messages"),
        ("https://x/", "/v1/messages", "/v1/messages"),
        ("https://x/v1", "/v1/messages", "/v1/messages"),
        ("https://x/v1//", "/v1/messages", "/v1/messages"),
        ("https://x/v1/messages", "/v1/messages", "/v1/messages"),
        ("https://x/v1/messages/", "/v1/messages/count_tokens", "/v1/messages/count_tokens"),
        ("https://x/v1beta", "/v1beta/models/m:countTokens", "/v1beta/models/m:countTokens"),
        // 2: the base ends in the call.
        ("https://x/api/v1/messages", "/v1/messages", "/api/v1/messages"),
        ("https://x/api/v1/messages", "/v1/messages/count_tokens", "/api/v1/messages/count_tokens"),
        ("https://x/openai/responses", "/v1/responses/compact", "/openai/responses/compact"),
        ("https://x/v4/chat/completions", "/v1/chat/completions", "/v4/chat/completions"),
        ("https://x/g/v1beta/models", "/v1beta/models/m:countTokens", "/g/v1beta/models/m:countTokens"),
        // 2: the base ends in a version.
        ("https://x/api/paas/v4", "/v1/chat/completions", "/api/paas/v4/chat/completions"),
        ("https://x/api/v1", "/v1/messages/count_tokens", "/api/v1/messages/count_tokens"),
        ("https://x/v1", "/v1beta/models/m:countTokens", "/v1/models/m:countTokens"),
        ("https://x/v2alpha1", "/v1/embeddings", "/v2alpha1/embeddings"),
        ("https://x/r/v1", "/v1/completions", "/r/v1/completions"),
        (
            "https://x/r/v1beta1",
            "/v1/publishers/google/models/m:generateContent",
            "/r/v1beta1/publishers/google/models/m:generateContent",
        ),
        // 3: a relay's prefix.
        ("https://x/anthropic", "/v1/messages", "/anthropic/v1/messages"),
        ("https://x/v1api", "/v1/messages", "/v1api/v1/messages"),
        ("https://x/v1beta", "/v1/unknown", "/v1beta/v1/unknown"),
        ("https://x/v", "/v1/messages", "/v/v1/messages"),
        ("https://x/to/https://y", "/v1/messages", "/to/https://y/v1/messages"),
    ] {
        assert_eq!(join(base, path), expected, "{base} + {path}");
    }
}

#[test]
fn an_origin_is_told_apart_from_its_path() {
    let origin = |text| Origin::clone(BaseUrl::parse(text).unwrap().origin());
    let named = |is_https, host: &str, port, authority: &str| Origin {
        is_https,
        host: host.to_owned(),
        port,
        authority: authority.to_owned(),
    };
    assert_eq!(origin(" HTTPS://Api.Example:443/V1 "), named(true, "api.example", 443, "api.example"));
    assert_eq!(origin("http://127.0.0.1:8080"), named(false, "127.0.0.1", 8080, "127.0.0.1:8080"));
    assert_eq!(origin("http://[::1]:80/x"), named(false, "::1", 80, "[::1]"));
    assert_eq!(origin("https://[0:0::2]:8443"), named(true, "::2", 8443, "[::2]:8443"));
    assert_eq!(origin("https://a_b.c-d."), named(true, "a_b.c-d.", 443, "a_b.c-d."));
}

#[test]
fn a_bad_base_url_says_what_is_wrong() {
    for (text, error) in [
        ("", BaseUrlError::NotHttp),
        ("api.example/v1", BaseUrlError::NotHttp),
        ("ftp://x", BaseUrlError::NotHttp),
        ("https://", BaseUrlError::BadHost),
        ("https:///v1", BaseUrlError::BadHost),
        ("https://a..b", BaseUrlError::BadHost),
        ("https://a%20b", BaseUrlError::BadHost),
        ("https://[::1", BaseUrlError::BadHost),
        ("https://[x]", BaseUrlError::BadHost),
        ("https://[::1]x", BaseUrlError::BadHost),
        ("https://me:secret@x", BaseUrlError::HasUserinfo),
        ("https://x:0", BaseUrlError::BadPort),
        ("https://x:", BaseUrlError::BadPort),
        ("https://x:65536", BaseUrlError::BadPort),
        ("https://x:+80", BaseUrlError::BadPort),
        ("https://x/v1?api-version=1", BaseUrlError::HasQuery),
        ("https://x/#v1", BaseUrlError::HasFragment),
        ("https://x/a b", BaseUrlError::BadCharacter),
        ("https://ünicode", BaseUrlError::BadCharacter),
        ("https://x/a\r\nb", BaseUrlError::BadCharacter),
        ("https://x/../v1", BaseUrlError::HasDotSegment),
        ("https://x/%2E./v1", BaseUrlError::HasDotSegment),
        ("https://x/a\\b", BaseUrlError::BadPath),
    ] {
        assert_eq!(BaseUrl::parse(text), Err(error), "{text:?}");
    }
}

#[test]
fn a_credential_never_stays_in_the_query() {
    for (query, expected) in [
        ("key=cch-1", ""),
        ("alt=sse&key=cch-1", "alt=sse"),
        ("key=cch-1&alt=sse&x=%20&x=2", "alt=sse&x=%20&x=2"),
        ("KEY=1&k%65y=2&%6b%65%79=3&API_KEY=4&access_token=5&a=key", "a=key"),
        ("key", ""),
        ("key&key=&b", "b"),
        ("monkey=1&keys=2&pageToken=3", "monkey=1&keys=2&pageToken=3"),
        ("a=1&&b", "a=1&&b"),
        ("x=1;y=2&a=b;key=cch-1", "x=1;y=2"),
        ("%", "%"),
    ] {
        assert_eq!(without_credentials(query), expected, "{query}");
    }
    let base = BaseUrl::parse("https://x").unwrap();
    let joined = |query| join_url(&base, "/v1/messages", query).path_and_query;
    assert_eq!(joined(Some("key=1")), "/v1/messages");
    assert_eq!(joined(Some("")), "/v1/messages");
    assert_eq!(joined(Some("beta=true&key=1")), "/v1/messages?beta=true");
}

proptest! {
    #[test]
    fn a_call_is_never_doubled(
        prefix in "(/[a-z]{1,5}){0,2}", version in "(/v[14](beta)?)?", tail in "(/messages|/responses|/chat/completions)?",
        slashes in "/{0,2}"
    ) {
        let call = if tail.is_empty() { "/messages" } else { tail.as_str() };
        let joined = join(&format!("https://x{prefix}{version}{tail}{slashes}"), &format!("/v1{call}/x"));
        prop_assert_eq!(joined.matches(call).count(), 1, "{}", joined);
        let suffix = format!("{call}/x");
        prop_assert!(joined.ends_with(&suffix), "{}", joined);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(https?://)?[a-z0-9.:@/\\[\\]%?#\\\\é ]{0,16}") {
        if let Ok(base) = BaseUrl::parse(&text) {
            let uri = format!("http://{}{}", base.origin().authority, join_url(&base, "/v1/messages", None).path_and_query);
            prop_assert!(uri.parse::<http::Uri>().is_ok(), "{}", uri);
        }
    }
}
