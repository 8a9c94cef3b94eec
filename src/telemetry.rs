//! Logs: a console for people and a daily file of JSON lines that only its owner can read.
//!
//! The file is `/tmp/verso/verso-YYYY-MM-DD.log` with the local date of each line; when that folder is not ours alone (somebody else
//! made it, or it is a link), `<state>/logs` takes its place. Files are 0600, the folder 0700; days older than 24 h are deleted by
//! name. The lines have the shape that `logs.tail` promises.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime, UtcOffset};
use tracing::field::{Field, Visit};
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::disclosure;
use crate::whatsapp::LIBRARY_LOG;

/// Names that log lines are sorted by.
pub mod target {
    /// What came from WhatsApp.
    pub const INBOUND: &str = "whatsapp/inbound";
    /// What went to WhatsApp.
    pub const OUTBOUND: &str = "whatsapp/outbound";
    /// The regular health line of a connection.
    pub const HEARTBEAT: &str = "web-heartbeat";
    /// Lost connections and the way back.
    pub const RECONNECT: &str = "web-reconnect";
    /// Credentials and linking.
    pub const SESSION: &str = "web-session";
    /// The configuration and its reloads.
    pub const CONFIG: &str = "config";
    /// Agents and their runs.
    pub const AGENT: &str = "agent";
    /// The API.
    pub const API: &str = "api";
    /// The process as a whole.
    pub const GATEWAY: &str = "gateway";
}

/// Where daily files usually go.
const DAILY_DIR: &str = "/tmp/verso";
const DATE: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");
const ISO: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
/// Days of logs that stay, today not counted.
const KEEP_DAYS: i64 = 1;

/// How the console looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConsoleStyle {
    /// Time, level, target, text.
    #[default]
    Pretty,
    /// Level and text.
    Compact,
    /// The lines of the file.
    Json,
}

/// What to log and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// Filter of the file, such as `info` or `warn,whatsapp=debug`.
    pub file_level: String,
    /// Filter of the console.
    pub console_level: String,
    /// Look of the console.
    pub console_style: ConsoleStyle,
    /// A file of the owner's choice, never rotated; `None` is the daily file.
    pub file: Option<PathBuf>,
    /// Takes the place of `/tmp/verso` when that cannot be trusted.
    pub fallback_dir: PathBuf,
}

/// Keeps the log going; what is queued is written when it is dropped.
pub struct Telemetry {
    file: LogFile,
    _guard: WorkerGuard,
}

impl Telemetry {
    /// The file that lines go to right now.
    pub fn current_file(&self) -> PathBuf {
        self.file.path(now().date())
    }

    /// The same question, for others to ask later.
    pub fn file_source(&self) -> std::sync::Arc<dyn Fn() -> Option<PathBuf> + Send + Sync> {
        let file = self.file.clone();
        std::sync::Arc::new(move || Some(file.path(now().date())))
    }
}

/// Sets up logging for this process. `VERSO_LOG` overrides both filters.
///
/// # Errors
/// When no log file can be opened, or a filter cannot be read.
pub fn init(options: &Options) -> io::Result<Telemetry> {
    let file = LogFile::choose(options)?;
    file.remove_old(now().date());
    let (queue, guard) = tracing_appender::non_blocking::NonBlockingBuilder::default()
        .lossy(false)
        .finish(DailyWriter::new(file.clone()));
    let filter = |level: &str| -> io::Result<EnvFilter> {
        let text = std::env::var("VERSO_LOG").ok().filter(|t| !t.is_empty()).unwrap_or_else(|| level.to_owned());
        EnvFilter::try_new(filter_of(&text)).map_err(|e| wrong_filter(&text, &e))
    };
    let lines = json_lines(Queue(queue)).with_filter(filter(&options.file_level)?);
    let console = console_layer();
    let console = match options.console_style {
        ConsoleStyle::Pretty => console.with_timer(LocalTime).boxed(),
        ConsoleStyle::Compact => console.without_time().with_target(false).compact().boxed(),
        ConsoleStyle::Json => json_lines(io::stderr).boxed(),
    };
    let console = console.with_filter(filter(&options.console_level)?);
    tracing_subscriber::registry()
        .with(lines)
        .with(console)
        .try_init()
        .map_err(|e| io::Error::new(io::ErrorKind::AlreadyExists, e))?;
    Ok(Telemetry { file, _guard: guard })
}

/// Logs to the console alone, and only when `VERSO_LOG` is set.
///
/// # Errors
/// When the filter cannot be read.
pub fn console_from_env() -> io::Result<()> {
    let Some(text) = std::env::var("VERSO_LOG").ok().filter(|t| !t.is_empty()) else { return Ok(()) };
    let filter = EnvFilter::try_new(filter_of(&text)).map_err(|e| wrong_filter(&text, &e))?;
    let console = console_layer().with_timer(LocalTime);
    tracing_subscriber::registry()
        .with(console.with_filter(filter))
        .try_init()
        .map_err(|e| io::Error::new(io::ErrorKind::AlreadyExists, e))
}

/// Lines for people, on standard error.
fn console_layer<S>() -> fmt::Layer<S, ConsoleFields, fmt::format::Format, fn() -> io::Stderr>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let to: fn() -> io::Stderr = io::stderr;
    fmt::layer()
        .fmt_fields(ConsoleFields(fmt::format::DefaultFields::new()))
        .with_writer(to)
        .with_ansi(color(&io::stderr()))
}

/// Makes panics of this process say no secret: on standard error, and in the log once there is one.
pub fn hide_secrets_in_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        if crate::actors::is_quiet() {
            // Standard error is a log, too.
            tracing::error!(target: target::GATEWAY, place, "panic at a message, which its text might quote");
            return;
        }
        let text = disclosure::scrub(panic.payload_as_str().unwrap_or("unknown cause"));
        tracing::error!(target: target::GATEWAY, place, "panic: {text}");
        let thread = std::thread::current();
        let mut lines = format!("thread '{}' panicked at {place}:\n{text}", thread.name().unwrap_or("<unnamed>"));
        let trace = std::backtrace::Backtrace::capture();
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            lines.push_str(&format!("\n{}", disclosure::mask(&trace.to_string())));
        }
        eprintln!("{lines}");
    }));
}

fn wrong_filter(text: &str, error: &dyn std::fmt::Display) -> io::Error {
    let why = format!("the log filter \"{text}\" is wrong: {error}; try info or whatsapp=debug");
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// The filter for a level. Libraries know nothing of redaction, and the WhatsApp client names numbers at info: they are heard from
/// warn on, whatever Verso itself says. Anything that is no level is a filter already.
pub fn filter_of(level: &str) -> String {
    match level {
        "info" | "debug" => format!(
            "warn,verso={level},whatsapp={level},{LIBRARY_LOG},web={level},config={level},agent={level},api={level},gateway={level}"
        ),
        _ => level.to_owned(),
    }
}

/// Colour for terminals, unless `NO_COLOR` is set.
pub fn color(stream: &impl std::io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// The time of day in the machine's zone; UTC when the zone cannot be found out.
fn now() -> OffsetDateTime {
    OffsetDateTime::now_local().unwrap_or_else(|_| OffsetDateTime::now_utc())
}

/// Which file a line belongs to.
#[derive(Clone, Debug)]
enum LogFile {
    /// One file, for ever.
    Fixed(PathBuf),
    /// One file a day in this folder.
    Daily(PathBuf),
}

impl LogFile {
    fn choose(options: &Options) -> io::Result<Self> {
        if let Some(file) = &options.file {
            if let Some(dir) = file.parent() {
                fs::create_dir_all(dir)?;
            }
            open(file)?;
            return Ok(Self::Fixed(file.clone()));
        }
        let usual = Path::new(DAILY_DIR);
        let dir = match own_dir(usual).and_then(|()| open(&Self::Daily(usual.into()).path(now().date())).map(drop)) {
            Ok(()) => usual.to_path_buf(),
            Err(_) => {
                own_dir(&options.fallback_dir)?;
                options.fallback_dir.clone()
            }
        };
        let file = Self::Daily(dir);
        open(&file.path(now().date()))?;
        Ok(file)
    }

    fn path(&self, day: Date) -> PathBuf {
        match self {
            Self::Fixed(path) => path.clone(),
            Self::Daily(dir) => dir.join(format!("verso-{}.log", day.format(DATE).unwrap_or_default())),
        }
    }

    /// Deletes daily files by the date in their name.
    fn remove_old(&self, today: Date) {
        let Self::Daily(dir) = self else { return };
        let Ok(entries) = fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let day = name
                .to_str()
                .and_then(|n| n.strip_prefix("verso-")?.strip_suffix(".log"))
                .and_then(|d| Date::parse(d, DATE).ok());
            if day.is_some_and(|d| d < today - Duration::days(KEEP_DAYS)) {
                // It is tried again tomorrow.
                drop(fs::remove_file(entry.path()));
            }
        }
    }
}

/// Makes a 0700 folder or checks that the one there is ours and no link.
fn own_dir(dir: &Path) -> io::Result<()> {
    match fs::symlink_metadata(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?
        }
        Err(e) => return Err(e),
        Ok(_) => {}
    }
    let found = fs::symlink_metadata(dir)?;
    // The owner of a file that this process makes is the user that it runs as.
    let me = tempfile::tempfile()?.metadata()?.uid();
    if !found.is_dir() || found.uid() != me {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} is not our own folder", dir.display()),
        ));
    }
    if found.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(|e| io::Error::new(e.kind(), format!("cannot write the log file {}: {e}", path.display())))?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Writes each line to the file of its day.
struct DailyWriter {
    file: LogFile,
    open: Option<(Date, File)>,
}

impl DailyWriter {
    fn new(file: LogFile) -> Self {
        Self { file, open: None }
    }

    fn today(&mut self, day: Date) -> io::Result<&mut File> {
        if self.open.as_ref().is_none_or(|(d, _)| *d != day) {
            let opened = open(&self.file.path(day))?;
            if self.open.is_some() {
                self.file.remove_old(day);
            }
            self.open = Some((day, opened));
        }
        match &mut self.open {
            Some((_, file)) => Ok(file),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Write for DailyWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.today(now().date())?.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.open {
            Some((_, file)) => file.flush(),
            None => Ok(()),
        }
    }
}

struct Queue(NonBlocking);

impl<'a> MakeWriter<'a> for Queue {
    type Writer = NonBlocking;

    fn make_writer(&'a self) -> NonBlocking {
        self.0.clone()
    }
}

struct LocalTime;

impl fmt::time::FormatTime for LocalTime {
    fn format_time(&self, w: &mut Writer<'_>) -> std::fmt::Result {
        const CLOCK: &[BorrowedFormatItem<'_>] = format_description!("[hour]:[minute]:[second].[subsecond digits:3]");
        w.write_str(&now().format(CLOCK).unwrap_or_default())
    }
}

/// A layer of [`Lines`].
fn json_lines<S, W>(to: W) -> fmt::Layer<S, PlainFields, Lines, W>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fmt::layer()
        .fmt_fields(PlainFields(fmt::format::DefaultFields::new()))
        .event_format(Lines)
        .with_ansi(false)
        .with_writer(to)
}

/// A type of its own, because layers with the same type of fields share the text that the first of them made, colours included.
struct PlainFields(fmt::format::DefaultFields);

impl<'w> FormatFields<'w> for PlainFields {
    fn format_fields<R: tracing_subscriber::field::RecordFields>(&self, to: Writer<'w>, fields: R) -> std::fmt::Result {
        self.0.format_fields(to, fields)
    }
}

/// The words of a line and of its spans, without secrets and without what steers a terminal. A type of its own as [`PlainFields`] is.
struct ConsoleFields(fmt::format::DefaultFields);

impl<'w> FormatFields<'w> for ConsoleFields {
    fn format_fields<R: tracing_subscriber::field::RecordFields>(
        &self,
        mut to: Writer<'w>,
        fields: R,
    ) -> std::fmt::Result {
        let mut text = String::new();
        self.0.format_fields(Writer::new(&mut text), fields)?;
        to.write_str(&disclosure::scrub(&text).replace('\u{1b}', "\\x1b"))
    }
}

/// One JSON object a line: `0` the target as JSON, `1` the text, then the fields, `_meta` and `time`.
struct Lines;

#[derive(Default)]
struct Fields {
    text: String,
    values: Map<String, Value>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.text = format!("{value:?}");
        } else {
            self.values.insert(field.name().to_owned(), Value::String(format!("{value:?}")));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.text = value.to_owned();
        } else {
            self.values.insert(field.name().to_owned(), value.into());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.values.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.values.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.values.insert(field.name().to_owned(), value.into());
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut w: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> std::fmt::Result {
        let meta = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut text = fields.text;
        for (name, value) in &fields.values {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text.push_str(&format!(" {name}={shown}"));
        }
        let text = disclosure::scrub(&text);
        fields.values.values_mut().for_each(disclosure::scrub_value);
        let spans: Vec<String> = ctx
            .event_scope()
            .map(|scope| {
                scope
                    .from_root()
                    .map(|span| {
                        let extensions = span.extensions();
                        let fields =
                            extensions.get::<fmt::FormattedFields<N>>().map(|f| f.fields.clone()).unwrap_or_default();
                        let fields = disclosure::scrub(&fields);
                        if fields.is_empty() { span.name().to_owned() } else { format!("{}{{{fields}}}", span.name()) }
                    })
                    .collect()
            })
            .unwrap_or_default();
        let name = json!({"subsystem": meta.target()}).to_string();
        let time = OffsetDateTime::now_utc().to_offset(UtcOffset::UTC).format(ISO).unwrap_or_default();
        let mut line = json!({
            "0": name, "1": text,
            "_meta": {"date": time, "logLevelName": meta.level().as_str(), "name": name},
            "time": time,
        });
        if !fields.values.is_empty() {
            line["fields"] = fields.values.into();
        }
        if !spans.is_empty() {
            line["spans"] = json!(spans);
        }
        writeln!(w, "{line}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use time::macros::date;

    #[test]
    fn folders_and_files_are_private_and_links_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("logs");
        own_dir(&own).unwrap();
        assert_eq!(fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o700);
        fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
        own_dir(&own).unwrap();
        assert_eq!(fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o700);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&own, &link).unwrap();
        assert!(own_dir(&link).is_err());
        let file = own.join("verso-2026-01-01.log");
        open(&file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let trap = own.join("trap.log");
        std::os::unix::fs::symlink("/etc/passwd", &trap).unwrap();
        assert!(open(&trap).is_err());
    }

    #[test]
    fn every_line_goes_to_the_file_of_its_day_and_old_days_go() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["verso-2026-11-01.log", "verso-2026-11-20.log", "other-2026-11-01.log", "verso-latest.log"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let mut writer = DailyWriter::new(LogFile::Daily(dir.path().into()));
        writer.today(date!(2026 - 11 - 20)).unwrap().write_all(b"late\n").unwrap();
        assert!(dir.path().join("verso-2026-11-01.log").exists());
        writer.today(date!(2026 - 11 - 21)).unwrap().write_all(b"early\n").unwrap();
        let mut left: Vec<String> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["other-2026-11-01.log", "verso-2026-11-20.log", "verso-2026-11-21.log", "verso-latest.log"]);
        assert_eq!(fs::read_to_string(dir.path().join("verso-2026-11-21.log")).unwrap(), "early\n");
    }

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, b: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(b);
            Ok(b.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_line_holds_a_secret() {
        disclosure::remember(["telemetry-\"secret\"", "12345678901"]);
        let (file, console) = (Memory::default(), Memory::default());
        let (to_file, to_console) = (file.clone(), console.clone());
        let shown = fmt::layer()
            .fmt_fields(ConsoleFields(fmt::format::DefaultFields::new()))
            .with_ansi(false)
            .with_writer(move || to_console.clone());
        let subscriber = tracing_subscriber::registry().with(json_lines(move || to_file.clone())).with(shown);
        tracing::subscriber::with_default(subscriber, || {
            let _in = tracing::info_span!("account", account_id = "telemetry-\"secret\"").entered();
            let error = std::io::Error::other("bad telemetry-\"secret\"");
            tracing::warn!(%error, ?error, number = 12_345_678_901_u64, "key telemetry-\"secret\" \u{1b}[2J refused");
        });
        for memory in [file, console] {
            let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
            assert!(text.contains("***") && text.contains("refused"), "{text}");
            assert!(!text.contains("telemetry-") && !text.contains('\u{1b}'), "{text}");
        }
    }

    #[test]
    fn lines_have_the_shape_that_clients_print() {
        let memory = Memory::default();
        let to = memory.clone();
        let subscriber = tracing_subscriber::registry().with(json_lines(move || to.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("account", account_id = "work");
            let _in = span.enter();
            tracing::warn!(target: "web-reconnect", attempt = 3, "link down");
        });
        let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["0"], r#"{"subsystem":"web-reconnect"}"#);
        assert_eq!(line["1"], "link down attempt=3");
        assert_eq!((&line["_meta"]["logLevelName"], &line["_meta"]["name"]), (&json!("WARN"), &line["0"]));
        assert_eq!(line["time"], line["_meta"]["date"]);
        assert_eq!((&line["fields"]["attempt"], &line["spans"]), (&json!(3), &json!(["account{account_id=\"work\"}"])));
    }
}
