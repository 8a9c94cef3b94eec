//! What somebody asks to be sent, checked, and the messages that it becomes (behaviour.md 12.6, 13.2 to 13.4). Pure.

use crate::config::model::{ActionsConfig, RulesConfig};
use crate::event::MediaKind;
use crate::outgoing::{MediaFile, Outgoing, Target};
use crate::text::emoji;
use crate::text::markdown::{self, Rendered};

/// Most UTF-16 units of one message; WhatsApp takes no more.
pub const MAX_TEXT: usize = 65_536;

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
    #[error("\"{0}\" is not one emoji; a WhatsApp reaction is a single one, such as 👍")]
    NotOneEmoji(String),
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

/// The messages of a text that a person or a program sends: formatted and cut like an answer.
pub fn texts(text: &str, rules: &RulesConfig) -> Vec<String> {
    let cut = |rendered: Rendered| rendered.chunks(rules.text_chunk_limit, rules.chunk_mode);
    match cut(markdown::render(text.trim(), rules.markdown_tables)) {
        // Markup that shows nothing is sent as it was typed.
        nothing if nothing.is_empty() => cut(Rendered::plain(text.trim())),
        texts => texts,
    }
}

/// The messages of texts with files, in order: the first text stands below the first file if that shows one, what is left follows the
/// files as messages of its own. The first message quotes.
pub fn message(texts: Vec<String>, files: Vec<MediaFile>, quote: Option<Target>) -> Vec<Outgoing> {
    let mut parts = reply(texts, files.into_iter().map(Ok).collect());
    if let Some(Outgoing::Text { quote: first, .. } | Outgoing::Media { quote: first, .. }) = parts.first_mut() {
        *first = quote;
    }
    parts
}

/// Voice notes, audio and stickers show no text.
pub fn shows_captions(kind: MediaKind) -> bool {
    matches!(kind, MediaKind::Image | MediaKind::Video | MediaKind::Document)
}

/// The messages of an answer whose files were prepared or not: instead of the first file that failed its text is sent with a
/// warning, what failed later is reported at the end (behaviour.md 12.6).
pub fn reply(texts: Vec<String>, files: Vec<Result<MediaFile, String>>) -> Vec<Outgoing> {
    let mut texts = texts.into_iter();
    let (mut parts, mut reports) = (Vec::new(), Vec::new());
    for (n, file) in files.into_iter().enumerate() {
        match file {
            Ok(media) => {
                let caption = if n == 0 && shows_captions(media.kind) { texts.next() } else { None };
                parts.push(Outgoing::Media { media, caption, quote: None });
            }
            Err(cause) if n == 0 => parts.push(Outgoing::text(media_failed(texts.next(), &cause))),
            Err(cause) => reports.push(Outgoing::text(media_failed(None, &cause))),
        }
    }
    parts.extend(texts.map(Outgoing::text));
    parts.extend(reports);
    parts
}

/// What stands in a chat instead of a file that cannot be sent.
fn media_failed(caption: Option<String>, cause: &str) -> String {
    let warning = format!("⚠️ Media failed: {cause}");
    caption.map_or_else(|| warning.clone(), |caption| format!("{caption}\n{warning}"))
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
/// [`Mistake::RemoveNeedsEmoji`], [`Mistake::NotOneEmoji`].
pub fn reaction(emoji: &str, remove: bool) -> Result<String, Mistake> {
    match (emoji.trim(), remove) {
        ("", true) => Err(Mistake::RemoveNeedsEmoji),
        ("", false) | (_, true) => Ok(String::new()),
        (one, false) if emoji::is_one(one) => Ok(one.to_owned()),
        // Phones show no other reaction, and nobody is told.
        (other, false) => Err(Mistake::NotOneEmoji(other.chars().take(40).collect())),
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
            assert_eq!(shape(&message(texts(text, &rules), files, None)), want, "{text:?}");
        }
    }

    #[test]
    fn the_first_message_quotes() {
        let target = Target { id: MessageId::new("Q"), sender: None, from_me: false };
        let parts = message(texts("longer than ten", &rules()), vec![], Some(target.clone()));
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
        for text in ["lol", "👍👎", "1"] {
            assert_eq!(reaction(text, false), Err(Mistake::NotOneEmoji(text.to_owned())));
        }
    }

    #[test]
    fn texts_of_people_are_formatted_like_answers() {
        let config = load_text("{}", &ResolveEnv::new("/h", "/h/.verso")).expect("config").config;
        let rules = &config.account(&config.default_account).expect("account").rules;
        assert_eq!(texts(" **loud** and `code` ", rules), ["*loud* and ```code```"]);
        let table = texts("| a | b |\n|---|---|\n| 1 | 2 |", rules).concat();
        assert!(table.contains("• b: 2") && !table.contains('|'), "{table}");
        assert_eq!(texts("<!-- nothing -->", rules), ["<!-- nothing -->"], "nothing is lost");
    }

    #[test]
    fn an_answer_says_which_files_failed() {
        let image = || Ok(file(MediaKind::Image));
        let failed = |cause: &str| Err(cause.to_owned());
        let check = |texts: &[&str], files, want: &[&str]| {
            let texts = texts.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(shape(&reply(texts, files)), want);
        };
        check(&["look"], vec![failed("404")], &["look\n⚠️ Media failed: 404"]);
        check(&[], vec![failed("404")], &["⚠️ Media failed: 404"]);
        check(&["look", "more"], vec![failed("404"), image()], &["look\n⚠️ Media failed: 404", "file:", "more"]);
        check(
            &["look", "more"],
            vec![image(), failed("a"), image(), failed("b")],
            &["file:look", "file:", "more", "⚠️ Media failed: a", "⚠️ Media failed: b"],
        );
    }
}
