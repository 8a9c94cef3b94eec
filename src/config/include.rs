//! `$include` and `${NAME}`: what a tree takes from other files and from the environment.

use std::path::{Component, Path, PathBuf};

use indexmap::IndexMap;

use super::problem::{Findings, KeyPath, Problem};
use super::source::{Kind, Node, Sources};

/// Includes inside includes are followed this deep.
const MAX_DEPTH: usize = 10;

/// Reads an included file; the error is a reason for people.
pub type ReadInclude<'a> = dyn FnMut(&Path) -> Result<String, String> + 'a;

/// Follows includes, starting at one config file.
pub(super) struct Includer<'a, 'b> {
    /// Folder that includes may not leave.
    pub root: PathBuf,
    pub read: &'a mut ReadInclude<'b>,
    pub sources: &'a mut Sources,
    pub findings: &'a mut Findings,
    pub problems: &'a mut Vec<Problem>,
    /// The chain of files that are being read.
    pub chain: Vec<PathBuf>,
}

impl Includer<'_, '_> {
    /// The tree with every `$include` replaced by what it names.
    pub fn expand(&mut self, node: Node, path: &KeyPath) -> Node {
        let Node { at, key_at, kind } = node;
        let kind = match kind {
            Kind::List(list) => {
                Kind::List(list.into_iter().enumerate().map(|(i, n)| self.expand(n, &path.index(i))).collect())
            }
            Kind::Map(mut map) => {
                let include = map.shift_remove("$include");
                let own: IndexMap<String, Node> = map
                    .into_iter()
                    .map(|(k, n)| {
                        let n = self.expand(n, &path.key(&k));
                        (k, n)
                    })
                    .collect();
                let own = Node { at, key_at, kind: Kind::Map(own) };
                let Some(include) = include else { return own };
                return self.include(&include, own, path);
            }
            other => other,
        };
        Node { at, key_at, kind }
    }

    fn include(&mut self, include: &Node, own: Node, path: &KeyPath) -> Node {
        let names: Vec<&Node> = match &include.kind {
            Kind::List(list) => list.iter().collect(),
            _ => vec![include],
        };
        let key_at = own.key_at;
        let mut merged: Option<Node> = None;
        for name in names {
            let Kind::Text(text) = &name.kind else {
                self.problem(
                    name,
                    path,
                    "an include is a path, or a list of paths".to_owned(),
                    "write $include: \"./other.json\"",
                );
                continue;
            };
            let Some(tree) = self.one(name, text, path) else { continue };
            merged = Some(match merged {
                None => tree,
                Some(before) => merge(before, tree),
            });
        }
        let mut out = match merged {
            None => own,
            Some(tree) if own.map().is_some_and(IndexMap::is_empty) => tree,
            Some(tree) if tree.map().is_some() => merge(tree, own),
            Some(_) => {
                let hint = "let it hold an object, or remove the keys beside $include";
                self.problem(
                    include,
                    path,
                    "the included file holds no object, so nothing can stand beside it".to_owned(),
                    hint,
                );
                own
            }
        };
        out.key_at = key_at;
        out
    }

    fn one(&mut self, name: &Node, text: &str, path: &KeyPath) -> Option<Node> {
        let from = self.chain.last().and_then(|f| f.parent()).unwrap_or(&self.root);
        let target = tidy(&from.join(text));
        if !target.starts_with(&self.root) {
            let hint = format!("move it into {}", self.root.display());
            self.problem(
                name,
                path,
                format!("the included file {} lies outside the config folder", target.display()),
                &hint,
            );
            return None;
        }
        if self.chain.contains(&target) {
            self.problem(name, path, format!("{} includes itself", target.display()), "break the circle of includes");
            return None;
        }
        if self.chain.len() > MAX_DEPTH {
            self.problem(name, path, format!("includes are nested deeper than {MAX_DEPTH}"), "include fewer levels");
            return None;
        }
        let content = match (self.read)(&target) {
            Ok(content) => content,
            Err(why) => {
                self.sources.missing(target.clone());
                self.problem(
                    name,
                    path,
                    format!("cannot read the included file {}: {why}", target.display()),
                    "check the path and its permissions",
                );
                return None;
            }
        };
        let tree = match self.sources.parse(Some(target.clone()), &content, self.findings) {
            Ok(tree) => tree,
            Err(problem) => {
                self.problems.push(problem);
                return None;
            }
        };
        self.chain.push(target);
        let tree = self.expand(tree, path);
        self.chain.pop();
        Some(tree)
    }

    fn problem(&mut self, at: &Node, path: &KeyPath, message: String, hint: &str) {
        let problem = self.sources.problem(at.at, message);
        self.problems.push(Problem { key_path: path.key("$include"), hint: Some(hint.to_owned()), ..problem });
    }
}

/// The outermost objects that include something.
pub(super) fn places(node: &Node, path: &KeyPath, out: &mut Vec<(KeyPath, Node)>) {
    match &node.kind {
        Kind::Map(map) if map.contains_key("$include") => out.push((path.clone(), node.clone())),
        Kind::Map(map) => map.iter().for_each(|(key, child)| places(child, &path.key(key), out)),
        Kind::List(list) => list.iter().enumerate().for_each(|(i, child)| places(child, &path.index(i), out)),
        _ => {}
    }
}

/// Objects merge, lists are joined, anything else is replaced by the later one.
fn merge(before: Node, after: Node) -> Node {
    match (before.kind, after.kind) {
        (Kind::Map(mut a), Kind::Map(b)) => {
            for (key, later) in b {
                let node = match a.shift_remove(&key) {
                    Some(earlier) => merge(earlier, later),
                    None => later,
                };
                a.insert(key, node);
            }
            Node { at: after.at, key_at: after.key_at.or(before.key_at), kind: Kind::Map(a) }
        }
        (Kind::List(mut a), Kind::List(b)) => {
            a.extend(b);
            Node { at: after.at, key_at: after.key_at.or(before.key_at), kind: Kind::List(a) }
        }
        (_, kind) => Node { at: after.at, key_at: after.key_at, kind },
    }
}

/// The path without `.` and `..`, by its letters alone.
fn tidy(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// A text that took something from the environment.
pub(super) struct Expansion {
    /// Its place.
    pub path: KeyPath,
    /// What stands in the file.
    pub source: String,
    /// What it means.
    pub text: String,
    /// The variables that it names, with their values.
    pub values: Vec<(String, String)>,
}

/// Replaces `${NAME}` in every text; `$${NAME}` stands for itself without its first `$`. Gives the texts that it changed.
pub(super) fn substitute(
    node: &mut Node,
    path: &KeyPath,
    env: &dyn Fn(&str) -> Option<String>,
    findings: &mut Findings,
) -> Vec<Expansion> {
    match &mut node.kind {
        Kind::List(list) => {
            let each = list.iter_mut().enumerate();
            each.flat_map(|(i, n)| substitute(n, &path.index(i), env, findings)).collect()
        }
        Kind::Map(map) => map.iter_mut().flat_map(|(k, n)| substitute(n, &path.key(k), env, findings)).collect(),
        Kind::Text(text) if text.contains("${") => {
            let mut values = Vec::new();
            let expanded = expand_text(text, path, env, findings, &mut values);
            let source = std::mem::replace(text, expanded.clone());
            vec![Expansion { path: path.clone(), source, text: expanded, values }]
        }
        _ => Vec::new(),
    }
}

fn expand_text(
    text: &str,
    path: &KeyPath,
    env: &dyn Fn(&str) -> Option<String>,
    findings: &mut Findings,
    values: &mut Vec<(String, String)>,
) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, after) = rest.split_at(start);
        let name = after[2..].split_once('}').map(|(name, _)| name).filter(|name| is_name(name));
        let Some(name) = name else {
            out.push_str(before);
            out.push_str("${");
            rest = &after[2..];
            continue;
        };
        let whole = &after[..name.len() + 3];
        rest = &after[whole.len()..];
        if let Some(literal) = before.strip_suffix('$') {
            out.push_str(literal);
            out.push_str(whole);
            continue;
        }
        out.push_str(before);
        match env(name).filter(|v| !v.is_empty()) {
            Some(value) => {
                out.push_str(&value);
                values.push((name.to_owned(), value));
            }
            None => findings.problem(
                path.clone(),
                format!("the environment variable {name} is not set"),
                format!("set {name} for the gateway, or write the text itself; $${{{name}}} is the text ${{{name}}}"),
            ),
        }
    }
    out.push_str(rest);
    out
}

fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit();
    name.chars().next().is_some_and(|c| !c.is_ascii_digit()) && name.chars().all(good)
}
