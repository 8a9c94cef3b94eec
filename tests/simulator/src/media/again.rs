//! A client found a file gone from the host and asks its own phone for it: `<receipt type="server-error">`, answered with
//! `<notification type="mediaretry">`.

use rand::RngExt as _;
use wacore::media_retry::decrypt_media_retry_notification;
use wacore_binary::Node;
use wacore_libsignal::crypto::aes_256_gcm_encrypt;
use waproto::buffa::Message as _;
use waproto::whatsapp as wa;
use waproto::whatsapp::media_retry_notification::ResultType;

use super::{MediaHost, canonical_token};
use crate::stanza::{NodeExt, el};
use crate::state::{Addr, State, unix_now};

/// Where files lie that a phone put back.
pub(super) const SHELF: &str = "again";
/// HKDF info of the key that both sides encrypt with.
const KEY_INFO: &[u8] = b"WhatsApp Media Retry Notification";
/// The phone has deleted it.
const NOT_FOUND: &str = "2";
/// The phone cannot read the question.
const UNREADABLE: &str = "3";

impl MediaHost {
    /// A phone uploads a file again, when it still has it; gives its new path.
    fn put_back(&self, path: &str) -> Option<String> {
        let token = canonical_token(path.rsplit('/').next()?)?;
        let mut state = self.shared.state();
        state.asked_again += 1;
        let file = state.on_phones.remove(&token)?;
        state.files.insert(token.clone(), file);
        state.put_back.insert(token.clone());
        Some(format!("/v/{SHELF}/{token}"))
    }
}

impl State {
    /// The own phone of a companion is asked for a file.
    pub fn media_asked_again(&mut self, from: Addr, receipt: &Node) {
        let id = receipt.text_or_empty("id");
        let answer =
            el("notification").attr("type", "mediaretry").attr("id", id.as_str()).attr("t", unix_now().to_string());
        let answer = match receipt.attrs.get("to") {
            Some(me) => answer.attr("from", me.clone()),
            None => answer,
        };
        let refuse = |code: &'static str| el("error").attr("code", code).build();
        let inbox = &self.accounts[from.account].phone.inbox;
        let known = inbox.iter().rev().find(|shown| shown.id == id).and_then(|shown| place(&shown.message));
        let child = match known {
            None => refuse(NOT_FOUND),
            Some((key, _)) if !asks_for(receipt, &key, &id) => refuse(UNREADABLE),
            Some((key, path)) => match self.media.put_back(&path) {
                None => refuse(NOT_FOUND),
                Some(direct_path) => found(&key, &id, direct_path),
            },
        };
        self.deliver(from, answer.children([child]).build());
    }
}

/// The question is encrypted with the file's key and names the message.
fn asks_for(receipt: &Node, key: &[u8], id: &str) -> bool {
    let part = |tag: &str| receipt.child("encrypt").and_then(|e| e.child(tag)).map(NodeExt::content_bytes);
    let (Some(text), Some(iv)) = (part("enc_p"), part("enc_iv")) else { return false };
    decrypt_media_retry_notification(key, id, &iv, &text)
        .ok()
        .and_then(|plain| wa::ServerErrorReceipt::decode_from_slice(&plain).ok())
        .is_some_and(|asked| asked.stanza_id.as_deref() == Some(id))
}

fn found(media_key: &[u8], id: &str, direct_path: String) -> Node {
    let told = wa::MediaRetryNotification {
        stanza_id: Some(id.to_owned()),
        direct_path: Some(direct_path),
        result: Some(ResultType::SUCCESS),
        ..Default::default()
    };
    let mut key = [0; 32];
    wacore::crypto::hkdf_sha256_into(media_key, None, KEY_INFO, &mut key).expect("32 bytes are not too many");
    let iv = rand::rng().random::<[u8; 12]>();
    let mut sealed = Vec::new();
    aes_256_gcm_encrypt(&key, &iv, id.as_bytes(), &told.encode_to_vec(), &mut sealed).expect("a short text");
    let parts = [el("enc_p").bytes(sealed).build(), el("enc_iv").bytes(iv.to_vec()).build()];
    el("encrypt").children(parts).build()
}

/// Key and path of a message's file.
fn place(message: &wa::Message) -> Option<(Vec<u8>, String)> {
    macro_rules! first {
        ($($field:ident),+) => {
            $(if let Some(m) = message.$field.as_option() {
                return Some((m.media_key.as_deref()?.to_vec(), m.direct_path.clone()?));
            })+
        };
    }
    first!(image_message, video_message, audio_message, document_message, sticker_message);
    None
}
