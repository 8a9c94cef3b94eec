//! How long a photo of 12 megapixels takes: `cargo bench --bench media`. Prints JSON.

use std::time::Instant;

use image::{Rgb, RgbImage};
use verso::media::picture;

/// Shapes with the grain of a photo.
fn photo(width: u32, height: u32) -> RgbImage {
    let mut state = 1_u32;
    RgbImage::from_fn(width, height, |x, y| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let wave = ((x as f32 / 90.0).sin() * (y as f32 / 70.0).cos() * 90.0 + 128.0) as i32;
        let grain = (state >> 24) as i32 / 12;
        let tone = |shift: i32| (wave + grain + shift).clamp(0, 255) as u8;
        Rgb([tone(0), tone((x / 40 % 30) as i32), tone((y / 40 % 30) as i32)])
    })
}

fn main() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    photo(4000, 3000).save_with_format(file.path(), image::ImageFormat::Jpeg).expect("saved");
    let measure = |cap: u64| {
        let start = Instant::now();
        let made = picture::reduce(file.path(), "image/jpeg", cap);
        (start.elapsed().as_millis() as u64, made.ok().and_then(|p| p.bytes).map(|b| b.len()))
    };
    measure(5 << 20);
    let (first, bytes) = measure(5 << 20);
    // Nothing fits: every side and quality is tried.
    let (whole, none) = measure(1);
    assert!(none.is_none(), "nothing fits into one byte");
    let result = serde_json::json!({
        "bench": "media", "pixels": 12_000_000, "firstFitMs": first, "firstFitBytes": bytes, "wholeSweepMs": whole, "limitMs": 1500,
    });
    println!("{result}");
}
