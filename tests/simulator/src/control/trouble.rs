//! Everything that goes wrong on demand.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Refused;
use super::verbs::device;
use crate::faults::{Fault, IqFault, Kick};
use crate::media;
use crate::page::{PageFault, Version};
use crate::phone::Addressing;
use crate::world::World;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KickOut {
    pn: String,
    device: u16,
    how: Value,
}

pub(super) fn kick(world: &World, asked: &KickOut) -> Result<Value, Refused> {
    let how = match (asked.how.as_str(), asked.how.as_u64().and_then(|code| u16::try_from(code).ok())) {
        (Some("conflict"), _) => Kick::Conflict,
        (Some("device_removed"), _) => Kick::DeviceRemoved,
        (Some("stream_end"), _) => Kick::StreamEnd,
        (Some("close"), _) => Kick::Close,
        (Some("drop"), _) => Kick::Drop,
        (Some("freeze"), _) => Kick::Freeze,
        (_, Some(code)) => Kick::StreamError(code),
        _ => return Err(Refused::bad(format!("no way to kick called {}", asked.how))),
    };
    device(world, &asked.pn, asked.device)?.kick(how);
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trouble {
    pn: Option<String>,
    device: Option<u16>,
    kind: String,
    #[serde(default)]
    ms: u64,
    #[serde(default)]
    messages: usize,
    error: Option<u16>,
    xmlns: Option<String>,
    how: Option<Value>,
    reason: Option<u16>,
    code: Option<u32>,
    seconds: Option<u64>,
    n: Option<usize>,
    version: Option<Value>,
    text: Option<String>,
    via: Option<String>,
    contact: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Published {
    current: Option<Value>,
}

pub(super) fn version(world: &World, asked: &Published) -> Result<Value, Refused> {
    if let Some(current) = &asked.current {
        world.publish_version(version_of(current)?);
    }
    Ok(json!({ "current": world.published_version().to_string(), "lookups": world.version_lookups() }))
}

/// A version as text or as its last number.
fn version_of(value: &Value) -> Result<Version, Refused> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.parse().map_err(Refused::bad)
}

fn page_fault(how: Option<&Value>, text: Option<String>) -> Result<PageFault, Refused> {
    let how = how.unwrap_or(&Value::Null);
    let status = how.as_u64().and_then(|code| u16::try_from(code).ok());
    match (how.as_str(), status) {
        (Some("silent"), _) => Ok(PageFault::Silent),
        (Some("hang_up"), _) => Ok(PageFault::HangUp),
        (Some("huge"), _) => Ok(PageFault::Huge),
        (Some("garbage"), _) => Ok(PageFault::Body(text.unwrap_or_else(|| "no version here".to_owned()))),
        (None, Some(status)) => Ok(PageFault::Status(status)),
        _ => Err(Refused::bad("say how: silent, hang_up, huge, garbage (with text) or a status")),
    }
}

pub(super) fn fault(world: &World, asked: Trouble) -> Result<Value, Refused> {
    let missing = |what: &str| Refused::bad(format!("this fault needs {what:?}"));
    let only = match (&asked.pn, asked.device) {
        (Some(pn), n) => Some(device(world, pn, n.unwrap_or(1))?),
        (None, _) => None,
    };
    let fault = match asked.kind.as_str() {
        "clear" => {
            match only {
                Some(device) => device.clear_faults(),
                None => world.clear_faults(),
            }
            return Ok(json!({}));
        }
        "refuse" => {
            world.refuse_connections(asked.n.unwrap_or(usize::MAX));
            return Ok(json!({}));
        }
        "delay" => Fault::Delay(Duration::from_millis(asked.ms)),
        "half_open" => Fault::HalfOpen,
        "duplicate" => Fault::DuplicateMessages,
        "swap" => Fault::SwapMessages,
        "flip" => Fault::FlipBit { messages: asked.messages.max(1) },
        "nack" if asked.messages > 0 => Fault::NackNext { error: asked.error.unwrap_or(503), messages: asked.messages },
        "nack" => Fault::NackMessages { error: asked.error.unwrap_or(479) },
        "swallow" => Fault::SwallowMessages,
        "iq" => {
            let how = match asked.how.unwrap_or(json!("silent")) {
                Value::String(how) if how == "silent" => IqFault::Silent,
                Value::String(how) if how == "empty" => IqFault::Empty,
                how => IqFault::Error(
                    how.as_u64().and_then(|code| u16::try_from(code).ok()).ok_or_else(|| missing("how"))?,
                ),
            };
            Fault::Iq { xmlns: asked.xmlns.ok_or_else(|| missing("xmlns"))?, how }
        }
        "login_failure" => Fault::LoginFailure {
            reason: asked.reason.ok_or_else(|| missing("reason"))?,
            code: asked.code,
            expire: asked.seconds.map(Duration::from_secs),
        },
        "min_version" => {
            let version = asked.version.as_ref().ok_or_else(|| missing("version"))?;
            Fault::MinimumVersion(version_of(version)?)
        }
        "dead_address" => Fault::DeadAddress {
            address: match asked.via.as_deref() {
                Some("lid") => Addressing::Lid,
                Some("pn") => Addressing::Pn,
                _ => return Err(missing("via")),
            },
            of: asked.contact,
        },
        "page" => Fault::Page(page_fault(asked.how.as_ref(), asked.text)?),
        "forged_pairing" => Fault::ForgedPairing,
        "passkey" => Fault::AsksForPasskey,
        "refuse_ik" => Fault::RefuseIk,
        "hang_up" => Fault::HangUpInHandshake,
        other => return Err(Refused::bad(format!("no fault called {other:?}"))),
    };
    match only {
        Some(device) => device.set_fault(fault),
        None => world.set_fault(fault),
    }
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum On {
    Upload,
    Download,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MediaTrouble {
    on: Option<On>,
    kind: String,
    #[serde(default)]
    value: u64,
    times: Option<u32>,
    path: Option<String>,
}

pub(super) fn media_fault(world: &World, asked: &MediaTrouble) -> Result<Value, Refused> {
    let host = world.media();
    let fault = match asked.kind.as_str() {
        "clear" => {
            host.clear_faults();
            return Ok(json!({}));
        }
        "expire_auth" => {
            host.expire_auth();
            return Ok(json!({}));
        }
        "remove" => {
            let path = asked.path.as_deref().ok_or_else(|| Refused::bad("say which path"))?;
            return if host.remove(path) { Ok(json!({})) } else { Err(Refused::not_found("no such file")) };
        }
        "status" => media::Fault::Status(u16::try_from(asked.value).map_err(Refused::bad)?),
        "slow" => media::Fault::Slow(Duration::from_millis(asked.value)),
        "cut" => media::Fault::Cut(usize::try_from(asked.value).map_err(Refused::bad)?),
        "flip" => media::Fault::Flip,
        other => return Err(Refused::bad(format!("no media fault called {other:?}"))),
    };
    let on = match asked.on {
        Some(On::Upload) => media::On::Upload,
        Some(On::Download) => media::On::Download,
        None => return Err(Refused::bad("say on: upload or download")),
    };
    host.fault(on, fault, asked.times.unwrap_or(1));
    Ok(json!({}))
}
