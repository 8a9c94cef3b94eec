//! A person with a phone: links companions, writes, reads, reacts, types.

mod compose;
mod receive;
mod send;
mod state;

use std::fmt;
use std::time::Duration;

use wacore_binary::Jid;
use waproto::whatsapp as wa;

use crate::appstate::PastChat;
use crate::device::LinkedDevice;
use crate::group::Group;
use crate::pairing::LinkError;
use crate::state::Addr;
use crate::world::{Timeout, World};

pub use compose::{contact_message, text_message};
pub(crate) use send::{distribution, mark_edit, media_type, stanza_type};
pub use state::{Addressing, NumberShown, Reaction, Receipt, ReceiptKind, Received, Sign, Undecryptable};
pub(crate) use state::{PhoneState, Sent, Target};

/// Identifier of a message.
pub type MessageId = String;

/// A simulated phone. Cheap to clone.
#[derive(Clone)]
pub struct Phone {
    world: World,
    pub(crate) account: usize,
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Phone({})", self.number())
    }
}

/// Says which received message is meant.
pub trait Wanted {
    /// Whether it is this one.
    fn is(&self, received: &Received) -> bool;
    /// How to call it when it does not come.
    fn name(&self) -> String;
}

/// This text exactly.
impl Wanted for &str {
    fn is(&self, received: &Received) -> bool {
        received.text == *self
    }
    fn name(&self) -> String {
        format!("the text {self:?}")
    }
}

/// This text exactly.
impl Wanted for String {
    fn is(&self, received: &Received) -> bool {
        received.text == *self
    }
    fn name(&self) -> String {
        format!("the text {self:?}")
    }
}

impl<F: Fn(&Received) -> bool> Wanted for F {
    fn is(&self, received: &Received) -> bool {
        self(received)
    }
    fn name(&self) -> String {
        "a certain text".to_owned()
    }
}

impl Phone {
    pub(crate) fn new(world: World, account: usize) -> Self {
        Self { world, account }
    }

    fn with_state<R>(&self, change: impl FnOnce(&mut PhoneState) -> R) -> R {
        self.world.with(|s| change(&mut s.accounts[self.account].phone))
    }

    fn look<R>(&self, read: impl FnOnce(&PhoneState) -> R) -> R {
        self.world.look(|s| read(&s.accounts[self.account].phone))
    }

    /// The number with `+`.
    pub fn number(&self) -> String {
        self.world.look(|s| format!("+{}", s.accounts[self.account].pn))
    }

    /// The name that others see, `User ` and four digits if none was given.
    pub fn name(&self) -> String {
        self.world.look(|s| s.accounts[self.account].name.clone())
    }

    /// Gives the person a name.
    pub fn set_name(&self, name: &str) {
        self.world.with(|s| s.set_name(self.account, name));
    }

    /// Makes this a business account: companions linked from now on get the name at pairing instead of later.
    pub fn set_business(&self, yes: bool) {
        self.world.with(|s| s.accounts[self.account].business = yes);
    }

    /// `NUMBER@s.whatsapp.net`.
    pub fn jid(&self) -> Jid {
        self.world.look(|s| s.jid_of(Addr { account: self.account, device: 0 }, false))
    }

    /// `LID@lid`.
    pub fn lid(&self) -> Jid {
        self.world.look(|s| s.jid_of(Addr { account: self.account, device: 0 }, true))
    }

    /// Whether arriving messages are confirmed as delivered (default yes).
    pub fn set_auto_receipts(&self, yes: bool) {
        self.with_state(|p| p.auto_receipts = yes);
    }

    /// Whether arriving messages are confirmed as read too (default no).
    pub fn set_auto_read(&self, yes: bool) {
        self.with_state(|p| p.auto_read = yes);
    }

    /// Whether it can open nothing of what arrives, asks for nothing again and sends nothing again (default no).
    pub fn set_deaf(&self, yes: bool) {
        self.with_state(|p| p.deaf = yes);
    }

    /// Who learns the number behind this person's LID (default: everybody).
    pub fn shows_number(&self, to: NumberShown) {
        self.with_state(|p| p.number_shown = to);
    }

    /// What this phone writes from now on carries a time that lies so far back.
    pub fn writes_in_the_past(&self, ago: Duration) {
        self.with_state(|p| p.message_age = ago);
    }

    // --- linking -------------------------------------------------------------------------------------------------

    /// Points the camera at a QR code and links the client that shows it. Returns
    /// when the client has signed and was sent away to log in.
    ///
    /// # Errors
    /// When the code is none of those shown, or the client refuses.
    pub async fn scan_qr(&self, qr: &str) -> Result<LinkedDevice, LinkError> {
        crate::pairing::scan(&self.world, self.account, qr).await
    }

    /// Types the 8 characters that a client shows.
    ///
    /// # Errors
    /// When no client waits for this number, or the code is a wrong one.
    pub async fn enter_code(&self, code: &str) -> Result<LinkedDevice, LinkError> {
        crate::pair_code::enter(&self.world, self.account, code).await
    }

    /// The companion with this device number, whether it is linked yet or not.
    pub fn device(&self, n: u16) -> LinkedDevice {
        LinkedDevice::new(self.world.clone(), Addr { account: self.account, device: n })
    }

    /// The companions.
    pub fn devices(&self) -> Vec<LinkedDevice> {
        let ids: Vec<u16> = self.world.look(|s| s.accounts[self.account].devices.keys().copied().collect());
        ids.into_iter().map(|n| self.device(n)).collect()
    }

    /// Removes a companion in the list of linked devices.
    pub fn unlink(&self, device: &LinkedDevice) {
        self.world.with(|s| s.remove_device(device.addr));
    }

    /// The phone is set up anew with a new identity; companions are gone. With
    /// `announced` the server tells those who know this person.
    pub fn reinstall(&self, announced: bool) {
        self.world.with(|s| s.reinstall_phone(self.account, announced));
    }

    /// Breaks what the phone encrypts for a device from now on: it asks for a retry.
    ///
    /// # Errors
    /// When the two never talked.
    pub fn corrupt_session(&self, with: &LinkedDevice) -> anyhow::Result<()> {
        self.world.with(|s| s.corrupt_session(self.account, with.addr))
    }

    /// Asks a device of somebody for a message again, whether there ever was one or not.
    pub fn asks_again(&self, device: &LinkedDevice, id: &str) {
        self.world.with(|s| s.phone_asks_for(self.account, device.addr, id));
    }

    // --- writing -------------------------------------------------------------------------------------------------

    /// Writes a text.
    pub fn says(&self, to: &Phone, text: &str) -> MessageId {
        self.says_via(to, text, Addressing::Lid)
    }

    /// Writes a text in a certain number space.
    pub fn says_via(&self, to: &Phone, text: &str, addressing: Addressing) -> MessageId {
        self.sends_via(to, text_message(text), addressing)
    }

    /// Sends any message.
    pub fn sends(&self, to: &Phone, message: wa::Message) -> MessageId {
        self.sends_via(to, message, Addressing::Lid)
    }

    /// Sends any message in a certain number space.
    pub fn sends_via(&self, to: &Phone, message: wa::Message, addressing: Addressing) -> MessageId {
        self.world.with(|s| s.phone_sends(self.account, Target::Account(to.account), message, addressing))
    }

    /// Writes a text into a group; `mentions` are named in it with `@` and their number by the writer.
    pub fn says_in(&self, group: &Group, text: &str, mentions: &[&Phone]) -> MessageId {
        if mentions.is_empty() {
            return self.sends_in(group, text_message(text));
        }
        let lid = group.is_lid_addressed();
        let jids = mentions.iter().map(|p| p.address(lid).to_string()).collect();
        let context = wa::ContextInfo { mentioned_jid: jids, ..Default::default() };
        self.sends_in(group, compose::text_in_context(text, context))
    }

    /// Sends any message into a group.
    pub fn sends_in(&self, group: &Group, message: wa::Message) -> MessageId {
        let target = Target::Group(group.jid());
        self.world.with(|s| s.phone_sends(self.account, target, message, Addressing::Lid))
    }

    /// Reacts to a message of a one-to-one chat; an empty emoji takes the reaction back.
    pub fn reacts(&self, to: &Phone, id: &str, emoji: &str) -> MessageId {
        self.sends(to, compose::reaction(self.key_of(to, id), emoji))
    }

    /// Reacts to a message of a group.
    pub fn reacts_in(&self, group: &Group, author: &Phone, id: &str, emoji: &str) -> MessageId {
        let participant = author.address(group.is_lid_addressed());
        let key = wa::MessageKey {
            remote_jid: Some(group.jid().to_string()),
            from_me: Some(author.account == self.account),
            id: Some(id.to_owned()),
            participant: Some(participant.to_string()),
        };
        self.sends_in(group, compose::reaction(key, emoji))
    }

    /// Answers a message of a one-to-one chat, quoting it.
    pub fn replies(&self, to: &Phone, quoted: &Received, text: &str) -> MessageId {
        let lid = quoted.addressing.is_lid();
        let context = compose::quote(quoted, if quoted.own { self } else { to }.address(lid));
        self.sends_via(to, compose::text_in_context(text, context), quoted.addressing)
    }

    /// Answers a message of a group, quoting it.
    pub fn replies_in(&self, group: &Group, quoted: &Received, text: &str) -> MessageId {
        let context = compose::quote(quoted, quoted.sender_jid.to_non_ad());
        self.sends_in(group, compose::text_in_context(text, context))
    }

    /// Changes the text of a message sent before in a one-to-one chat.
    pub fn edits(&self, to: &Phone, id: &str, text: &str) -> MessageId {
        self.sends(to, compose::edit(self.key_of(to, id), text))
    }

    /// Deletes a message sent before in a one-to-one chat for everybody.
    pub fn deletes(&self, to: &Phone, id: &str) -> MessageId {
        self.sends(to, compose::revoke(self.key_of(to, id)))
    }

    fn address(&self, lid: bool) -> Jid {
        if lid { self.lid() } else { self.jid() }
    }

    fn key_of(&self, to: &Phone, id: &str) -> wa::MessageKey {
        wa::MessageKey {
            remote_jid: Some(to.lid().to_string()),
            from_me: Some(self.look(|p| p.sent.contains_key(id))),
            id: Some(id.to_owned()),
            ..Default::default()
        }
    }

    /// Posts a status ("story") for the people given.
    pub fn posts_status(&self, text: &str, viewers: &[&Phone]) -> MessageId {
        let viewers: Vec<usize> = viewers.iter().map(|p| p.account).collect();
        self.world.with(|s| s.phone_posts_status(self.account, &viewers, text_message(text)))
    }

    /// Conversations from before the linking, which companions linked from now on are told.
    pub fn set_history(&self, chats: Vec<PastChat>) {
        self.world.with(|s| s.accounts[self.account].past = chats);
    }

    /// Shows "typing…" to somebody.
    pub fn types(&self, to: &Phone) {
        self.shows(&to.lid(), "composing");
    }

    /// Shows "recording…" to somebody.
    pub fn records(&self, to: &Phone) {
        self.shows(&to.lid(), "recording");
    }

    /// Ends "typing…".
    pub fn stops_typing(&self, to: &Phone) {
        self.shows(&to.lid(), "paused");
    }

    /// Shows "typing…" to a group.
    pub fn types_in(&self, group: &Group) {
        self.shows(&group.jid(), "composing");
    }

    fn shows(&self, chat: &Jid, what: &str) {
        self.world.with(|s| s.phone_chatstate(self.account, chat, what));
    }

    /// Comes online: those who asked are told.
    pub fn comes_online(&self) {
        self.world.with(|s| s.phone_presence(self.account, true));
    }

    /// Goes offline.
    pub fn goes_offline(&self) {
        self.world.with(|s| s.phone_presence(self.account, false));
    }

    /// Confirms a message as read.
    pub fn reads(&self, received: &Received) {
        self.world.with(|s| s.phone_receipt(self.account, received, "read"));
    }

    /// Without power or network from now on: nothing reaches it, and it confirms nothing.
    pub fn switches_off(&self) {
        self.with_state(|p| {
            p.switched_off.get_or_insert_default();
        });
    }

    /// Back again: it gets what waited for it.
    pub fn switches_on(&self) {
        self.world.switch_on(&[self]);
    }

    pub(crate) fn account(&self) -> usize {
        self.account
    }

    // --- looking and waiting -------------------------------------------------------------------------------------

    /// Everything received so far, own companions' copies included.
    pub fn inbox(&self) -> Vec<Received> {
        self.look(|p| p.inbox.clone())
    }

    /// What the owner of the phone sees: a message that came again under its id is shown once.
    pub fn shown(&self) -> Vec<Received> {
        let mut seen = std::collections::HashSet::new();
        self.look(|p| p.inbox.iter().filter(|r| seen.insert(r.id.clone())).cloned().collect())
    }

    /// How many messages that is; cheap, for those who ask often.
    pub fn received(&self) -> usize {
        self.look(|p| p.inbox.len())
    }

    /// Receipts for what was sent by this account.
    pub fn receipts(&self) -> Vec<Receipt> {
        self.look(|p| p.receipts.clone())
    }

    /// Typing and presence seen so far.
    pub fn signs(&self) -> Vec<Sign> {
        self.look(|p| p.signs.clone())
    }

    /// Messages that could not be opened, resent ones included.
    pub fn undecryptable(&self) -> Vec<Undecryptable> {
        self.look(|p| p.undecryptable.clone())
    }

    /// Waits for a text (or caption) that was not returned before: a text, or a test of [`Received`].
    ///
    /// # Errors
    /// When none comes before the deadline.
    pub async fn expect_text(&self, wanted: impl Wanted) -> Result<Received, Timeout> {
        let what = format!("{} to get {}", self.number(), wanted.name());
        self.take(what, |r| !r.text.is_empty() && wanted.is(r)).await
    }

    /// Waits for any message that was not returned before.
    ///
    /// # Errors
    /// When none comes before the deadline.
    pub async fn expect_message(&self, wanted: impl Fn(&Received) -> bool) -> Result<Received, Timeout> {
        self.take(format!("{} to get a certain message", self.number()), wanted).await
    }

    /// Waits for a reaction to a message.
    ///
    /// # Errors
    /// When none comes before the deadline.
    pub async fn expect_reaction(&self, target: &str) -> Result<Reaction, Timeout> {
        let what = format!("{} to get a reaction to {target}", self.number());
        let received = self.take(what, |r| r.reaction.as_ref().is_some_and(|r| r.target == target)).await?;
        Ok(received.reaction.expect("taken because it has one"))
    }

    /// Waits for a receipt, past ones included.
    ///
    /// # Errors
    /// When none comes before the deadline.
    pub async fn expect_receipt(&self, id: &str, kind: ReceiptKind) -> Result<Receipt, Timeout> {
        let what = format!("{} to get a {kind:?} receipt for {id}", self.number());
        self.world
            .until(what, || self.look(|p| p.receipts.iter().find(|r| r.id == id && r.kind == kind).cloned()))
            .await
    }

    /// Waits until somebody is seen typing (or recording).
    ///
    /// # Errors
    /// When nobody is before the deadline.
    pub async fn expect_typing(&self, from: &Phone) -> Result<Sign, Timeout> {
        let number = from.number();
        let what = format!("{} to see {number} typing", self.number());
        let typing = |g: &Sign| g.from == number && matches!(g.what.as_str(), "composing" | "recording");
        let found = |p: &mut PhoneState| {
            let sign = p.signs.iter_mut().find(|g| !g.taken && typing(g))?;
            sign.taken = true;
            Some(sign.clone())
        };
        self.world.until(what, || self.quietly(found)).await
    }

    /// Takes the first wanted message; the test of it runs without the lock.
    async fn take(&self, what: String, wanted: impl Fn(&Received) -> bool) -> Result<Received, Timeout> {
        let mut refused = 0;
        self.world
            .until(what, || {
                let new: Vec<(usize, Received)> = self.look(|p| {
                    let new = p.inbox.iter().enumerate().skip(refused);
                    new.filter(|(_, r)| !r.taken).map(|(n, r)| (n, r.clone())).collect()
                });
                refused = new.last().map_or(refused, |(n, _)| n + 1);
                new.into_iter().find(|(n, r)| wanted(r) && self.mark_taken(*n)).map(|(_, r)| r)
            })
            .await
    }

    /// False when another waiter was faster.
    fn mark_taken(&self, n: usize) -> bool {
        self.quietly(|p| !std::mem::replace(&mut p.inbox[n].taken, true))
    }

    /// A change that nobody waits for.
    fn quietly<R>(&self, change: impl FnOnce(&mut PhoneState) -> R) -> R {
        self.world.quietly(|s| change(&mut s.accounts[self.account].phone))
    }
}
