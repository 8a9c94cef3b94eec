//! Length and size of MP4, MOV and 3GP files, from their headers alone.

use std::io::{Read, Seek, SeekFrom};

/// What the headers say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub seconds: Option<u32>,
    /// Width and height as shown.
    pub size: Option<(u32, u32)>,
    pub has_video: bool,
    pub has_audio: bool,
}

/// A file with more boxes than this is no film but an attack.
const MOST_BOXES: usize = 20_000;

/// Reads the headers; `None` when the file is not of this kind. Frames are never read.
pub(super) fn facts<R: Read + Seek>(file: &mut R) -> Option<Facts> {
    let end = file.seek(SeekFrom::End(0)).ok()?;
    let mut walk = Walk { file, left: MOST_BOXES, facts: Facts::default(), scale: 0, length: 0 };
    let mut seen = false;
    walk.boxes(0, end, &mut |walk, kind, start, end| {
        if &kind == b"moov" {
            seen = true;
            walk.movie(start, end);
        }
    });
    let Walk { mut facts, scale, length, .. } = walk;
    if scale > 0 && length > 0 {
        let rounded = length.saturating_add(u64::from(scale) / 2) / u64::from(scale);
        facts.seconds = Some(u32::try_from(rounded).unwrap_or(u32::MAX).max(1));
    }
    seen.then_some(facts)
}

struct Walk<'a, R> {
    file: &'a mut R,
    left: usize,
    facts: Facts,
    /// Ticks a second.
    scale: u32,
    /// Ticks.
    length: u64,
}

/// Takes the type, start and end of a box's content.
type Visit<'v, W> = dyn FnMut(&mut W, [u8; 4], u64, u64) + 'v;

impl<R: Read + Seek> Walk<'_, R> {
    /// Calls `each` with type, start and end of the content of every box between two places.
    fn boxes(&mut self, mut at: u64, end: u64, each: &mut Visit<Self>) {
        while at.saturating_add(8) <= end && self.left > 0 {
            self.left -= 1;
            let Some(head) = self.bytes::<8>(at) else { return };
            let [a, b, c, d, kind @ ..] = head;
            let (size, header) = match u32::from_be_bytes([a, b, c, d]) {
                0 => (end - at, 8),
                1 => match self.bytes::<8>(at + 8) {
                    Some(long) => (u64::from_be_bytes(long), 16),
                    None => return,
                },
                size => (u64::from(size), 8),
            };
            let Some(next) = at.checked_add(size).filter(|next| size >= header && *next <= end) else { return };
            each(self, kind, at + header, next);
            at = next;
        }
    }

    fn movie(&mut self, start: u64, end: u64) {
        self.boxes(start, end, &mut |walk, kind, start, end| match &kind {
            b"mvhd" => {
                if let Some((scale, length)) = walk.time(start) {
                    (walk.scale, walk.length) = (scale, length.max(walk.length));
                }
            }
            // The length of a film in pieces.
            b"mvex" => walk.boxes(start, end, &mut |walk, kind, start, _| {
                if &kind == b"mehd" {
                    let version = walk.bytes::<1>(start).unwrap_or_default()[0];
                    let length = if version == 1 { walk.u64(start + 4) } else { walk.u32(start + 4).map(u64::from) };
                    walk.length = walk.length.max(length.unwrap_or(0));
                }
            }),
            b"trak" => walk.track(start, end),
            _ => {}
        });
    }

    /// `mvhd`: ticks a second and length.
    fn time(&mut self, start: u64) -> Option<(u32, u64)> {
        let [version] = self.bytes::<1>(start)?;
        let unknown = |length: u64, all: u64| if length == all { 0 } else { length };
        if version == 1 {
            return Some((self.u32(start + 20)?, unknown(self.u64(start + 24)?, u64::MAX)));
        }
        Some((self.u32(start + 12)?, unknown(self.u32(start + 16)?.into(), u32::MAX.into())))
    }

    fn track(&mut self, start: u64, end: u64) {
        let mut size = None;
        let mut handler = [0; 4];
        self.boxes(start, end, &mut |walk, kind, start, end| match &kind {
            b"tkhd" => size = walk.shown_size(start),
            b"mdia" => walk.boxes(start, end, &mut |walk, kind, start, _| {
                if &kind == b"hdlr" {
                    handler = walk.bytes::<4>(start + 8).unwrap_or_default();
                }
            }),
            _ => {}
        });
        match &handler {
            b"vide" => {
                self.facts.has_video = true;
                self.facts.size = self.facts.size.or(size);
            }
            b"soun" => self.facts.has_audio = true,
            _ => {}
        }
    }

    /// `tkhd`: the size, with its sides exchanged when the film lies on its side.
    fn shown_size(&mut self, start: u64) -> Option<(u32, u32)> {
        let [version] = self.bytes::<1>(start)?;
        let matrix = start + if version == 1 { 52 } else { 40 };
        let (across, width, height) = (self.u32(matrix)?, self.u32(matrix + 36)? >> 16, self.u32(matrix + 40)? >> 16);
        let size = if across == 0 { (height, width) } else { (width, height) };
        (width > 0 && height > 0).then_some(size)
    }

    fn u32(&mut self, at: u64) -> Option<u32> {
        self.bytes(at).map(u32::from_be_bytes)
    }

    fn u64(&mut self, at: u64) -> Option<u64> {
        self.bytes(at).map(u64::from_be_bytes)
    }

    fn bytes<const N: usize>(&mut self, at: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.file.seek(SeekFrom::Start(at)).ok()?;
        self.file.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }
}

/// Small films without frames.
#[cfg(test)]
pub(super) mod testing {
    pub(crate) fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let mut out = u32::try_from(content.len() + 8).expect("small").to_be_bytes().to_vec();
        out.extend_from_slice(kind);
        out.extend_from_slice(content);
        out
    }

    pub(crate) fn movie_head(scale: u32, length: u32) -> Vec<u8> {
        let mut content = vec![0; 12];
        content.extend(scale.to_be_bytes());
        content.extend(length.to_be_bytes());
        content.resize(100, 0);
        boxed(b"mvhd", &content)
    }

    pub(crate) fn track(handler: &[u8; 4], width: u32, height: u32, turned: bool) -> Vec<u8> {
        let mut head = vec![0; 40];
        let matrix: [u32; 9] = match turned {
            false => [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x4000_0000],
            true => [0, 0x10000, 0, 0xffff_0000, 0, 0, 0, 0, 0x4000_0000],
        };
        matrix.iter().for_each(|n| head.extend(n.to_be_bytes()));
        head.extend((width << 16).to_be_bytes());
        head.extend((height << 16).to_be_bytes());
        let mut told = vec![0; 8];
        told.extend_from_slice(handler);
        told.resize(25, 0);
        let media = boxed(b"mdia", &boxed(b"hdlr", &told));
        boxed(b"trak", &[boxed(b"tkhd", &head), media].concat())
    }

    /// An MP4 with these tracks and lengths, and pixels that nobody can decode.
    pub(crate) fn film(tracks: &[Vec<u8>], seconds: u32) -> Vec<u8> {
        let movie = [movie_head(1000, seconds * 1000), tracks.concat()].concat();
        [boxed(b"ftyp", b"isom\0\0\x02\0isomiso2mp41"), boxed(b"mdat", &[7; 5000]), boxed(b"moov", &movie)].concat()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::testing::*;
    use super::*;

    fn read(bytes: &[u8]) -> Option<Facts> {
        facts(&mut Cursor::new(bytes))
    }

    #[test]
    fn length_and_size_come_from_the_headers() {
        let film = film(&[track(b"soun", 0, 0, false), track(b"vide", 640, 360, false)], 7);
        assert_eq!(
            read(&film),
            Some(Facts { seconds: Some(7), size: Some((640, 360)), has_video: true, has_audio: true })
        );
    }

    #[test]
    fn a_film_on_its_side_is_shown_upright() {
        let film = film(&[track(b"vide", 1920, 1080, true)], 1);
        assert_eq!(read(&film).and_then(|f| f.size), Some((1080, 1920)));
    }

    #[test]
    fn a_film_in_pieces_tells_its_length_elsewhere() {
        let length = boxed(b"mvex", &boxed(b"mehd", &[0, 0, 0, 0, 0, 0, 0x2e, 0xe0]));
        let film = boxed(b"moov", &[movie_head(1000, 0), length].concat());
        assert_eq!(read(&film).and_then(|f| f.seconds), Some(12));
        let film = boxed(b"moov", &movie_head(1000, 0));
        assert_eq!(read(&film).and_then(|f| f.seconds), None, "unknown is not zero");
        let length = boxed(b"mvex", &boxed(b"mehd", &[&[1, 0, 0, 0][..], &[0xff; 8]].concat()));
        let film = boxed(b"moov", &[movie_head(1000, 0), length].concat());
        assert_eq!(read(&film).and_then(|f| f.seconds), Some(u32::MAX), "no more than fits");
    }

    #[test]
    fn long_sizes_and_open_ends() {
        let inner = movie_head(600, 1800);
        let mut long = vec![0, 0, 0, 1];
        long.extend(b"moov");
        long.extend((inner.len() as u64 + 16).to_be_bytes());
        long.extend(&inner);
        assert_eq!(read(&long).and_then(|f| f.seconds), Some(3));
        let mut open = vec![0, 0, 0, 0];
        open.extend(b"moov");
        open.extend(&inner);
        assert_eq!(read(&open).and_then(|f| f.seconds), Some(3));
        assert_eq!(read(b"no film at all"), None);
        assert_eq!(read(&[0; 4096]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut film in Just(film(&[track(b"vide", 64, 36, false)], 3)), hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40)) {
            for (at, value) in hits {
                let at = at.index(film.len());
                film[at] = value;
            }
            let _ = read(&film);
        }
    }
}
