//! What is sent, as the original puts it on the wire.

use verso::delivery::sending;
use verso::event::MediaKind;
use verso::outgoing::{MediaFile, Outgoing};

use super::common::*;

pub fn functions(name: &str) -> Option<(Run, Deviation)> {
    Some(match name {
        "createWebSendApi.sendMessage" => (message, audio_text),
        "createWebSendApi.sendReaction/sendPoll" => (reaction_or_poll, NEVER),
        "normalizePollInput(maxOptions 12)" => (poll, NEVER),
        _ => return None,
    })
}

fn message(input: &Value) -> Outcome {
    let to = to(&input["to"])?;
    let mime = text(&input["type"]);
    let files = if input["media"] == true && !mime.is_empty() {
        vec![file(mime, input["opt"]["gifPlayback"] == true, input["opt"]["fileName"].as_str())]
    } else {
        vec![]
    };
    let config = config(&Value::Null)?;
    let rules = &config.account(&config.default_account).expect("an account").rules;
    let parts = sending::message(sending::texts(text(&input["text"]), rules), files, None);
    let sent: Vec<Value> = parts.iter().map(|part| json!({"jid": to, "content": content(part)})).collect();
    Ok(json!({"messageId": "ID1", "sent": sent}))
}

fn to(value: &Value) -> Result<Jid, LeftOut> {
    Target::parse(text(value))
        .map(|t| t.jid())
        .map_err(|_| LeftOut("13.1 only addresses that can be written to are targets"))
}

fn file(mime: &str, gif: bool, name: Option<&str>) -> MediaFile {
    let kind = match mime.split('/').next().unwrap_or_default() {
        "image" => MediaKind::Image,
        "audio" => MediaKind::Audio,
        "video" => MediaKind::Video,
        _ => MediaKind::Document,
    };
    MediaFile {
        file_name: (kind == MediaKind::Document).then(|| name.unwrap_or("file").to_owned()),
        voice: kind == MediaKind::Audio,
        gif: gif && kind == MediaKind::Video,
        ..MediaFile::new(kind, mime, "/f", 1)
    }
}

/// The content in the original library's words.
fn content(part: &Outgoing) -> Value {
    match part {
        Outgoing::Text { text, .. } => json!({"text": text}),
        Outgoing::Media { media, caption, .. } => match media.kind {
            MediaKind::Image => json!({"image": "<bytes>", "caption": caption, "mimetype": media.mime}),
            MediaKind::Audio => json!({"audio": "<bytes>", "ptt": media.voice, "mimetype": media.mime}),
            MediaKind::Video => json!({"video": "<bytes>", "caption": caption, "mimetype": media.mime,
                "gifPlayback": media.gif.then_some(true)}),
            _ => {
                json!({"document": "<bytes>", "caption": caption, "mimetype": media.mime, "fileName": media.file_name})
            }
        },
        Outgoing::Poll { question, options, selectable } => {
            json!({"poll": {"name": question, "values": options, "selectableCount": selectable}})
        }
        other => json!(other),
    }
}

fn audio_text(input: &Value, _: &Value) -> Option<&'static str> {
    let said = !text(&input["text"]).trim().is_empty();
    if said && text(&input["type"]).starts_with("audio/") {
        return Some("13.2 the text of audio is a message of its own");
    }
    if text(&input["type"]).is_empty() && input["media"] == true {
        return Some("14.2 a file without a type is sniffed and sent as a document");
    }
    None
}

fn reaction_or_poll(input: &Value) -> Outcome {
    let call = input["call"].as_array().ok_or(LeftOut("not a call"))?;
    let chat = to(&call[1])?;
    if text(&call[0]) == "poll" {
        let wish = &call[2];
        let options: Vec<String> = strings(&wish["options"]).into_iter().map(str::to_owned).collect();
        let poll = sending::poll(text(&wish["question"]), &options, wish["maxSelections"].as_i64())
            .map_err(|_| LeftOut("13.4 a poll that cannot be is refused"))?;
        return Ok(json!({"result": {"messageId": "unknown"}, "sent": [{"jid": chat, "content": content(&poll)}]}));
    }
    let emoji = sending::reaction(text(&call[3]), false).map_err(|_| LeftOut("no reaction"))?;
    let author = call.get(5).and_then(Value::as_str).and_then(|a| Target::parse(a).ok()).map(|t| t.jid());
    let key = json!({"remoteJid": chat, "id": call[2], "fromMe": call[4], "participant": author});
    Ok(json!({"sent": [{"jid": chat, "content": {"react": {"text": emoji, "key": key}}}]}))
}

fn poll(input: &Value) -> Outcome {
    let options: Vec<String> = strings(&input["options"]).into_iter().map(str::to_owned).collect();
    Ok(match sending::poll(text(&input["question"]), &options, input["maxSelections"].as_i64()) {
        Ok(Outgoing::Poll { question, options, selectable }) => json!({
            "question": question, "options": options, "maxSelections": selectable, "durationHours": input["durationHours"],
        }),
        Ok(other) => json!(other),
        Err(mistake) => json!({"throws": mistake.to_string()}),
    })
}
