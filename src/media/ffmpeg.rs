//! Audio that nothing here reads goes through `ffmpeg` when it is installed.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// Minutes of audio take seconds; whatever takes longer hangs.
const LIMIT: Duration = Duration::from_secs(120);
/// How much of its complaint is quoted.
const QUOTED: usize = 300;

/// The `ffmpeg` on the search path.
pub(super) fn find() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join("ffmpeg"))
        .find(|file| file.is_file())
}

/// Writes the sound of `from` to `to` as OGG/Opus of about `cap` bytes at most. It reads standard input and no other file, so that a
/// playlist in disguise leads nowhere.
pub(super) async fn to_opus(ffmpeg: &Path, from: &Path, to: &Path, cap: u64) -> Result<(), String> {
    let input = std::fs::File::open(from).map_err(|e| e.to_string())?;
    let mut child = Command::new(ffmpeg)
        .args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y", "-protocol_whitelist", "pipe", "-i", "pipe:0"])
        .args(["-vn", "-sn", "-dn", "-map", "0:a:0", "-map_metadata", "-1", "-ac", "1", "-ar", "48000"])
        .args(["-c:a", "libopus", "-b:a", "32k", "-t", "14400", "-fs", &cap.saturating_add(1).to_string(), "-f", "ogg"])
        .arg(to)
        .env_remove("FFREPORT")
        .stdin(input)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("ffmpeg cannot be started: {e}"))?;
    let stderr = child.stderr.take();
    let run = async {
        let mut said = Vec::new();
        if let Some(stderr) = stderr {
            let _ = stderr.take(4096).read_to_end(&mut said).await;
        }
        (child.wait().await, said)
    };
    let (status, said) = tokio::time::timeout(LIMIT, run).await.map_err(|_| "ffmpeg took too long".to_owned())?;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            let words = String::from_utf8_lossy(&said).split_whitespace().collect::<Vec<_>>().join(" ");
            let words: String = words.chars().take(QUOTED).collect();
            Err(format!("ffmpeg gave up ({status}): {words}"))
        }
        Err(e) => Err(e.to_string()),
    }
}
