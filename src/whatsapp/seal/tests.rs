//! The sealed store against the library's own, both ways between them, and damage.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use whatsapp_rust::bytes::Bytes;
use whatsapp_rust::store::SqliteStore;
use whatsapp_rust::traits::{Backend, DeviceStore};
use whatsapp_rust::wacore::appstate::hash::HashState;
use whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::wacore::store::traits::{
    AppStateSyncKey, DeviceInfo, DeviceListRecord, LidPnMappingEntry, MsgSecretEntry, PendingInboundKey,
    PendingInboundRow, TcTokenEntry,
};

use super::*;
use crate::config::model::KeySource;
use crate::whatsapp::backend::{self, Files, identity};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const ANN: &str = "15557654321@c.us.0";
const ANN_PHONE: &str = "15557654321:7@c.us.0";
const BOB: &str = "15550009999@c.us.0";
const GROUP: &str = "120363000000000001@g.us";

fn secret(chat: &str, id: &str, expires_at: i64, message_ts: i64) -> MsgSecretEntry {
    let (chat, msg_id) = (Arc::from(chat), Arc::from(id));
    MsgSecretEntry { sender: Arc::clone(&chat), chat, msg_id, secret: [9; 32], expires_at, message_ts }
}

fn mapping(lid: &str, phone: &str, created_at: i64, updated_at: i64) -> LidPnMappingEntry {
    let (lid, phone_number) = (lid.to_owned(), phone.to_owned());
    LidPnMappingEntry { lid, phone_number, created_at, updated_at, learning_source: "usync".to_owned() }
}

fn list(user: &str, raw_id: Option<u32>) -> DeviceListRecord {
    let devices = vec![DeviceInfo::new(0, None), DeviceInfo::new(7, Some(3)).with_hosting(true)];
    DeviceListRecord {
        user: user.to_owned(),
        devices,
        timestamp: 17,
        phash: raw_id.map(|_| "2:abc".to_owned()),
        raw_id,
    }
}

/// Every write that a store knows, with its corners.
async fn fill(store: &dyn Backend) -> Outcome {
    store.put_identity(ANN, [1; 32]).await?;
    store.put_identities_batch(&[(ANN_PHONE.into(), [2; 32]), (BOB.into(), [3; 32])]).await?;
    store.delete_identity(BOB).await?;
    store.put_session(ANN, b"an older ratchet").await?;
    store
        .put_sessions_batch(&[(ANN.into(), Bytes::from_static(b"the ratchet with Ann")), (BOB.into(), Bytes::new())])
        .await?;
    store.delete_session(BOB).await?;
    store.store_prekey(5, b"pre-key five", false).await?;
    store.store_prekeys_batch(&[(6, Bytes::from_static(b"six")), (9, Bytes::from_static(b"nine"))], true).await?;
    store.mark_prekeys_uploaded(&[5, 77]).await?;
    store.remove_prekey(6).await?;
    store.store_signed_prekey(1, b"signed").await?;
    store.store_signed_prekey(2, b"signed anew").await?;
    store.remove_signed_prekey(1).await?;
    store.put_sender_key("g:a", b"sender key").await?;
    store
        .put_sender_keys_batch(&[("g:b".into(), Bytes::from_static(b"another")), ("g:c".into(), Bytes::new())])
        .await?;
    store.delete_sender_key("g:c").await?;
    for (id, timestamp) in [([1_u8, 2], 5), ([3, 0], 6)] {
        let key = AppStateSyncKey { key_data: vec![id[0]; 32], fingerprint: vec![8], timestamp };
        store.set_sync_key(&id, key).await?;
    }
    let mut state = HashState { version: 12, ..HashState::default() };
    state.hash[3] = 7;
    state.index_value_map.insert("k".to_owned(), vec![1, 2]);
    store.set_version("regular", state).await?;
    let proofs: Vec<_> =
        (0..4_u8).map(|n| AppStateMutationMAC { index_mac: vec![n; 32], value_mac: vec![n + 40; 32] }).collect();
    store.put_mutation_macs("regular", 12, &proofs).await?;
    store.put_mutation_macs("critical", 1, &proofs).await?;
    store.delete_mutation_macs("regular", &[vec![1; 32]]).await?;
    store.clear_mutation_macs("critical").await?;
    let devices = [("15557654321:7@s.whatsapp.net", true), ("15557654321@s.whatsapp.net", false)];
    store.set_sender_key_status(GROUP, &devices).await?;
    store.set_sender_key_status(GROUP, &[("15557654321@s.whatsapp.net", true), ("1@s.whatsapp.net", true)]).await?;
    store.set_sender_key_status("2@g.us", &[("1@s.whatsapp.net", true)]).await?;
    store.delete_sender_key_device_rows(&["1@s.whatsapp.net"]).await?;
    store.set_sender_key_status("3@g.us", &[("4@s.whatsapp.net", true)]).await?;
    store.clear_sender_key_devices("3@g.us").await?;
    store.put_lid_mappings(&[mapping("77", "15557654321", 1, 10), mapping("78", "15557654321", 2, 20)]).await?;
    store.put_lid_mapping(&mapping("77", "15557654321", 99, 30)).await?;
    store.save_base_key(ANN, "M1", b"base").await?;
    store.save_base_key(ANN, "M2", b"base").await?;
    store.delete_base_key(ANN, "M2").await?;
    store.update_device_list(list("15557654321", Some(u32::MAX))).await?;
    store.update_device_lists(vec![list("77", None), list("78", Some(1))]).await?;
    store.delete_devices("78").await?;
    store.put_group_metadata(GROUP, b"who is in the group").await?;
    store.put_group_metadata("2@g.us", b"gone").await?;
    store.delete_group_metadata("2@g.us").await?;
    store.touch_tc_token_sender_timestamp("77", 50).await?;
    store.touch_tc_token_sender_timestamp("77", 40).await?;
    store.store_received_tc_token("77", b"token", 10).await?;
    store.store_received_tc_token("77", b"stale", 9).await?;
    store
        .put_tc_token("78", &TcTokenEntry { token: b"old".to_vec(), token_timestamp: 1, sender_timestamp: None })
        .await?;
    store.touch_tc_token_sender_timestamp("79", 3).await?;
    store.delete_tc_token("80").await?;
    assert_eq!(store.delete_expired_tc_tokens(5, 5).await?, 2);
    store.store_sent_message("c", "m", b"payload").await?;
    store.store_sent_message("c", "n", b"taken").await?;
    assert_eq!(store.take_sent_message("c", "n").await?.as_deref(), Some(b"taken".as_slice()));
    let row = |id| PendingInboundRow { chat: "c", sender: "s", id, message: b"waits" };
    store.store_pending_inbound("c", "s", "1", b"waits too").await?;
    store.store_pending_inbound_batch(&[row("2"), row("3"), row("4")]).await?;
    store.delete_pending_inbound("c", "s", "3").await?;
    store.delete_pending_inbound_batch(&[PendingInboundKey { chat: "c", sender: "s", id: "4" }]).await?;
    assert_eq!(
        store.put_msg_secrets(vec![secret("c", "1", 0, 5), secret("c", "2", 100, 7), secret("c", "3", 10, 0)]).await?,
        3
    );
    store.put_msg_secrets(vec![secret("c", "1", 50, 0), secret("c", "2", 90, 9)]).await?;
    assert_eq!(store.delete_expired_msg_secrets(10).await?, 1);
    Ok(())
}

/// Everything that a store answers.
async fn told(store: &dyn Backend) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut said = Vec::new();
    let mut say = |what: &str, value: String| said.push(format!("{what}: {value}"));
    for at in [ANN, ANN_PHONE, BOB] {
        say(
            at,
            format!(
                "{:?} {:?} {}",
                store.load_identity(at).await?,
                store.get_session(at).await?,
                store.has_session(at).await?
            ),
        );
    }
    for user in ["15557654321", "15550009999", "1555"] {
        say(user, store.has_signal_state_for_user(user).await?.to_string());
    }
    let mut pre_keys = store.load_prekeys_batch(&[5, 6, 9]).await?;
    pre_keys.sort();
    say("pre-keys", format!("{pre_keys:?} {:?} {}", store.load_prekey(9).await?, store.get_max_prekey_id().await?));
    say("signed", format!("{:?} {:?}", store.load_signed_prekey(2).await?, store.load_all_signed_prekeys().await?));
    for name in ["g:a", "g:b", "g:c"] {
        say(name, format!("{:?}", store.get_sender_key(name).await?));
    }
    say("sync", format!("{:?} {:?}", store.get_sync_key(&[3, 0]).await?, store.get_latest_sync_key_id().await?));
    let state = store.get_version("regular").await?;
    say(
        "version",
        format!(
            "{} {:?} {:?} {}",
            state.version,
            state.hash,
            state.index_value_map,
            store.get_version("none").await?.version
        ),
    );
    for name in ["regular", "critical"] {
        let mut macs: Vec<_> = store.get_mutation_macs(name, &[[0; 32], [1; 32], [2; 32]]).await?.into_iter().collect();
        macs.sort();
        say(name, format!("{macs:?} {:?}", store.get_mutation_mac(name, &[3; 32]).await?));
    }
    for group in [GROUP, "2@g.us", "3@g.us"] {
        let mut devices = store.get_sender_key_devices(group).await?;
        devices.sort();
        say(group, format!("{devices:?} {:?}", store.get_group_metadata(group).await?));
    }
    let mut mappings: Vec<_> = store.get_all_lid_mappings().await?.iter().map(|m| format!("{m:?}")).collect();
    mappings.sort();
    say(
        "mappings",
        format!(
            "{mappings:?} {:?} {:?}",
            store.get_lid_mapping("77").await?,
            store.get_pn_mapping("15557654321").await?
        ),
    );
    for (message, key) in [("M1", b"base"), ("M1", b"none"), ("M2", b"base")] {
        say(message, store.has_same_base_key(ANN, message, key).await?.to_string());
    }
    for user in ["15557654321", "77", "78"] {
        say(user, format!("{:?}", store.get_devices(user).await?));
    }
    let mut chats = store.get_all_tc_token_jids().await?;
    chats.sort();
    say("tokens", format!("{chats:?} {:?} {:?}", store.get_tc_token("77").await?, store.get_tc_token("79").await?));
    for id in ["1", "2", "3", "4"] {
        say(
            id,
            format!(
                "{:?} {:?}",
                store.get_pending_inbound("c", "s", id).await?,
                store.get_msg_secret_with_ts("c", "c", id).await?
            ),
        );
        say(id, format!("{:?}", store.get_msg_secret("c", "c", id).await?));
    }
    let device = store.load().await?.map(|d| {
        (
            d.push_name,
            d.registration_id,
            d.noise_key.private_key.serialize().to_vec(),
            *d.device_props == *whatsapp_rust::wacore::store::device::DEVICE_PROPS,
        )
    });
    say("device", format!("{device:?} {}", store.exists().await?));
    Ok(said)
}

fn device() -> Device {
    let mut device = Device::new();
    device.pn = "15551234567:3@s.whatsapp.net".parse().ok();
    device.push_name = "Verso".to_owned();
    device
}

async fn plain(dir: &Path) -> Result<SqliteStore, Box<dyn std::error::Error>> {
    Ok(SqliteStore::new(dir.join(DATABASE).to_str().ok_or("utf-8")?).await?)
}

/// Folder, key file, configuration.
struct Home {
    dir: tempfile::TempDir,
    keys: tempfile::TempDir,
    account: AccountId,
}

impl Home {
    fn new() -> Self {
        let home = Self {
            dir: tempfile::tempdir().expect("temp dir"),
            keys: tempfile::tempdir().expect("temp dir"),
            account: AccountId::new("work"),
        };
        for name in ["one", "two"] {
            fs::write(home.keys.path().join(name), MasterKey::fresh().expect("random").as_bytes()).expect("written");
        }
        home
    }

    fn source(&self, name: &str) -> KeySource {
        KeySource::File(self.keys.path().join(name))
    }

    fn config(&self, key: &str, previous: &[&str]) -> EncryptionConfig {
        EncryptionConfig { key: self.source(key), previous: previous.iter().map(|name| self.source(name)).collect() }
    }

    async fn open(&self, config: Option<&EncryptionConfig>) -> Result<backend::Opened, OpenError> {
        backend::open(SealedFolder { dir: self.dir.path(), account: &self.account, encryption: config }, false).await
    }

    /// A linked account, saved.
    async fn linked(&self, config: Option<&EncryptionConfig>) -> Device {
        let folder = SealedFolder { dir: self.dir.path(), account: &self.account, encryption: config };
        let opened = backend::open(folder, true).await.expect("opens");
        let device = device();
        let linked = device.clone();
        opened.manager.modify_device(move |d| **d = linked).await;
        fill(opened.manager.backend().as_ref()).await.expect("filled");
        let files = Files { dir: self.dir.path().to_owned(), keys: opened.keys };
        backend::save(&opened.manager, &files).await.expect("saved");
        backend::closed(files.dir).await;
        device
    }

    /// What the store answers in a link that is opened for it.
    async fn told(&self, config: Option<&EncryptionConfig>) -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let opened = self.open(config).await?;
        let said = told(opened.manager.backend().as_ref()).await?;
        backend::closed(self.dir.path().to_owned()).await;
        Ok(said)
    }

    /// Files in which one of these byte strings stands.
    fn holding(&self, secrets: &[&[u8]]) -> Vec<String> {
        let files = fs::read_dir(self.dir.path()).expect("readable").flatten();
        let holds = |path: &Path| {
            let bytes = fs::read(path).expect("readable");
            secrets.iter().any(|secret| bytes.windows(secret.len()).any(|w| w == *secret))
        };
        files.filter(|f| holds(&f.path())).map(|f| f.file_name().to_string_lossy().into_owned()).collect()
    }
}

fn same(a: &Device, b: &Device) -> bool {
    a.noise_key.private_key.serialize() == b.noise_key.private_key.serialize() && identity(a) == identity(b)
}

#[tokio::test]
async fn a_sealed_store_answers_as_the_librarys_own_does() -> Outcome {
    let home = Home::new();
    let own = tempfile::tempdir()?;
    let library = plain(own.path()).await?;
    library.create().await?;
    fill(&library).await?;
    let device = device();
    library.save(&device).await?;
    let config = home.config("one", &[]);
    let opened = home.open(Some(&config)).await?;
    let vault = opened.manager.backend();
    fill(vault.as_ref()).await?;
    vault.save(&device).await?;
    assert_eq!(told(vault.as_ref()).await?, told(&library).await?);
    vault.clear_all_sender_key_devices().await?;
    assert_eq!(vault.get_sender_key_devices(GROUP).await?, []);
    for cutoff in
        [vault.delete_expired_sent_messages(i64::MAX).await?, vault.delete_expired_pending_inbound(i64::MAX).await? - 1]
    {
        assert_eq!(cutoff, 1);
    }
    Ok(())
}

#[tokio::test]
async fn plain_files_are_sealed_and_come_back_with_everything() -> Outcome {
    let home = Home::new();
    let device = home.linked(None).await;
    let before = told(&plain(home.dir.path()).await?).await?;
    let private = device.noise_key.private_key.serialize().to_vec();
    let adv = device.adv_secret_key;
    let in_json = serde_json::to_vec(&device.adv_secret_key)?;
    let secrets: [&[u8]; 8] = [
        &private,
        &adv,
        &in_json,
        b"the ratchet with Ann",
        b"15557654321",
        b"120363000000000001",
        b"who is in the group",
        b"pre-key five",
    ];
    assert!(home.holding(&secrets).len() >= 3, "the plain files hold them");
    let config = home.config("one", &[]);
    let opened = home.open(Some(&config)).await?;
    assert_eq!(told(opened.manager.backend().as_ref()).await?, before);
    assert_eq!(home.holding(&secrets), Vec::<String>::new(), "also while it is open");
    backend::closed(home.dir.path().to_owned()).await;
    drop(opened);
    assert_eq!(home.holding(&secrets), Vec::<String>::new());
    let found = status(home.dir.path());
    assert!(found.sealed && found.complete && found.plain_copies.is_empty(), "{found:?}");
    assert!(matches!(crate_link_state(home.dir.path()), Some(n) if n == "15551234567:3@s.whatsapp.net"));
    // Another data key, and back to plain.
    let folder = SealedFolder { dir: home.dir.path(), account: &home.account, encryption: Some(&config) };
    let old_key = fs::read(home.dir.path().join(DATA_KEY))?;
    let old_database = fs::read(home.dir.path().join(DATABASE))?;
    folder.rotate().await?;
    assert_ne!(fs::read(home.dir.path().join(DATA_KEY))?, old_key);
    assert_ne!(fs::read(home.dir.path().join(DATABASE))?, old_database);
    assert_eq!(home.told(Some(&config)).await?, before);
    assert!(folder.decrypt().await?);
    assert_eq!(told(&plain(home.dir.path()).await?).await?, before);
    assert!(!home.dir.path().join(DATA_KEY).exists() && !folder.decrypt().await?);
    let back = home.open(None).await?.manager.get_device_snapshot().to_serializable();
    assert!(same(&back, &device));
    Ok(())
}

/// What tools that only read creds.json see.
fn crate_link_state(dir: &Path) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("creds.json")).ok()?).ok()?;
    Some(json["me"]["id"].as_str()?.to_owned())
}

#[tokio::test]
async fn without_the_right_key_nothing_opens_and_nothing_changes() -> Outcome {
    let home = Home::new();
    let one = home.config("one", &[]);
    let device = home.linked(Some(&one)).await;
    let all = || -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(home.dir.path()).expect("readable").flatten().map(|f| f.path()).collect();
        files.sort();
        files
            .iter()
            .filter(|f| !f.to_string_lossy().contains("-shm"))
            .map(|f| (f.display().to_string(), fs::read(f).expect("readable")))
            .collect()
    };
    let before = all();
    let fingerprint = |name: &str| read_key(&home.source(name)).expect("a key").fingerprint();
    let told = |error: OpenError| error.to_string();
    let missing = told(home.open(None).await.err().ok_or("locked")?);
    assert!(
        missing.contains(&fingerprint("one"))
            && missing.contains("account work")
            && missing.contains("credentials decrypt"),
        "{missing}"
    );
    let wrong = told(home.open(Some(&home.config("two", &[]))).await.err().ok_or("locked")?);
    assert!(wrong.contains(&fingerprint("one")) && wrong.contains(&fingerprint("two")), "{wrong}");
    for (text, said) in
        [("", "it is empty"), ("c2hvcnQ=", "it holds 5 bytes"), ("no key at all", "neither base64 nor hex")]
    {
        fs::write(home.keys.path().join("bad"), text)?;
        let bad = told(home.open(Some(&home.config("bad", &[]))).await.err().ok_or("locked")?);
        assert!(
            bad.contains(said) && bad.contains("credentials.encryption.key") && bad.contains("verso credentials key >"),
            "{bad}"
        );
        assert!(text.is_empty() || !bad.contains(text), "{bad}");
    }
    let absent = told(home.open(Some(&home.config("none", &[]))).await.err().ok_or("locked")?);
    assert!(absent.contains("No such file"), "{absent}");
    assert_eq!(all(), before);
    // The new key takes over when the old one is listed, and then stands alone.
    let after = home.open(Some(&home.config("two", &["one"]))).await?.manager.get_device_snapshot().to_serializable();
    assert!(same(&after, &device));
    assert_eq!(status(home.dir.path()).key, Some(fingerprint("two")));
    assert!(same(
        &home.open(Some(&home.config("two", &[]))).await?.manager.get_device_snapshot().to_serializable(),
        &device
    ));
    assert!(told(home.open(Some(&one)).await.err().ok_or("locked")?).contains(&fingerprint("two")));
    Ok(())
}

#[tokio::test]
async fn what_a_login_left_behind_locks_no_later_one_out() -> Outcome {
    let home = Home::new();
    let one = home.config("one", &[]);
    for next in [None, Some(home.config("two", &[]))] {
        assert!(identity(&home.open(Some(&one)).await?.manager.get_device_snapshot().to_serializable()).is_none());
        assert!(home.open(next.as_ref()).await.is_err(), "sealed, whatever is in it");
        let folder = SealedFolder { dir: home.dir.path(), account: &home.account, encryption: next.as_ref() };
        drop(backend::open(folder, true).await?);
        assert_eq!(status(home.dir.path()).sealed, next.is_some());
        fs::remove_file(home.dir.path().join(DATABASE))?;
        envelope::remove(home.dir.path())?;
    }
    let device = home.linked(Some(&one)).await;
    let folder = SealedFolder { dir: home.dir.path(), account: &home.account, encryption: None };
    assert!(backend::open(folder, true).await.is_err(), "a link is never given up for a login");
    assert!(same(&home.open(Some(&one)).await?.manager.get_device_snapshot().to_serializable(), &device));
    Ok(())
}

/// Copies a folder at rest.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("temp dir");
    for file in fs::read_dir(from).expect("readable").flatten() {
        fs::copy(file.path(), to.path().join(file.file_name())).expect("copied");
    }
    to
}

#[tokio::test]
async fn damage_ends_in_the_same_link_or_a_sentence_never_in_another_device() -> Outcome {
    let home = Home::new();
    let config = home.config("one", &[]);
    let device = home.linked(Some(&config)).await;
    let (mut linked, mut told) = (0, 0);
    for names in
        [&[DATA_KEY][..], &["creds.json"], &[DATA_KEY, DATA_KEY_BACKUP], &["creds.json", "creds.json.bak", DATABASE]]
    {
        let length = fs::read(home.dir.path().join(names[0]))?.len();
        for at in (0..length).step_by(if names.len() == 1 { length / 60 + 1 } else { length / 12 + 1 }) {
            for cut in [false, true] {
                let dir = copy(home.dir.path());
                for name in names {
                    let mut bytes = fs::read(dir.path().join(name))?;
                    let place = at.min(bytes.len() - 1);
                    if cut {
                        bytes.truncate(place);
                    } else {
                        bytes[place] ^= 1 << (at % 8);
                    }
                    fs::write(dir.path().join(name), bytes)?;
                }
                let folder = SealedFolder { dir: dir.path(), account: &home.account, encryption: Some(&config) };
                match backend::open(folder, false).await {
                    Ok(opened) => {
                        let now = opened.manager.get_device_snapshot().to_serializable();
                        assert!(same(&now, &device), "{names:?} at {at}, cut: {cut}");
                        linked += 1;
                    }
                    Err(error) => {
                        assert!(names.len() > 1, "{names:?} at {at}, cut: {cut}: {error}");
                        let plain_words = matches!(error, OpenError::Relink { .. } | OpenError::Locked { .. });
                        // SQLite takes some flips for a file that it may not write.
                        assert!(plain_words || names.contains(&DATABASE), "{error}");
                        told += 1;
                    }
                }
            }
        }
    }
    assert!(linked > 0 && told > 0, "{linked} linked, {told} told");
    Ok(())
}

#[tokio::test]
async fn a_rotation_cut_off_between_any_two_files_goes_on() -> Outcome {
    let home = Home::new();
    let config = home.config("one", &[]);
    let device = home.linked(Some(&config)).await;
    let old = copy(home.dir.path());
    let folder = SealedFolder { dir: home.dir.path(), account: &home.account, encryption: Some(&config) };
    let keys = folder.unlock(false).await?.ok_or("sealed")?;
    let renewed = keys.renewed()?;
    let masters = master::Masters::read(&config).map_err(|t| t.sentence(&home.account))?;
    // After so many steps: the envelope, the database, the record.
    for steps in 0..3 {
        let dir = copy(old.path());
        envelope::write(dir.path(), &renewed, &masters.current)?;
        if steps > 0 {
            seal_database(dir.path(), &renewed).await?;
        }
        if steps > 1 {
            let found = record::read(dir.path(), Some(&renewed)).ok_or("a record")?;
            record::write(dir.path(), &found.device, found.epoch, Some(renewed.current()))?;
        }
        let cut = SealedFolder { dir: dir.path(), account: &home.account, encryption: Some(&config) };
        let opened = backend::open(cut, false).await?;
        assert!(same(&opened.manager.get_device_snapshot().to_serializable(), &device), "after {steps}");
        assert_eq!(sealed_with(dir.path()), Some(renewed.current().id()), "after {steps}");
        assert!(!cut.unlock(false).await?.ok_or("sealed")?.in_between(), "the old key is gone after {steps}");
    }
    Ok(())
}
