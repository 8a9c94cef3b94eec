//! Decoders that never end.

use std::sync::mpsc;

use super::*;
use crate::media::conversions::MOST_STUCK;

/// The same loader in a hurry: permits and count are shared.
fn hasty(place: &Place) -> Loader {
    Loader { limit: Duration::from_millis(20), ..place.loader.clone() }
}

/// A conversion that hangs until the other end is dropped or told to go on, and then makes a file.
fn hanging(folder: &Path) -> (mpsc::Sender<()>, impl FnOnce(&Wish, &Path) -> Result<MediaFile, MediaError> + use<>) {
    let (go_on, wait) = mpsc::channel::<()>();
    let path = folder.join("late.jpg");
    let work = move |_: &Wish, _: &Path| {
        let _ = wait.recv();
        fs::write(&path, b"late").expect("written");
        Ok(MediaFile::new(MediaKind::Image, "image/jpeg", path, 4))
    };
    (go_on, work)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let all = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all).await.expect(what);
}

#[tokio::test]
async fn decoders_that_hang_give_their_turn_back_and_files_of_others_go_on() {
    let place = place();
    let (hasty, wish) = (hasty(&place), Wish::new("/x/evil.webp", MB));
    // More than there are permits.
    let (ends, works): (Vec<_>, Vec<_>) = (0..3).map(|_| hanging(place.dir.path())).unzip();
    for work in works {
        let error = hasty.convert(&wish, work).await.expect_err("it hangs").to_string();
        assert_eq!(error, "/x/evil.webp is no usable file: it was not converted within 0.02 s");
    }
    assert_eq!(place.loader.stuck_conversions(), 3);
    place.send("photo.jpg", &encoded(flag(30, 30), ImageFormat::Jpeg)).await.expect("the next one is sent");
    // What ends after all is counted no more, and nothing of it stays.
    drop(ends);
    until("all ended", || place.loader.stuck_conversions() == 0).await;
    assert!(!place.dir.path().join("late.jpg").exists(), "nobody would send or delete it");
}

#[tokio::test]
async fn too_many_that_hang_are_an_error_that_says_so_until_one_ends() {
    let place = place();
    let (hasty, wish) = (hasty(&place), Wish::new("/x/evil.webp", MB));
    let mut ends = Vec::new();
    for _ in 0..MOST_STUCK {
        let (end, work) = hanging(place.dir.path());
        ends.push(end);
        hasty.convert(&wish, work).await.expect_err("it hangs");
    }
    let photo = encoded(flag(30, 30), ImageFormat::Jpeg);
    let refused = place.send("photo.jpg", &photo).await.expect_err("no more are begun");
    let told =
        "photo.jpg is not converted: 4 conversions before it hang (see the log), so no more are begun; restart Verso";
    assert!(refused.ends_with(told), "{refused}");
    assert_eq!(place.left(), 0, "nothing of it stays");
    let document = Wish { as_document: true, ..place.wish("photo.jpg", &photo, MB) };
    place.ask(&document).await.expect("a document passes no decoder");
    drop(ends.pop());
    until("one ended", || place.loader.stuck_conversions() < MOST_STUCK).await;
    place.send("photo.jpg", &photo).await.expect("it is converted again");
}

#[tokio::test]
async fn an_answer_that_is_given_up_makes_no_room_and_leaves_no_file() {
    let place = place();
    let (wish, mut asked) = (Wish::new("/x/slow.webp", MB), Vec::new());
    let (ends, works): (Vec<_>, Vec<_>) = (0..2).map(|_| hanging(place.dir.path())).unzip();
    for work in works {
        let (loader, wish) = (place.loader.clone(), wish.clone());
        asked.push(tokio::spawn(async move { loader.convert(&wish, work).await }));
    }
    until("both run", || place.loader.conversions.free() == 0).await;
    for task in asked {
        task.abort();
        assert!(task.await.is_err_and(|ended| ended.is_cancelled()));
    }
    assert_eq!(place.loader.conversions.free(), 0, "they run still");
    drop(ends);
    until("both ended", || place.loader.conversions.free() == 2).await;
    place.send("photo.jpg", &encoded(flag(30, 30), ImageFormat::Jpeg)).await.expect("sent");
    assert!(!place.dir.path().join("late.jpg").exists(), "nobody would send or delete it");
}

#[tokio::test]
async fn a_decoder_that_panics_costs_its_file() {
    let place = place();
    let wish = Wish::new("/x/evil.webp", MB);
    let panics = |_: &Wish, _: &Path| -> Result<MediaFile, MediaError> { panic!("a decoder's slip") };
    let error = place.loader.convert(&wish, panics).await.expect_err("it panics").to_string();
    assert_eq!(error, "/x/evil.webp is no usable file: its decoder failed");
    assert_eq!((place.loader.stuck_conversions(), place.loader.conversions.free()), (0, 2));
}
