//! How commands speak: one printer for people and for `--json`, and failures as `error:` and `hint:` lines.

use std::io::{self, IsTerminal, Write};

use serde_json::{Value, json};

use crate::api::protocol::ErrorShape;
use crate::disclosure;

/// Exit code of a command that was carried out and failed.
pub const FAILED: u8 = 1;
/// Exit code of a command that was written wrongly.
pub const USAGE: u8 = 2;

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The exit code.
    pub code: u8,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: FAILED }
    }

    /// A command line that cannot be carried out as written.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, ..Self::new(message) }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<ErrorShape> for Failure {
    fn from(error: ErrorShape) -> Self {
        Self::new(error.message)
    }
}

impl From<crate::store::StoreError> for Failure {
    fn from(error: crate::store::StoreError) -> Self {
        Self::new(error.to_string())
    }
}

/// Where a command's words go.
pub struct Printer<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    json: bool,
    /// The output is a terminal: pictures may be redrawn in place.
    pub terminal: bool,
}

impl<'a> Printer<'a> {
    /// Prints to these; `json` prints the values and leaves the lines out.
    pub fn new(out: &'a mut dyn Write, err: &'a mut dyn Write, json: bool) -> Self {
        Self { out, err, json, terminal: false }
    }

    /// True when words may be coloured: on a terminal, unless `NO_COLOR` says otherwise.
    pub fn colour(&self) -> bool {
        self.terminal && !self.json && crate::telemetry::color(&io::stdout())
    }

    /// True when a program reads the output.
    pub fn json(&self) -> bool {
        self.json
    }

    /// A line for people.
    pub fn line(&mut self, text: impl AsRef<str>) {
        if !self.json {
            put(self.out, text.as_ref());
        }
    }

    /// Text for people as it is, shown at once.
    pub fn raw(&mut self, text: &str) {
        if !self.json {
            drop(self.out.write_all(disclosure::mask(text).as_bytes()));
            drop(self.out.flush());
        }
    }

    /// A remark beside the result, also with `--json`.
    pub fn note(&mut self, text: impl AsRef<str>) {
        put(self.err, text.as_ref());
    }

    /// The result for programs.
    pub fn value(&mut self, value: &Value) {
        if self.json {
            let value = without_secrets(value);
            put(self.out, &serde_json::to_string_pretty(&value).unwrap_or_else(|_| value.to_string()));
        }
    }

    /// One value a line, for output that goes on.
    pub fn json_line(&mut self, value: &Value) {
        put(self.out, &without_secrets(value).to_string());
    }

    /// The end of a failed command.
    pub fn failure(&mut self, failure: &Failure) {
        self.value(&json!({"ok": false, "error": {"message": failure.message, "hint": failure.hint}}));
        let mut lines = failure.message.lines();
        put(self.err, &format!("error: {}", lines.next().unwrap_or("unknown")));
        for line in lines {
            put(self.err, &format!("       {line}"));
        }
        if let Some(hint) = &failure.hint {
            put(self.err, &format!("hint: {hint}"));
        }
    }
}

/// Colours that mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Look here.
    Bad,
    /// Beside the point.
    Faint,
}

/// The text in its tone; `on` is [`Printer::colour`].
pub fn paint(on: bool, tone: Tone, text: &str) -> String {
    let code = match tone {
        Tone::Good => 32,
        Tone::Bad => 31,
        Tone::Faint => 2,
    };
    if on && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

fn without_secrets(value: &Value) -> Value {
    let mut value = value.clone();
    disclosure::mask_value(&mut value);
    value
}

/// A closed pipe is the reader's wish to hear no more.
fn put(to: &mut dyn Write, line: &str) {
    drop(writeln!(to, "{}", disclosure::mask(line)));
    drop(to.flush());
}

/// Runs a command with a printer for this process and turns its result into an exit code.
pub fn finish(json: bool, work: impl FnOnce(&mut Printer<'_>) -> Result<(), Failure>) -> u8 {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let terminal = out.is_terminal();
    let mut printer = Printer::new(&mut out, &mut err, json);
    printer.terminal = terminal;
    match work(&mut printer) {
        Ok(()) => 0,
        Err(failure) => {
            printer.failure(&failure);
            failure.code
        }
    }
}

/// `2m ago`; `just now` below a minute.
pub fn ago(then_ms: i64, now_ms: i64) -> String {
    let seconds = (now_ms - then_ms).max(0) / 1000;
    match seconds {
        0..60 => "just now".into(),
        _ => format!("{} ago", span(seconds * 1000)),
    }
}

/// `12m`, `3h`, `2d`.
pub fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_lines_and_programs_values() {
        let print = |json: bool| {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut p = Printer::new(&mut out, &mut err, json);
            p.line("done");
            p.value(&json!({"ok": true}));
            p.failure(&Failure::new("first\nsecond").hint("do this"));
            disclosure::remember(["printer-secret"]);
            p.line("printer-secret");
            p.raw("printer-secret\n");
            p.note("printer-secret");
            p.json_line(&json!("printer-secret"));
            (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
        };
        let err = "error: first\n       second\nhint: do this\n***\n";
        assert_eq!(print(false), ("done\n***\n***\n\"***\"\n".into(), err.into()));
        let (out, err) = print(true);
        assert!(out.contains("\"ok\": true") && out.contains("\"hint\": \"do this\"") && !out.contains("done"));
        assert!(err.starts_with("error: first"));
    }

    #[test]
    fn times_are_short() {
        assert_eq!(ago(0, 59_000), "just now");
        assert_eq!(ago(0, 125_000), "2m ago");
        assert_eq!((span(7_200_000), span(200_000_000)), ("2h".into(), "2d".into()));
    }
}
