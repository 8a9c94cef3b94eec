//! How long a photo of 12 megapixels takes to be made ready: `cargo bench --bench media`. Prints JSON and fails when the whole sweep takes
//! more than its limit of one core; an unoptimised build prints only. What counts is the time that the process worked, so that a busy
//! machine does not decide.

use image::{Rgb, RgbImage};
use rustix::time::{ClockId, clock_gettime};
use verso::media::picture;

/// Milliseconds that every side and quality together may take.
const LIMIT: u64 = 1500;

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

/// Milliseconds that all threads of this process worked.
fn worked() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

fn main() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    photo(4000, 3000).save_with_format(file.path(), image::ImageFormat::Jpeg).expect("saved");
    let measure = |cap: u64| {
        let start = worked();
        let made = picture::reduce(file.path(), "image/jpeg", cap);
        (worked() - start, made.ok().and_then(|p| p.bytes).map(|b| b.len()))
    };
    measure(5 << 20);
    let (first, bytes) = measure(5 << 20);
    // Nothing fits: every side and quality is tried. The best of three is the least disturbed.
    let sweeps: Vec<_> = (0..3).map(|_| measure(1)).collect();
    assert!(sweeps.iter().all(|(_, made)| made.is_none()), "nothing fits into one byte");
    let whole = sweeps.iter().map(|(time, _)| *time).min().expect("three");
    let optimised = !cfg!(debug_assertions);
    let build = if optimised { "release" } else { "dev" };
    println!(
        "{}",
        serde_json::json!({
            "bench": "media", "command": "cargo bench --bench media", "build": build, "pixels": 12_000_000,
            "firstFitMs": first, "firstFitBytes": bytes, "wholeSweepMs": whole, "limitMs": LIMIT,
        })
    );
    assert!(!optimised || whole <= LIMIT, "the whole sweep takes {whole} ms of one core, more than {LIMIT}");
}
