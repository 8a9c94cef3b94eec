//! What an outgoing message says, in WhatsApp's words.

use whatsapp_rust::upload::UploadResponse;
use whatsapp_rust::wacore::proto_helpers::{MessageExt, build_reaction_message};
use whatsapp_rust::waproto::buffa::MessageField;
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_rust::waproto::whatsapp::message as m;

use crate::event::MediaKind;
use crate::ids::Jid;
use crate::outgoing::{MediaFile, Target};

/// A text; with `quote` an answer to a message.
pub(super) fn text(chat: &Jid, text: &str, quote: Option<(&Target, &Jid)>) -> wa::Message {
    let Some((target, me)) = quote else {
        return wa::Message { conversation: Some(text.to_owned()), ..wa::Message::default() };
    };
    wa::Message {
        extended_text_message: MessageField::some(m::ExtendedTextMessage {
            text: Some(text.to_owned()),
            context_info: MessageField::some(quoting(chat, target, me)),
            ..Default::default()
        }),
        ..wa::Message::default()
    }
}

/// A file that was uploaded.
pub(super) fn media(
    chat: &Jid,
    stored: UploadResponse,
    file: &MediaFile,
    caption: Option<String>,
    quote: Option<(&Target, &Jid)>,
) -> wa::Message {
    let (width, height) = (file.size.map(|(w, _)| w), file.size.map(|(_, h)| h));
    let mut message = wa::Message::default();
    /// The fields that all kinds share.
    macro_rules! about {
        ($kind:ident { $($field:ident: $value:expr),* $(,)? }) => {
            MessageField::some(m::$kind {
                url: Some(stored.url),
                direct_path: Some(stored.direct_path),
                media_key: Some(stored.media_key.to_vec()),
                file_sha256: Some(stored.file_sha256.to_vec()),
                file_enc_sha256: Some(stored.file_enc_sha256.to_vec()),
                file_length: Some(stored.file_length),
                media_key_timestamp: Some(stored.media_key_timestamp),
                mimetype: Some(file.mime.clone()),
                $($field: $value,)*
                ..Default::default()
            })
        };
    }
    match file.kind {
        MediaKind::Image => {
            message.image_message = about!(ImageMessage {
                caption: caption,
                width: width,
                height: height,
                jpeg_thumbnail: file.thumbnail.clone(),
            });
        }
        MediaKind::Video => {
            message.video_message = about!(VideoMessage {
                caption: caption,
                width: width,
                height: height,
                seconds: file.seconds,
                gif_playback: file.gif.then_some(true),
                jpeg_thumbnail: file.thumbnail.clone(),
                streaming_sidecar: stored.streaming_sidecar,
            });
        }
        MediaKind::Audio => {
            message.audio_message = about!(AudioMessage {
                ptt: Some(file.voice),
                seconds: file.seconds,
                waveform: file.waveform.clone(),
                streaming_sidecar: stored.streaming_sidecar,
            });
        }
        MediaKind::Document => {
            message.document_message = about!(DocumentMessage {
                caption: caption,
                file_name: file.file_name.clone(),
                title: file.file_name.clone(),
                jpeg_thumbnail: file.thumbnail.clone(),
            });
        }
        MediaKind::Sticker => {
            message.sticker_message =
                about!(StickerMessage { width: width, height: height, is_animated: file.gif.then_some(true) });
        }
    }
    if let Some((target, me)) = quote {
        message.set_context_info(quoting(chat, target, me));
    }
    message
}

/// An emoji on a message; empty takes it back.
pub(super) fn reaction(chat: &Jid, target: &Target, emoji: &str) -> wa::Message {
    build_reaction_message(key(chat, target), emoji, whatsapp_rust::wacore::time::now_millis())
}

/// A question with answers to choose from.
pub(super) fn poll(question: &str, options: &[String], selectable: u32) -> wa::Message {
    let poll = m::PollCreationMessage {
        name: Some(question.to_owned()),
        options: options
            .iter()
            .map(|name| m::poll_creation_message::Option { option_name: Some(name.clone()), option_hash: None })
            .collect(),
        selectable_options_count: Some(selectable),
        poll_content_type: Some(m::PollContentType::TEXT),
        ..Default::default()
    };
    // Voters encrypt their choice with it.
    let secret: [u8; 32] = rand::random();
    let mut message = wa::Message {
        message_context_info: MessageField::some(wa::MessageContextInfo {
            message_secret: Some(secret.to_vec()),
            ..Default::default()
        }),
        ..wa::Message::default()
    };
    // The form that WhatsApp Web sends: the third for one choice, the first for several.
    if selectable == 1 {
        message.poll_creation_message_v3 = MessageField::some(poll);
    } else {
        message.poll_creation_message = MessageField::some(poll);
    }
    message
}

/// A new text for one of our messages.
pub(super) fn edit(chat: &Jid, target: &Target, text: &str) -> wa::Message {
    protocol(m::ProtocolMessage {
        key: MessageField::some(key(chat, target)),
        r#type: Some(m::protocol_message::Type::MESSAGE_EDIT),
        edited_message: MessageField::some(self::text(chat, text, None)),
        timestamp_ms: Some(whatsapp_rust::wacore::time::now_millis()),
        ..Default::default()
    })
}

/// Takes a message back for everyone.
pub(super) fn delete(chat: &Jid, target: &Target) -> wa::Message {
    protocol(m::ProtocolMessage {
        key: MessageField::some(key(chat, target)),
        r#type: Some(m::protocol_message::Type::REVOKE),
        ..Default::default()
    })
}

fn protocol(message: m::ProtocolMessage) -> wa::Message {
    wa::Message { protocol_message: MessageField::some(message), ..wa::Message::default() }
}

/// Names a message; its author only where the chat and `from_me` do not tell.
fn key(chat: &Jid, target: &Target) -> wa::MessageKey {
    let author = target.sender.as_ref().filter(|_| chat.is_group() && !target.from_me);
    wa::MessageKey {
        remote_jid: Some(chat.to_string()),
        from_me: Some(target.from_me),
        id: Some(target.id.as_str().to_owned()),
        participant: author.map(|jid| jid.without_device().to_string()),
    }
}

fn quoting(chat: &Jid, target: &Target, me: &Jid) -> wa::ContextInfo {
    let author = match &target.sender {
        Some(sender) => sender,
        None if target.from_me => me,
        None => chat,
    };
    wa::ContextInfo {
        stanza_id: Some(target.id.as_str().to_owned()),
        participant: Some(author.without_device().to_string()),
        // The reader's phone shows its own copy of the quoted message; an answer without any is not shown as one.
        quoted_message: MessageField::some(wa::Message { conversation: Some(String::new()), ..Default::default() }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::MessageId;

    fn jid(text: &str) -> Jid {
        text.parse().expect("jid")
    }

    fn target(sender: Option<&str>, from_me: bool) -> Target {
        Target { id: MessageId::new("M1"), sender: sender.map(jid), from_me }
    }

    #[test]
    fn a_key_names_the_author_only_of_other_peoples_group_messages() {
        let (group, ann) = (jid("120@g.us"), jid("15550001111@s.whatsapp.net"));
        for (chat, target, author) in [
            (&group, target(Some("77:3@lid"), false), Some("77@lid")),
            (&group, target(Some("77:3@lid"), true), None),
            (&ann, target(Some("77:3@lid"), false), None),
        ] {
            let key = key(chat, &target);
            assert_eq!(key.participant.as_deref(), author, "{target:?}");
            assert_eq!((key.from_me, key.remote_jid), (Some(target.from_me), Some(chat.to_string())));
        }
    }

    #[test]
    fn a_quote_names_who_wrote_the_message() {
        let (me, ann) = (jid("1@s.whatsapp.net"), jid("77@lid"));
        for (target, author) in [
            (target(None, false), "77@lid"),
            (target(None, true), "1@s.whatsapp.net"),
            (target(Some("9:2@lid"), false), "9@lid"),
        ] {
            let message = text(&ann, "so", Some((&target, &me)));
            let context = message.extended_text_message.context_info.as_option().expect("an answer");
            assert_eq!(context.participant.as_deref(), Some(author));
            assert_eq!(context.stanza_id.as_deref(), Some("M1"));
        }
    }
}
