//! Pictures: opened with limits, turned upright, made to fit (behaviour.md 14.3). Blocking, CPU only.
//!
//! Everything is encoded anew, which also drops the place where a photo was taken; only the colour profile is kept.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{PixelType, Resizer};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::metadata::Orientation;
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, Limits};
use jpeg_encoder::{ColorType, SamplingFactor};

/// The longest side, tried from the largest; nothing is ever enlarged.
const SIDES: [u32; 5] = [2048, 1536, 1280, 1024, 800];
/// JPEG qualities, each tried at every side.
const QUALITIES: [u8; 5] = [80, 70, 60, 50, 40];
/// More pixels are not opened: 64 megapixels are 8192 x 8192.
const MOST_PIXELS: u64 = 64 * 1024 * 1024;
/// More memory is not used for the pixels of one picture.
const MOST_MEMORY: u64 = 256 * 1024 * 1024;
/// A preview's longest side.
const PREVIEW_SIDE: u32 = 100;
/// A preview travels inside the message.
const PREVIEW_BYTES: usize = 10 * 1024;
/// Larger colour profiles are dropped.
const PROFILE_BYTES: usize = 64 * 1024;

/// A picture that is ready to send.
#[derive(Debug)]
pub struct Picture {
    /// The encoded picture; `None` when the source is sent as it is.
    pub bytes: Option<Vec<u8>>,
    /// What it is now.
    pub mime: &'static str,
    /// Width and height as shown.
    pub size: (u32, u32),
    /// A small JPEG.
    pub thumbnail: Option<Vec<u8>>,
    /// A sticker that moves.
    pub moving: bool,
}

/// Why a picture cannot be made ready.
#[derive(Debug)]
pub enum PictureError {
    /// It cannot be opened.
    Damaged(String),
    /// The smallest form has this many bytes.
    TooLarge(u64),
}

/// The picture types that can be opened.
pub fn opens(mime: &str) -> bool {
    format_of(mime).is_some()
}

fn format_of(mime: &str) -> Option<ImageFormat> {
    Some(match mime {
        "image/jpeg" => ImageFormat::Jpeg,
        "image/png" => ImageFormat::Png,
        "image/webp" => ImageFormat::WebP,
        "image/bmp" => ImageFormat::Bmp,
        "image/gif" => ImageFormat::Gif,
        _ => return None,
    })
}

/// Makes a picture fit into `cap` bytes: transparent PNG as PNG when that is possible, everything else as JPEG.
///
/// # Errors
/// When it cannot be opened within the limits, or does not fit in its smallest form.
pub fn reduce(path: &Path, mime: &str, cap: u64) -> Result<Picture, PictureError> {
    let opened = open(path, mime)?;
    let transparent = opened.pixels.has_holes();
    let mut smallest = u64::MAX;
    if transparent && mime == "image/png" {
        for side in sides(&opened.pixels) {
            let fitted = opened.pixels.fit(side).upright(opened.orientation);
            let bytes = fitted.to_png(opened.profile.as_deref()).map_err(PictureError::Damaged)?;
            smallest = smallest.min(bytes.len() as u64);
            if bytes.len() as u64 <= cap {
                let (size, thumbnail) = (fitted.size(), fitted.flat().preview());
                return Ok(Picture { bytes: Some(bytes), mime: "image/png", size, thumbnail, moving: false });
            }
        }
    }
    for side in sides(&opened.pixels) {
        let fitted = opened.pixels.fit(side).flat().upright(opened.orientation);
        for quality in QUALITIES {
            let bytes = fitted.to_jpeg(quality, opened.profile.as_deref()).map_err(PictureError::Damaged)?;
            smallest = smallest.min(bytes.len() as u64);
            if bytes.len() as u64 <= cap {
                let (size, thumbnail) = (fitted.size(), fitted.preview());
                return Ok(Picture { bytes: Some(bytes), mime: "image/jpeg", size, thumbnail, moving: false });
            }
        }
    }
    Err(PictureError::TooLarge(smallest))
}

/// Size and preview of a GIF, which is sent as it is.
///
/// # Errors
/// When its first picture cannot be opened.
pub fn gif(path: &Path) -> Result<Picture, PictureError> {
    let opened = open(path, "image/gif")?;
    let (size, thumbnail) = (opened.pixels.size(), opened.pixels.fit(PREVIEW_SIDE).flat().preview());
    Ok(Picture { bytes: None, mime: "image/gif", size, thumbnail, moving: false })
}

/// Size and preview of a film's frame, which is a JPEG; `None` when it is none.
pub(super) fn frame(jpeg: &[u8]) -> Option<Picture> {
    let mut reader = ImageReader::with_format(Cursor::new(jpeg), ImageFormat::Jpeg);
    reader.limits(limits());
    let pixels = Pixels::of(reader.decode().ok()?);
    let (size, thumbnail) = (pixels.size(), pixels.preview());
    Some(Picture { bytes: None, mime: "image/jpeg", size, thumbnail, moving: false })
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_MEMORY);
    limits
}

/// A picture as it was read.
pub(super) struct Opened {
    pub pixels: Pixels,
    /// How it is turned to stand upright.
    pub orientation: Orientation,
    profile: Option<Vec<u8>>,
}

/// Opens a picture, of an animation the first one.
pub(super) fn open(path: &Path, mime: &str) -> Result<Opened, PictureError> {
    let damaged = |e: &dyn std::fmt::Display| PictureError::Damaged(e.to_string());
    let format = format_of(mime).ok_or_else(|| damaged(&format_args!("{mime} cannot be opened here")))?;
    if format == ImageFormat::WebP && !webp_is_whole(path).map_err(|e| damaged(&e))? {
        return Err(damaged(&"it ends too early"));
    }
    let file = File::open(path).map_err(|e| damaged(&e))?;
    let mut reader = ImageReader::with_format(BufReader::new(file), format);
    reader.limits(limits());
    let mut decoder = reader.into_decoder().map_err(|e| damaged(&e))?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS || decoder.total_bytes() > MOST_MEMORY {
        let most = MOST_PIXELS / 1024 / 1024;
        return Err(damaged(&format_args!(
            "it has {width} x {height} pixels; at most {most} megapixels can be opened"
        )));
    }
    if width == 0 || height == 0 {
        return Err(damaged(&"it has no pixels"));
    }
    if format == ImageFormat::Jpeg && !jpeg_is_whole(path).map_err(|e| damaged(&e))? {
        return Err(damaged(&"it ends too early"));
    }
    // A picture with broken side data is still a picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let profile =
        decoder.icc_profile().ok().flatten().filter(|p| p.len() <= PROFILE_BYTES && p.get(16..20) == Some(b"RGB "));
    let image = DynamicImage::from_decoder(decoder).map_err(|e| damaged(&e))?;
    let pixels = Pixels::of(image);
    let profile = profile.filter(|_| pixels.kind != PixelType::U8);
    Ok(Opened { pixels, orientation, profile })
}

/// The decoder fills what is missing with grey, so the end is looked for apart: behind the start of the pixels the end mark occurs only
/// as itself. What follows it (the film of a live photo) does not matter.
fn jpeg_is_whole(path: &Path) -> std::io::Result<bool> {
    let mut file = BufReader::new(File::open(path)?);
    let mut byte = || -> std::io::Result<Option<u8>> {
        let mut one = [0];
        Ok((file.read(&mut one)? == 1).then_some(one[0]))
    };
    // Past the start mark. Segments before the pixels are skipped whole: they hold previews with end marks of their own.
    let mut skip = 2_u32;
    let mut before = 0;
    loop {
        let Some(now) = byte()? else { return Ok(false) };
        if skip > 0 {
            skip -= 1;
            continue;
        }
        match (before, now) {
            (0xff, 0xd9) => return Ok(true),
            (0xff, 0xc0..=0xcf | 0xda..=0xfe) => {
                let (Some(high), Some(low)) = (byte()?, byte()?) else { return Ok(false) };
                skip = u32::from(u16::from_be_bytes([high, low])).saturating_sub(2);
                before = 0;
            }
            _ => before = now,
        }
    }
}

/// The decoder takes as much memory for side data as the file says they have, up to four gigabytes, before it reads them: a piece that
/// is longer than what is left of the file is looked for apart.
fn webp_is_whole(path: &Path) -> std::io::Result<bool> {
    let mut file = BufReader::new(File::open(path)?);
    let end = file.get_ref().metadata()?.len();
    // Behind `RIFF`, a length and `WEBP`.
    let mut at = 12;
    while at + 8 <= end {
        let mut head = [0; 8];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut head)?;
        let [a, b, c, d, length @ ..] = head;
        let length = u64::from(u32::from_le_bytes(length));
        if matches!(&[a, b, c, d], b"ICCP" | b"EXIF" | b"XMP ") && at + 8 + length > end {
            return Ok(false);
        }
        at += 8 + length + length % 2;
    }
    Ok(true)
}

/// The sides worth trying: those below the picture's own, after its own.
fn sides(pixels: &Pixels) -> Vec<u32> {
    let own = pixels.width.max(pixels.height);
    let mut sides: Vec<u32> = SIDES.iter().map(|side| own.min(*side)).collect();
    sides.dedup();
    sides
}

/// Eight bits a channel: grey, RGB or RGBA.
pub(super) struct Pixels {
    width: u32,
    height: u32,
    kind: PixelType,
    data: Vec<u8>,
}

impl Pixels {
    pub(super) fn of(image: DynamicImage) -> Self {
        let (width, height) = (image.width(), image.height());
        let (kind, data) = match image {
            DynamicImage::ImageLuma8(grey) => (PixelType::U8, grey.into_raw()),
            image if image.color().has_alpha() => (PixelType::U8x4, image.into_rgba8().into_raw()),
            image if image.color().has_color() => (PixelType::U8x3, image.into_rgb8().into_raw()),
            image => (PixelType::U8, image.into_luma8().into_raw()),
        };
        Self { width, height, kind, data }
    }

    pub(super) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Some pixel lets the background through.
    fn has_holes(&self) -> bool {
        self.kind == PixelType::U8x4 && self.data.chunks_exact(4).any(|p| p[3] < 255)
    }

    /// On white, without transparency.
    fn flat(self) -> Self {
        if self.kind != PixelType::U8x4 {
            return self;
        }
        let mut data = Vec::with_capacity(self.data.len() / 4 * 3);
        for p in self.data.chunks_exact(4) {
            let alpha = u32::from(p[3]);
            let on_white = |c: u8| ((u32::from(c) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
            data.extend_from_slice(&[on_white(p[0]), on_white(p[1]), on_white(p[2])]);
        }
        Self { kind: PixelType::U8x3, data, ..self }
    }

    /// The longest side is at most `side`.
    pub(super) fn fit(&self, side: u32) -> Self {
        let own = self.width.max(self.height);
        if own <= side {
            return Self { data: self.data.clone(), ..*self };
        }
        let scaled = |n: u32| ((u64::from(n) * u64::from(side) + u64::from(own) / 2) / u64::from(own)).max(1) as u32;
        let mut target = Image::new(scaled(self.width), scaled(self.height), self.kind);
        let source = ImageRef::new(self.width, self.height, &self.data, self.kind).expect("the data fit the size");
        Resizer::new().resize(&source, &mut target, None).expect("both have the same pixel type");
        Self { width: target.width(), height: target.height(), kind: self.kind, data: target.into_vec() }
    }

    /// Turned as its orientation says.
    pub(super) fn upright(self, orientation: Orientation) -> Self {
        if orientation == Orientation::NoTransforms {
            return self;
        }
        let mut image = self.to_image();
        image.apply_orientation(orientation);
        Self::of(image)
    }

    pub(super) fn to_image(&self) -> DynamicImage {
        let (width, height, data) = (self.width, self.height, self.data.clone());
        match self.kind {
            PixelType::U8 => image::GrayImage::from_raw(width, height, data).map(DynamicImage::ImageLuma8),
            PixelType::U8x4 => image::RgbaImage::from_raw(width, height, data).map(DynamicImage::ImageRgba8),
            _ => image::RgbImage::from_raw(width, height, data).map(DynamicImage::ImageRgb8),
        }
        .expect("the data fit the size")
    }

    fn to_png(&self, profile: Option<&[u8]>) -> Result<Vec<u8>, String> {
        let mut bytes = Cursor::new(Vec::new());
        let mut encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive);
        if let Some(profile) = profile {
            // A profile that cannot be kept is no reason to keep the picture back.
            let _ = encoder.set_icc_profile(profile.to_vec());
        }
        encoder
            .write_image(&self.data, self.width, self.height, ExtendedColorType::Rgba8)
            .map_err(|e| e.to_string())?;
        Ok(bytes.into_inner())
    }

    fn to_jpeg(&self, quality: u8, profile: Option<&[u8]>) -> Result<Vec<u8>, String> {
        let (Ok(width), Ok(height)) = (u16::try_from(self.width), u16::try_from(self.height)) else {
            return Err("a side is longer than 65535 pixels".into());
        };
        let mut bytes = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, quality);
        encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
        if let Some(profile) = profile {
            // As above.
            let _ = encoder.add_icc_profile(profile);
        }
        let color = if self.kind == PixelType::U8 { ColorType::Luma } else { ColorType::Rgb };
        encoder.encode(&self.data, width, height, color).map_err(|e| e.to_string())?;
        Ok(bytes)
    }

    fn preview(&self) -> Option<Vec<u8>> {
        let small = self.fit(PREVIEW_SIDE);
        [70, 50, 30].into_iter().filter_map(|q| small.to_jpeg(q, None).ok()).find(|bytes| bytes.len() < PREVIEW_BYTES)
    }
}
