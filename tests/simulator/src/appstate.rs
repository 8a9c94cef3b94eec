//! App state of one account (archived, muted, push name, ..): numbered patches a collection, kept as the companions
//! made them. The server cannot read them; it only orders them. Everything here is pure: a stanza in, stanzas out.
//!
//! Also the two messages the phone owes a companion right after it was linked: the key that all companions of the
//! account share, and the first piece of history. A client holds its events back until it has seen both.

mod profile;

use std::collections::BTreeMap;
use std::io::Write as _;

use rand::{Rng, RngExt as _};
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::node::NodeContent;
use waproto::buffa::{Message as _, MessageField};
use waproto::whatsapp as wa;

/// What one account's companions keep in common.
#[derive(Debug, Clone)]
pub struct AppState {
    /// Patches by collection; the patch at index `n` made version `n + 1`.
    collections: BTreeMap<String, Vec<wa::SyncdPatch>>,
    key: Key,
}

#[derive(Debug, Clone)]
struct Key {
    id: [u8; 6],
    data: [u8; 32],
    raw_id: u32,
}

/// A collection that has a new version since the last question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// `regular`, `critical_block`, ..
    pub collection: String,
    /// Its version now.
    pub version: u64,
}

impl Changed {
    /// The notification for every other companion of the account; the caller adds `id` and `t`.
    pub fn notification(changed: &[Changed]) -> NodeBuilder {
        let collections = changed.iter().map(|c| {
            NodeBuilder::new("collection").attr("name", c.collection.as_str()).attr("version", c.version).build()
        });
        NodeBuilder::new("notification")
            .attr("from", wacore_binary::jid::SERVER_JID)
            .attr("type", "server_sync")
            .children(collections.collect::<Vec<_>>())
    }
}

impl AppState {
    /// No patches yet, and the key every companion of this account will share.
    pub fn new(rng: &mut impl Rng) -> Self {
        let key = Key { id: rng.random(), data: rng.random(), raw_id: rng.random() };
        Self { collections: BTreeMap::new(), key }
    }

    /// Version of a collection: how many patches it has.
    pub fn version(&self, collection: &str) -> u64 {
        self.collections.get(collection).map_or(0, |patches| patches.len() as u64)
    }

    /// Answers the `<sync>` of an IQ of `w:sync:app:state` with another `<sync>`, and tells which collections got a
    /// patch. A patch made on an older version is refused with 409 and the patches its author has not seen.
    pub fn sync(&mut self, sync: &Node) -> (Node, Vec<Changed>) {
        let mut changed = Vec::new();
        let collections: Vec<Node> = sync
            .get_children_by_tag("collection")
            .map(|collection| self.collection(collection, &mut changed))
            .collect();
        (NodeBuilder::new("sync").children(collections).build(), changed)
    }

    fn collection(&mut self, asked: &Node, changed: &mut Vec<Changed>) -> Node {
        let name = asked.attrs().optional_string("name").unwrap_or_default().into_owned();
        let known = asked.attrs().optional_u64("version").unwrap_or(0);
        let answer = || NodeBuilder::new("collection").attr("name", name.as_str()).attr("has_more_patches", "false");
        let patches = self.collections.entry(name.clone()).or_default();
        let newer = |patches: &[wa::SyncdPatch]| {
            let unseen = patches.iter().skip(known as usize);
            let nodes: Vec<Node> =
                unseen.map(|patch| NodeBuilder::new("patch").bytes(patch.encode_to_vec()).build()).collect();
            (!nodes.is_empty()).then(|| NodeBuilder::new("patches").children(nodes).build())
        };
        let refused = |code: u16, text: &str, version: u64, more: Option<Node>| {
            let error = NodeBuilder::new("error").attr("code", code).attr("text", text).build();
            answer().attr("version", version).attr("type", "error").children([error].into_iter().chain(more)).build()
        };

        let Some(patch) = asked.get_optional_child("patch") else {
            let version = patches.len() as u64;
            return answer().attr("version", version).attr("type", "result").children(newer(patches)).build();
        };
        let decoded = match &patch.content {
            Some(NodeContent::Bytes(bytes)) => wa::SyncdPatch::decode_from_slice(bytes).ok(),
            _ => None,
        };
        let Some(mut patch) = decoded else { return refused(400, "bad-request", patches.len() as u64, None) };
        if known != patches.len() as u64 {
            return refused(409, "conflict", patches.len() as u64, newer(patches));
        }
        let version = known + 1;
        patch.version = MessageField::some(wa::SyncdVersion { version: Some(version) });
        patches.push(patch);
        changed.push(Changed { collection: name.clone(), version });
        answer().attr("version", version).attr("type", "result").build()
    }

    /// The peer message with which the phone gives a companion the account's key; `device_indexes` are the key indexes
    /// of the account's devices, `now` is in unix seconds.
    pub fn key_share(&self, device_indexes: &[u32], now: i64) -> wa::Message {
        let fingerprint = wa::message::AppStateSyncKeyFingerprint {
            raw_id: Some(self.key.raw_id),
            current_index: Some(device_indexes.iter().copied().max().unwrap_or(0)),
            device_indexes: device_indexes.to_vec(),
        };
        let key = wa::message::AppStateSyncKey {
            key_id: MessageField::some(wa::message::AppStateSyncKeyId { key_id: Some(self.key.id.to_vec()) }),
            key_data: MessageField::some(wa::message::AppStateSyncKeyData {
                key_data: Some(self.key.data.to_vec()),
                fingerprint: MessageField::some(fingerprint),
                timestamp: Some(now),
            }),
        };
        peer_message(wa::message::ProtocolMessage {
            r#type: Some(wa::message::protocol_message::Type::APP_STATE_SYNC_KEY_SHARE),
            app_state_sync_key_share: MessageField::some(wa::message::AppStateSyncKeyShare { keys: vec![key] }),
            ..Default::default()
        })
    }
}

fn peer_message(protocol: wa::message::ProtocolMessage) -> wa::Message {
    wa::Message { protocol_message: MessageField::some(protocol), ..Default::default() }
}

/// One chat the phone tells a new companion about.
#[derive(Debug, Clone, Default)]
pub struct PastChat {
    /// JID of the chat.
    pub jid: String,
    /// Name of the contact or subject of the group.
    pub name: Option<String>,
    /// Oldest first.
    pub messages: Vec<PastMessage>,
}

/// One text of a [`PastChat`].
#[derive(Debug, Clone, Default)]
pub struct PastMessage {
    /// Stanza id.
    pub id: String,
    /// Written by this account.
    pub from_me: bool,
    /// Author's JID, in a group.
    pub participant: Option<String>,
    /// Unix seconds.
    pub t: u64,
    /// Body.
    pub text: String,
}

/// The INITIAL_BOOTSTRAP history notification, with the history inside it. Without chats it says only that there are
/// none, which is what a companion waits for. `names` are push names by JID.
pub fn history(chats: &[PastChat], names: &[(String, String)]) -> wa::Message {
    let conversations = chats.iter().map(|chat| {
        let newest = chat.messages.iter().map(|m| m.t).max();
        wa::Conversation {
            id: chat.jid.clone(),
            name: chat.name.clone(),
            conversation_timestamp: newest,
            last_msg_timestamp: newest,
            end_of_history_transfer: Some(true),
            // Newest first, as the phone sends it.
            messages: chat.messages.iter().rev().map(|message| past_message(&chat.jid, message)).collect(),
            ..Default::default()
        }
    });
    let pushnames =
        names.iter().map(|(jid, name)| wa::Pushname { id: Some(jid.clone()), pushname: Some(name.clone()) });
    let history = wa::HistorySync {
        sync_type: wa::history_sync::HistorySyncType::INITIAL_BOOTSTRAP,
        conversations: conversations.collect(),
        pushnames: pushnames.collect(),
        chunk_order: Some(1),
        progress: Some(100),
        ..Default::default()
    };
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(&history.encode_to_vec()).expect("writing into memory does not fail");
    let payload = zlib.finish().expect("writing into memory does not fail");
    let notification = wa::message::HistorySyncNotification {
        sync_type: Some(wa::message::HistorySyncType::INITIAL_BOOTSTRAP),
        chunk_order: Some(1),
        progress: Some(100),
        file_length: Some(payload.len() as u64),
        initial_hist_bootstrap_inline_payload: Some(payload),
        ..Default::default()
    };
    peer_message(wa::message::ProtocolMessage {
        r#type: Some(wa::message::protocol_message::Type::HISTORY_SYNC_NOTIFICATION),
        history_sync_notification: MessageField::some(notification),
        ..Default::default()
    })
}

fn past_message(chat: &str, message: &PastMessage) -> wa::HistorySyncMsg {
    let info = wa::WebMessageInfo {
        key: MessageField::some(wa::MessageKey {
            remote_jid: Some(chat.to_owned()),
            from_me: Some(message.from_me),
            id: Some(message.id.clone()),
            participant: message.participant.clone(),
        }),
        message: MessageField::some(wa::Message { conversation: Some(message.text.clone()), ..Default::default() }),
        message_timestamp: Some(message.t),
        ..Default::default()
    };
    wa::HistorySyncMsg { message: MessageField::some(info), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn patch(mark: u8) -> Vec<u8> {
        wa::SyncdPatch { snapshot_mac: Some(vec![mark; 32]), ..Default::default() }.encode_to_vec()
    }

    fn ask(name: &'static str, version: u64, patch: Option<Vec<u8>>) -> Node {
        let patch = patch.map(|bytes| NodeBuilder::new("patch").bytes(bytes).build());
        let collection = NodeBuilder::new("collection").attr("name", name).attr("version", version).children(patch);
        NodeBuilder::new("sync").children([collection.build()]).build()
    }

    /// What a client reads: version and type, error code, (version, mark) of each patch.
    fn read(sync: &Node) -> (String, Option<String>, Vec<(u64, u8)>) {
        let collection = sync.get_optional_child("collection").unwrap();
        let mut attrs = collection.attrs();
        let head = format!("v{} {}", attrs.required_string("version").unwrap(), attrs.required_string("type").unwrap());
        let code = collection.get_optional_child("error").map(|e| e.attrs().required_string("code").unwrap().into());
        let patches = collection.get_optional_child("patches").and_then(|p| p.children()).unwrap_or_default();
        let patches = patches.iter().map(|p| {
            let Some(NodeContent::Bytes(bytes)) = &p.content else { panic!("a patch is bytes") };
            let patch = wa::SyncdPatch::decode_from_slice(bytes).unwrap();
            (patch.version.version.unwrap(), patch.snapshot_mac.as_ref().unwrap()[0])
        });
        (head, code, patches.collect())
    }

    #[test]
    fn patches_are_numbered_and_a_late_author_is_told_what_it_missed() {
        let mut state = AppState::new(&mut rand::rng());
        let conflict = Some("409".to_owned());
        let bad = Some("400".to_owned());
        type Row = (u64, Option<Vec<u8>>, &'static str, Option<String>, Vec<(u64, u8)>, Option<u64>);
        let table: Vec<Row> = vec![
            (0, None, "v0 result", None, vec![], None),
            (0, Some(patch(1)), "v1 result", None, vec![], Some(1)),
            (1, Some(patch(2)), "v2 result", None, vec![], Some(2)),
            (1, Some(patch(9)), "v2 error", conflict.clone(), vec![(2, 2)], None),
            (7, Some(patch(9)), "v2 error", conflict, vec![], None),
            (2, Some(vec![0x0a, 5, 1]), "v2 error", bad, vec![], None),
            (0, None, "v2 result", None, vec![(1, 1), (2, 2)], None),
            (2, None, "v2 result", None, vec![], None),
        ];
        for (known, patch, head, error, patches, new_version) in table {
            let (node, changed) = state.sync(&ask("regular_low", known, patch));
            assert_eq!(read(&node), (head.to_owned(), error, patches), "asked with version {known}");
            let expected = new_version.map(|version| Changed { collection: "regular_low".into(), version });
            assert_eq!(changed, expected.into_iter().collect::<Vec<_>>());
        }
        assert_eq!((state.version("regular_low"), state.version("regular")), (2, 0));
    }

    #[test]
    fn collections_of_one_question_are_answered_each() {
        let mut state = AppState::new(&mut rand::rng());
        let names = ["critical_block", "critical_unblock_low"];
        let collections = names.map(|n| NodeBuilder::new("collection").attr("name", n).build());
        let (answer, changed) = state.sync(&NodeBuilder::new("sync").children(collections).build());
        let answered: Vec<_> = answer
            .children()
            .unwrap()
            .iter()
            .map(|c| c.attrs().required_string("name").unwrap().into_owned())
            .collect();
        assert_eq!(answered, names);
        assert!(changed.is_empty());
    }

    #[test]
    fn the_notification_names_every_changed_collection() {
        let changed = ["a", "b"].map(|name| Changed { collection: name.to_owned(), version: 3 });
        let node = Changed::notification(&changed).attr("id", "1").build();
        assert_eq!(node.attrs().optional_string("type").as_deref(), Some("server_sync"));
        let versions: Vec<_> =
            node.get_children_by_tag("collection").map(|c| c.attrs().optional_u64("version")).collect();
        assert_eq!(versions, [Some(3), Some(3)]);
    }

    #[test]
    fn every_companion_of_an_account_gets_the_same_key() {
        let (one, other) = (AppState::new(&mut rand::rng()), AppState::new(&mut rand::rng()));
        let key = |state: &AppState, indexes: &[u32]| {
            let share = state.key_share(indexes, 100);
            let key = share.protocol_message.app_state_sync_key_share.keys[0].clone();
            (key.key_id.key_id.clone().unwrap(), key.key_data.key_data.clone().unwrap())
        };
        assert_eq!(key(&one, &[0, 1]), key(&one, &[0, 1, 2]));
        assert_ne!(key(&one, &[0]), key(&other, &[0]));
        assert_eq!((key(&one, &[0]).0.len(), key(&one, &[0]).1.len()), (6, 32));
    }

    #[test]
    fn history_is_inline_and_newest_first() {
        let text = |id: &str, t| PastMessage { id: id.into(), t, text: id.into(), ..Default::default() };
        let chat = PastChat {
            jid: "15550001111@s.whatsapp.net".into(),
            messages: vec![text("old", 5), text("new", 9)],
            ..Default::default()
        };
        let message = history(&[chat], &[("15550001111@s.whatsapp.net".into(), "Ann".into())]);
        let notification = &message.protocol_message.history_sync_notification;
        let mut raw = Vec::new();
        let inline = notification.initial_hist_bootstrap_inline_payload.as_deref().unwrap();
        flate2::read::ZlibDecoder::new(inline).read_to_end(&mut raw).unwrap();
        let history = wa::HistorySync::decode_from_slice(&raw).unwrap();
        let ids: Vec<_> = history.conversations[0].messages.iter().map(|m| m.message.key.id.clone().unwrap()).collect();
        assert_eq!(ids, ["new", "old"]);
        assert_eq!(history.conversations[0].last_msg_timestamp, Some(9));
        assert_eq!(history.pushnames[0].pushname.as_deref(), Some("Ann"));
    }
}
