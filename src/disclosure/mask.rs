//! [`Mask`]: hides known secrets in a text, in every form in which programs tend to repeat them.

use std::borrow::Cow;
use std::collections::BTreeSet;

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// Stands in the place of a secret.
pub const MASKED: &str = "***";
/// The same in what a model wrote, where asterisks are markup.
pub const MASKED_IN_MARKDOWN: &str = "•••";
/// Characters of the shortest secret that is hidden: a shorter one would hide half of every text.
pub const SHORTEST: usize = 8;
/// Characters of the shortest line of a secret with several lines that is hidden by itself.
const SHORTEST_LINE: usize = 16;

/// What stays as it is in the usual encoding of URLs.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A set of secrets to hide.
#[derive(Clone, Debug, Default)]
pub struct Mask(Option<AhoCorasick>);

impl Mask {
    /// A mask for these secrets. Those of fewer than [`SHORTEST`] characters are left out.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut forms = BTreeSet::new();
        for secret in secrets {
            add_forms(secret, &mut forms);
        }
        if forms.is_empty() {
            return Self(None);
        }
        // Overlapping matches are wanted: where one secret ends in the middle of another, both go.
        let built = AhoCorasick::builder().ascii_case_insensitive(true).build(&forms);
        Self(Some(built.expect("a configuration holds no gigabytes of secrets")))
    }

    /// The text with [`MASKED`] in the place of every secret.
    pub fn apply<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.put(MASKED, text)
    }

    /// The text with `marker` in the place of every secret.
    pub fn put<'t>(&self, marker: &str, text: &'t str) -> Cow<'t, str> {
        let Some(found) = &self.0 else { return Cow::Borrowed(text) };
        let mut spans: Vec<(usize, usize)> = found.find_overlapping_iter(text).map(|m| (m.start(), m.end())).collect();
        if spans.is_empty() {
            return Cow::Borrowed(text);
        }
        spans.sort_unstable();
        let (mut out, mut shown, mut spans) = (String::with_capacity(text.len()), 0, spans.into_iter().peekable());
        while let Some((start, mut end)) = spans.next() {
            while let Some((_, later)) = spans.next_if(|(next, _)| *next < end) {
                end = end.max(later);
            }
            out.push_str(&text[shown..start]);
            out.push_str(marker);
            shown = end;
        }
        out.push_str(&text[shown..]);
        Cow::Owned(out)
    }

    /// Hides secrets in every text of a value. Keys are names and stay.
    pub fn apply_to(&self, value: &mut Value) {
        if self.0.is_none() {
            return;
        }
        each_text(value, &mut |text| {
            if let Cow::Owned(hidden) = self.apply(text) {
                *text = hidden;
            }
        });
    }
}

/// Calls `change` with every text of a value.
pub fn each_text(value: &mut Value, change: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(list) => list.iter_mut().for_each(|v| each_text(v, change)),
        Value::Object(map) => map.values_mut().for_each(|v| each_text(v, change)),
        _ => {}
    }
}

fn add_forms(secret: &str, forms: &mut BTreeSet<String>) {
    let secret = secret.trim();
    let lines = secret.lines().map(str::trim).filter(|line| line.chars().count() >= SHORTEST_LINE);
    for text in lines.chain([secret]) {
        if text.chars().count() < SHORTEST {
            continue;
        }
        forms.insert(text.to_owned());
        let json = serde_json::Value::from(text).to_string();
        let json = json[1..json.len() - 1].to_owned();
        forms.insert(ascii(&json));
        forms.insert(json.replace('/', "\\/"));
        // As a text within a text: an error that quotes a body.
        let twice = serde_json::Value::from(json.as_str()).to_string();
        forms.insert(twice[1..twice.len() - 1].to_owned());
        forms.insert(html(&json));
        forms.extend(escaped(text));
        forms.insert(json);
        let debug = format!("{text:?}");
        forms.insert(debug[1..debug.len() - 1].to_owned());
        forms.insert(utf8_percent_encode(text, NON_ALPHANUMERIC).to_string());
        let url = utf8_percent_encode(text, UNRESERVED).to_string();
        forms.insert(url.replace("%20", "+"));
        forms.insert(url);
        forms.insert(html(text));
        forms.extend(inside_base64(text.as_bytes()).into_iter().filter(|form| form.len() >= SHORTEST));
    }
}

/// Punctuation that some JSON writers escape as `\u00..` although they need not: Gson's, .NET's, Go's, and all of it.
const ESCAPED: [&str; 4] = ["<>&='", "<>&'+\"`", "<>&", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"];

/// The inside of a JSON text as such writers put it, also with `\/`, and each of them once more inside another JSON text.
fn escaped(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for set in ESCAPED {
        for slash in ["/", "\\/"] {
            let mut json = String::with_capacity(text.len() * 2);
            for c in text.chars() {
                match c {
                    c if set.contains(c) => json.push_str(&format!("\\u{:04x}", u32::from(c))),
                    '/' => json.push_str(slash),
                    '"' | '\\' => json.extend(['\\', c]),
                    c => json.push(c),
                }
            }
            out.push(json.replace('\\', "\\\\"));
            out.push(json);
        }
    }
    out
}

/// JSON as some programs write it, with every other character escaped.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            out.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    out
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// The characters that Base64 has for these bytes wherever they stand in what was encoded, as in `user:password` of Basic
/// authentication.
fn inside_base64(bytes: &[u8]) -> Vec<String> {
    let mut out = Vec::new();
    for before in 0..3 {
        let mut padded = vec![0; before];
        padded.extend_from_slice(bytes);
        // Characters at the ends hold bits of the neighbours too.
        let first = (before * 8).div_ceil(6);
        let end = padded.len() * 8 / 6;
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&padded);
            out.extend(encoded.get(first..end).map(str::to_owned));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;

    fn check(secrets: &[&str], text: &str, shown: &str) {
        assert_eq!(Mask::new(secrets.iter().copied()).apply(text), shown, "{text}");
    }

    #[test]
    fn every_occurrence_goes_whatever_the_order_of_the_secrets() {
        check(&["s3cr3t-key"], "a s3cr3t-key, and S3CR3T-KEY.", "a ***, and ***.");
        check(&["abcdefgh", "abcdefghij"], "abcdefghij abcdefgh", "*** ***");
        check(&["abcdefghij", "abcdefgh"], "abcdefghij", "***");
        check(&["abcdefgh", "efghijkl"], "-abcdefghijkl-", "-***-");
        check(&["abcdefgh"], "abcdefghabcdefgh", "******");
        check(&["abcdefgh", "ijklmnop"], "nothing", "nothing");
        check(&[], "abcdefgh", "abcdefgh");
    }

    #[test]
    fn short_secrets_are_left_out() {
        check(&["1234567", "", "        "], "1234567", "1234567");
        check(&["  12345678\n"], "12345678", "***");
    }

    #[test]
    fn encoded_forms_go_too() {
        let secret = "p\"ä/s s+w=rd&";
        let debug = format!("{secret:?}");
        let forms = [
            serde_json::to_string(secret).expect("json"),
            "\"p\\\"\\u00e4/s s+w=rd&\"".to_owned(),
            "\"p\\\"ä\\/s s+w=rd&\"".to_owned(),
            debug,
        ];
        for form in forms {
            check(&[secret], &form, "\"***\"");
        }
        check(&[secret], "?key=p%22%C3%A4%2Fs%20s%2Bw%3Drd%26&x", "?key=***&x");
        check(&[secret], "?key=p%22%c3%a4%2fs+s%2bw%3drd%26&x", "?key=***&x");
        check(&["a&b<c>d'e"], "<p>a&amp;b&lt;c&gt;d&#39;e</p>", "<p>***</p>");
    }

    #[test]
    fn punctuation_that_need_not_be_escaped_hides_nothing() {
        let secret = "sk-Zx/Ab+12=='&";
        for form in [
            r"sk-Zx\/Ab+12\u003d\u003d\u0027\u0026",
            r"sk-Zx/Ab\u002B12==\u0027\u0026",
            r"sk\u002dZx\u002fAb\u002b12\u003d\u003d\u0027\u0026",
            r"sk-Zx\\/Ab+12\\u003d\\u003d\\u0027\\u0026",
            r"sk-Zx/Ab+12=='\u0026",
        ] {
            check(&[secret], &format!("key {form} end"), "key *** end");
        }
    }

    #[test]
    fn base64_of_something_around_a_secret_shows_none_of_it() {
        let secret = "correct-horse-battery";
        let mask = Mask::new([secret]);
        for user in ["", "u", "us", "use", "user"] {
            let encoded = STANDARD.encode(format!("{user}:{secret}"));
            let shown = mask.apply(&encoded).into_owned();
            assert!(shown.contains(MASKED), "{encoded}");
            let left: usize = shown.replace(MASKED, "").trim_end_matches('=').len();
            assert!(left <= user.len() * 2 + 5, "{shown} of {encoded}");
        }
    }

    #[test]
    fn lines_of_a_long_secret_go_one_by_one() {
        let key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG\n-----END PRIVATE KEY-----";
        check(&[key], "it says MIIEvQIBADANBgkqhkiG there", "it says *** there");
    }

    #[test]
    fn values_keep_their_shape() {
        let mut value = json!({"s3cr3t-key": ["a s3cr3t-key", 12345678, true], "b": {"c": "12345678"}});
        Mask::new(["s3cr3t-key", "12345678"]).apply_to(&mut value);
        assert_eq!(value, json!({"s3cr3t-key": ["a ***", 12345678, true], "b": {"c": "***"}}));
    }
}
