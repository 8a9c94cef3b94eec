//! Sets or removes one key in JSON5 text; comments, order and layout of everything else stay as they are, byte for byte.
//!
//! The source text is edited, never the expanded tree: otherwise what `${NAME}` stands for would land in the file.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{
    CstArray, CstContainerNode, CstInputValue, CstLeafNode, CstNode, CstObject, CstObjectProp, CstRootNode,
    ObjectPropName,
};
use serde_json::Value;

use super::problem::Findings;
use super::source::Sources;

/// Why an edit was not made; the text is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The path has an empty step or an open bracket.
    #[error("Invalid path. Use dot notation (e.g. foo.bar).")]
    InvalidPath,
    /// The path has a step that is no key.
    #[error("Invalid path segment.")]
    InvalidSegment,
    /// The list is shorter.
    #[error("the list {path} has {len} entries; the next free position is {len}")]
    NoSuchEntry {
        /// Path of the list.
        path: String,
        /// Its length.
        len: usize,
    },
    /// A step into a list that is no position.
    #[error("{path} is a list; \"{step}\" is no position in it")]
    NotAnIndex {
        /// Path of the list.
        path: String,
        /// The step.
        step: String,
    },
    /// The text is broken, or holds no object.
    #[error("the config file cannot be edited before it is repaired: {0}")]
    Unparsable(String),
    /// The edited text would not say what it should: a bug, caught before anything was written.
    #[error("this edit cannot be made without harming the file; edit it by hand")]
    Unfaithful,
}

/// Splits `a.b[0]["c.d"]` into its steps.
///
/// # Errors
/// An empty step, an open bracket, or a step that is not allowed.
pub fn parse_path(text: &str) -> Result<Vec<String>, EditError> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    let mut expect_step = true;
    while !rest.is_empty() || expect_step {
        if let Some(inside) = rest.strip_prefix('[') {
            let inside = inside.trim_start();
            let (step, after) = match inside.chars().next() {
                Some(quote @ ('"' | '\'')) => quoted(&inside[1..], quote).ok_or(EditError::InvalidPath)?,
                _ => {
                    let end = inside.find(']').ok_or(EditError::InvalidPath)?;
                    (inside[..end].trim().to_owned(), &inside[end..])
                }
            };
            rest = after.trim_start().strip_prefix(']').ok_or(EditError::InvalidPath)?;
            if step.is_empty() {
                return Err(EditError::InvalidPath);
            }
            out.push(step);
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let step = rest[..end].trim();
            if step.is_empty() {
                return Err(EditError::InvalidPath);
            }
            out.push(step.to_owned());
            rest = &rest[end..];
        }
        rest = rest.trim_start();
        expect_step = false;
        if let Some(after) = rest.strip_prefix('.') {
            rest = after.trim_start();
            expect_step = true;
        } else if !rest.is_empty() && !rest.starts_with('[') {
            return Err(EditError::InvalidPath);
        }
    }
    if out.iter().any(|s| matches!(s.as_str(), "__proto__" | "prototype" | "constructor")) {
        return Err(EditError::InvalidSegment);
    }
    Ok(out)
}

fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => out.push(chars.next()?.1),
            c if c == quote => return Some((out, &text[i + c.len_utf8()..])),
            c => out.push(c),
        }
    }
    None
}

/// Reads a typed value: JSON5 where it is that, else the text itself. `+1555…` is a phone number and stays text.
pub fn typed_value(text: &str) -> Value {
    if text.trim_start().starts_with('+') {
        return Value::String(text.trim().to_owned());
    }
    json5_value(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// Reads a value that must be JSON5.
///
/// # Errors
/// What is wrong with it, with line and column.
pub fn json5_value(text: &str) -> Result<Value, String> {
    let mut findings = Findings::default();
    Sources::default().parse(None, text, &mut findings).map(|n| n.to_value()).map_err(|p| p.to_string())
}

/// The value at a path.
pub fn get<'v>(tree: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(tree, |node, step| match node {
        Value::Object(map) => map.get(step),
        Value::Array(list) => list.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Sets the value at a path; objects on the way are made, other values in the way are replaced.
///
/// # Errors
/// The text is broken or the path does not fit it.
pub fn set(text: &str, path: &[String], value: &Value) -> Result<String, EditError> {
    let (bom, body) = split_bom(text);
    let mut want = if body.trim().is_empty() { Value::Object(Default::default()) } else { tree(body)? };
    set_value(&mut want, path, 0, value)?;
    let root = CstRootNode::parse(body, &ParseOptions::default()).map_err(|e| EditError::Unparsable(e.to_string()))?;
    let style = Style::of(&root);
    let object = root.object_value_or_create().ok_or_else(no_object)?;
    let (last, parents) = path.split_last().ok_or(EditError::InvalidPath)?;
    let mut place = Place::Object(object);
    for step in parents {
        place = place.enter(step, &style)?;
    }
    place.put(last, value, &style)?;
    finish(bom, &root, &want)
}

/// Removes the value at a path, and the objects that become empty by it; but an emptied `groups` map and an entry of it stay, as they
/// say which groups are served. `None` when there is nothing.
///
/// # Errors
/// The text is broken.
pub fn unset(text: &str, path: &[String]) -> Result<Option<String>, EditError> {
    let (bom, body) = split_bom(text);
    let mut want = tree(body)?;
    if path.is_empty() || get(&want, path).is_none() {
        return Ok(None);
    }
    let mut depth = path.len();
    loop {
        remove_value(&mut want, &path[..depth]);
        let parent = &path[..depth - 1];
        let emptied = matches!(get(&want, parent), Some(Value::Object(m)) if m.is_empty());
        if depth == 1 || !emptied || lists_groups(parent) || is_account(parent) {
            break;
        }
        depth -= 1;
    }
    let root = CstRootNode::parse(body, &ParseOptions::default()).map_err(|e| EditError::Unparsable(e.to_string()))?;
    let mut place = Place::Object(root.object_value().ok_or_else(no_object)?);
    let (last, parents) = path[..depth].split_last().ok_or(EditError::InvalidPath)?;
    for step in parents {
        place = place.child(step).ok_or(EditError::Unfaithful)?;
    }
    match place {
        Place::Object(object) => {
            // A key written twice goes twice, or the earlier one would come back to life.
            for prop in properties(&object, last) {
                prop.remove();
            }
        }
        Place::Array(array) => {
            let entry = last.parse().ok().and_then(|i: usize| array.elements().into_iter().nth(i));
            entry.ok_or(EditError::Unfaithful)?.remove();
        }
    }
    finish(bom, &root, &want).map(Some)
}

/// The path of a `groups` map or of an entry of it: absent, `groups` would serve every group, and without its entry a group is not served.
fn lists_groups(path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let channel = match path.as_slice() {
        ["channels", "whatsapp", rest @ ..] | ["whatsapp", rest @ ..] => rest,
        _ => return false,
    };
    matches!(channel, ["groups"] | ["groups", _] | ["accounts", _, "groups"] | ["accounts", _, "groups", _])
}

/// A path as people write it, with brackets around what is no plain key.
pub fn shown_path(steps: &[&str]) -> String {
    let mut out = String::new();
    for step in steps {
        let plain = !step.is_empty() && step.chars().all(|c| c.is_alphanumeric() || "_-$".contains(c));
        match (plain, out.is_empty()) {
            (true, true) => out.push_str(step),
            (true, false) => out.push_str(&format!(".{step}")),
            (false, _) => out.push_str(&format!("[{step:?}]")),
        }
    }
    out
}

/// The path of an account: it stays one when its last key goes, for without its entry it would be stopped.
fn is_account(path: &[String]) -> bool {
    matches!(path, [channels, whatsapp, accounts, _] if channels == "channels" && whatsapp == "whatsapp" && accounts == "accounts")
}

fn split_bom(text: &str) -> (&str, &str) {
    match text.strip_prefix('\u{feff}') {
        Some(body) => ("\u{feff}", body),
        None => ("", text),
    }
}

fn tree(text: &str) -> Result<Value, EditError> {
    let value = json5_value(text).map_err(EditError::Unparsable)?;
    if value.is_object() { Ok(value) } else { Err(no_object()) }
}

fn no_object() -> EditError {
    EditError::Unparsable("the file holds no object".to_owned())
}

/// The edited text, if it says what it should.
fn finish(bom: &str, root: &CstRootNode, want: &Value) -> Result<String, EditError> {
    let text = root.to_string();
    if tree(&text).as_ref() == Ok(want) { Ok(format!("{bom}{text}")) } else { Err(EditError::Unfaithful) }
}

fn list_error(path: &[String], step: &str, len: usize) -> EditError {
    let path = path.join(".");
    match step.parse::<usize>() {
        Ok(_) => EditError::NoSuchEntry { path, len },
        Err(_) => EditError::NotAnIndex { path, step: step.to_owned() },
    }
}

fn set_value(tree: &mut Value, path: &[String], depth: usize, value: &Value) -> Result<(), EditError> {
    let Some(step) = path.get(depth) else {
        *tree = value.clone();
        return Ok(());
    };
    match tree {
        Value::Array(list) => {
            let index = step.parse().ok().filter(|i: &usize| *i <= list.len());
            let index = index.ok_or_else(|| list_error(&path[..depth], step, list.len()))?;
            if index == list.len() {
                list.push(Value::Null);
            }
            set_value(&mut list[index], path, depth + 1, value)
        }
        Value::Object(map) => set_value(map.entry(step.clone()).or_insert(Value::Null), path, depth + 1, value),
        other => {
            *other = Value::Object(Default::default());
            set_value(other, path, depth, value)
        }
    }
}

fn remove_value(tree: &mut Value, path: &[String]) {
    let Some((last, parents)) = path.split_last() else { return };
    let parent = parents.iter().try_fold(tree, |node, step| match node {
        Value::Object(map) => map.get_mut(step),
        Value::Array(list) => step.parse::<usize>().ok().and_then(|i| list.get_mut(i)),
        _ => None,
    });
    match parent {
        Some(Value::Object(map)) => {
            map.shift_remove(last);
        }
        Some(Value::Array(list)) => {
            if let Some(index) = last.parse::<usize>().ok().filter(|i| *i < list.len()) {
                list.remove(index);
            }
        }
        _ => {}
    }
}

fn properties(object: &CstObject, key: &str) -> Vec<CstObjectProp> {
    object.properties().into_iter().filter(|p| name_of(p).as_deref() == Some(key)).collect()
}

/// The key without its quotes. Keys that [`Style`] has made bare are still string nodes, which jsonc-parser would not survive decoding.
fn name_of(prop: &CstObjectProp) -> Option<String> {
    match prop.name()? {
        ObjectPropName::String(name) => {
            let raw = name.raw_value();
            if raw.starts_with(['"', '\'']) { name.decoded_value().ok() } else { Some(raw) }
        }
        ObjectPropName::Word(_) => prop.decoded_name(),
    }
}

/// An object or list on the way.
enum Place {
    Object(CstObject),
    Array(CstArray),
}

impl Place {
    fn of(node: Option<CstNode>) -> Option<Self> {
        let node = node?;
        node.as_object().map(Self::Object).or_else(|| node.as_array().map(Self::Array))
    }

    fn child(&self, step: &str) -> Option<Self> {
        match self {
            Self::Object(object) => Self::of(properties(object, step).pop()?.value()),
            Self::Array(array) => Self::of(array.elements().into_iter().nth(step.parse().ok()?)),
        }
    }

    /// The object or list at `step`, made where there is none.
    fn enter(&self, step: &str, style: &Style) -> Result<Self, EditError> {
        if let Some(child) = self.child(step) {
            return Ok(child);
        }
        self.put(step, &Value::Object(Default::default()), style)?;
        self.child(step).ok_or(EditError::Unfaithful)
    }

    fn put(&self, step: &str, value: &Value, style: &Style) -> Result<(), EditError> {
        match self {
            Self::Object(object) => {
                let prop = match properties(object, step).pop() {
                    // The last of two equal keys is the one that counts.
                    Some(prop) => {
                        prop.set_value(input(value));
                        prop
                    }
                    None => {
                        let prop = object.append(step, input(value));
                        style.name(&prop);
                        prop
                    }
                };
                if let Some(value) = prop.value() {
                    style.apply(&value);
                }
            }
            Self::Array(array) => {
                let index: usize = step.parse().map_err(|_| EditError::Unfaithful)?;
                let node = match array.elements().into_iter().nth(index) {
                    Some(old) => replace(old, value),
                    None => Some(array.append(input(value))),
                };
                if let Some(node) = node {
                    style.apply(&node);
                }
            }
        }
        Ok(())
    }
}

fn replace(node: CstNode, value: &Value) -> Option<CstNode> {
    let value = input(value);
    match node {
        CstNode::Leaf(CstLeafNode::BooleanLit(n)) => n.replace_with(value),
        CstNode::Leaf(CstLeafNode::NullKeyword(n)) => n.replace_with(value),
        CstNode::Leaf(CstLeafNode::NumberLit(n)) => n.replace_with(value),
        CstNode::Leaf(CstLeafNode::StringLit(n)) => n.replace_with(value),
        CstNode::Leaf(CstLeafNode::WordLit(n)) => n.replace_with(value),
        CstNode::Container(CstContainerNode::Object(n)) => n.replace_with(value),
        CstNode::Container(CstContainerNode::Array(n)) => n.replace_with(value),
        _ => None,
    }
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(b) => CstInputValue::Bool(*b),
        Value::Number(n) => CstInputValue::Number(n.to_string()),
        Value::String(s) => CstInputValue::String(s.clone()),
        Value::Array(list) => CstInputValue::Array(list.iter().map(input).collect()),
        Value::Object(map) => CstInputValue::Object(map.iter().map(|(k, v)| (k.clone(), input(v))).collect()),
    }
}

/// How the file's author writes keys and texts; new ones follow.
struct Style {
    bare_keys: bool,
    single_quotes: bool,
}

impl Style {
    fn of(root: &CstRootNode) -> Self {
        let mut style = Self { bare_keys: false, single_quotes: false };
        let (mut words, mut names, mut single, mut double) = (0, 0, 0, 0);
        let mut todo: Vec<CstNode> = root.value().into_iter().collect();
        while let Some(node) = todo.pop() {
            match &node {
                CstNode::Leaf(CstLeafNode::StringLit(s)) if s.raw_value().starts_with('\'') => single += 1,
                CstNode::Leaf(CstLeafNode::StringLit(_)) => double += 1,
                CstNode::Container(CstContainerNode::ObjectProp(p)) => {
                    match p.name() {
                        Some(ObjectPropName::Word(_)) => words += 1,
                        Some(ObjectPropName::String(_)) => names += 1,
                        None => {}
                    }
                    todo.extend(p.value());
                }
                other => todo.extend(other.children_exclude_trivia_and_tokens()),
            }
        }
        style.bare_keys = words > names;
        style.single_quotes = single > double;
        style
    }

    fn name(&self, prop: &CstObjectProp) {
        let Some(ObjectPropName::String(name)) = prop.name() else { return };
        let Some(text) = name_of(prop) else { return };
        let bare = text
            .chars()
            .enumerate()
            .all(|(i, c)| c == '_' || c == '$' || c.is_ascii_alphabetic() || (i > 0 && c.is_ascii_digit()));
        if self.bare_keys && bare && !text.is_empty() {
            name.set_raw_value(text);
        } else if self.single_quotes && plain(&text) {
            name.set_raw_value(format!("'{text}'"));
        }
    }

    fn apply(&self, node: &CstNode) {
        match node {
            CstNode::Leaf(CstLeafNode::StringLit(s)) => {
                if let Ok(text) = s.decoded_value()
                    && self.single_quotes
                    && plain(&text)
                {
                    s.set_raw_value(format!("'{text}'"));
                }
            }
            CstNode::Container(CstContainerNode::ObjectProp(prop)) => {
                self.name(prop);
                if let Some(value) = prop.value() {
                    self.apply(&value);
                }
            }
            other => other.children_exclude_trivia_and_tokens().iter().for_each(|n| self.apply(n)),
        }
    }
}

/// True for texts that look the same between any quotes.
fn plain(text: &str) -> bool {
    !text.chars().any(|c| matches!(c, '\'' | '"' | '\\') || c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn path(text: &str) -> Vec<String> {
        parse_path(text).unwrap()
    }

    #[track_caller]
    fn sets(before: &str, at: &str, value: Value, after: &str) {
        assert_eq!(set(before, &path(at), &value).as_deref(), Ok(after), "{before} {at}");
    }

    #[track_caller]
    fn unsets(before: &str, at: &str, after: Option<&str>) {
        assert_eq!(
            unset(before, &path(at)).map(|t| t.map(|t| t.to_owned())),
            Ok(after.map(str::to_owned)),
            "{before} {at}"
        );
    }

    const FILE: &str = "\u{feff}// mine\r\n{\r\n  channels: { whatsapp: { dmPolicy: 'pairing', /* who */ allowFrom: ['+1', \"+2\",], } },\r\n  'hex': 0x10, // end\r\n}\r\n";

    #[test]
    fn a_value_is_replaced_and_every_other_byte_kept() {
        sets(FILE, "channels.whatsapp.dmPolicy", json!("open"), &FILE.replace("'pairing'", "'open'"));
        sets(FILE, "channels.whatsapp.allowFrom.1", json!("*"), &FILE.replace("\"+2\"", "'*'"));
        sets(FILE, "hex", json!(true), &FILE.replace("0x10", "true"));
    }

    #[test]
    fn a_key_is_added_in_the_style_of_the_file() {
        sets("{\n  a: 'x', // one\n}\n", "b", json!("y"), "{\n  a: 'x', // one\n  b: 'y',\n}\n");
        sets("{\n  \"a\": 1\n}", "b.c", json!(2), "{\n  \"a\": 1,\n  \"b\": {\n    \"c\": 2\n  }\n}");
        sets(
            "{ a: {} }",
            "a.b.c.d",
            json!({"e": [{"f": 1}]}),
            "{ a: {\n    b: {\n      c: {\n        d: {\n          e: [\n            {\n              f: 1\n            }\n          ]\n        }\n      }\n    }\n  } }",
        );
        sets("", "a", json!(1), "{\n  \"a\": 1\n}\n");
        sets("{ a: 1 }", "a.b", json!(3), "{ a: {\n    b: 3\n  } }");
        sets("{ a: { b: [1] } }", "a.b.1", json!(2), "{ a: { b: [1, 2] } }");
    }

    #[test]
    fn a_key_is_removed_with_the_objects_it_leaves_empty() {
        unsets("{\n  // keep\n  a: { b: { c: 1 } },\n  d: 2,\n}\n", "a.b.c", Some("{\n  // keep\n  d: 2,\n}\n"));
        unsets("{ a: [1, 2, 3] }", "a[1]", Some("{ a: [1, 3] }"));
        unsets("{ a: 1 }", "b", None);
        unsets("{ a: 1, b: 1, a: 2 }", "a", Some("{ b: 1 }"));
    }

    #[test]
    fn the_last_of_two_equal_keys_is_edited() {
        sets("{ a: 1, a: 2 }", "a", json!(3), "{ a: 1, a: 3 }");
    }

    #[test]
    fn what_cannot_be_edited_is_said() {
        let text = |r: Result<String, EditError>| r.unwrap_err().to_string();
        assert_eq!(
            text(set("{ a: [1] }", &path("a.5"), &json!(1))),
            "the list a has 1 entries; the next free position is 1"
        );
        assert_eq!(text(set("{ a: [1] }", &path("a.x"), &json!(1))), "a is a list; \"x\" is no position in it");
        assert!(
            text(set("{ a: ", &path("a"), &json!(1)))
                .starts_with("the config file cannot be edited before it is repaired: 1:")
        );
        assert!(text(set("[1]", &path("a"), &json!(1))).contains("holds no object"));
        let deep = "[".repeat(5000);
        assert!(matches!(set(&deep, &path("a"), &json!(1)), Err(EditError::Unparsable(_))));
    }

    #[test]
    fn paths_have_dots_and_brackets() {
        for (text, steps) in [
            ("a.b", vec!["a", "b"]),
            ("a[0].b", vec!["a", "0", "b"]),
            ("groups[\"12@g.us\"].x", vec!["groups", "12@g.us", "x"]),
            ("groups['12@g.us']", vec!["groups", "12@g.us"]),
            (" a . b ", vec!["a", "b"]),
        ] {
            assert_eq!(parse_path(text), Ok(steps.iter().map(|s| (*s).to_owned()).collect()), "{text}");
        }
        for text in ["", "a..b", "a.", ".a", "a[", "a[]", "a[0", "a[0]b", "a[\"x]"] {
            assert_eq!(parse_path(text), Err(EditError::InvalidPath), "{text}");
        }
    }

    #[test]
    fn an_account_stays_one_without_its_last_key() {
        let file = "{ channels: { whatsapp: { accounts: { work: { historyLimit: 3 } } } } }";
        let path = parse_path("channels.whatsapp.accounts.work.historyLimit").unwrap();
        let after = unset(file, &path).unwrap().unwrap();
        assert_eq!(json5_value(&after), Ok(json!({"channels": {"whatsapp": {"accounts": {"work": {}}}}})));
        let whole = unset(&after, &path[..4]).unwrap().unwrap();
        assert_eq!(json5_value(&whole), Ok(json!({})));
    }

    #[test]
    fn phone_numbers_stay_text() {
        for (text, value) in [
            ("+15551234567", json!("+15551234567")),
            ("12", json!(12)),
            ("true", json!(true)),
            ("['+1']", json!(["+1"])),
            ("hello there", json!("hello there")),
            ("'12'", json!("12")),
        ] {
            assert_eq!(typed_value(text), value, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn setting_is_faithful_or_refused(
            key in "[a-zA-Z_$@.é\" ]{1,8}|[a-z]{1,8}", value in "\\PC{0,12}", number in proptest::num::i32::ANY,
        ) {
            for value in [json!(value), json!(number), json!({ key.clone(): [value] })] {
                let at = vec!["channels".to_owned(), key.clone(), "made".to_owned(), key.clone()];
                let edited = set(FILE, &at, &value).unwrap();
                let after = json5_value(&edited).unwrap();
                proptest::prop_assert_eq!(get(&after, &at), Some(&value));
                let back = unset(&edited, &at).unwrap().unwrap();
                proptest::prop_assert_eq!(json5_value(&back), json5_value(FILE));
            }
        }
    }
}
