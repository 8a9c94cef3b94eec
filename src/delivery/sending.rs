//! What somebody asks to be sent, checked, and the messages that it becomes (behaviour.md 12.6, 13.2 to 13.4). Pure.

use crate::config::model::{ActionsConfig, RulesConfig};
use crate::event::MediaKind;
use crate::outgoing::{MediaFile, Outgoing, Target};
use crate::text::chunk;

/// Most options of a poll.
pub const MAX_POLL_OPTIONS: usize = 12;

/// What is asked for makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Mistake {
    #[error("Poll question is required")]
    NoQuestion,
    #[error("Poll requires at least 2 options")]
    TooFewOptions,
    #[error("Poll supports at most 12 options")]
    TooManyOptions,
    #[error("maxSelections must be at least 1")]
    NoSelection,
    #[error("maxSelections cannot exceed option count")]
    TooManySelections,
    #[error("Emoji is required to remove a WhatsApp reaction.")]
    RemoveNeedsEmoji,
}

/// Checks a poll: texts trimmed, empty options dropped, one choice unless more are asked for.
///
/// # Errors
/// [`Mistake`] in the words that clients know.
pub fn poll(question: &str, options: &[String], selections: Option<i64>) -> Result<Outgoing, Mistake> {
    let question = question.trim();
    if question.is_empty() {
        return Err(Mistake::NoQuestion);
    }
    let options: Vec<String> = options.iter().map(|o| o.trim()).filter(|o| !o.is_empty()).map(str::to_owned).collect();
    if options.len() < 2 {
        return Err(Mistake::TooFewOptions);
    }
    if options.len() > MAX_POLL_OPTIONS {
        return Err(Mistake::TooManyOptions);
    }
    let selectable = match selections.unwrap_or(1) {
        n if n < 1 => return Err(Mistake::NoSelection),
        n => usize::try_from(n).ok().filter(|n| *n <= options.len()).ok_or(Mistake::TooManySelections)?,
    };
    Ok(Outgoing::Poll { question: question.to_owned(), selectable: selectable as u32, options })
}

/// The messages of a text with files, in order: the text stands below the first file if that shows one, and is cut like an answer;
/// what does not fit below a file follows as messages of its own. The first message quotes.
pub fn message(text: &str, files: Vec<MediaFile>, quote: Option<Target>, rules: &RulesConfig) -> Vec<Outgoing> {
    let mut texts = chunk::chunk(text.trim(), rules.text_chunk_limit, rules.chunk_mode);
    texts.retain(|part| !part.trim().is_empty());
    let mut texts = texts.into_iter();
    let mut parts = Vec::new();
    for (n, media) in files.into_iter().enumerate() {
        let caption = if n == 0 && shows_captions(media.kind) { texts.next() } else { None };
        parts.push(Outgoing::Media { media, caption, quote: None });
    }
    parts.extend(texts.map(Outgoing::text));
    if let Some(Outgoing::Text { quote: first, .. } | Outgoing::Media { quote: first, .. }) = parts.first_mut() {
        *first = quote;
    }
    parts
}

/// Voice notes, audio and stickers show no text.
pub fn shows_captions(kind: MediaKind) -> bool {
    matches!(kind, MediaKind::Image | MediaKind::Video | MediaKind::Document)
}

/// The messages of an answer whose files were prepared or not: what failed is said in the chat, nothing else is held up by it.
pub fn reply(text: &str, files: Vec<Result<MediaFile, String>>, rules: &RulesConfig) -> Vec<Outgoing> {
    let mut text = text.to_owned();
    let (mut ready, mut later) = (Vec::new(), Vec::new());
    for (n, file) in files.into_iter().enumerate() {
        match file {
            Ok(file) => ready.push(file),
            Err(cause) if n == 0 => text = media_failed(&text, &cause),
            Err(cause) => later.push(media_failed("", &cause)),
        }
    }
    let mut parts = message(&text, ready, None, rules);
    parts.extend(later.into_iter().map(Outgoing::text));
    parts
}

/// What stands in a chat when the first file of an answer cannot be sent.
pub fn media_failed(text: &str, cause: &str) -> String {
    let warning = format!("⚠️ Media failed: {cause}");
    match text.trim() {
        "" => warning,
        text => format!("{text}\n{warning}"),
    }
}

/// What a model asks for by its tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A reaction.
    React,
    /// A poll.
    Poll,
    /// A message, an edit or a deletion.
    Message,
}

/// Whether a model may do this (`channels.whatsapp.actions`); people and programs with the API token always may.
///
/// # Errors
/// The sentence that the model is told.
pub fn allowed(action: Action, actions: &ActionsConfig) -> Result<(), &'static str> {
    match action {
        Action::React if !actions.reactions => Err("WhatsApp reactions are disabled."),
        Action::Poll if !actions.polls => Err("WhatsApp polls are disabled."),
        Action::Message if !actions.send_message => Err("WhatsApp messages are disabled."),
        _ => Ok(()),
    }
}

/// The emoji of a reaction request: empty takes one back. `remove` without an emoji is refused as in the original.
///
/// # Errors
/// [`Mistake::RemoveNeedsEmoji`].
pub fn reaction(emoji: &str, remove: bool) -> Result<String, Mistake> {
    match (emoji.trim(), remove) {
        ("", true) => Err(Mistake::RemoveNeedsEmoji),
        (_, true) => Ok(String::new()),
        (emoji, false) => Ok(emoji.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ResolveEnv, load_text};
    use crate::ids::MessageId;

    fn rules() -> RulesConfig {
        let config = "{ channels: { whatsapp: { textChunkLimit: 10 } } }";
        let config = load_text(config, &ResolveEnv::new("/h", "/h/.verso")).expect("config").config;
        config.account(&config.default_account).expect("account").rules.clone()
    }

    fn file(kind: MediaKind) -> MediaFile {
        MediaFile {
            kind,
            mime: "x/y".into(),
            path: "/p".into(),
            bytes: 1,
            file_name: None,
            size: None,
            seconds: None,
            waveform: None,
            voice: false,
            gif: false,
            thumbnail: None,
        }
    }

    /// `i:caption` for a file, `text` for a text.
    fn shape(parts: &[Outgoing]) -> Vec<String> {
        parts
            .iter()
            .map(|part| match part {
                Outgoing::Media { caption, .. } => format!("file:{}", caption.as_deref().unwrap_or("")),
                Outgoing::Text { text, .. } => text.clone(),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn only_the_first_file_has_a_caption_and_only_if_it_shows_one() {
        let rules = rules();
        let image = || file(MediaKind::Image);
        for (text, files, want) in [
            ("look", vec![image(), image()], vec!["file:look", "file:"]),
            ("hear", vec![file(MediaKind::Audio), image()], vec!["file:", "file:", "hear"]),
            ("longer than ten", vec![image()], vec!["file:longer", "than ten"]),
            ("", vec![image()], vec!["file:"]),
            ("  just  ", vec![], vec!["just"]),
            ("", vec![], vec![]),
        ] {
            assert_eq!(shape(&message(text, files, None, &rules)), want, "{text:?}");
        }
    }

    #[test]
    fn the_first_message_quotes() {
        let target = Target { id: MessageId::new("Q"), sender: None, from_me: false };
        let parts = message("longer than ten", vec![], Some(target.clone()), &rules());
        let quotes: Vec<_> =
            parts.iter().map(|p| matches!(p, Outgoing::Text { quote: Some(q), .. } if *q == target)).collect();
        assert_eq!(quotes, [true, false]);
    }

    #[test]
    fn polls_are_checked_in_the_words_of_the_original() {
        let options = |n: usize| (0..n).map(|n| format!(" o{n} ")).collect::<Vec<_>>();
        let said = |q: &str, n: usize, max: Option<i64>| poll(q, &options(n), max).map_err(|e| e.to_string());
        assert_eq!(
            said(" Q ", 2, None),
            Ok(Outgoing::Poll { question: "Q".into(), options: vec!["o0".into(), "o1".into()], selectable: 1 })
        );
        for (q, n, max, error) in [
            (" ", 2, None, "Poll question is required"),
            ("Q", 1, None, "Poll requires at least 2 options"),
            ("Q", 13, None, "Poll supports at most 12 options"),
            ("Q", 2, Some(3), "maxSelections cannot exceed option count"),
            ("Q", 2, Some(0), "maxSelections must be at least 1"),
        ] {
            assert_eq!(said(q, n, max), Err(error.to_owned()));
        }
        assert_eq!(poll("Q", &["a".into(), " ".into()], None), Err(Mistake::TooFewOptions), "empty options are none");
    }

    #[test]
    fn gates_speak_for_themselves() {
        let closed = ActionsConfig { reactions: false, send_message: false, polls: false };
        assert_eq!(allowed(Action::React, &closed), Err("WhatsApp reactions are disabled."));
        assert_eq!(allowed(Action::Poll, &closed), Err("WhatsApp polls are disabled."));
        assert_eq!(allowed(Action::Message, &closed), Err("WhatsApp messages are disabled."));
        let polls = ActionsConfig { polls: true, ..closed };
        assert_eq!((allowed(Action::Poll, &polls), allowed(Action::React, &polls).is_err()), (Ok(()), true));
    }

    #[test]
    fn taking_a_reaction_back_needs_to_name_it() {
        assert_eq!(reaction("👍", false), Ok("👍".into()));
        assert_eq!(reaction("👍", true), Ok(String::new()));
        assert_eq!(reaction("", false), Ok(String::new()), "empty takes it back");
        assert_eq!(reaction(" ", true), Err(Mistake::RemoveNeedsEmoji));
    }

    #[test]
    fn an_answer_says_which_files_failed() {
        let config = load_text("{}", &ResolveEnv::new("/h", "/h/.verso")).expect("config").config;
        let rules = &config.account(&config.default_account).expect("account").rules;
        let image = || Ok(file(MediaKind::Image));
        let failed = |cause: &str| Err(cause.to_owned());
        for (files, want) in [
            (vec![failed("404")], vec!["look\n⚠️ Media failed: 404"]),
            (vec![failed("404"), image()], vec!["file:look\n⚠️ Media failed: 404"]),
            (vec![image(), failed("too big")], vec!["file:look", "⚠️ Media failed: too big"]),
        ] {
            assert_eq!(shape(&reply("look", files, rules)), want);
        }
    }

    #[test]
    fn a_failed_file_leaves_its_caption_and_a_warning() {
        assert_eq!(media_failed("look", "HTTP 404"), "look\n⚠️ Media failed: HTTP 404");
        assert_eq!(media_failed("", "HTTP 404"), "⚠️ Media failed: HTTP 404");
    }
}
