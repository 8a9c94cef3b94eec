//! Groups asked for and changed by a client.

use wa_simulator::World;
use whatsapp_rust::wacore::types::events::Event;
use whatsapp_rust::{GroupCreateOptions, GroupParticipantOptions, GroupSubject};

use crate::client::Wa;

const ANN: &str = "+15550100001";
const BOB: &str = "+15550100002";
const CAT: &str = "+15550100003";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_makes_a_group_changes_it_and_is_kept_out_of_others() {
    let world = World::start().await.unwrap();
    let (ann, bob, cat) = (world.contact(ANN, "Ann"), world.contact(BOB, "Bob"), world.contact(CAT, "Cat"));
    let (wa, _) = Wa::linked(&world, &ann).await;
    let groups = wa.client.groups();

    let options = GroupCreateOptions::builder()
        .subject("Lunch")
        .participants(vec![GroupParticipantOptions::new(bob.jid())])
        .finish();
    let made = groups.create_group(options).await.unwrap().metadata;
    assert_eq!((made.subject.as_str(), made.participants.len()), ("Lunch", 2));

    groups.set_subject(&made.id, GroupSubject::new("Dinner").unwrap()).await.unwrap();
    let added = groups.add_participants(&made.id, &[cat.jid()]).await.unwrap();
    assert!(added.iter().all(|change| change.is_ok()), "{added:?}");
    groups.promote_participants(&made.id, &[bob.lid()]).await.unwrap();
    groups.set_announce(&made.id, true).await.unwrap();
    let seen = groups.get_metadata(&made.id).await.unwrap();
    assert_eq!((seen.subject.as_str(), seen.participants.len(), seen.is_announcement), ("Dinner", 3, true));
    assert!(seen.participants.iter().any(|p| p.jid == bob.lid() && p.is_admin()));

    let group = world.groups().into_iter().find(|group| group.jid() == made.id).unwrap();
    let elsewhere = world.group("Elsewhere", &bob, &[&cat]);
    assert!(groups.get_metadata(&elsewhere.jid()).await.is_err());
    assert_eq!(
        groups.get_participating().await.unwrap().into_keys().collect::<Vec<_>>(),
        std::slice::from_ref(&made.id)
    );

    group.change(&bob, "demote", &[&cat], "").unwrap();
    group.change(&bob, "remove", &[&cat], "").unwrap();
    let removed = |event: &Event| match event {
        Event::GroupUpdate(update) if update.group_jid == made.id => {
            format!("{:?}", update.action).contains("Remove").then_some(())
        }
        _ => None,
    };
    wa.wait("removal of Cat", removed).await;
    assert_eq!(groups.get_metadata(&made.id).await.unwrap().participants.len(), 2);
}
