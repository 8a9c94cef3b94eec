//! `web.login.start` and `web.login.wait`: linking through the gateway, by QR code or by the eight characters for a phone number.
//!
//! Beside the image that clients know, the answers carry the text of the code (`qr`, `code`), the account and a machine-readable `state`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::methods::{ask, refused};
use super::params::Params;
use super::protocol::ErrorShape;
use super::qr;
use super::server::Api;
use crate::actors::messages::{LoginCancel, LoginProgress, LoginStart, LoginStarted, LoginWait, Refusal};
use crate::ids::{E164, NUMBER_HINT};

const SCAN: &str = "Scan this QR in WhatsApp → Linked Devices.";

/// The code that was last given out for each account, with its image: a client that waits sends the image back.
#[derive(Debug, Default)]
pub struct ShownCodes {
    by_account: Mutex<HashMap<String, (String, String)>>,
}

impl ShownCodes {
    fn note(&self, account: &str, image: &str, code: &str) {
        self.lock().insert(account.to_owned(), (image.to_owned(), code.to_owned()));
    }

    /// The text of an image, as far as it is still the newest of its account.
    fn text_of(&self, image: &str) -> Option<String> {
        self.lock().values().find(|(i, _)| i == image).map(|(_, code)| code.clone())
    }

    /// Forgets an account that is no longer being linked.
    pub fn forget(&self, account: &str) {
        self.lock().remove(account);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (String, String)>> {
        self.by_account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins linking and answers with the first code.
pub(super) async fn start(api: &Api, params: &Params) -> Result<Value, ErrorShape> {
    params.channel()?;
    let phone = match params.text("phone")? {
        None => None,
        Some(raw) => match E164::dialled(&raw) {
            Ok(number) => Some(number),
            Err(error) => {
                return Err(params.wrong(format!("at /phone: {raw:?} is no phone number: {error}; {NUMBER_HINT}")));
            }
        },
    };
    let request = LoginStart {
        account: params.account()?,
        force: params.flag("force")?,
        phone,
        timeout: params.timeout(Duration::from_secs(30), Duration::from_secs(5), Duration::from_secs(180))?,
    };
    let Ok(answer) = api.port.login_start.send(request).await else {
        return Err(ErrorShape::unavailable("the gateway is stopping"));
    };
    Ok(match answer {
        Ok(LoginStarted::AlreadyLinked { account, who }) => json!({
            "message": format!("WhatsApp is already linked ({who}). Say “relink” if you want a fresh QR."),
            "accountId": account, "state": "linked", "who": who,
        }),
        Ok(LoginStarted::Qr { account, code, fresh }) => {
            let image = qr::data_url(&code).map_err(|e| ErrorShape::unavailable(format!("Failed to get QR: {e}")))?;
            api.shown.note(account.as_str(), &image, &code);
            let message = if fresh { SCAN } else { "QR already active. Scan it in WhatsApp → Linked Devices." };
            json!({"message": message, "qrDataUrl": image, "qr": code, "accountId": account, "state": "qr", "fresh": fresh})
        }
        Ok(LoginStarted::Code { account, code }) => json!({
            "message": format!(
                "Enter this code in WhatsApp → Linked Devices → Link with phone number instead: {}",
                grouped(&code)
            ),
            "code": code, "accountId": account, "state": "code",
        }),
        Err(Refusal::Unavailable(why)) => {
            json!({"message": format!("Failed to get QR: {why}"), "state": "failed", "error": why})
        }
        Err(other) => return Err(refused(&other)),
    })
}

/// Waits for the end of a login, or for a newer QR code than the one shown.
pub(super) async fn wait(api: &Api, params: &Params) -> Result<Value, ErrorShape> {
    params.channel()?;
    let shown = match (params.text("currentQr")?, params.text("currentQrDataUrl")?) {
        (Some(text), _) => Some(text),
        // An image that is not the newest one: any code that exists is newer.
        (None, Some(image)) => Some(api.shown.text_of(&image).unwrap_or_default()),
        (None, None) => None,
    };
    let account = params.account()?;
    let request = LoginWait {
        account: account.clone(),
        shown,
        timeout: params.timeout(Duration::from_secs(120), Duration::from_secs(1), Duration::from_secs(600))?,
    };
    let Ok(answer) = api.port.login_wait.send(request).await else {
        return Err(ErrorShape::unavailable("the gateway is stopping"));
    };
    let state = |connected: bool, state: &str, message: String| json!({"connected": connected, "message": message, "state": state});
    Ok(match answer.map_err(|r| refused(&r))? {
        LoginProgress::Linked { account, who, before } => {
            api.shown.forget(account.as_str());
            let mut answer = state(true, "linked", "✅ Linked! WhatsApp is ready.".into());
            answer["accountId"] = json!(account);
            answer["who"] = json!(who);
            if let Some(before) = before {
                answer["before"] = json!(before);
            }
            answer
        }
        LoginProgress::NewQr { code } => {
            let image = qr::data_url(&code).map_err(|e| ErrorShape::unavailable(format!("Failed to get QR: {e}")))?;
            let account = match account {
                Some(id) => crate::ids::AccountId::new(&id).to_string(),
                None => api.status().await.map(|s| s.default_account.to_string()).unwrap_or_default(),
            };
            api.shown.note(&account, &image, &code);
            let mut answer = state(false, "qr", SCAN.into());
            answer["qrDataUrl"] = json!(image);
            answer["qr"] = json!(code);
            answer
        }
        LoginProgress::StillWaiting => {
            state(false, "waiting", "Still waiting for the QR scan. Let me know when you’ve scanned it.".into())
        }
        LoginProgress::Expired => state(false, "expired", "The login QR expired. Ask me to generate a new one.".into()),
        LoginProgress::NotStarted => state(false, "none", "No active WhatsApp login in progress.".into()),
        LoginProgress::Failed { error } => state(false, "failed", format!("WhatsApp login failed: {error}")),
    })
}

/// Ends a login, so that its code links nothing any more; `ended: false` when there was none.
pub(super) async fn cancel(api: &Api, params: &Params) -> Result<Value, ErrorShape> {
    params.channel()?;
    let ended = ask(api.port.login_cancel.send(LoginCancel { account: params.account()? }).await)?;
    Ok(json!({"ended": ended}))
}

/// `ABCD-EFGH`, as the phone shows the field.
pub fn grouped(code: &str) -> String {
    match (code.get(..4), code.get(4..)) {
        (Some(a), Some(b)) if code.len() == 8 => format!("{a}-{b}"),
        _ => code.to_owned(),
    }
}
