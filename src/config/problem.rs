//! What is wrong with a config file: where, what, and how to put it right.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// One step of a [`KeyPath`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Seg {
    /// Key of an object.
    Key(String),
    /// Position in a list.
    Index(usize),
}

/// The place of a value in the config, such as `channels.whatsapp.allowFrom.0` or `…groups["12@g.us"].requireMention`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyPath(pub Vec<Seg>);

impl KeyPath {
    /// The path of these object keys.
    pub fn of(keys: &[&str]) -> Self {
        Self(keys.iter().map(|k| Seg::Key((*k).to_owned())).collect())
    }

    /// This path and one more key.
    pub fn key(&self, key: &str) -> Self {
        let mut out = self.clone();
        out.0.push(Seg::Key(key.to_owned()));
        out
    }

    /// This path and one more list position.
    pub fn index(&self, index: usize) -> Self {
        let mut out = self.clone();
        out.0.push(Seg::Index(index));
        out
    }

    /// True for the whole file.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// True when `prefix` is this path or leads to it.
    pub fn starts_with(&self, prefix: &KeyPath) -> bool {
        self.0.starts_with(&prefix.0)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, seg) in self.0.iter().enumerate() {
            match seg {
                Seg::Key(k) if k.is_empty() || k.chars().any(|c| ".[]\"'".contains(c) || c.is_whitespace()) => {
                    write!(f, "[\"{}\"]", k.replace('\\', "\\\\").replace('"', "\\\""))?;
                }
                Seg::Key(k) if i == 0 => f.write_str(k)?,
                Seg::Key(k) => write!(f, ".{k}")?,
                Seg::Index(n) if i == 0 => write!(f, "{n}")?,
                Seg::Index(n) => write!(f, ".{n}")?,
            }
        }
        Ok(())
    }
}

impl Serialize for KeyPath {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// A remark of the rules before its position is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The key it is about.
    pub path: KeyPath,
    /// What is wrong, lower case unless it is a literal of behaviour.md 2.6.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where it stands, when that is not simply the place of `path`.
    pub(super) at: Option<super::source::Pos>,
    /// Another key that takes part in it; its place goes where the message has `{line}`.
    pub(super) other: Option<KeyPath>,
}

/// Everything that the rules had to say about one config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The config cannot be used.
    pub problems: Vec<Finding>,
    /// It can be used, but somebody should know.
    pub warnings: Vec<Finding>,
}

impl Findings {
    /// Adds a problem.
    pub fn problem(&mut self, path: KeyPath, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Finding { path, message: message.into(), hint: Some(hint.into()), at: None, other: None });
    }

    /// Adds a warning.
    pub fn warn(&mut self, path: KeyPath, message: impl Into<String>) {
        self.warnings.push(Finding { path, message: message.into(), hint: None, at: None, other: None });
    }

    /// Adds a warning about two keys; `{line}` in the message becomes the place of the other one.
    pub(super) fn warn_of_both(&mut self, path: KeyPath, other: KeyPath, message: String) {
        self.warnings.push(Finding { path, message, hint: None, at: None, other: Some(other) });
    }
}

/// A reason why a config is not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The key it is about; empty for the whole file.
    pub key_path: KeyPath,
    /// File it stands in, which may be an included one; `None` for text that is no file.
    pub file: Option<PathBuf>,
    /// Line, from 1; 0 when nothing in the text stands for it.
    pub line: usize,
    /// Column in characters, from 1; 0 when nothing in the text stands for it.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The text just ends too early, which a file being written does.
    pub incomplete: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
        }
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        if self.file.is_some() || self.line > 0 {
            f.write_str(" ")?;
        }
        if !self.key_path.is_root() {
            write!(f, "{}: ", self.key_path)?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// A remark about a config that is used all the same; the fields are those of [`Problem`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Warning {
    /// The key it is about; empty for the whole file.
    pub key_path: KeyPath,
    /// File it stands in.
    pub file: Option<PathBuf>,
    /// Line, from 1; 0 when nothing in the text stands for it.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What somebody should know.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
        }
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        if self.file.is_some() || self.line > 0 {
            f.write_str(" ")?;
        }
        if !self.key_path.is_root() {
            write!(f, "{}: ", self.key_path)?;
        }
        f.write_str(&self.message)
    }
}
