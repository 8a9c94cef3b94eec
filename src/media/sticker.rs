//! Stickers: WebP of 512 x 512 pixels, still or moving, within the sizes that phones show. Blocking, CPU only.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use image::codecs::gif::GifDecoder;
use image::codecs::webp::{WebPDecoder, WebPEncoder};
use image::{AnimationDecoder, ExtendedColorType, ImageDecoder, ImageResult, Limits, RgbaImage};

use super::picture::{self, Picture, PictureError, Pixels};

/// Stickers are square.
const SIDE: u32 = 512;
/// Phones show still stickers up to this size.
const STILL_BYTES: u64 = 100 * 1024;
/// The same for moving ones.
const MOVING_BYTES: u64 = 500 * 1024;
/// Each picture of a moving sticker is opened in full: limits for their pixels, their number and the memory that they take.
const MOST_PIXELS: u64 = 4 * 1024 * 1024;
const MOST_FRAMES: usize = 240;
const MOST_MEMORY: u64 = 64 * 1024 * 1024;
/// What is tried, in order: bits of each colour that are kept, and every how many pictures one is kept.
const STILL_STEPS: [u32; 5] = [8, 6, 5, 4, 3];
const MOVING_STEPS: [(u32, usize); 4] = [(8, 1), (5, 1), (4, 2), (4, 3)];

/// A WebP that is a sticker already is sent as it is; other pictures are fitted into the square, with fewer colours when that is
/// needed to stay within the size.
///
/// # Errors
/// When it cannot be opened or does not fit in its smallest form.
pub fn sticker(path: &Path, mime: &str) -> Result<Picture, PictureError> {
    let opened = picture::open(path, mime)?;
    let moving = moves(path, mime)?;
    let most = if moving { MOVING_BYTES } else { STILL_BYTES };
    let done = |bytes| Picture { bytes, mime: "image/webp", size: (SIDE, SIDE), thumbnail: None, moving };
    let own = std::fs::metadata(path).map_or(u64::MAX, |facts| facts.len());
    if mime == "image/webp" && opened.pixels.size() == (SIDE, SIDE) && own <= most {
        return Ok(done(None));
    }
    let bytes = if moving {
        drop(opened);
        smaller(most, MOVING_STEPS, |(bits, every)| animation(path, mime, bits, every, most))?
    } else {
        let canvas = square(opened.pixels.fit(SIDE).upright(opened.orientation));
        smaller(most, STILL_STEPS, |bits| webp(&fewer_colours(canvas.clone(), bits)).map(Some).map_err(damaged))?
    };
    bytes.map(|bytes| done(Some(bytes))).ok_or_else(|| {
        damaged(format_args!(
            "phones show {}stickers of at most {} KB, and as a WebP of 512 x 512 pixels it is larger, also with few colours; \
             one with fewer details or less motion fits",
            if moving { "moving " } else { "" },
            most / 1024
        ))
    })
}

/// The first form that has at most `most` bytes.
fn smaller<S>(
    most: u64,
    steps: impl IntoIterator<Item = S>,
    mut form: impl FnMut(S) -> Result<Option<Vec<u8>>, PictureError>,
) -> Result<Option<Vec<u8>>, PictureError> {
    for step in steps {
        if let Some(bytes) = form(step)?.filter(|bytes| bytes.len() as u64 <= most) {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

fn damaged(error: impl std::fmt::Display) -> PictureError {
    PictureError::Damaged(error.to_string())
}

/// Whether it holds more than one picture.
fn moves(path: &Path, mime: &str) -> Result<bool, PictureError> {
    Ok(match mime {
        "image/webp" => WebPDecoder::new(opened(path)?).map_err(damaged)?.has_animation(),
        "image/gif" => frames(path, mime)?.take(2).filter(Result::is_ok).count() == 2,
        _ => false,
    })
}

fn opened(path: &Path) -> Result<BufReader<File>, PictureError> {
    File::open(path).map(BufReader::new).map_err(damaged)
}

/// The pictures of an animation, each in full size.
fn frames(path: &Path, mime: &str) -> Result<image::Frames<'static>, PictureError> {
    let small = |(width, height): (u32, u32)| match u64::from(width) * u64::from(height) <= MOST_PIXELS {
        true => Ok(()),
        false => Err(damaged(format_args!(
            "it moves and has {width} x {height} pixels; at most {} megapixels can be opened then",
            MOST_PIXELS >> 20
        ))),
    };
    if mime == "image/webp" {
        let decoder = WebPDecoder::new(opened(path)?).map_err(damaged)?;
        small(decoder.dimensions())?;
        return Ok(decoder.into_frames());
    }
    let mut decoder = GifDecoder::new(opened(path)?).map_err(damaged)?;
    small(decoder.dimensions())?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_MEMORY);
    decoder.set_limits(limits).map_err(damaged)?;
    Ok(decoder.into_frames())
}

/// The animation with so many bits a colour and every `every`th picture; `None` when it is larger than `most`.
fn animation(path: &Path, mime: &str, bits: u32, every: usize, most: u64) -> Result<Option<Vec<u8>>, PictureError> {
    let mut shown: Vec<(Vec<u8>, u32)> = Vec::new();
    let mut bytes = 0;
    for (n, frame) in frames(path, mime)?.take(MOST_FRAMES).enumerate() {
        let frame = match frame {
            Ok(frame) => frame,
            // A damaged end is left out.
            Err(_) if n > 0 => break,
            Err(error) => return Err(damaged(error)),
        };
        let pause = u32::try_from(Duration::from(frame.delay()).as_millis()).unwrap_or(u32::MAX).clamp(10, 60_000);
        if n % every > 0 {
            shown.iter_mut().next_back().expect("the first picture is kept").1 += pause;
            continue;
        }
        let canvas = fewer_colours(square(Pixels::of(frame.into_buffer().into()).fit(SIDE)), bits);
        let piece = webp(&canvas).map_err(damaged)?.split_off(HEAD);
        bytes += piece.len() as u64;
        if bytes > most {
            return Ok(None);
        }
        shown.push((piece, pause));
    }
    // One picture does not move.
    Ok((shown.len() > 1).then(|| animated_webp(&shown)))
}

/// In the middle of a square without a background.
fn square(picture: Pixels) -> RgbaImage {
    let small = picture.to_image().into_rgba8();
    let mut canvas = RgbaImage::new(SIDE, SIDE);
    let (x, y) = ((SIDE - small.width()) / 2, (SIDE - small.height()) / 2);
    image::imageops::replace(&mut canvas, &small, x.into(), y.into());
    canvas
}

/// With so many bits a colour; what cannot be seen has none.
fn fewer_colours(mut canvas: RgbaImage, bits: u32) -> RgbaImage {
    let steps = (1_u32 << bits) - 1;
    let coarse: Vec<u8> = (0..256).map(|c| ((c * steps + 127) / 255 * 255 / steps) as u8).collect();
    for pixel in canvas.pixels_mut() {
        match pixel[3] {
            0 => pixel.0 = [0; 4],
            _ => pixel.0.iter_mut().for_each(|c| *c = coarse[usize::from(*c)]),
        }
    }
    canvas
}

/// Bytes of a WebP file before its first piece: `RIFF`, length, `WEBP`.
const HEAD: usize = 12;

fn webp(canvas: &RgbaImage) -> ImageResult<Vec<u8>> {
    let mut bytes = Vec::new();
    WebPEncoder::new_lossless(&mut bytes).encode(canvas, SIDE, SIDE, ExtendedColorType::Rgba8)?;
    Ok(bytes)
}

/// An animated WebP of pieces that are complete pictures, each with its time in milliseconds, repeated for ever.
fn animated_webp(shown: &[(Vec<u8>, u32)]) -> Vec<u8> {
    let u24 = |n: u32| [n as u8, (n >> 8) as u8, (n >> 16) as u8];
    let mut body = b"WEBP".to_vec();
    let mut chunk = |kind: &[u8; 4], content: &[&[u8]]| {
        let length: usize = content.iter().map(|part| part.len()).sum();
        body.extend_from_slice(kind);
        body.extend_from_slice(&(length as u32).to_le_bytes());
        content.iter().for_each(|part| body.extend_from_slice(part));
        body.extend(std::iter::repeat_n(0, length % 2));
    };
    let size = [u24(SIDE - 1), u24(SIDE - 1)].concat();
    // Transparent and moving.
    chunk(b"VP8X", &[&[0x12, 0, 0, 0], &size]);
    // No background colour, repeated without end.
    chunk(b"ANIM", &[&[0; 6]]);
    for (picture, milliseconds) in shown {
        // From the corner; it takes the place of the one before.
        chunk(b"ANMF", &[&[0; 6], &size, &u24(*milliseconds), &[0x02], picture]);
    }
    [b"RIFF", &(body.len() as u32).to_le_bytes()[..], &body].concat()
}
