//! What the companions of one account keep in common.

use wa_simulator::World;
use whatsapp_rust::wacore::types::events::Event;

use crate::client::Wa;

const ANN: &str = "+15550100001";
const BOB: &str = "+15550100002";
const CAT: &str = "+15550100003";

#[tokio::test(flavor = "multi_thread")]
async fn what_one_companion_archives_the_other_sees() {
    let world = World::start().await.unwrap();
    let (ann, bob) = (world.contact(ANN, "Ann"), world.contact(BOB, "Bob"));
    let (desk, desk_device) = Wa::linked(&world, &ann).await;
    let (tablet, tablet_device) = Wa::linked(&world, &ann).await;
    assert_ne!(desk_device.id(), tablet_device.id());

    desk.client.chat_actions().archive_chat(&bob.jid(), None).await.unwrap();
    let archived = |jid: String| {
        move |event: &Event| match event {
            Event::ArchiveUpdate(update) => (update.jid.to_string() == jid).then_some(update.action.archived),
            _ => None,
        }
    };
    assert_eq!(tablet.wait("archived chat", archived(bob.jid().to_string())).await, Some(true));

    let cat = world.contact(CAT, "Cat");
    tablet.client.chat_actions().archive_chat(&cat.jid(), None).await.unwrap();
    assert_eq!(desk.wait("archived chat", archived(cat.jid().to_string())).await, Some(true));
}
