//! Sound and films that need a decoder or ffmpeg; the fixtures were made with ffmpeg once.

use std::path::Path;

use super::*;

pub(super) fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/media").join(name);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Half a second of tone, half a second of silence, three times: the bars of the note rise and fall.
fn beats(media: &MediaFile) -> usize {
    let bars = media.waveform.as_deref().expect("a waveform");
    assert_eq!(bars.len(), 64);
    let loud: Vec<bool> = bars.iter().map(|bar| *bar > 50).collect();
    loud.windows(2).filter(|pair| !pair[0] && pair[1]).count() + usize::from(loud[0])
}

#[tokio::test]
async fn sound_of_every_common_form_becomes_a_voice_note() {
    let place = place();
    for name in ["tone.mp3", "tone.m4a", "tone.aac", "tone.flac", "tone.ogg", "adpcm.wav"] {
        let media = place.send(name, &fixture(name)).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(
            (media.kind, media.mime.as_str(), media.voice, media.seconds),
            (MediaKind::Audio, "audio/ogg; codecs=opus", true, Some(3)),
            "{name}"
        );
        assert_eq!(beats(&media), 3, "{name}: {:?}", media.waveform);
        // The bytes decide, whatever the name says.
        let nameless = place.send("download.bin", &fixture(name)).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(nameless.voice, "{name}");
    }
}

const AMR: &[u8] = b"#!AMR\n\x3c\x91\x17\x16\xbe\x66\x79\xe1\xe0\x01\xe7\x8a\xf0\x00";

/// A program that stands in for ffmpeg.
fn script(dir: &std::path::Path, body: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join("ffmpeg");
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    path
}

/// Half a minute of nothing that says when it began.
const HANGS: &str = "echo began >&2; exec sleep 30";

fn hasty(ffmpeg: PathBuf) -> Place {
    place_within(Some(ffmpeg), Duration::from_millis(300))
}

#[tokio::test]
async fn sound_that_nothing_here_reads_goes_through_ffmpeg_or_stays_a_file() {
    let media = place().send("call.amr", AMR).await.expect("sent as it is");
    assert_eq!(
        (media.kind, media.mime.as_str(), media.voice, media.seconds),
        (MediaKind::Audio, "audio/amr", false, None)
    );

    let tools = tempfile::tempdir().expect("temp dir");
    let note = tools.path().join("note.ogg");
    fs::write(&note, opus::testing::note(2.0)).expect("a note");
    // The last argument is the target, the one behind -i the source.
    let body = format!(
        "for a; do case \"$a\" in file:*) cat \"${{a#file:}}\" > {0}.in;; esac; t=$a; done; cat {0} > \"$t\"",
        note.display()
    );
    let good = script(tools.path(), &body);
    let media = place_with(Some(good)).send("call.amr", AMR).await.expect("sent");
    assert_eq!((media.mime.as_str(), media.voice, media.seconds), ("audio/ogg; codecs=opus", true, Some(2)));
    assert_eq!(fs::read(note.with_extension("ogg.in")).expect("its input"), AMR);

    let bad = script(tools.path(), "echo no such codec >&2; exit 1");
    let media = place_with(Some(bad)).send("call.amr", AMR).await.expect("sent as it is");
    assert!(!media.voice);
}

#[tokio::test]
async fn an_ffmpeg_that_fails_in_any_way_costs_the_conversion_only() {
    let tools = tempfile::tempdir().expect("temp dir");
    let film = mp4::testing::film(&[mp4::testing::track(b"vide", 640, 360, false)], 7);
    for (what, body) in [
        ("hangs", HANGS),
        ("hangs with its pipes open", "sleep 3 & sleep 3"),
        ("fails", "exit 1"),
        ("says nothing", "exit 0"),
        ("writes rubbish", "echo rubbish; for a; do t=$a; done; case $t in /*) echo rubbish > \"$t\";; esac"),
        ("never stops talking", "exec yes"),
        ("never stops complaining", "exec yes >&2"),
        ("kills itself", "kill -9 $$"),
    ] {
        let place = hasty(script(tools.path(), body));
        let media = place.send("call.amr", AMR).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!((media.kind, media.voice, media.bytes), (MediaKind::Audio, false, AMR.len() as u64), "{what}");
        let media = place.send("clip.mp4", &film).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!((media.size, media.seconds, media.thumbnail), (Some((640, 360)), Some(7), None), "{what}");
        let media = place.send("clip.webm", &fixture("clip.webm")).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!((media.kind, media.mime.as_str(), media.size), (MediaKind::Video, "video/webm", None), "{what}");
        assert_eq!(place.left(), 3, "{what}: nothing else stays behind");
    }
    let gone = hasty(tools.path().join("no-such-program"));
    assert!(!gone.send("call.amr", AMR).await.expect("sent as it is").voice);
}

#[tokio::test]
async fn ffmpeg_is_given_one_file_and_no_way_out() {
    let tools = tempfile::tempdir().expect("temp dir");
    let notes = tools.path().join("notes");
    // The limits come when it has started.
    let limited = "while [ \"$(ulimit -f)\" = unlimited ]; do sleep 0.01; done; ulimit -v";
    let program = script(tools.path(), &format!("{{ echo \"$@\"; env; {limited}; }} >> {}; exit 1", notes.display()));
    let place = place_with(Some(program));
    place.send("clip.mkv", &fixture("clip.mkv")).await.expect("sent as it is");
    let said = fs::read_to_string(&notes).expect("it ran");
    let (_, rest) = said.split_once("-protocol_whitelist file,pipe -format_whitelist ").expect("whitelists");
    let (containers, rest) = rest.split_once(" -i ").expect("a file");
    let own = format!("file:{}/.incoming-", place.dir.path().join("out").display());
    assert!(rest.starts_with(&own), "{said}");
    for playlist in ["hls", "concat", "dash", "image2", "sdp", "rtsp", "applehttp"] {
        assert!(!containers.split(',').any(|name| name == playlist), "{containers}");
    }
    assert!(!said.contains("\nHOME=") && said.contains("\n2097152\n"), "{said}");
}

#[tokio::test]
async fn a_film_without_ffmpeg_is_sent_as_it_is() {
    let place = place();
    for (name, mime) in [("clip.webm", "video/webm"), ("clip.avi", "video/x-msvideo"), ("clip.mkv", "video/x-matroska")]
    {
        let media = place.send(name, &fixture(name)).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((media.kind, media.mime.as_str()), (MediaKind::Video, mime));
        assert_eq!(fs::read(&media.path).expect("the file"), fixture(name));
    }
    for name in ["clip.mov", "clip.mp4"] {
        let media = place.send(name, &fixture(name)).await.expect(name);
        assert_eq!((media.kind, media.size, media.seconds), (MediaKind::Video, Some((96, 64)), Some(2)));
    }
    let media = place.send("tone.wma", &fixture("tone.wma")).await.expect("sent");
    assert_eq!((media.kind, media.mime.as_str(), media.voice), (MediaKind::Audio, "audio/x-ms-wma", false));
}

/// Frames of noise: 20 ms each.
fn amr(frames: usize) -> Vec<u8> {
    let grain = noise(31, 1).into_raw();
    let frame = |n: usize| [&[0x3c], &grain[n % 60..n % 60 + 31]].concat();
    [b"#!AMR\n".to_vec(), (0..frames).flat_map(frame).collect()].concat()
}

/// With the real program. CI installs it and says so by `VERSO_CI_FFMPEG`; elsewhere nobody needs it.
#[tokio::test]
async fn with_ffmpeg_films_get_a_preview_and_play_everywhere_and_foreign_sound_is_a_voice_note() {
    let Some(program) = ffmpeg::find() else {
        assert!(std::env::var_os("VERSO_CI_FFMPEG").is_none(), "ffmpeg is not installed");
        return;
    };
    let place = place_with(Some(program));
    for name in ["clip.mp4", "clip.mov", "clip.mkv", "clip.webm", "clip.avi"] {
        let media = place.send(name, &fixture(name)).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(
            (media.kind, media.mime.as_str(), media.size, media.seconds),
            (MediaKind::Video, "video/mp4", Some((96, 64)), Some(2)),
            "{name}"
        );
        let preview = image::load_from_memory(media.thumbnail.as_deref().expect(name)).expect("a picture");
        assert_eq!((preview.width(), preview.height()), (96, 64), "{name}");
        let colours = preview.into_rgb8();
        assert!(colours.pixels().any(|p| p[0] > 180 && p[2] < 90), "{name}: the test card has red in it");
    }
    let untouched = place.send("clip.mp4", &fixture("clip.mp4")).await.expect("sent");
    assert_eq!(fs::read(&untouched.path).expect("the file"), fixture("clip.mp4"));
    for (name, bytes) in [("tone.wma", fixture("tone.wma")), ("tone.webm", fixture("tone.webm"))] {
        let media = place.send(name, &bytes).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(
            (media.kind, media.voice, media.seconds, beats(&media)),
            (MediaKind::Audio, true, Some(3), 3),
            "{name}"
        );
    }
    let media = place.send("call.amr", &amr(100)).await.expect("sent");
    assert_eq!((media.voice, media.seconds), (true, Some(2)));
    // A playlist under a film's name leads nowhere.
    let secret = place.dir.path().join("secret.ts");
    fs::write(&secret, fixture("clip.mp4")).expect("a file");
    let list = format!("#EXTM3U\n#EXTINF:2,\nfile://{}\n#EXT-X-ENDLIST\n", secret.display());
    let error = place.send("list.webm", list.as_bytes()).await.expect_err("refused");
    assert!(error.contains("expected video/webm, got text/plain"), "{error}");
}
