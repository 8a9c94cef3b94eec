//! A QR code as a PNG data URL: error correction L, 6 px a module, 4 modules of quiet zone.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use qrcode::{Color, EcLevel, QrCode};

const SCALE: usize = 6;
const MARGIN: usize = 4;

/// The text does not fit into a QR code.
#[derive(Debug, thiserror::Error)]
#[error("text of {length} bytes does not fit into a QR code")]
pub struct TooLong {
    length: usize,
}

/// A square of modules with its quiet zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modules {
    /// Modules a side, quiet zone included.
    pub side: usize,
    dark: Vec<bool>,
}

impl Modules {
    /// Encodes the text with a quiet zone of 4 modules.
    ///
    /// # Errors
    /// [`TooLong`] above about 2,950 bytes.
    pub fn of(text: &str) -> Result<Self, TooLong> {
        let code = QrCode::with_error_correction_level(text, EcLevel::L).map_err(|_| TooLong { length: text.len() })?;
        let inner = code.width();
        let side = inner + 2 * MARGIN;
        let mut dark = vec![false; side * side];
        for (i, color) in code.to_colors().into_iter().enumerate() {
            dark[(i / inner + MARGIN) * side + i % inner + MARGIN] = color == Color::Dark;
        }
        Ok(Self { side, dark })
    }

    /// True for a dark module; outside is light.
    pub fn dark(&self, x: usize, y: usize) -> bool {
        x < self.side && y < self.side && self.dark[y * self.side + x]
    }

    /// A one-bit greyscale PNG.
    fn png(&self) -> Vec<u8> {
        let pixels = self.side * SCALE;
        let row_bytes = pixels.div_ceil(8);
        let mut raw = Vec::with_capacity(pixels * (row_bytes + 1));
        for y in 0..pixels {
            let mut row = vec![0u8; row_bytes + 1]; // the first byte is the filter: none
            for x in 0..pixels {
                if !self.dark(x / SCALE, y / SCALE) {
                    row[1 + x / 8] |= 0x80 >> (x % 8);
                }
            }
            raw.extend_from_slice(&row);
        }
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&raw).expect("writing to memory cannot fail");
        let packed = packed.finish().expect("writing to memory cannot fail");
        let size = u32::try_from(pixels).expect("a QR code has at most 185 modules a side").to_be_bytes();
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        chunk(&mut png, b"IHDR", &[&size[..], &size[..], &[1, 0, 0, 0, 0]].concat());
        chunk(&mut png, b"IDAT", &packed);
        chunk(&mut png, b"IEND", &[]);
        png
    }
}

fn chunk(png: &mut Vec<u8>, kind: &[u8; 4], body: &[u8]) {
    let mut crc = Crc::new();
    crc.update(kind);
    crc.update(body);
    png.extend_from_slice(&u32::try_from(body.len()).expect("a small image").to_be_bytes());
    png.extend_from_slice(kind);
    png.extend_from_slice(body);
    png.extend_from_slice(&crc.sum().to_be_bytes());
}

/// `data:image/png;base64,...` of the text's QR code.
///
/// # Errors
/// [`TooLong`].
pub fn data_url(text: &str) -> Result<String, TooLong> {
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(Modules::of(text)?.png())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_image_holds_the_modules() {
        let text = "2@abcdefghijklmnopqrstuvwxyz,0123456789,ABCDEFGHIJKLMNOPQRSTUVWXYZ=";
        let modules = Modules::of(text).unwrap();
        let png = modules.png();
        let pixels = modules.side * SCALE;
        assert_eq!(&png[16..20], u32::try_from(pixels).unwrap().to_be_bytes());
        let length = u32::from_be_bytes(png[33..37].try_into().unwrap()) as usize;
        let mut raw = Vec::new();
        flate2::read::ZlibDecoder::new(&png[41..41 + length]).read_to_end(&mut raw).unwrap();
        let row = pixels.div_ceil(8) + 1;
        assert_eq!(raw.len(), row * pixels);
        for y in 0..modules.side {
            for x in 0..modules.side {
                let (px, py) = (x * SCALE + 2, y * SCALE + 3);
                let light = raw[py * row + 1 + px / 8] & (0x80 >> (px % 8)) != 0;
                assert_eq!(light, !modules.dark(x, y));
            }
        }
        assert!(data_url(text).unwrap().starts_with("data:image/png;base64,iVBOR"));
        assert!(!modules.dark(3, 3) && modules.dark(4, 4), "four light modules, then the finder pattern");
    }

    #[test]
    fn too_much_text_is_an_error() {
        assert!(data_url(&"x".repeat(4000)).is_err());
    }
}
