//! `verso message`: send, react, poll, edit, delete.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser as Given;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::output::{Failure, Printer};
use super::place::Place;
use super::{Connection, only_whatsapp, show};
use crate::api::protocol::CHANNEL;
use crate::delivery::sending::{self, Mistake};
use crate::ids::Jid;
use crate::routing::target::Target;

/// Arguments of `verso message`.
#[derive(Debug, Args)]
pub struct MessageArgs {
    #[command(subcommand)]
    command: MessageCommand,
}

#[derive(Debug, Subcommand)]
enum MessageCommand {
    /// Send a text, files, or both to a person or a group
    Send(SendArgs),
    /// React to a message, or take a reaction back
    React(ReactArgs),
    /// Send a poll
    Poll(PollArgs),
    /// Give one of the account's messages a new text
    Edit(EditArgs),
    /// Take a message back for everyone
    Delete(DeleteArgs),
}

/// What all of them share.
#[derive(Debug, Args)]
struct Common {
    /// Phone number (+15551234567), group JID (…@g.us) or LID (…@lid)
    #[arg(long, short, value_name = "TARGET")]
    target: String,
    /// Channel
    #[arg(long, default_value = CHANNEL)]
    channel: String,
    /// Account to send from [default: the default account]
    #[arg(long, value_name = "ID", value_parser = Given::new())]
    account: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Check and show what would be sent, send nothing
    #[arg(long)]
    dry_run: bool,
    /// Longest wait in milliseconds
    #[arg(long, default_value_t = 60_000, value_name = "MS")]
    timeout: u64,
    /// Say more
    #[arg(long, short)]
    verbose: bool,
}

#[derive(Debug, Args)]
struct SendArgs {
    #[command(flatten)]
    common: Common,
    /// The text; below the first file if that shows one
    #[arg(long, short, value_name = "TEXT", allow_hyphen_values = true)]
    message: Option<String>,
    /// A file or an http(s) address; again for more
    #[arg(long, value_name = "PATH|URL", value_parser = Given::new())]
    media: Vec<String>,
    /// Play a video silently and again and again
    #[arg(long)]
    gif_playback: bool,
    /// Send images and videos as files
    #[arg(long)]
    force_document: bool,
    /// Send images as stickers (512 x 512; WebP, PNG, JPEG or GIF)
    #[arg(long, requires = "media", conflicts_with = "force_document")]
    as_sticker: bool,
    /// Answer the message with this id
    #[arg(long, value_name = "MESSAGE-ID", value_parser = Given::new())]
    reply_to: Option<String>,
}

#[derive(Debug, Args)]
struct ReactArgs {
    #[command(flatten)]
    common: Common,
    /// The message
    #[arg(long, value_name = "ID", value_parser = Given::new())]
    message_id: String,
    /// The emoji; an empty one takes the reaction back
    #[arg(long)]
    emoji: Option<String>,
    /// Take the reaction back
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    author: Author,
}

/// Whose message it is; looked up when not said.
#[derive(Debug, Args)]
struct Author {
    /// Its author, in groups
    #[arg(long, value_name = "NUMBER|JID", value_parser = Given::new())]
    participant: Option<String>,
    /// The account itself wrote it
    #[arg(long)]
    from_me: bool,
}

#[derive(Debug, Args)]
struct PollArgs {
    #[command(flatten)]
    common: Common,
    /// The question
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    poll_question: String,
    /// An answer to choose from; 2 to 12 of them
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    poll_option: Vec<String>,
    /// Several answers may be chosen
    #[arg(long)]
    poll_multi: bool,
}

#[derive(Debug, Args)]
struct EditArgs {
    #[command(flatten)]
    common: Common,
    /// The account's message
    #[arg(long, value_name = "ID", value_parser = Given::new())]
    message_id: String,
    /// The new text
    #[arg(long, short, value_name = "TEXT", allow_hyphen_values = true)]
    message: String,
}

#[derive(Debug, Args)]
struct DeleteArgs {
    #[command(flatten)]
    common: Common,
    /// The message
    #[arg(long, value_name = "ID", value_parser = Given::new())]
    message_id: String,
    #[command(flatten)]
    author: Author,
}

impl MessageCommand {
    fn common(&self) -> &Common {
        match self {
            Self::Send(args) => &args.common,
            Self::React(args) => &args.common,
            Self::Poll(args) => &args.common,
            Self::Edit(args) => &args.common,
            Self::Delete(args) => &args.common,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Send(_) => "send",
            Self::React(_) => "react",
            Self::Poll(_) => "poll",
            Self::Edit(_) => "edit",
            Self::Delete(_) => "delete",
        }
    }

    /// The API method.
    fn method(&self) -> &'static str {
        match self {
            Self::Send(_) => "send",
            Self::Poll(_) => "poll",
            Self::React(_) | Self::Edit(_) | Self::Delete(_) => "message.action",
        }
    }

    /// What is asked for, as the method takes it; `here` is where relative paths start.
    fn wish(&self, here: &Path) -> Result<Value, Failure> {
        let to = &self.common().target;
        Ok(match self {
            Self::Send(args) => {
                let text = args.message.as_deref().unwrap_or_default();
                if text.trim().is_empty() && args.media.is_empty() {
                    return Err(Failure::usage("the message is empty")
                        .hint("give a text with --message or a file with --media"));
                }
                let media: Vec<String> = args.media.iter().map(|source| absolute(source, here)).collect();
                let mut wish = json!({"to": to, "message": text, "channel": CHANNEL});
                for (key, value) in [
                    ("mediaUrl", media.first().map(|m| json!(m))),
                    ("mediaUrls", (!media.is_empty()).then(|| json!(media))),
                    ("gifPlayback", args.gif_playback.then_some(json!(true))),
                    ("asSticker", args.as_sticker.then_some(json!(true))),
                    ("forceDocument", args.force_document.then_some(json!(true))),
                    ("replyToId", args.reply_to.as_ref().map(|id| json!(id))),
                ] {
                    if let Some(value) = value {
                        wish[key] = value;
                    }
                }
                wish
            }
            Self::Poll(args) => {
                let options = &args.poll_option;
                let selections = if args.poll_multi { options.len().max(1) } else { 1 };
                sending::poll(&args.poll_question, options, i64::try_from(selections).ok()).map_err(|e| {
                    Failure::usage(e.to_string()).hint("give --poll-question and 2 to 12 times --poll-option")
                })?;
                json!({"to": to, "question": args.poll_question, "options": options, "maxSelections": selections,
                    "channel": CHANNEL})
            }
            Self::React(args) => {
                let emoji = args.emoji.as_deref().unwrap_or_default();
                if args.emoji.is_none() && !args.remove {
                    return Err(Failure::usage("no emoji").hint("give one with --emoji"));
                }
                sending::reaction(emoji, args.remove).map_err(|e| match e {
                    Mistake::RemoveNeedsEmoji => {
                        Failure::usage(e.to_string()).hint("name the one to take back with --emoji")
                    }
                    e => Failure::usage(e.to_string()),
                })?;
                let mut params = json!({"to": to, "messageId": args.message_id, "emoji": emoji, "remove": args.remove});
                args.author.tell(&mut params);
                json!({"channel": CHANNEL, "action": "react", "params": params})
            }
            Self::Edit(args) => {
                if args.message.trim().is_empty() {
                    return Err(Failure::usage("the new text is empty")
                        .hint("to take the message back use: verso message delete"));
                }
                json!({"channel": CHANNEL, "action": "edit",
                    "params": {"to": to, "messageId": args.message_id, "message": args.message}})
            }
            Self::Delete(args) => {
                let mut params = json!({"to": to, "messageId": args.message_id});
                args.author.tell(&mut params);
                json!({"channel": CHANNEL, "action": "delete", "params": params})
            }
        })
    }
}

impl Author {
    fn tell(&self, params: &mut Value) {
        if let Some(participant) = &self.participant {
            params["participant"] = json!(participant);
        }
        if self.from_me {
            params["fromMe"] = json!(true);
        }
    }
}

/// The gateway reads the file, from its own working directory.
fn absolute(source: &str, here: &Path) -> String {
    let remote = source.contains("://") || source.starts_with("data:") || source.starts_with('~');
    if remote || Path::new(source).is_absolute() {
        return source.to_owned();
    }
    let relative: PathBuf = Path::new(source).components().filter(|c| *c != std::path::Component::CurDir).collect();
    here.join(relative).to_string_lossy().into_owned()
}

impl MessageArgs {
    /// True when a program reads the output.
    pub fn json(&self) -> bool {
        self.command.common().json
    }
}

/// Runs `verso message`.
pub(super) async fn run(args: &MessageArgs, connection: &Connection, p: &mut Printer<'_>) -> Result<(), Failure> {
    let command = &args.command;
    let common = command.common();
    only_whatsapp(&common.channel)?;
    let target = Target::parse(&common.target).map_err(|e| Failure::usage(e.to_string()))?;
    let here = std::env::current_dir().unwrap_or_default();
    let mut params = command.wish(&here)?;
    let action = command.name();
    let report = |payload: Value| {
        json!({
            "action": action, "channel": CHANNEL, "dryRun": common.dry_run,
            "handledBy": if common.dry_run { "dry-run" } else { "gateway" }, "payload": payload,
        })
    };
    if common.dry_run {
        let jid = target.jid().to_string();
        params["toJid"] = json!(jid);
        params["accountId"] = json!(common.account);
        show(p, &report(params), || vec![format!("[dry-run] would {action} to {jid} via {CHANNEL}")]);
        return Ok(());
    }
    params["idempotencyKey"] = json!(uuid::Uuid::new_v4().to_string());
    if let Some(account) = &common.account {
        params["accountId"] = json!(account);
    }
    let limit = Duration::from_millis(common.timeout);
    let mut client =
        Client::connect(&Place::of_process().reach(connection), limit.min(Duration::from_secs(10))).await?;
    if common.verbose {
        p.note(format!("gateway: {}", client.hello["server"]["version"].as_str().unwrap_or("?")));
    }
    let sent = client.call(command.method(), params, limit).await?;
    client.close().await;
    show(p, &report(json!({"result": sent})), || vec![done(action, &sent)]);
    Ok(())
}

/// The line that says what happened.
fn done(action: &str, sent: &Value) -> String {
    let id = sent["messageId"].as_str().unwrap_or("unknown");
    // The number as WhatsApp has it: a country code that was left out is seen here.
    let jid = sent["toJid"].as_str().and_then(|jid| jid.parse::<Jid>().ok());
    let to = jid.and_then(|jid| jid.e164()).map(|number| format!(" to {number}")).unwrap_or_default();
    match action {
        "send" => format!("✅ Sent via gateway ({CHANNEL}){to}. Message ID: {id}"),
        "poll" => format!("✅ Poll sent via gateway ({CHANNEL}){to}. Message ID: {id}"),
        "react" if sent["removed"] == true => "✅ Reaction removed.".to_owned(),
        "react" => format!("✅ Reaction added: {}", sent["added"].as_str().unwrap_or_default()),
        "edit" => "✅ Message edited.".to_owned(),
        _ => "✅ Message deleted.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: MessageArgs,
    }

    fn wish(line: &str) -> Result<(&'static str, Value), String> {
        let words = std::iter::once("message").chain(line.split(' '));
        let line = Line::try_parse_from(words).map_err(|e| e.to_string())?;
        let wish = line.args.command.wish(Path::new("/here")).map_err(|e| e.message)?;
        Ok((line.args.command.method(), wish))
    }

    #[test]
    fn commands_become_requests() {
        for (line, method, want) in [
            ("send -t +1 -m hi", "send", json!({"to": "+1", "message": "hi", "channel": "whatsapp"})),
            (
                "send -t +1 --media ./a.png --media https://x/b --media /c --gif-playback --reply-to Q",
                "send",
                json!({"to": "+1", "message": "", "channel": "whatsapp", "mediaUrl": "/here/a.png",
                    "mediaUrls": ["/here/a.png", "https://x/b", "/c"], "gifPlayback": true, "replyToId": "Q"}),
            ),
            ("send -t +1 -m -a", "send", json!({"to": "+1", "message": "-a", "channel": "whatsapp"})),
            (
                "send -t +1 --media /s.webp --as-sticker",
                "send",
                json!({"to": "+1", "message": "", "channel": "whatsapp", "mediaUrl": "/s.webp",
                    "mediaUrls": ["/s.webp"], "asSticker": true}),
            ),
            (
                "react -t +1 --message-id M --emoji 👍 --participant +2",
                "message.action",
                json!({"channel": "whatsapp", "action": "react",
                    "params": {"to": "+1", "messageId": "M", "emoji": "👍", "remove": false, "participant": "+2"}}),
            ),
            (
                "poll -t +1 --poll-question Q --poll-option a --poll-option b --poll-multi",
                "poll",
                json!({"to": "+1", "question": "Q", "options": ["a", "b"], "maxSelections": 2, "channel": "whatsapp"}),
            ),
            (
                "edit -t +1 --message-id M -m new",
                "message.action",
                json!({"channel": "whatsapp", "action": "edit", "params": {"to": "+1", "messageId": "M", "message": "new"}}),
            ),
            (
                "delete -t +1 --message-id M --from-me",
                "message.action",
                json!({"channel": "whatsapp", "action": "delete", "params": {"to": "+1", "messageId": "M", "fromMe": true}}),
            ),
        ] {
            assert_eq!(wish(line), Ok((method, want)), "{line}");
        }
    }

    #[test]
    fn mistakes_are_found_before_anything_is_sent() {
        for (line, said) in [
            ("send -t +1", "the message is empty"),
            ("react -t +1 --message-id M", "no emoji"),
            ("react -t +1 --message-id M --remove", "Emoji is required to remove a WhatsApp reaction."),
            (
                "react -t +1 --message-id M --emoji lol",
                "\"lol\" is not one emoji; a WhatsApp reaction is a single one, such as 👍",
            ),
            ("poll -t +1 --poll-question Q --poll-option a", "Poll requires at least 2 options"),
        ] {
            assert_eq!(wish(line), Err(said.to_owned()), "{line}");
        }
        for line in [
            "send -t +1 -m hi --reply-to ",
            "send -t +1 -m hi --account ",
            "send -t +1 --media ",
            "react -t +1 --emoji 👍 --message-id ",
            "react -t +1 --emoji 👍 --message-id M --participant ",
            "edit -t +1 -m new --message-id ",
            "delete -t +1 --message-id ",
        ] {
            let refused = wish(line).expect_err("an empty value is a mistake, such as an unset variable");
            assert!(
                refused.contains("a value is required for")
                    && refused.contains(line.trim_end().rsplit(' ').next().unwrap()),
                "{refused}"
            );
        }
        let both = wish("send -t +1 --media a --as-sticker --force-document").expect_err("refused");
        assert!(both.contains("cannot be used with"), "{both}");
    }
}
