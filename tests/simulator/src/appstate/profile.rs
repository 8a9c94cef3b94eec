//! What the phone itself writes into the app state: the profile name, of which companions learn in no other way.

use std::collections::HashMap;

use anyhow::anyhow;
use wacore::appstate::encode::encode_record;
use wacore::appstate::hash::{HashState, generate_patch_mac};
use wacore::appstate::keys::expand_app_state_keys;
use waproto::buffa::MessageField;
use waproto::whatsapp as wa;
use waproto::whatsapp::syncd_mutation::SyncdOperation;

use super::{AppState, Changed};

const COLLECTION: &str = "critical_block";
const INDEX: &[u8] = b"[\"setting_pushName\"]";
/// Version of this kind of entry.
const VERSION: i32 = 1;

impl AppState {
    /// The phone gives the profile a name; `now` is in unix seconds.
    ///
    /// # Errors
    /// When a companion's earlier patch holds an operation that nobody knows.
    pub fn set_push_name(&mut self, name: &str, now: i64) -> anyhow::Result<Changed> {
        let keys = expand_app_state_keys(&self.key.data);
        let value = wa::SyncActionValue {
            timestamp: Some(now * 1000),
            push_name_setting: MessageField::some(wa::sync_action_value::PushNameSetting {
                name: Some(name.to_owned()),
            }),
            ..Default::default()
        };
        let iv: [u8; 16] = rand::random();
        let (mutation, _) = encode_record(SyncdOperation::SET, INDEX, &value, &keys, &self.key.id, &iv, VERSION);
        let patches = self.collections.entry(COLLECTION.to_owned()).or_default();
        let mut sum = Sum::default();
        for patch in patches.iter() {
            sum.add(&patch.mutations)?;
        }
        sum.add(std::slice::from_ref(&mutation))?;
        let version = patches.len() as u64 + 1;
        sum.state.version = version;
        let mut patch = wa::SyncdPatch {
            version: MessageField::some(wa::SyncdVersion { version: Some(version) }),
            mutations: vec![mutation],
            snapshot_mac: Some(sum.state.generate_snapshot_mac(COLLECTION, &keys.snapshot_mac)),
            key_id: MessageField::some(wa::KeyId { id: Some(self.key.id.to_vec()) }),
            ..Default::default()
        };
        patch.patch_mac = Some(generate_patch_mac(&patch, COLLECTION, &keys.patch_mac, version));
        patches.push(patch);
        Ok(Changed { collection: COLLECTION.to_owned(), version })
    }
}

/// The running hash over a collection, from its first patch on.
#[derive(Default)]
struct Sum {
    state: HashState,
    values: HashMap<Vec<u8>, Vec<u8>>,
}

impl Sum {
    fn add(&mut self, mutations: &[wa::SyncdMutation]) -> anyhow::Result<()> {
        let (_, done) = self.state.update_hash(mutations, |index, _| Ok(self.values.get(index).cloned()));
        done?;
        for mutation in mutations {
            let index = mutation.record.index.blob.clone().ok_or_else(|| anyhow!("a record without index"))?;
            let value = mutation.record.value.blob.as_deref().and_then(|v| v.last_chunk::<32>());
            match value {
                Some(mac) if mutation.operation.is_none_or(|op| op == SyncdOperation::SET) => {
                    self.values.insert(index, mac.to_vec());
                }
                _ => {
                    self.values.remove(&index);
                }
            }
        }
        Ok(())
    }
}
