//! Names of files: from `content-disposition`, from a URL, made safe to show and to write. Pure.

use percent_encoding::percent_decode_str;

use super::kind;

/// Phones cut longer names anyway.
const LONGEST: usize = 120;
/// How much of a source is shown in an error.
const SHOWN: usize = 300;

/// The file name in a `content-disposition` header: `filename*` before `filename`.
pub fn from_disposition(header: &str) -> Option<String> {
    let mut plain = None;
    for (key, value) in parameters(header) {
        match key.to_ascii_lowercase().as_str() {
            "filename*" => {
                let mut parts = value.splitn(3, '\'');
                let (charset, _, text) = (parts.next()?, parts.next(), parts.next());
                let Some(text) = text else { continue };
                let bytes: Vec<u8> = percent_decode_str(text).collect();
                let decoded = if charset.eq_ignore_ascii_case("iso-8859-1") {
                    bytes.iter().map(|b| char::from(*b)).collect()
                } else {
                    String::from_utf8_lossy(&bytes).into_owned()
                };
                if let Some(name) = clean(&decoded) {
                    return Some(name);
                }
            }
            "filename" if plain.is_none() => plain = clean(&value),
            _ => {}
        }
    }
    plain
}

/// The parameters behind the first `;`, quotes and backslashes undone.
fn parameters(header: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut chars = header.chars().skip_while(|c| *c != ';').peekable();
    while chars.next_if_eq(&';').is_some() {
        let mut key = String::new();
        while let Some(c) = chars.next_if(|c| !matches!(c, '=' | ';')) {
            key.push(c);
        }
        let mut value = String::new();
        if chars.next_if_eq(&'=').is_some() {
            while chars.next_if(|c| c.is_whitespace()).is_some() {}
            if chars.next_if_eq(&'"').is_some() {
                while let Some(c) = chars.next().filter(|c| *c != '"') {
                    value.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
                }
                while chars.next_if(|c| *c != ';').is_some() {}
            } else {
                while let Some(c) = chars.next_if(|c| *c != ';') {
                    value.push(c);
                }
                value.truncate(value.trim_end().len());
            }
        }
        found.push((key.trim().to_owned(), value));
    }
    found
}

/// A URL, path or other foreign text as errors show it in chats and logs: short and in one line.
pub fn short(text: &str) -> String {
    let mut chars = text.chars().filter(|c| !is_hidden(*c));
    let mut shown: String = chars.by_ref().take(SHOWN).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

/// A source as errors show it: without the user name and password of a URL, also of one that cannot be read, and [`short`].
pub fn source(source: &str) -> String {
    let source = source.trim();
    match reqwest::Url::parse(source) {
        Ok(url) if url.scheme() == "data" => "the data URL".to_owned(),
        Ok(url) => public_form(&url),
        Err(_) => match (source.split_once("://"), source.rsplit_once('@')) {
            // Where a password ends in it cannot be told.
            (Some((scheme, _)), Some((_, rest))) => short(&format!("{scheme}://…@{rest}")),
            _ => short(source),
        },
    }
}

/// A URL as errors show it: without user name, password and fragment, and [`short`].
pub fn public_form(url: &reqwest::Url) -> String {
    let mut url = url.clone();
    // Both fail for URLs that cannot carry them.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    short(url.as_str())
}

/// The last part of a URL's or file's path, percent signs undone.
pub fn from_tail(path: &str) -> Option<String> {
    let tail = path.rsplit('/').next()?;
    clean(&percent_decode_str(tail).decode_utf8_lossy())
}

/// Control and direction characters, and what ends a line.
fn is_hidden(c: char) -> bool {
    let directs = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    directs || c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// One path component without control and direction characters, at most 120 characters long with its extension kept.
pub fn clean(name: &str) -> Option<String> {
    let tail = name.rsplit(['/', '\\']).next()?;
    let shown: String = tail.chars().filter(|c| !is_hidden(*c)).collect();
    let shown = shown.trim();
    if shown.is_empty() || shown.chars().all(|c| c == '.') {
        return None;
    }
    if shown.chars().count() <= LONGEST {
        return Some(shown.to_owned());
    }
    let (stem, extension) = shown.rsplit_once('.').filter(|(_, e)| e.chars().count() <= 10).unwrap_or((shown, ""));
    let kept: String = stem.chars().take(LONGEST - 11).collect();
    Some(if extension.is_empty() { kept } else { format!("{kept}.{extension}") })
}

/// `name`, or `file`, with the extension of its MIME type when it has none that is known.
pub fn with_extension(name: Option<&str>, mime: &str) -> String {
    let name = name.unwrap_or("file");
    let has_one = name.rsplit_once('.').is_some_and(|(stem, extension)| {
        !stem.is_empty() && (1..=8).contains(&extension.len()) && extension.chars().all(|c| c.is_ascii_alphanumeric())
    });
    match kind::extension_of(mime) {
        Some(extension) if !has_one => format!("{name}.{extension}"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_in_a_header() {
        let check = |header: &str, expected: Option<&str>| {
            assert_eq!(from_disposition(header).as_deref(), expected, "{header}");
        };
        check("attachment; filename=\"a b.pdf\"", Some("a b.pdf"));
        check("attachment; filename=plain.txt ; size=3", Some("plain.txt"));
        check("attachment; filename=\"old.txt\"; filename*=UTF-8''na%C3%AFve%20file.txt", Some("naïve file.txt"));
        check("attachment; filename*=iso-8859-1'en'%A3.txt", Some("£.txt"));
        check("inline; FILENAME=\"quo\\\"te; x.txt\"", Some("quo\"te; x.txt"));
        check("attachment; filename=\"../../etc/passwd\"", Some("passwd"));
        check("attachment; filename=\"c:\\\\x\\\\evil.exe\"", Some("evil.exe"));
        check("attachment; filename*=broken", None);
        check("attachment; filename=\"unclosed", Some("unclosed"));
        check("attachment", None);
        check("attachment; filename=\"..\"", None);
    }

    #[test]
    fn names_are_safe_to_show_and_to_write() {
        assert_eq!(clean("invoice\u{202e}fdp.exe").as_deref(), Some("invoicefdp.exe"));
        assert_eq!(clean("a\nb\0.txt").as_deref(), Some("ab.txt"));
        assert_eq!(clean("a\u{61c}b\u{2028}c\u{2066}.txt").as_deref(), Some("abc.txt"));
        let long = clean(&format!("{}.pdf", "x".repeat(500))).expect("a name");
        assert!(long.chars().count() <= LONGEST && long.ends_with(".pdf"), "{long}");
        assert_eq!(from_tail("/a/b%20c.png").as_deref(), Some("b c.png"));
        assert_eq!(from_tail("/a/%2e%2e%2fpasswd").as_deref(), Some("passwd"));
        assert_eq!(from_tail("/a/"), None);
    }

    #[test]
    fn errors_show_sources_short_in_one_line_and_without_passwords() {
        let check = |text: &str, expected: &str| assert_eq!(source(text), expected);
        check(" https://user:secret@host/a?b=c#d ", "https://host/a?b=c");
        check("http://user:secret@host:99999/a", "http://…@host:99999/a");
        check("http://user:pass/word@host/a", "http://…@host/a");
        check("http://host:99999/a", "http://host:99999/a");
        check("ftp://user:secret@host/x", "ftp://host/x");
        check("data:text/plain,secret", "the data URL");
        check("./a@b\n\u{202e}.png", "./a@b.png");
        for long in [format!("https://host/{}", "x".repeat(5_000)), format!("./{}", "é".repeat(5_000))] {
            let shown = source(&long);
            assert!(shown.chars().count() == SHOWN + 1 && shown.ends_with('…'), "{shown}");
        }
    }

    #[test]
    fn an_extension_is_added_once() {
        let check = |name, mime, expected: &str| assert_eq!(with_extension(name, mime), expected);
        check(Some("report"), "application/pdf", "report.pdf");
        check(Some("report.PDF"), "application/pdf", "report.PDF");
        check(Some("v1.2 final notes"), "text/plain", "v1.2 final notes.txt");
        check(None, "image/png", "file.png");
        check(Some("x"), "x/y", "x");
    }
}
