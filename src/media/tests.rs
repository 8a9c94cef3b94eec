//! Sources of every kind, from a server, a folder and a model.

use std::convert::Infallible;
use std::fs;
use std::io::Cursor;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::event::MediaKind;

mod conversions;
mod fuzz;
mod servers;
mod sound;
mod stickers;

const MB: u64 = 1024 * 1024;

struct Place {
    dir: tempfile::TempDir,
    loader: Loader,
}

fn place() -> Place {
    place_with(None)
}

fn place_with(ffmpeg: Option<PathBuf>) -> Place {
    place_within(ffmpeg, Duration::from_secs(60))
}

fn place_within(ffmpeg: Option<PathBuf>, tool: Duration) -> Place {
    let dir = tempfile::tempdir().expect("temp dir");
    let patience = Patience {
        connect: Duration::from_millis(300),
        idle: Duration::from_millis(300),
        whole: Duration::from_secs(20),
        tool,
        ..Patience::default()
    };
    let loader = Loader::with(dir.path().join("out"), Reach::Loopback, patience, ffmpeg).expect("a loader");
    Place { dir, loader }
}

impl Place {
    fn wish(&self, name: &str, bytes: &[u8], cap: u64) -> Wish {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).expect("a file");
        Wish::new(path.to_string_lossy(), cap)
    }

    async fn send(&self, name: &str, bytes: &[u8]) -> Result<MediaFile, String> {
        self.ask(&self.wish(name, bytes, 5 * MB)).await
    }

    async fn ask(&self, wish: &Wish) -> Result<MediaFile, String> {
        self.loader.prepare(wish, &Trust::Owner).await.map_err(|e| e.to_string())
    }

    fn left(&self) -> usize {
        fs::read_dir(self.dir.path().join("out")).map_or(0, Iterator::count)
    }
}

fn noise(width: u32, height: u32) -> RgbImage {
    let mut state = 1_u32;
    RgbImage::from_fn(width, height, |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [a, b, c, _] = state.to_be_bytes();
        Rgb([a, b, c])
    })
}

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.into().write_to(&mut out, format).expect("encoded");
    out.into_inner()
}

fn opened(media: &MediaFile) -> DynamicImage {
    image::load_from_memory(&fs::read(&media.path).expect("the file")).expect("a picture")
}

/// Red above, blue below.
fn flag(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |_, y| if y < height / 2 { Rgb([220, 20, 20]) } else { Rgb([20, 20, 220]) })
}

/// A JPEG with an EXIF segment that says which way is up.
fn turned(image: RgbImage, orientation: u8) -> Vec<u8> {
    let jpeg = encoded(image, ImageFormat::Jpeg);
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    let length = u16::try_from(exif.len() + 2).expect("short").to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
}

#[tokio::test]
async fn a_photo_becomes_a_small_upright_jpeg_with_a_preview() {
    let place = place();
    let media = place.send("photo.jpg", &turned(flag(3000, 1000), 6)).await.expect("sent");
    assert_eq!((media.kind, media.mime.as_str(), media.size), (MediaKind::Image, "image/jpeg", Some((683, 2048))));
    let picture = opened(&media).into_rgb8();
    assert_eq!(picture.dimensions(), (683, 2048));
    // Turned clockwise, what was above is on the right.
    assert!(picture.get_pixel(600, 1000)[0] > 180 && picture.get_pixel(80, 1000)[2] > 180);
    let thumbnail = media.thumbnail.expect("a preview");
    assert!(thumbnail.len() < 10 * 1024);
    let preview = image::load_from_memory(&thumbnail).expect("a picture");
    assert_eq!((preview.width(), preview.height()), (33, 100));
    assert_eq!(fs::metadata(&media.path).expect("exists").len(), media.bytes);
    assert_eq!((media.file_name, media.voice, media.gif), (None, false, false));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(&media.path).expect("exists").permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_picture_shrinks_under_its_cap_or_says_that_it_cannot() {
    let place = place();
    let bytes = encoded(noise(900, 900), ImageFormat::Png);
    assert!(bytes.len() as u64 > 2 * MB);
    let media = place.ask(&place.wish("noise.png", &bytes, 350_000)).await.expect("sent");
    assert!(media.bytes <= 350_000 && media.mime == "image/jpeg", "{media:?}");
    assert_eq!(media.size, Some((900, 900)), "the largest side comes first, at every quality");
    let path = place.dir.path().join("noise.png");
    let Err(picture::PictureError::TooLarge(smallest)) = picture::reduce(&path, "image/png", 1) else {
        panic!("nothing fits into one byte")
    };
    let last = picture::reduce(&path, "image/png", smallest).expect("the smallest form fits");
    assert_eq!((last.size, last.bytes.map(|b| b.len() as u64)), ((800, 800), Some(smallest)));
    let error = place.ask(&place.wish("noise.png", &bytes, 1024)).await.expect_err("too large");
    assert!(error.starts_with("Media could not be reduced below 0.00MB (got 0."), "{error}");
    let small = place.send("small.bmp", &encoded(flag(20, 10), ImageFormat::Bmp)).await.expect("sent");
    assert_eq!((small.size, small.mime.as_str()), (Some((20, 10)), "image/jpeg"), "nothing is enlarged");
}

#[tokio::test]
async fn transparency_is_kept_while_it_fits() {
    let place = place();
    let glass = |w, h| {
        let colours = noise(w, h);
        RgbaImage::from_fn(w, h, |x, y| {
            let Rgb([r, g, b]) = *colours.get_pixel(x, y);
            if x < w / 2 { Rgba([0; 4]) } else { Rgba([r, g, b, 255]) }
        })
    };
    let bytes = encoded(glass(600, 400), ImageFormat::Png);
    let media = place.send("glass.png", &bytes).await.expect("sent");
    assert_eq!((media.mime.as_str(), media.size), ("image/png", Some((600, 400))));
    assert_eq!(opened(&media).into_rgba8().get_pixel(10, 10)[3], 0);
    let media = place.ask(&place.wish("glass.png", &bytes, 120_000)).await.expect("sent");
    assert_eq!(media.mime, "image/jpeg");
    assert!(opened(&media).into_rgb8().get_pixel(10, 10).0.iter().all(|c| *c > 240), "on white");
    let opaque =
        encoded(DynamicImage::ImageRgba8(DynamicImage::ImageRgb8(flag(90, 90)).into_rgba8()), ImageFormat::Png);
    assert_eq!(place.send("opaque.png", &opaque).await.expect("sent").mime, "image/jpeg");
    let webp = place.send("still.webp", &encoded(glass(64, 64), ImageFormat::WebP)).await.expect("sent");
    assert_eq!((webp.kind, webp.mime.as_str()), (MediaKind::Image, "image/jpeg"));
}

#[tokio::test]
async fn a_gif_is_left_alone() {
    let place = place();
    let bytes = encoded(flag(120, 80), ImageFormat::Gif);
    let media = place.send("x.gif", &bytes).await.expect("sent");
    assert_eq!((media.mime.as_str(), media.size), ("image/gif", Some((120, 80))));
    assert_eq!(fs::read(&media.path).expect("the file"), bytes);
    let long = [&bytes[..], &vec![0; 7_549_747 - bytes.len()]].concat();
    assert_eq!(place.send("x.gif", &long).await.expect_err("too large"), "GIF exceeds 5MB limit (got 7.20MB)");
}

#[tokio::test]
async fn pictures_that_cannot_be_opened_say_why() {
    let place = place();
    let jpeg = encoded(flag(400, 400), ImageFormat::Jpeg);
    let check = async |name: &str, bytes: &[u8], expected: &str| {
        let error = place.send(name, bytes).await.expect_err("an error");
        assert!(error.contains(expected) && error.contains(name), "{name}: {error}");
    };
    check("cut.jpg", &jpeg[..jpeg.len() / 2], "no usable picture: it ends too early").await;
    let png = encoded(flag(40, 40), ImageFormat::Png);
    check("cut.png", &png[..png.len() / 2], "no usable picture").await;
    check("page.png", b"<!doctype html><p>Sign in", "expected image/png, got text/html").await;
    check("words.jpg", b"not a picture", "expected image/jpeg, got text/plain").await;
    check("junk.jpg", &[0, 1, 2, 3, 200, 201], "no usable picture").await;
    assert_eq!(place.left(), 0, "nothing stays behind");
    let film = [&jpeg[..], &[0; 9000]].concat();
    place.send("live-photo.jpg", &film).await.expect("what follows the picture does not matter");
}

/// The head of a PNG of any size, with hardly any data.
fn huge_png(side: u32) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let body = [&kind[..], data].concat();
        let mut crc = flate2::Crc::new();
        crc.update(&body);
        [&u32::try_from(data.len()).expect("short").to_be_bytes()[..], &body, &crc.sum().to_be_bytes()].concat()
    };
    let size = side.to_be_bytes();
    let head = [&size[..], &size, &[8, 6, 0, 0, 0]].concat();
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &head), chunk(b"IDAT", &[0x78, 0x9c]), chunk(b"IEND", &[])].concat()
}

#[tokio::test]
async fn a_picture_bomb_is_refused_by_its_head() {
    let place = place();
    let error = place.send("bomb.png", &huge_png(50_000)).await.expect_err("refused");
    assert!(error.contains("50000 x 50000 pixels") || error.contains("imits"), "{error}");
    assert!(error.contains("no usable picture"), "{error}");
    let mut jpeg = encoded(flag(16, 16), ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).expect("a frame head");
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xdc, 0xff, 0xdc]);
    let error = place.send("bomb.jpg", &jpeg).await.expect_err("refused");
    assert!(error.contains("at most 64 megapixels"), "{error}");
}

#[tokio::test]
async fn a_webp_whose_side_data_are_longer_than_itself_is_refused_before_memory_is_taken_for_them() {
    let place = place();
    let still = encoded(flag(64, 64), ImageFormat::WebP);
    let with = |kind: &[u8; 4], said: u32, content: &[u8]| {
        let side = [&kind[..], &said.to_le_bytes(), content].concat();
        // Its own size, less one, stands in three bytes each.
        let head = [b"VP8X\x0a\0\0\0", &[0x08, 0, 0, 0, 63, 0, 0, 63, 0, 0][..]].concat();
        let body = [b"WEBP", &head[..], &still[12..], &side].concat();
        [b"RIFF", &u32::try_from(body.len()).expect("short").to_le_bytes()[..], &body].concat()
    };
    let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0\0\0\0\0";
    let upright = place.send("turned.webp", &with(b"EXIF", exif.len() as u32, exif)).await.expect("sent");
    let picture = opened(&upright).into_rgb8();
    assert!(picture.get_pixel(30, 10)[2] > 180 && picture.get_pixel(30, 50)[0] > 180, "it stands on its head");
    for said in [exif.len() as u32 + 1, u32::MAX] {
        let error = place.send("long.webp", &with(b"EXIF", said, exif)).await.expect_err("refused");
        assert!(error.contains("long.webp is no usable picture: it ends too early"), "{error}");
    }
}

#[tokio::test]
async fn voice_notes_and_other_sound() {
    let place = place();
    let note = opus::testing::note(3.0);
    let media = place.send("note.ogg", &note).await.expect("sent");
    assert_eq!((media.kind, media.mime.as_str(), media.voice), (MediaKind::Audio, "audio/ogg; codecs=opus", true));
    assert_eq!((media.seconds, media.waveform.map(|w| w.len())), (Some(3), Some(64)));
    assert_eq!(fs::read(&media.path).expect("the file"), note, "untouched");
    let media = place.send("speech.wav", &voice::testing::wav(44_100, 2, 2.0)).await.expect("sent");
    assert_eq!((media.mime.as_str(), media.voice, media.seconds), ("audio/ogg; codecs=opus", true, Some(2)));
    let wav = voice::testing::wav(48_000, 2, 4.0);
    let media = place.ask(&place.wish("large.wav", &wav, 100_000)).await.expect("smaller than its source");
    assert!(wav.len() > 700_000 && media.bytes <= 100_000);
    let error = place.ask(&place.wish("large.wav", &wav, 2_000)).await.expect_err("too large");
    assert!(error.starts_with("Media could not be reduced below"), "{error}");
    let error = place.send("broken.ogg", &note[..50]).await.expect_err("damaged");
    assert!(error.contains("no usable audio file"), "{error}");
}

#[tokio::test]
async fn films_and_documents() {
    let place = place();
    let film = mp4::testing::film(&[mp4::testing::track(b"vide", 640, 360, false)], 7);
    let mut wish = place.wish("clip.mp4", &film, 5 * MB);
    let media = place.ask(&wish).await.expect("sent");
    assert_eq!(
        (media.kind, media.mime.as_str(), media.size, media.seconds, media.gif),
        (MediaKind::Video, "video/mp4", Some((640, 360)), Some(7), false)
    );
    wish.gif_playback = true;
    assert!(place.ask(&wish).await.expect("sent").gif);
    wish.as_document = true;
    let media = place.ask(&wish).await.expect("sent");
    assert_eq!((media.kind, media.file_name.as_deref(), media.gif), (MediaKind::Document, Some("clip.mp4"), false));
    let sound = mp4::testing::film(&[mp4::testing::track(b"soun", 0, 0, false)], 9);
    let media = place.send("rec.mp4", &sound).await.expect("sent");
    assert_eq!(
        (media.kind, media.mime.as_str(), media.seconds, media.voice),
        (MediaKind::Audio, "audio/mp4", Some(9), false)
    );

    let media = place.send("Bericht März.pdf", b"%PDF-1.7 ...").await.expect("sent");
    assert_eq!(
        (media.kind, media.mime.as_str(), media.file_name.as_deref()),
        (MediaKind::Document, "application/pdf", Some("Bericht März.pdf"))
    );
    let heic = [&[0, 0, 0, 24][..], b"ftypheic\0\0\0\0heicmif1", &[0; 60]].concat();
    let media = place.send("IMG_1.heic", &heic).await.expect("sent");
    assert_eq!((media.kind, media.file_name.as_deref()), (MediaKind::Document, Some("IMG_1.heic")));
    let error = place.send("big.zip", &[&b"PK\x03\x04"[..], &vec![0; 8 << 20]].concat()).await.expect_err("too large");
    assert_eq!(error, "Media exceeds 5MB limit (got 8.00MB)");
    let mut named = Wish::new("data:text/plain,hi", MB);
    named.file_name = Some("../notes".into());
    assert_eq!(place.ask(&named).await.expect("sent").file_name.as_deref(), Some("notes.txt"));
}

#[tokio::test]
async fn what_is_no_source_is_refused() {
    let place = place();
    for (source, expected) in [
        ("ftp://example.com/x", "only http, https, file and data URLs"),
        ("http://", "Failed to fetch media from http://"),
        ("", "it is a folder"),
        ("/dev/zero", "it is no regular file"),
    ] {
        let error = place.ask(&Wish::new(source, MB)).await.expect_err("refused");
        assert!(error.contains(expected), "{source}: {error}");
    }
}

#[tokio::test]
async fn the_sweep_keeps_what_is_in_use() {
    let place = place();
    let kept = place.send("a.pdf", b"%PDF-1").await.expect("sent");
    place.send("b.pdf", b"%PDF-1").await.expect("sent");
    fs::write(place.dir.path().join("out/.incoming-x"), "cut off").expect("a leftover");
    assert_eq!(place.loader.sweep(std::slice::from_ref(&kept.path)), 2);
    assert!(kept.path.exists() && place.left() == 1);
}

#[test]
fn any_bytes_under_any_name_end() {
    let heads: [&[u8]; 12] = [
        b"",
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01",
        b"GIF89a",
        b"RIFF\x20\0\0\0WEBPVP8L",
        b"BM",
        b"OggS\0\x02",
        b"RIFF\x20\0\0\0WAVEfmt ",
        b"ID3\x03\0\0\0\0\0\0\xff\xfb",
        b"fLaC\0\0\0\x22",
        b"\0\0\0\x18ftypisom\0\0\0\0isommp41",
        b"#!AMR\n",
    ];
    let extensions = ["jpg", "png", "gif", "webp", "bmp", "ogg", "wav", "mp3", "flac", "mp4", "amr", ""];
    let bytes = (prop::sample::select(heads.to_vec()), prop::collection::vec(any::<u8>(), 0..600));
    let cases = (bytes, prop::sample::select(extensions.to_vec()), any::<bool>());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let place = place();
    // The same cases each time: an arithmetic overflow that a decoder has only in this build must not fail a build at random.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let outcome = runner.run(&cases, |((head, tail), extension, sticker)| {
        let mut wish = place.wish(&format!("x.{extension}"), &[head, &tail].concat(), MB);
        wish.as_sticker = sticker;
        match runtime.block_on(place.ask(&wish)) {
            Err(error) => prop_assert!(!error.contains("its decoder failed"), "{error}"),
            Ok(media) => fs::remove_file(media.path).expect("the prepared file"),
        }
        prop_assert_eq!(place.left(), 0);
        Ok(())
    });
    outcome.expect("every case ends");
}
