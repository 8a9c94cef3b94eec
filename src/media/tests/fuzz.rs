//! Damaged files of every form: each conversion ends within its limit, and no decoder panics.
//!
//! `VERSO_FUZZ_CASES=20000 cargo test --lib media::tests::fuzz` looks for longer; `VERSO_FUZZ_SEED` takes another course.

use super::sound::fixture;
use super::stickers::gif;
use super::*;

/// Cases of a normal run: seconds, not minutes.
const CASES: u64 = 150;

fn asked(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A course of numbers that its seed repeats.
struct Course(u64);

impl Course {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % end.max(1)
    }

    /// Numbers that lengths and counts are damaged with.
    fn value(&mut self) -> u8 {
        [0, 1, 2, 0x7f, 0x80, 0xff, 0xfe, 0x40, 0x10, 0x20][self.below(10)]
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        // The head says what is where, so it is damaged most.
        let near = |course: &mut Self, len: usize| {
            let reach = if course.below(2) == 0 { len.min(96) } else { len };
            course.below(reach)
        };
        for _ in 0..=self.below(6) {
            let len = bytes.len();
            if len < 4 {
                return;
            }
            let at = near(self, len);
            match self.below(6) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.value(),
                2 => bytes.truncate(at.max(1)),
                3 => {
                    let width = 4.min(len - at);
                    let value = self.value();
                    bytes[at..at + width].fill(value);
                }
                4 => {
                    let piece = bytes[at..len.min(at + 1 + self.below(64))].to_vec();
                    let to = near(self, len);
                    bytes.splice(to..to, piece);
                }
                _ => {
                    let end = len.min(at + 1 + self.below(32));
                    bytes.drain(at..end);
                }
            }
        }
    }
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let picture = || flag(40, 30);
    let mut all = vec![
        ("a.png", encoded(picture(), ImageFormat::Png)),
        ("a.jpg", turned(picture(), 6)),
        ("a.gif", gif([picture(), flag(40, 30)])),
        ("a.webp", encoded(picture(), ImageFormat::WebP)),
        ("a.mp4", mp4::testing::film(&[mp4::testing::track(b"vide", 64, 36, true)], 7)),
        ("b.mp4", mp4::testing::film(&[mp4::testing::track(b"soun", 0, 0, false)], 7)),
        ("a.ogg", opus::testing::note(0.3)),
        ("a.wav", voice::testing::wav(8_000, 1, 0.2)),
    ];
    all.extend(
        ["tone.mp3", "tone.m4a", "tone.aac", "tone.flac", "tone.ogg", "adpcm.wav"].map(|name| (name, fixture(name))),
    );
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_files_end_within_the_limit_and_panic_nobody() {
    let (place, mut course) = (place(), Course(asked("VERSO_FUZZ_SEED", 7)));
    let seeds = seeds();
    let mut wrong = Vec::new();
    for case in 0..asked("VERSO_FUZZ_CASES", CASES) {
        let (name, seed) = &seeds[course.below(seeds.len())];
        let mut bytes = seed.clone();
        course.damage(&mut bytes);
        // Moving stickers are the dearest conversion.
        let wish = Wish { as_sticker: course.below(4) == 0, ..place.wish(name, &bytes, MB) };
        match place.ask(&wish).await {
            Ok(media) => fs::remove_file(media.path).expect("a file of our own"),
            Err(error) if error.contains("was not converted within") || error.contains("its decoder failed") => {
                let kept = std::env::temp_dir().join(format!("verso-fuzz-{case}-{name}"));
                fs::write(&kept, &bytes).expect("kept");
                wrong.push(format!("case {case}: {error} ({})", kept.display()));
            }
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!((place.loader.stuck_conversions(), place.left()), (0, 0));
}
