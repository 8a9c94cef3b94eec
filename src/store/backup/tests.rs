use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::LazyLock;

use age::secrecy::ExposeSecret;

use super::manifest::{LinkEntry, MANIFEST, Manifest, Member};
use super::read::{Contents, Unpack, unpack};
use super::seal::{Key, Lock, Seal, identities, recipient};
use super::write::ArchiveWriter;
use super::*;
use crate::ids::AccountId;

/// A private key and its public one, as age-keygen prints them.
static PAIR: LazyLock<(String, String)> = LazyLock::new(|| {
    let identity = age::x25519::Identity::generate();
    (identity.to_string().expose_secret().to_owned(), identity.to_public().to_string())
});

fn manifest(max_bytes: u64) -> Manifest {
    Manifest {
        format: manifest::FORMAT.into(),
        verso: "0.1.0".into(),
        created_at: 1_795_000_000_000,
        home: "/home/u".into(),
        state_dir: "/home/u/.verso".into(),
        links: vec![LinkEntry {
            account: AccountId::new("work"),
            jid: Some("15550001111:3@s.whatsapp.net".into()),
            epoch: 3,
            auth_dir: None,
            data_key: None,
        }],
        journal: None,
        media: false,
        max_bytes,
    }
}

fn archive(seal: &Seal) -> Vec<u8> {
    let mut writer = ArchiveWriter::begin(Vec::new(), seal, &manifest(1 << 20)).expect("begun");
    writer.bytes("config/verso.json", b"{}").expect("written");
    writer.bytes(&format!("agents/{}/x", "long".repeat(60)), &[7; 2000]).expect("written");
    writer.bytes("state.db", b"not looked into here").expect("written");
    writer.finish().expect("ended").1
}

fn no_key(_: Lock) -> Result<Key, BackupError> {
    Err(BackupError::Key("no key".into()))
}

fn read_with(bytes: &[u8], key: &mut dyn FnMut(Lock) -> Result<Key, BackupError>) -> Result<Contents, BackupError> {
    let dir = tempfile::tempdir().expect("temp dir");
    unpack(bytes, key, Unpack { into: dir.path(), judge: &mut |_| Ok(()), wants: &|_| true })
}

fn read(bytes: &[u8]) -> Result<Contents, BackupError> {
    read_with(bytes, &mut no_key)
}

#[test]
fn what_goes_in_comes_out() {
    let dir = tempfile::tempdir().expect("temp dir");
    let bytes = archive(&Seal::None);
    let mut judged = None;
    let mut judge = |manifest: &Manifest| {
        judged = Some(manifest.clone());
        Ok(())
    };
    let unpacking = Unpack { into: dir.path(), judge: &mut judge, wants: &|member| member != "state.db" };
    let contents = unpack(bytes.as_slice(), &mut no_key, unpacking).expect("whole");
    assert_eq!((judged.as_ref(), contents.lock), (Some(&contents.manifest), Lock::None));
    assert_eq!(contents.manifest, manifest(1 << 20));
    let names: Vec<&str> = contents.members.iter().map(|m| m.path.as_str()).collect();
    let long = format!("agents/{}/x", "long".repeat(60));
    assert_eq!(names, [MANIFEST, "config/verso.json", long.as_str(), "state.db"]);
    assert_eq!(std::fs::read(dir.path().join(&long)).expect("there"), [7; 2000]);
    assert!(!dir.path().join("state.db").exists(), "only what is wanted is unpacked");
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&dir.path().join("agents")), mode(&dir.path().join("config/verso.json"))), (0o700, 0o600));
}

fn same(contents: &Contents, members: &[Member]) -> bool {
    contents.members == members && contents.manifest == manifest(1 << 20)
}

#[test]
fn every_flipped_byte_and_every_truncation_is_noticed() {
    let key = |_: Lock| identities(&PAIR.0);
    for seal in [Seal::None, Seal::Recipients(vec![recipient(&PAIR.1).expect("a key")])] {
        let whole = archive(&seal);
        let members = read_with(&whole, &mut { key }).expect("whole").members;
        for cut in (0..whole.len()).step_by(if cfg!(debug_assertions) { 7 } else { 1 }).chain([whole.len() - 1]) {
            let error = read_with(&whole[..cut], &mut { key }).expect_err("cut off").to_string();
            assert!(!error.is_empty(), "cut at {cut}");
        }
        let mut unseen = 0;
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            match read_with(&flipped, &mut { key }) {
                Err(_) => {}
                // Bits that fill up the last byte of gzip's stream mean nothing.
                Ok(contents) => {
                    assert!(same(&contents, &members), "flipped at {at}");
                    unseen += 1;
                }
            }
        }
        assert!(unseen <= 1, "{unseen} flips were not noticed");
        let mut longer = whole.clone();
        longer.push(0);
        assert!(read_with(&longer, &mut { key }).is_err(), "something behind the end");
    }
}

#[test]
fn a_damaged_member_is_named() {
    let mut bytes = Vec::new();
    let gzip = archive(&Seal::None);
    flate2::read::GzDecoder::new(gzip.as_slice()).read_to_end(&mut bytes).expect("gzip");
    let at = bytes.windows(4).position(|w| w == [7; 4]).expect("the long member");
    bytes[at + 100] ^= 1;
    let error = read(&pack(&bytes)).expect_err("damaged").to_string();
    assert!(error.contains("agents/long") && error.contains("SHA-256"), "{error}");
}

fn pack(tar: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut gzip = flate2::GzBuilder::new().operating_system(255).write(Vec::new(), flate2::Compression::default());
    gzip.write_all(tar).expect("written");
    gzip.finish().expect("ended")
}

#[test]
fn the_key_decides() {
    let sealed = archive(&Seal::Passphrase("correct horse".into()));
    assert_eq!(read(&sealed).expect_err("no key").to_string(), "no key");
    let mut wrong = |_| Ok(Key::Passphrase("wrong".into()));
    assert_eq!(read_with(&sealed, &mut wrong).expect_err("wrong").to_string(), "the passphrase is wrong");
    let mut private = |_| identities(&PAIR.0);
    let other = read_with(&sealed, &mut private).expect_err("another kind").to_string();
    assert!(other.contains("--passphrase-file"), "{other}");
    let mut right = |lock| {
        assert_eq!(lock, Lock::Passphrase);
        Ok(Key::Passphrase("correct horse".into()))
    };
    assert_eq!(read_with(&sealed, &mut right).expect("opens").lock, Lock::Passphrase);

    let for_key = archive(&Seal::Recipients(vec![recipient(&PAIR.1).expect("a key")]));
    let told = read_with(&for_key, &mut wrong).expect_err("another kind").to_string();
    assert!(told.contains("--identity"), "{told}");
    let stranger = age::x25519::Identity::generate().to_string().expose_secret().to_owned();
    let mut strange = |_| identities(&stranger);
    assert!(read_with(&for_key, &mut strange).expect_err("not for it").to_string().contains("none of the given keys"));
    assert!(recipient("age1nonsense").is_err() && identities("no key").is_err() && identities("# nothing").is_err());
}

/// An archive that somebody made by hand: what `add` puts behind the manifest.
fn forged(max_bytes: u64, add: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let json = serde_json::to_vec(&manifest(max_bytes)).expect("json");
    member(&mut tar, MANIFEST, tar::EntryType::Regular, json.len() as u64, &json);
    add(&mut tar);
    pack(&tar.into_inner().expect("ended"))
}

fn member(tar: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, size: u64, data: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o777);
    header.set_cksum();
    tar.append(&header, data).expect("appended");
}

#[test]
fn archives_that_want_to_leave_the_folder_are_refused() {
    use tar::EntryType as Kind;
    let file = |path: &'static str| move |tar: &mut tar::Builder<Vec<u8>>| member(tar, path, Kind::Regular, 1, b"x");
    let attempts: Vec<(&str, Vec<u8>)> = vec![
        ("absolute", forged(100, file("/etc/passwd"))),
        ("leaves the folder", forged(100, file("agents/../../x"))),
        ("no such member", forged(100, file("somewhere/x"))),
        ("files only", forged(100, |tar| member(tar, "agents/link", Kind::Symlink, 0, b""))),
        ("files only", forged(100, |tar| member(tar, "agents/link", Kind::Link, 0, b""))),
        ("files only", forged(100, |tar| member(tar, "agents/pipe", Kind::Fifo, 0, b""))),
        ("files only", forged(100, |tar| member(tar, "agents/disk", Kind::Block, 0, b""))),
        ("no such member", forged(100, |tar| member(tar, "agents", Kind::Directory, 0, b""))),
        (
            "twice",
            forged(100_000, |tar| {
                file("agents/a")(tar);
                file("agents/a")(tar);
            }),
        ),
        (
            "more than its manifest says",
            forged(2_000, |tar| member(tar, "agents/a", Kind::Regular, 4_000, &[0; 4_000])),
        ),
        ("too long", forged(100, |tar| member(tar, "././@LongLink", Kind::GNULongName, 1 << 33, b""))),
        ("list of members", {
            forged(100_000, |tar| {
                file("agents/a")(tar);
                member(tar, "members.json", Kind::Regular, 14, br#"{"members":[]}"#);
            })
        }),
    ];
    for (why, bytes) in attempts {
        let dir = tempfile::tempdir().expect("temp dir");
        let into = dir.path().join("into");
        std::fs::create_dir(&into).expect("made");
        let unpacking = Unpack { into: &into, judge: &mut |_| Ok(()), wants: &|_| true };
        let error = unpack(bytes.as_slice(), &mut no_key, unpacking).expect_err(why).to_string();
        assert!(error.contains(why), "{why}: {error}");
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1, "nothing beside the folder");
    }
}

#[test]
fn what_is_no_backup_is_said() {
    for (bytes, said) in [
        (&b""[..], "neither"),
        (b"hello world, this is some text", "neither"),
        (b"-----BEGIN AGE ENCRYPTED FILE-----", "as text"),
    ] {
        let error = read(bytes).expect_err("no backup").to_string();
        assert!(error.contains(said), "{error}");
    }
    let other = pack(&tar::Builder::new(Vec::new()).into_inner().expect("empty"));
    assert!(read(&other).expect_err("empty").to_string().contains("damaged at its end"));
    let mut foreign = tar::Builder::new(Vec::new());
    member(&mut foreign, "agents/x", tar::EntryType::Regular, 1, b"x");
    let error = read(&pack(&foreign.into_inner().expect("ended"))).expect_err("foreign").to_string();
    assert!(error.contains("does not begin with manifest.json"), "{error}");
}

/// A file that becomes shorter while it is read does not end up half in an archive.
#[test]
fn a_large_file_goes_through_and_a_bomb_does_not_get_in() {
    let dir = tempfile::tempdir().expect("temp dir");
    let file = dir.path().join("large");
    std::fs::write(&file, vec![1; 3 << 20]).expect("written");
    let mut writer = ArchiveWriter::begin(Cursor::new(Vec::new()), &Seal::None, &manifest(4 << 20)).expect("begun");
    writer.file("agents/large", &file).expect("written");
    let full = writer.file("agents/again", &file).expect_err("more than the manifest says").to_string();
    assert!(full.contains("try again"), "{full}");
    let (members, out) = writer.finish().expect("ended");
    assert_eq!(members[1].size, 3 << 20);
    assert_eq!(read(&out.into_inner()).expect("whole").members, members);
}
