use super::*;

lenient! {
    struct Inner {
        n: Count = "n",
    }
}

lenient! {
    struct Outer<'a> {
        text: Text<'a> = "text",
        code: Scalar<'a> = "code",
        flag: Flag = "flag",
        raw: Raw<'a> = "raw",
        inner: Inner = "inner",
        many: Many<Sum> = "many",
    }
}

#[derive(Clone, Debug, Default)]
struct Sum(u64);

impl Fold for Sum {
    fn fold(&mut self, next: Self) {
        self.0 += next.0;
    }
}

impl<'de> Deserialize<'de> for Sum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Count::deserialize(deserializer).map(|n| Sum(n.0.unwrap_or_default()))
    }
}

fn read(json: &str) -> Outer<'_> {
    parse(json.as_bytes()).unwrap()
}

#[test]
fn what_fits_is_read_whatever_its_spelling() {
    let outer = read(
        r#" { "te\u0078t" : "a\nb", "code":429, "flag":true, "inner":{"n":12.0}, "many":[1, 2 , 3], "x":[{}] } "#,
    );
    assert_eq!(outer.text.as_str(), "a\nb");
    assert_eq!(outer.code.0.as_deref(), Some("429"));
    assert!(outer.flag.0);
    assert_eq!(outer.inner.n.0, Some(12));
    assert_eq!((outer.many.is_array, outer.many.count, outer.many.folded.0), (true, 3, 6));
}

#[test]
fn what_does_not_fit_reads_as_absent() {
    for odd in ["null", "true", "7", "-7", "1.5", "\"x\"", "[1,[]]", "{\"n\":{}}"] {
        let json = format!(
            r#"{{"text":{odd},"code":{odd},"flag":{odd},"raw":{odd},"inner":{odd},"many":{odd},"last":1}}"#
        );
        let outer = read(&json);
        assert_eq!(outer.text.0.is_some(), odd == "\"x\"", "{odd}");
        assert_eq!(outer.flag.0, odd == "true");
        assert_eq!(outer.inner.n.0, None);
        assert_eq!(outer.many.is_array, odd.starts_with('['));
    }
    assert!(parse::<Outer<'_>>(b"[]").is_some_and(|outer| outer.text.0.is_none()));
}

#[test]
fn the_last_of_a_repeated_field_counts() {
    assert_eq!(read(r#"{"text":"a","text":"b","inner":{"n":1},"inner":{"n":2}}"#).text.as_str(), "b");
    assert_eq!(read(r#"{"inner":{"n":1},"inner":{"n":2}}"#).inner.n.0, Some(2));
}

#[test]
fn only_broken_json_fails() {
    for broken in ["", "{", r#"{"text":"a"} x"#, r#"{"text":"a""#, "<html>", r#"{"a":tru}"#] {
        assert!(parse::<Outer<'_>>(broken.as_bytes()).is_none(), "{broken}");
    }
}

#[test]
fn a_value_that_says_nothing_is_not_filled() {
    for empty in ["null", "false", "\"\"", "[]", "[ \n]", "{}", "{ }"] {
        assert!(!read(&format!(r#"{{"raw": {empty} }}"#)).raw.is_filled(), "{empty}");
    }
    for filled in ["true", "0", "\" \"", "[0]", r#"{"a":null}"#, r#""\ud83d""#] {
        assert!(read(&format!(r#"{{"raw": {filled} }}"#)).raw.is_filled(), "{filled}");
    }
    assert!(!read("{}").raw.is_filled());
}
