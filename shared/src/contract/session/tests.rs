use super::*;
use crate::testing::active_session;

#[test]
fn keys_of_one_session_and_of_the_list_have_a_hash_tag_each() {
    let key = SessionKey::from_bytes([7; 16]);
    assert_eq!(binding(key), "cch:{s:07070707070707070707070707070707}:binding");
    assert!(active_keys().iter().all(|name| name.starts_with("cch:{sessions}:")));
    let mut names = active_keys();
    names.push(news());
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 5);
}

#[test]
fn documents_have_a_bounded_length() {
    let mut doc = active_session(1).doc;
    doc.model = Some("\u{e9}".repeat(200));
    doc.client = Some("a".repeat(1_000));
    let read = SessionDoc::from_json(&doc.to_json()).unwrap();
    assert_eq!(read.model, Some("\u{e9}".repeat(64)));
    assert_eq!(read.client, Some("a".repeat(256)));
    let later = SessionDoc { schema: SESSION_SCHEMA + 1, ..read.clone() };
    assert_eq!(SessionDoc::from_json(&later.to_json()), None);
}

#[test]
fn a_message_that_cannot_be_read_was_missed() {
    let key = SessionKey::from_bytes([1; 16]);
    let moved = format!(
        r#"{{"what":"moved","key":"{key}","provider_id":7,"identity":"ffffffffffffffff","generation":9007199254740991,"later":1}}"#
    );
    let binding = Binding {
        provider_id: ProviderId(7),
        identity: Identity(u64::MAX),
        generation: (1 << 53) - 1,
        slow_turns: 0,
    };
    assert_eq!(NewsDoc::read(moved.as_bytes()), SessionNews::Moved { key, binding });
    for odd in ["", "{}", r#"{"what":"later"}"#, &moved.replace("moved", "split")] {
        assert_eq!(NewsDoc::read(odd.as_bytes()), SessionNews::Missed);
    }
}

#[test]
fn what_two_nodes_saw_adds_up_and_the_last_request_says_what_it_is() {
    let mut one = active_session(1);
    let mut other = active_session(1);
    other.first_seen_at = UnixMillis(one.first_seen_at.0 - 5);
    other.last_seen_at = one.last_seen_at.plus_ms(5);
    other.doc.model = Some("later".to_owned());
    let (before, later) = (one.clone(), other.clone());
    one.merge(later);
    other.merge(before);
    assert_eq!(one, other);
    assert_eq!((one.requests, one.doc.model.as_deref()), (2, Some("later")));
}

#[test]
fn a_filter_passes_what_is_like_it_in_all_it_names() {
    let doc = active_session(1).doc;
    let all = SessionFilter {
        user_id: Some(doc.user_id),
        key_id: Some(doc.key_id),
        provider_id: doc.provider_id,
        model: doc.model.clone(),
        session_id: Some(doc.session_id[..3].to_owned()),
    };
    assert!(all.passes(&doc) && SessionFilter::default().passes(&doc));
    for other in [
        SessionFilter { user_id: Some(UserId(99)), ..all.clone() },
        SessionFilter { key_id: Some(KeyId(99)), ..all.clone() },
        SessionFilter { provider_id: Some(ProviderId(99)), ..all.clone() },
        SessionFilter { model: Some("other".to_owned()), ..all.clone() },
        SessionFilter { session_id: Some("x".to_owned()), ..all.clone() },
    ] {
        assert!(!other.passes(&doc), "{other:?}");
    }
    let nobodys = SessionDoc { provider_id: None, model: None, ..doc };
    assert!(!all.passes(&nobodys));
}
