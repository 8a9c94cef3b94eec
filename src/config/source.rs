//! JSON5 text as a tree whose every node knows its file and position, so that errors can name both, also after includes and moves.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;

use indexmap::IndexMap;
use jsonc_parser::ast;
use jsonc_parser::errors::ParseErrorKind;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use serde_json::{Number, Value};

use super::problem::{Findings, KeyPath, Problem, Seg, Warning};

/// A place in one of the files of a [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pos {
    pub(super) file: u16,
    pub(super) offset: u32,
}

/// One value with its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// Where the value starts.
    pub at: Option<Pos>,
    /// Where its key starts, for values of an object.
    pub key_at: Option<Pos>,
    /// The value itself.
    pub kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(IndexMap<String, Node>),
}

impl Node {
    /// A value that stands in no file.
    pub fn new(kind: Kind) -> Self {
        Self { at: None, key_at: None, kind }
    }

    /// An object without keys.
    pub fn empty() -> Self {
        Self::new(Kind::Map(IndexMap::new()))
    }

    pub fn map(&self) -> Option<&IndexMap<String, Node>> {
        if let Kind::Map(m) = &self.kind { Some(m) } else { None }
    }

    pub fn map_mut(&mut self) -> Option<&mut IndexMap<String, Node>> {
        if let Kind::Map(m) = &mut self.kind { Some(m) } else { None }
    }

    pub fn list_mut(&mut self) -> Option<&mut Vec<Node>> {
        if let Kind::List(l) = &mut self.kind { Some(l) } else { None }
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.map()?.get(key)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.map_mut()?.get_mut(key)
    }

    /// The value below these keys.
    pub fn at_mut(&mut self, keys: &[&str]) -> Option<&mut Node> {
        keys.iter().try_fold(self, |node, key| node.get_mut(key))
    }

    /// The name of the value's type as the messages of behaviour.md's vectors have it.
    pub fn type_name(&self) -> &'static str {
        match self.kind {
            Kind::Null => "null",
            Kind::Bool(_) => "boolean",
            Kind::Number(_) => "number",
            Kind::Text(_) => "string",
            Kind::List(_) => "array",
            Kind::Map(_) => "object",
        }
    }

    /// The value without its places.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(b) => Value::Bool(*b),
            Kind::Number(n) => Value::Number(n.clone()),
            Kind::Text(t) => Value::String(t.clone()),
            Kind::List(l) => Value::Array(l.iter().map(Node::to_value).collect()),
            Kind::Map(m) => Value::Object(m.iter().map(|(k, v)| (k.clone(), v.to_value())).collect()),
        }
    }

    /// The tree without the values at these paths; a list that directly holds one of them goes whole, so that positions stay true.
    pub fn without(&self, paths: &[KeyPath]) -> Node {
        let mut out = self.clone();
        for path in paths {
            let keys = path.0.iter().rposition(|s| matches!(s, Seg::Key(_))).map_or(0, |i| i + 1);
            out.remove(&path.0[..keys]);
        }
        out
    }

    fn remove(&mut self, path: &[Seg]) {
        match (path, &mut self.kind) {
            ([Seg::Key(k)], Kind::Map(m)) => {
                m.shift_remove(k);
            }
            ([Seg::Key(k), rest @ ..], Kind::Map(m)) => {
                if let Some(next) = m.get_mut(k) {
                    next.remove(rest);
                }
            }
            ([Seg::Index(i), rest @ ..], Kind::List(l)) => {
                if let Some(next) = l.get_mut(*i) {
                    next.remove(rest);
                }
            }
            _ => {}
        }
    }

    /// The place of the value at `path`, or of the nearest thing around it that is written down.
    pub fn locate(&self, path: &KeyPath) -> Option<Pos> {
        let mut node = self;
        let mut best = None;
        for seg in &path.0 {
            let next = match (seg, &node.kind) {
                (Seg::Key(k), Kind::Map(m)) => m.get(k),
                (Seg::Index(i), Kind::List(l)) => l.get(*i),
                _ => None,
            };
            let Some(next) = next else { return best.or(self.at) };
            best = next.key_at.or(next.at).or(best);
            node = next;
        }
        node.at.or(best).or(self.at)
    }
}

/// The texts that positions refer to.
#[derive(Debug, Default)]
pub(super) struct Sources {
    files: Vec<(Option<PathBuf>, String)>,
    missing: Vec<PathBuf>,
}

impl Sources {
    /// The files read, in order, and those that could not be read.
    pub fn paths(&self) -> Vec<PathBuf> {
        let mut out: Vec<PathBuf> = self.files.iter().filter_map(|(p, _)| p.clone()).collect();
        out.extend(self.missing.iter().cloned());
        let mut seen = std::collections::HashSet::new();
        out.retain(|p| seen.insert(p.clone()));
        out
    }

    /// Equal for equal texts of the same files.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.files, &self.missing).hash(&mut hasher);
        hasher.finish()
    }

    /// Of each text its file.
    pub fn names(&self) -> Vec<Option<PathBuf>> {
        self.files.iter().map(|(path, _)| path.clone()).collect()
    }

    /// Of each text the offsets of its line ends.
    pub fn breaks(&self) -> Vec<Vec<u32>> {
        let ends = |text: &String| text.match_indices('\n').map(|(at, _)| at as u32).collect();
        self.files.iter().map(|(_, text)| ends(text)).collect()
    }

    /// Notes a file that is wanted but could not be read: it may come.
    pub fn missing(&mut self, path: PathBuf) {
        self.missing.push(path);
    }

    /// Takes a text in and parses it. Keys written twice become warnings.
    ///
    /// # Errors
    /// The first error of syntax; further ones would be guesses.
    pub fn parse(&mut self, path: Option<PathBuf>, text: &str, findings: &mut Findings) -> Result<Node, Problem> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let file = u16::try_from(self.files.len()).unwrap_or(u16::MAX);
        self.files.push((path, text.to_owned()));
        if u32::try_from(text.len()).is_err() {
            return Err(self.problem(Some(Pos { file, offset: 0 }), "the file is larger than 4 GiB".to_owned()));
        }
        let options = ParseOptions { allow_missing_commas: false, ..ParseOptions::default() };
        // jsonc-parser goes first: it gives up at depth 512, where json5 would overflow the stack.
        let tree = parse_to_ast(text, &CollectOptions::default(), &options).map_err(|error| {
            let range = error.range();
            let at_end = range.end >= text.trim_end().len();
            let (message, hint) = syntax(error.kind());
            Problem {
                hint,
                incomplete: at_end && !matches!(error.kind(), ParseErrorKind::MultipleRootJsonValues),
                ..self.problem(Some(Pos { file, offset: range.start as u32 }), message)
            }
        })?;
        let Some(tree) = tree.value else {
            return Err(Problem {
                hint: Some("write at least {}".to_owned()),
                incomplete: true,
                ..self.problem(Some(Pos { file, offset: 0 }), "the file is empty".to_owned())
            });
        };
        let value: Value = json5::from_str(text).map_err(|error| {
            let pos = error.position().map(|p| Pos { file, offset: offset_of(text, p.line, p.column) });
            let full = error.to_string();
            let message = full.split(" at line ").next().unwrap_or(&full).to_owned();
            self.problem(pos.or(Some(Pos { file, offset: 0 })), lower_first(&message))
        })?;
        let mut twice = Vec::new();
        let node = join(&value, Some(&tree), file, &KeyPath::default(), &mut twice);
        for (path, first, last) in twice {
            let line = |pos| self.line_column(pos).0;
            let message =
                format!("the key is written twice (lines {} and {}); the last one counts", line(first), line(last));
            findings.warnings.push(super::problem::Finding { path, message, hint: None, at: Some(last), other: None });
        }
        Ok(node)
    }

    /// Line and column of a place, both from 1.
    pub fn line_column(&self, pos: Pos) -> (usize, usize) {
        let Some((_, text)) = self.files.get(usize::from(pos.file)) else { return (0, 0) };
        let before = text.get(..pos.offset as usize).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// A problem at a place.
    pub fn problem(&self, pos: Option<Pos>, message: String) -> Problem {
        let (line, column) = pos.map_or((0, 0), |p| self.line_column(p));
        Problem {
            key_path: KeyPath::default(),
            file: self.file(pos),
            line,
            column,
            message,
            hint: None,
            incomplete: false,
        }
    }

    /// A warning at a place.
    pub fn warning(&self, key_path: KeyPath, pos: Option<Pos>, message: String) -> Warning {
        let (line, column) = pos.map_or((0, 0), |p| self.line_column(p));
        Warning { key_path, file: self.file(pos), line, column, message }
    }

    /// A place as it is named within a sentence.
    pub fn place(&self, pos: Pos) -> String {
        let (line, _) = self.line_column(pos);
        match self.file(Some(pos)) {
            Some(file) => format!("{}:{line}", file.display()),
            None => format!("line {line}"),
        }
    }

    fn file(&self, pos: Option<Pos>) -> Option<PathBuf> {
        let index = pos.map_or(0, |p| usize::from(p.file));
        self.files.get(index).and_then(|(p, _)| p.clone())
    }
}

fn lower_first(text: &str) -> String {
    // "EOF parsing object" stays as it is.
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(a), Some(b)) if a.is_uppercase() && b.is_lowercase() => {
            a.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text.to_owned(),
    }
}

fn syntax(kind: &ParseErrorKind) -> (String, Option<String>) {
    let hint = match kind {
        ParseErrorKind::NestingDepthExceeded => "write fewer levels of brackets",
        ParseErrorKind::ExpectedComma => "put a comma between two entries",
        ParseErrorKind::UnterminatedObject => "a closing } is missing",
        ParseErrorKind::UnterminatedArray => "a closing ] is missing",
        ParseErrorKind::UnexpectedWord => "put texts into quotes",
        ParseErrorKind::MultipleRootJsonValues => "the file holds one object; remove what follows its last }",
        _ => "check the JSON5 here and just before",
    };
    (lower_first(&kind.to_string()), Some(hint.to_owned()))
}

/// Byte offset of json5's position, which counts lines and characters from 0.
fn offset_of(text: &str, line: usize, column: usize) -> u32 {
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = &text[start.min(text.len())..];
    let within: usize = rest.chars().take(column).map(char::len_utf8).sum();
    (start + within) as u32
}

/// Puts the values that json5 read onto the places that jsonc-parser found.
fn join(
    value: &Value,
    tree: Option<&ast::Value<'_>>,
    file: u16,
    path: &KeyPath,
    twice: &mut Vec<(KeyPath, Pos, Pos)>,
) -> Node {
    let pos = |offset: usize| Pos { file, offset: offset as u32 };
    let at = tree.map(|t| {
        pos(match t {
            ast::Value::StringLit(n) => n.range.start,
            ast::Value::NumberLit(n) => n.range.start,
            ast::Value::BooleanLit(n) => n.range.start,
            ast::Value::Object(n) => n.range.start,
            ast::Value::Array(n) => n.range.start,
            ast::Value::NullKeyword(n) => n.range.start,
        })
    });
    let kind = match value {
        Value::Null => Kind::Null,
        Value::Bool(b) => Kind::Bool(*b),
        Value::Number(n) => Kind::Number(whole(n)),
        Value::String(s) => Kind::Text(s.clone()),
        Value::Array(list) => {
            let trees = tree.and_then(ast::Value::as_array);
            let one = |(i, v)| join(v, trees.and_then(|t| t.elements.get(i)), file, &path.index(i), twice);
            Kind::List(list.iter().enumerate().map(one).collect())
        }
        Value::Object(map) => {
            let props = tree.and_then(ast::Value::as_object).map(|o| o.properties.as_slice()).unwrap_or_default();
            let mut out = IndexMap::new();
            for (key, value) in map {
                let mut same = props.iter().filter(|p| p.name.as_str() == key);
                let first = same.next();
                let last = same.next_back().or(first);
                let start = |p: &ast::ObjectProp<'_>| pos(p.range.start);
                if let (Some(first), Some(last)) = (first, last)
                    && first.range.start != last.range.start
                {
                    twice.push((path.key(key), start(first), start(last)));
                }
                let mut node = join(value, last.map(|p| &p.value), file, &path.key(key), twice);
                node.key_at = last.map(start);
                out.insert(key.clone(), node);
            }
            Kind::Map(out)
        }
    };
    Node { at, key_at: None, kind }
}

/// `3.0` is the whole number 3, as it is in JavaScript.
fn whole(number: &Number) -> Number {
    match number.as_f64() {
        Some(f) if number.is_f64() && f.fract() == 0.0 && f.abs() < 9e15 => Number::from(f as i64),
        _ => number.clone(),
    }
}
