//! Stickers: what they are made of, and what phones would not show.

use image::codecs::gif::{GifEncoder, Repeat};
use image::codecs::webp::WebPDecoder;
use image::{AnimationDecoder, Delay, Frame};

use super::*;

impl Place {
    async fn sticker(&self, name: &str, bytes: &[u8]) -> Result<MediaFile, String> {
        self.ask(&Wish { as_sticker: true, ..self.wish(name, bytes, 5 * MB) }).await
    }
}

pub(super) fn gif(frames: impl IntoIterator<Item = RgbImage>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut bytes, 30);
    encoder.set_repeat(Repeat::Infinite).expect("a head");
    for picture in frames {
        let rgba = DynamicImage::ImageRgb8(picture).into_rgba8();
        encoder.encode_frame(Frame::from_parts(rgba, 0, 0, Delay::from_numer_denom_ms(120, 1))).expect("a frame");
    }
    drop(encoder);
    bytes
}

/// Pictures and their milliseconds.
fn played(media: &MediaFile) -> Vec<(RgbaImage, u32)> {
    let file = std::io::BufReader::new(fs::File::open(&media.path).expect("the file"));
    let frames = WebPDecoder::new(file).expect("a WebP").into_frames().collect_frames().expect("readable");
    frames.into_iter().map(|f| (f.buffer().clone(), f.delay().numer_denom_ms().0)).collect()
}

#[tokio::test]
async fn a_webp_that_is_a_sticker_is_untouched_and_other_pictures_become_one() {
    let place = place();
    let ready = encoded(flag(512, 512), ImageFormat::WebP);
    assert_eq!(place.send("s.webp", &ready).await.expect("sent").kind, MediaKind::Image, "only when asked for");
    let media = place.sticker("s.webp", &ready).await.expect("sent");
    assert_eq!((media.kind, media.mime.as_str(), media.size), (MediaKind::Sticker, "image/webp", Some((512, 512))));
    assert_eq!((fs::read(&media.path).expect("the file"), media.gif), (ready, false));
    for (name, format) in [
        ("s.png", ImageFormat::Png),
        ("s.jpg", ImageFormat::Jpeg),
        ("s.gif", ImageFormat::Gif),
        ("w.webp", ImageFormat::WebP),
    ] {
        let media = place.sticker(name, &encoded(flag(1000, 500), format)).await.expect(name);
        let picture = opened(&media).into_rgba8();
        assert_eq!(
            (media.kind, media.mime.as_str(), picture.dimensions()),
            (MediaKind::Sticker, "image/webp", (512, 512))
        );
        assert_eq!((picture.get_pixel(256, 10)[3], picture.get_pixel(256, 250)[3]), (0, 255), "{name}");
        assert!(media.bytes <= 100 * 1024 && !media.gif, "{name}");
    }
    let upright = opened(&place.sticker("t.jpg", &turned(flag(400, 400), 6)).await.expect("sent")).into_rgba8();
    assert!(upright.get_pixel(450, 256)[0] > 180 && upright.get_pixel(60, 256)[2] > 180);
}

#[tokio::test]
async fn a_gif_that_moves_becomes_a_sticker_that_moves() {
    let place = place();
    let colours = [[220, 20, 20], [20, 220, 20], [20, 20, 220]];
    let frames = colours.map(|colour| RgbImage::from_pixel(200, 100, Rgb(colour)));
    let media = place.sticker("m.gif", &gif(frames)).await.expect("sent");
    assert_eq!((media.kind, media.gif, media.size), (MediaKind::Sticker, true, Some((512, 512))));
    let shown = played(&media);
    assert_eq!(shown.iter().map(|(_, pause)| *pause).collect::<Vec<_>>(), [120; 3]);
    for ((picture, _), colour) in shown.iter().zip(colours) {
        let (seen, around) = (picture.get_pixel(256, 256), picture.get_pixel(256, 20));
        assert!(seen.0[..3].iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 12) && around[3] == 0, "{seen:?}");
    }
    // What it became is a sticker already.
    let bytes = fs::read(&media.path).expect("the file");
    let again = place.sticker("m.webp", &bytes).await.expect("sent");
    assert!(fs::read(&again.path).expect("the file") == bytes && again.gif);
}

#[tokio::test]
async fn a_sticker_loses_colours_and_pictures_before_it_is_too_large() {
    let place = place();
    let soft = RgbImage::from_fn(600, 600, |x, y| {
        let wave = |a: f32, b: f32| ((x as f32 / a).sin() * (y as f32 / b).cos() * 120.0 + 128.0) as u8;
        Rgb([wave(40.0, 60.0), wave(70.0, 30.0), wave(90.0, 80.0)])
    });
    let media = place.sticker("soft.png", &encoded(soft, ImageFormat::Png)).await.expect("sent");
    assert!(media.bytes <= 100 * 1024, "{}", media.bytes);
    let error = place.sticker("noise.png", &encoded(noise(512, 512), ImageFormat::Png)).await.expect_err("too large");
    assert!(error.contains("noise.png is no usable sticker: phones show stickers of at most 100 KB"), "{error}");
    let frames = (0..2).map(|_| noise(512, 512));
    let error = place.sticker("noise.gif", &gif(frames)).await.expect_err("too large");
    assert!(error.contains("phones show moving stickers of at most 500 KB"), "{error}");

    // Each picture alone is small enough, all of them are not.
    let frames = (0..24).map(|n| {
        let mut picture = flag(512, 512);
        image::imageops::replace(&mut picture, &noise(120 + n, 90), 0, 100);
        picture
    });
    let media = place.sticker("long.gif", &gif(frames)).await.expect("sent");
    let shown = played(&media);
    assert!(media.bytes <= 500 * 1024 && shown.len() < 24, "{} {}", media.bytes, shown.len());
    assert_eq!(shown.iter().map(|(_, pause)| *pause).sum::<u32>(), 24 * 120, "it takes as long as before");
}

#[tokio::test]
async fn what_is_no_picture_is_no_sticker() {
    let place = place();
    let error = place.sticker("s.pdf", b"%PDF-1.7").await.expect_err("no picture");
    assert!(error.contains("s.pdf is no usable sticker: application/pdf cannot be opened here"), "{error}");
    let mut bomb = gif([flag(8, 8), flag(8, 8)]);
    // Its own size, and that of both pictures, stands in the head.
    bomb[6..10].copy_from_slice(&[0xff, 0x0f, 0xff, 0x0f]);
    let error = place.sticker("bomb.gif", &bomb).await.expect_err("too many pixels");
    assert!(error.contains("it moves and has 4095 x 4095 pixels; at most 4 megapixels"), "{error}");
}
