//! What is known of the groups of an account. Sockets come and go; what they learned stays.

use actix::prelude::*;
use tokio::sync::oneshot;

use super::SupervisorActor;
use crate::actors::socket::AskGroup;
use crate::ids::Jid;
use crate::session::group_facts::{GroupCache, GroupFacts, Wanted};
use crate::whatsapp::{GroupInfo, LinkError};

/// Name and members of a group; `None` when WhatsApp cannot be asked. Sent by the agents' runs.
#[derive(Message)]
#[rtype(result = "Option<GroupFacts>")]
pub struct DescribeGroup(pub Jid);

/// The groups of one account.
pub(super) type Groups = GroupCache<oneshot::Sender<Option<GroupFacts>>>;

impl SupervisorActor {
    fn group_answered(&mut self, group: &Jid, answer: Result<GroupInfo, LinkError>) {
        let facts = match answer {
            Ok(info) => Some(GroupFacts {
                subject: info.subject,
                members: info.members.into_iter().filter_map(|member| member.number).collect(),
            }),
            Err(error) => {
                tracing::warn!(target: "whatsapp/inbound", account = %self.id(), %error, "WhatsApp did not describe a group; the agent answers without");
                None
            }
        };
        for waiting in self.groups.answered(group, facts.as_ref(), self.cx.clock.now()) {
            let _ = waiting.send(facts.clone());
        }
    }
}

impl Handler<DescribeGroup> for SupervisorActor {
    type Result = ResponseFuture<Option<GroupFacts>>;

    fn handle(&mut self, DescribeGroup(group): DescribeGroup, ctx: &mut Self::Context) -> Self::Result {
        let (tell, told) = oneshot::channel();
        match (self.groups.want(&group, tell, self.cx.clock.now()), &self.socket) {
            (Wanted::Known(facts, tell), _) => {
                let _ = tell.send(Some(facts));
            }
            (Wanted::Wait, _) => {}
            (Wanted::Ask, None) => self.group_answered(&group, Err(LinkError::NotConnected)),
            (Wanted::Ask, Some(socket)) => {
                let asked = socket.send(AskGroup(group.clone()));
                ctx.spawn(actix::fut::wrap_future(asked).map(move |answer, me: &mut Self, _| {
                    me.group_answered(&group, answer.unwrap_or(Err(LinkError::NotConnected)));
                }));
            }
        }
        Box::pin(async move { told.await.ok().flatten() })
    }
}
