//! From a copy of the source to the file that is sent: what is it, does it fit, what must WhatsApp know about it? Blocking.

use std::io::Write;
use std::path::Path;

use tempfile::NamedTempFile;

use super::error::MediaError;
use super::intake::{Copy, temporary};
use super::kind::{self, VOICE_MIME};
use super::picture::{self, Picture, PictureError};
use super::voice::{self, VoiceError};
use super::{Wish, mp4, name, opus, sticker};
use crate::event::MediaKind;
use crate::outgoing::MediaFile;

/// What became of a copy.
pub(super) enum Shaped {
    /// It can be sent.
    Ready(MediaFile),
    /// It is audio that nothing here reads; ffmpeg may.
    Foreign(Copy, String),
    /// It is a film; ffmpeg may give it a preview and another form.
    Film(Copy, String, mp4::Facts),
}

/// The MIME type of a copy.
pub(super) fn mime_of(copy: &Copy) -> String {
    kind::decide(&copy.head, copy.declared.as_deref(), copy.name.as_deref())
}

/// Files of this type can be made smaller, so they may be larger than the limit at first.
pub(super) fn shrinks(wish: &Wish, head: &[u8], mime: &str) -> bool {
    let picture = mime != "image/gif" && picture::opens(mime);
    let sound = kind::kind_of(mime) == Some(MediaKind::Audio) && !kind::is_opus(head);
    !wish.as_document && (picture || wish.as_sticker && picture::opens(mime) || sound)
}

/// Makes a copy ready.
pub(super) fn shape(copy: Copy, wish: &Wish, folder: &Path) -> Result<Shaped, MediaError> {
    let mut mime = mime_of(&copy);
    if wish.as_document {
        return document(copy, wish, mime, folder).map(Shaped::Ready);
    }
    if let Some((promised, found)) = kind::broken_promise(&copy.head, copy.declared.as_deref(), copy.name.as_deref()) {
        let what = if promised.starts_with("image/") { "picture" } else { "media file" };
        return Err(unusable(wish, what, format!("expected {promised}, got {found}")));
    }
    if wish.as_sticker || picture::opens(&mime) {
        return picture(copy, wish, &mime, folder).map(Shaped::Ready);
    }
    let film = copy.file.reopen().ok().and_then(|mut file| mp4::facts(&mut file));
    if let Some(film) = film.filter(|f| f.has_audio && !f.has_video) {
        mime = kind::audio_form(&mime);
        return sound(copy, wish, mime, film.seconds, folder);
    }
    match kind::kind_of(&mime) {
        Some(MediaKind::Audio) => sound(copy, wish, mime, None, folder),
        Some(MediaKind::Video) => {
            if film.is_none() && !proven(&copy, "video/") {
                return Err(unusable(wish, "video", "its bytes are of no known form".into()));
            }
            fits(copy.bytes, wish, "Media")?;
            match film {
                // Such a container may hold sound alone; then header or name say so.
                None => match told_sound(&copy) {
                    Some(mime) => Ok(Shaped::Foreign(copy, mime)),
                    None => Ok(Shaped::Film(copy, mime, mp4::Facts::default())),
                },
                Some(film) => Ok(Shaped::Film(copy, mime, film)),
            }
        }
        // HEIC, AVIF, TIFF and SVG cannot be opened here, but by those who get them.
        _ => document(copy, wish, mime, folder).map(Shaped::Ready),
    }
}

fn unusable(wish: &Wish, what: &'static str, why: String) -> MediaError {
    MediaError::Unusable { name: wish.shown(), what, why }
}

/// The audio type that header or name promise.
fn told_sound(copy: &Copy) -> Option<String> {
    let declared = copy.declared.as_deref().and_then(kind::bare);
    let promised = copy.name.as_deref().and_then(kind::promised_by).map(str::to_owned);
    declared.into_iter().chain(promised).find(|mime| mime.starts_with("audio/"))
}

/// A film, in the form that was `made` of it if that is one and fits, with its first `frame` as preview.
pub(super) fn film(
    copy: Copy,
    made: Option<NamedTempFile>,
    wish: &Wish,
    mime: String,
    known: mp4::Facts,
    frame: Option<Vec<u8>>,
    folder: &Path,
) -> Result<MediaFile, MediaError> {
    let usable = |file: &NamedTempFile| {
        let facts = mp4::facts(&mut file.reopen().ok()?).filter(|facts| facts.has_video)?;
        (size_of(file, folder).ok()? <= wish.max_bytes).then_some(facts)
    };
    let better = made.and_then(|file| usable(&file).map(|facts| (file, facts)));
    let (file, mime, film) = match better {
        Some((file, facts)) => (file, "video/mp4".to_owned(), facts),
        None => (copy.file, mime, known),
    };
    let shown = frame.and_then(|frame| picture::frame(&frame));
    let facts = Facts {
        size: film.size.or(shown.as_ref().map(|frame| frame.size)),
        seconds: film.seconds.or(known.seconds),
        gif: wish.gif_playback,
        thumbnail: shown.and_then(|frame| frame.thumbnail),
        ..Facts::default()
    };
    keep(file, MediaKind::Video, mime, facts, folder)
}

/// The bytes themselves say so, not only a header or a name.
fn proven(copy: &Copy, family: &str) -> bool {
    kind::sniff(&copy.head).is_some_and(|mime| mime.starts_with(family))
}

fn fits(bytes: u64, wish: &Wish, what: &'static str) -> Result<(), MediaError> {
    match bytes > wish.max_bytes {
        true => Err(MediaError::Exceeds { what, cap: wish.max_bytes, got: bytes }),
        false => Ok(()),
    }
}

fn document(copy: Copy, wish: &Wish, mime: String, folder: &Path) -> Result<MediaFile, MediaError> {
    fits(copy.bytes, wish, "Media")?;
    let given = wish.file_name.as_deref().and_then(name::clean);
    let file_name = name::with_extension(given.as_deref().or(copy.name.as_deref()), &mime);
    let mut media = keep(copy.file, MediaKind::Document, mime, Facts::default(), folder)?;
    media.file_name = Some(file_name);
    Ok(media)
}

fn picture(copy: Copy, wish: &Wish, mime: &str, folder: &Path) -> Result<MediaFile, MediaError> {
    let (kind, what) = match wish.as_sticker {
        true => (MediaKind::Sticker, "sticker"),
        false => (MediaKind::Image, "picture"),
    };
    let path = copy.file.path();
    let made = match mime {
        _ if wish.as_sticker => sticker::sticker(path, mime),
        "image/gif" => {
            fits(copy.bytes, wish, "GIF")?;
            picture::gif(path)
        }
        _ => picture::reduce(path, mime, wish.max_bytes),
    };
    let Picture { bytes, mime, size, thumbnail, moving } = made.map_err(|error| match error {
        PictureError::Damaged(why) => unusable(wish, what, why),
        PictureError::TooLarge(got) => MediaError::NotReduced { cap: wish.max_bytes, got },
    })?;
    let file = match bytes {
        None => copy.file,
        Some(bytes) => {
            let mut file = temporary(folder)?;
            file.write_all(&bytes).map_err(MediaError::disk(folder))?;
            file
        }
    };
    fits(size_of(&file, folder)?, wish, "Media")?;
    keep(file, kind, mime.into(), Facts { size: Some(size), thumbnail, gif: moving, ..Facts::default() }, folder)
}

/// Sound becomes a voice note when it can be read.
fn sound(copy: Copy, wish: &Wish, mime: String, seconds: Option<u32>, folder: &Path) -> Result<Shaped, MediaError> {
    if kind::is_opus(&copy.head) {
        return note(copy.file, wish, folder).map(Shaped::Ready);
    }
    let made = temporary(folder)?;
    match voice::convert(copy.file.path(), kind::extension_of(&mime), &made, wish.max_bytes) {
        Ok(()) => note(made, wish, folder).map(Shaped::Ready),
        Err(VoiceError::TooLarge(got)) if copy.bytes > wish.max_bytes => {
            Err(MediaError::NotReduced { cap: wish.max_bytes, got })
        }
        Err(VoiceError::TooLarge(_)) => plain_sound(copy, wish, mime, seconds, folder).map(Shaped::Ready),
        Err(VoiceError::Unknown(why)) if seconds.is_none() && !proven(&copy, "audio/") => {
            Err(unusable(wish, "audio file", why))
        }
        Err(VoiceError::Unknown(_)) => Ok(Shaped::Foreign(copy, mime)),
    }
}

/// A voice note, with all that phones want to know about it.
pub(super) fn note(file: NamedTempFile, wish: &Wish, folder: &Path) -> Result<MediaFile, MediaError> {
    let facts = opus::facts(file.path()).map_err(|why| unusable(wish, "audio file", why))?;
    fits(size_of(&file, folder)?, wish, "Media")?;
    let facts = Facts { seconds: Some(facts.seconds), waveform: Some(facts.waveform), voice: true, ..Facts::default() };
    keep(file, MediaKind::Audio, VOICE_MIME.into(), facts, folder)
}

/// Audio as it is; phones show it as a file to play.
pub(super) fn plain_sound(
    copy: Copy,
    wish: &Wish,
    mime: String,
    seconds: Option<u32>,
    folder: &Path,
) -> Result<MediaFile, MediaError> {
    fits(copy.bytes, wish, "Media")?;
    let seconds = seconds.or_else(|| mp4::facts(&mut copy.file.reopen().ok()?)?.seconds);
    keep(copy.file, MediaKind::Audio, mime, Facts { seconds, ..Facts::default() }, folder)
}

#[derive(Default)]
struct Facts {
    size: Option<(u32, u32)>,
    seconds: Option<u32>,
    waveform: Option<Vec<u8>>,
    voice: bool,
    gif: bool,
    thumbnail: Option<Vec<u8>>,
}

fn size_of(file: &NamedTempFile, folder: &Path) -> Result<u64, MediaError> {
    file.as_file().metadata().map(|m| m.len()).map_err(MediaError::disk(folder))
}

/// Gives the file its final name, on disk for good.
fn keep(
    file: NamedTempFile,
    kind: MediaKind,
    mime: String,
    facts: Facts,
    folder: &Path,
) -> Result<MediaFile, MediaError> {
    let bytes = size_of(&file, folder)?;
    let extension = kind::extension_of(&mime).unwrap_or("bin");
    let path = folder.join(format!("{}.{extension}", uuid::Uuid::new_v4()));
    file.as_file().sync_all().map_err(MediaError::disk(folder))?;
    file.persist(&path).map_err(|e| MediaError::disk(folder)(e.error))?;
    std::fs::File::open(folder).and_then(|d| d.sync_all()).map_err(MediaError::disk(folder))?;
    let Facts { size, seconds, waveform, voice, gif, thumbnail } = facts;
    Ok(MediaFile { size, seconds, waveform, voice, gif, thumbnail, ..MediaFile::new(kind, mime, path, bytes) })
}
