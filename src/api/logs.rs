//! `logs.tail`: the log file by byte offsets, whole lines only.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::params::Params;
use super::protocol::ErrorShape;
use super::server::Api;

const DEFAULT_LINES: u64 = 500;
const MOST_LINES: u64 = 5000;
const DEFAULT_BYTES: u64 = 250_000;
const MOST_BYTES: u64 = 1_000_000;

#[derive(Debug, PartialEq, Eq)]
struct Tail {
    cursor: u64,
    size: u64,
    lines: Vec<String>,
    truncated: bool,
    reset: bool,
}

/// What is new since `cursor`, or the end of the file.
pub(super) async fn tail(api: &Api, params: &Params) -> Result<Value, ErrorShape> {
    let cursor = params.number("cursor")?;
    let limit = params.number("limit")?.unwrap_or(DEFAULT_LINES).clamp(1, MOST_LINES);
    let bytes = params.number("maxBytes")?.unwrap_or(DEFAULT_BYTES).clamp(1, MOST_BYTES);
    let Some(file) = (api.log_file)() else {
        return Err(ErrorShape::unavailable("this gateway writes no log file"));
    };
    let path: PathBuf = file.clone();
    let read = actix_web::web::block(move || read(&path, cursor, limit, bytes)).await;
    let tail = match read {
        Ok(Ok(tail)) => tail,
        Ok(Err(error)) => {
            return Err(ErrorShape::unavailable(format!("cannot read the log file {}: {error}", file.display())));
        }
        Err(_) => return Err(ErrorShape::unavailable("the gateway is stopping")),
    };
    let mut answer =
        json!({"file": file.display().to_string(), "cursor": tail.cursor, "size": tail.size, "lines": tail.lines});
    if tail.truncated {
        answer["truncated"] = json!(true);
    }
    if tail.reset {
        answer["reset"] = json!(true);
    }
    Ok(answer)
}

fn read(path: &Path, cursor: Option<u64>, limit: u64, most: u64) -> std::io::Result<Tail> {
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        // Nothing was logged yet.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Tail {
                cursor: 0,
                size: 0,
                lines: Vec::new(),
                truncated: false,
                reset: cursor.unwrap_or(0) > 0,
            });
        }
        Err(e) => return Err(e),
    };
    let size = file.metadata()?.len();
    let shrunk = cursor.is_some_and(|c| c > size);
    let wanted = cursor.filter(|_| !shrunk);
    let start = match wanted {
        Some(c) if size - c <= most => c,
        _ => size.saturating_sub(most),
    };
    let skipped = wanted.is_some_and(|c| start > c);
    // A start inside the file that no earlier answer named may lie within a line.
    let partial = start > 0 && wanted != Some(start);
    // One byte more in front says whether the start is the start of a line.
    let from = if partial { start - 1 } else { start };
    file.seek(SeekFrom::Start(from))?;
    let mut buffer = Vec::new();
    file.take(size - from).read_to_end(&mut buffer)?;
    let mut begin = 0;
    if partial {
        begin = buffer.iter().position(|b| *b == b'\n').map_or(buffer.len(), |p| p + 1);
    }
    let end = buffer.iter().rposition(|b| *b == b'\n').map_or(begin, |p| p + 1).max(begin);
    // A line without an end longer than the window: skip it, or the reader would never get past it.
    let stuck = end == begin && buffer.len() as u64 >= most;
    let lines: Vec<&[u8]> = buffer[begin..end].split(|b| *b == b'\n').filter(|l| !l.is_empty()).collect();
    let over = lines.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(Tail {
        cursor: if stuck { size } else { from + end as u64 },
        size,
        lines: lines[over..].iter().map(|l| String::from_utf8_lossy(l).into_owned()).collect(),
        truncated: over > 0 || (cursor.is_none() && start > 0) || skipped,
        reset: shrunk || skipped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn lines_come_once_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert_eq!(read(&path, None, 10, 100).unwrap().lines, Vec::<String>::new());
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(b"one\ntwo\nthr").unwrap();
        let first = read(&path, None, 10, 100).unwrap();
        assert_eq!((first.lines, first.cursor, first.truncated), (vec!["one".to_owned(), "two".into()], 8, false));
        file.write_all(b"ee\nfour\n").unwrap();
        let second = read(&path, Some(8), 10, 100).unwrap();
        assert_eq!((second.lines, second.reset), (vec!["three".to_owned(), "four".into()], false));
        let end = read(&path, None, 10, 7).unwrap();
        assert_eq!((end.lines, end.truncated), (vec!["four".to_owned()], true), "the cut line is left out");
        let aligned = read(&path, None, 10, 5).unwrap();
        assert_eq!(aligned.lines, vec!["four".to_owned()], "a start on a line's start keeps it");
        let few = read(&path, None, 1, 100).unwrap();
        assert_eq!((few.lines, few.truncated), (vec!["four".to_owned()], true));
        let skipped = read(&path, Some(0), 10, 6).unwrap();
        assert!(skipped.reset && skipped.lines == ["four"]);
        std::fs::write(&path, "new\n").unwrap();
        let shrunk = read(&path, Some(20), 10, 100).unwrap();
        assert!(shrunk.reset && shrunk.lines == ["new"]);
    }
}
