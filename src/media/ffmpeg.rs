//! What nothing here reads goes through `ffmpeg` when it is installed: sound becomes a voice note, films become MP4 and get a preview.
//!
//! What it reads comes from strangers. It gets a file of our own and no network, no container that names other files, and limits for
//! time, memory and what it writes.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// Memory that it may ask for, threads' stacks and libraries included.
const MEMORY: u64 = 2 * 1024 * 1024 * 1024;
/// Larger pictures are not decoded.
const PIXELS: u64 = 64 * 1024 * 1024;
/// A frame as JPEG; more is no frame.
const FRAME_BYTES: u64 = 16 * 1024 * 1024;
/// What it says is read up to here.
const WORDS_BYTES: u64 = 64 * 1024;
/// How much of its complaint is quoted.
const QUOTED: usize = 300;
/// Longer sound is cut; a voice note made here has the same limit.
const MOST_SECONDS: u64 = 4 * 3600;
/// Containers that hold everything themselves: no playlist, no list of other files.
const CONTAINERS: &str = "3gp,aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,gif,m4a,matroska,mov,mp3,mp4,mpc,mpc8,mpeg,mpegts,\
                          ogg,rm,swf,tta,voc,w64,wav,webm,wv";

/// An installed `ffmpeg`.
#[derive(Clone, Debug)]
pub(super) struct Ffmpeg {
    program: PathBuf,
    /// How long one run may take.
    patience: Duration,
}

/// What the start of a film shows.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// The first frame as JPEG, turned as it is shown.
    pub frame: Vec<u8>,
    pub seconds: Option<u32>,
    /// The codec's short name: `h264`, `vp9`.
    pub video: Option<String>,
    pub audio: Option<String>,
}

/// The `ffmpeg` on the search path.
pub(super) fn find() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join("ffmpeg"))
        .find(|file| file.is_file())
}

impl Ffmpeg {
    pub(super) fn new(program: PathBuf, patience: Duration) -> Self {
        Self { program, patience }
    }

    /// Writes the sound of `from` to `to` as OGG/Opus of about `cap` bytes at most.
    pub(super) async fn to_opus(&self, from: &Path, to: &Path, cap: u64) -> Result<(), String> {
        let mut command = self.reading(from);
        command
            .args(["-vn", "-sn", "-dn", "-map", "0:a:0", "-map_metadata", "-1", "-ac", "1", "-ar", "48000"])
            .args(["-c:a", "libopus", "-b:a", "32k", "-t", &MOST_SECONDS.to_string()])
            .args(["-fs", &cap.saturating_add(1).to_string(), "-f", "ogg"])
            .arg(to);
        self.run(command, cap).await.map(drop)
    }

    /// Looks at the first frame of a film.
    pub(super) async fn look(&self, from: &Path) -> Result<Look, String> {
        let mut command = self.reading(from);
        command.args(["-map", "0:v:0", "-an", "-sn", "-dn", "-frames:v", "1", "-c:v", "mjpeg", "-q:v", "4"]);
        command.args(["-pix_fmt", "yuvj420p", "-f", "image2pipe", "pipe:1"]);
        let (frame, said) = self.run(command, FRAME_BYTES).await?;
        if frame.is_empty() {
            return Err("it shows no frame".to_owned());
        }
        Ok(Look { frame, seconds: seconds(&said), video: codec(&said, "Video: "), audio: codec(&said, "Audio: ") })
    }

    /// Writes the film `from` to `to` as an MP4 that phones play, of about `cap` bytes at most. What is in the right form already
    /// is only packed anew.
    pub(super) async fn to_mp4(&self, from: &Path, look: &Look, to: &Path, cap: u64) -> Result<(), String> {
        let mut command = self.reading(from);
        command.args(["-map", "0:v:0", "-map", "0:a:0?", "-sn", "-dn", "-map_metadata", "-1"]);
        match look.video.as_deref() {
            Some("h264") => command.args(["-c:v", "copy"]),
            _ => command.args(["-c:v", "libx264", "-preset", "veryfast", "-crf", "26", "-pix_fmt", "yuv420p"]).args([
                // Phones play no more than this, and no odd sides.
                "-vf",
                "scale='min(1280,iw)':'min(1280,ih)':force_original_aspect_ratio=decrease:force_divisible_by=2",
            ]),
        };
        match look.audio.as_deref() {
            Some("aac") => command.args(["-c:a", "copy"]),
            _ => command.args(["-c:a", "aac", "-b:a", "96k", "-ac", "2"]),
        };
        command
            .args(["-threads", "2", "-movflags", "+faststart", "-fs", &cap.saturating_add(1).to_string(), "-f", "mp4"])
            .arg(to);
        self.run(command, cap).await.map(drop)
    }

    /// A command that reads one file and writes nothing yet.
    fn reading(&self, from: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["-nostdin", "-hide_banner", "-loglevel", "info", "-nostats", "-y", "-threads", "2"])
            .args(["-max_pixels", &PIXELS.to_string()])
            .args(["-protocol_whitelist", "file,pipe", "-format_whitelist", CONTAINERS, "-i"])
            // Its own syntax for protocols does not apply behind this.
            .arg(format!("file:{}", from.display()))
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command
    }

    /// Runs it to its end, or ends it; gives what it wrote to standard output and what it said.
    async fn run(&self, mut command: Command, most: u64) -> Result<(Vec<u8>, String), String> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|e| format!("ffmpeg cannot be started: {e}"))?;
        self.limit(child.id(), most)?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let run = async {
            let (out, said, status) = tokio::join!(start_of(out, most), start_of(err, WORDS_BYTES), child.wait());
            (out, String::from_utf8_lossy(&said).into_owned(), status)
        };
        let ended = tokio::time::timeout(self.patience, run).await;
        let (out, said, status) =
            ended.map_err(|_| format!("ffmpeg took longer than {} s", self.patience.as_secs_f32()))?;
        match status {
            Ok(status) if status.success() => Ok((out, said)),
            Ok(status) => {
                // The last words are the reason.
                let words: Vec<&str> = said.split_whitespace().collect();
                let text = words.join(" ");
                let skipped = text.chars().count().saturating_sub(QUOTED);
                Err(format!("ffmpeg gave up ({status}): {}", text.chars().skip(skipped).collect::<String>()))
            }
            Err(e) => Err(e.to_string()),
        }
    }

    /// A file that takes all memory, time or disk ends the program and nothing else.
    fn limit(&self, id: Option<u32>, most: u64) -> Result<(), String> {
        // Without an id it has ended; nobody's limits, and above all not our own, are to be changed.
        let Some(pid) = id.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) else { return Ok(()) };
        let at = |most: u64| Rlimit { current: Some(most), maximum: Some(most) };
        let limits = [
            (Resource::As, MEMORY),
            (Resource::Cpu, 2 * self.patience.as_secs().max(1)),
            // The end of a file is written after its size is checked.
            (Resource::Fsize, most.saturating_add(1024 * 1024)),
        ];
        for (what, most) in limits {
            match prlimit(Some(pid), what, at(most)) {
                // It ended already.
                Ok(_) | Err(rustix::io::Errno::SRCH) => {}
                Err(e) => return Err(format!("ffmpeg cannot be limited: {e}")),
            }
        }
        Ok(())
    }
}

/// The first bytes; the rest is read and dropped, so that nobody waits for a reader.
async fn start_of(source: Option<impl AsyncRead + Unpin>, most: u64) -> Vec<u8> {
    let mut start = Vec::new();
    if let Some(mut source) = source {
        // A broken pipe is its end.
        let _ = (&mut source).take(most).read_to_end(&mut start).await;
        let _ = tokio::io::copy(&mut source, &mut tokio::io::sink()).await;
    }
    start
}

/// From `Duration: 00:01:02.50`.
fn seconds(said: &str) -> Option<u32> {
    let (_, rest) = said.split_once("Duration: ")?;
    let mut parts = rest.split([',', '\n']).next()?.trim().split(':');
    let (hours, minutes) = (parts.next()?.parse::<u32>().ok()?, parts.next()?.parse::<u32>().ok()?);
    let seconds = parts.next()?.parse::<f64>().ok()?;
    let whole = f64::from(hours) * 3600.0 + f64::from(minutes) * 60.0 + seconds;
    (whole > 0.0).then_some((whole.round() as u32).max(1))
}

/// From `Stream #0:0: Video: h264 (High), ...` of the input.
fn codec(said: &str, what: &str) -> Option<String> {
    let input = said.split("Output #").next()?;
    let (_, rest) = input.split_once(what)?;
    let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_words_tell_length_and_codecs() {
        let said = "Input #0, matroska,webm, from 'file:/x':\n  Duration: 01:02:03.60, start: 0.0, bitrate: 1 kb/s\n  \
                    Stream #0:0(und): Video: h264 (High), yuv420p, 160x120\n  Stream #0:1: Audio: opus, 48000 Hz\n\
                    Output #0, image2pipe, to 'pipe:1':\n  Stream #0:0: Video: mjpeg\n";
        assert_eq!(seconds(said), Some(3724));
        assert_eq!(
            (codec(said, "Video: ").as_deref(), codec(said, "Audio: ").as_deref()),
            (Some("h264"), Some("opus"))
        );
        assert_eq!(seconds("Duration: N/A, start"), None);
        assert_eq!(codec("Output #0\nStream: Video: mjpeg", "Video: "), None);
    }
}
