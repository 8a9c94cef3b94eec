//! Who may connect: the shared token, the device proof, where a browser may come from, and what a scope allows.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::protocol::{ConnectParams, DeviceProof, ErrorShape};
use crate::clock::UnixMs;

/// How far a device's clock may be off, in milliseconds.
const SIGNATURE_WINDOW_MS: i64 = 10 * 60 * 1000;

/// SHA-256 of a token, which may be kept and compared where the token itself should not lie about.
pub fn token_digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Compares the shared token in constant time, whatever is offered.
///
/// # Errors
/// The error frame to send before closing with 1008.
pub fn check_token(expected: &str, offered: Option<&str>) -> Result<(), ErrorShape> {
    let equal: bool = token_digest(offered.unwrap_or_default()).ct_eq(&token_digest(expected)).into();
    match offered {
        Some(token) if equal && !token.is_empty() => Ok(()),
        None | Some("") => Err(unauthorized(
            "AUTH_TOKEN_MISSING",
            "token_missing",
            "unauthorized: gateway token missing (pass --token or set VERSO_GATEWAY_TOKEN)",
            "provide_gateway_token",
        )),
        Some(_) => Err(unauthorized(
            "AUTH_TOKEN_MISMATCH",
            "token_mismatch",
            "unauthorized: gateway token mismatch (use gateway.auth.token or the gateway.token file of this gateway)",
            "update_auth_credentials",
        )),
    }
}

fn unauthorized(code: &str, reason: &str, message: &str, next: &str) -> ErrorShape {
    ErrorShape::invalid(message).with(json!({
        "code": code, "authReason": reason, "canRetryWithDeviceToken": false, "recommendedNextStep": next,
    }))
}

/// Verifies the proof of a device that presents one: key, time, nonce, signature, in this order.
///
/// # Errors
/// The error frame to send before closing with 1008.
pub fn check_device(params: &ConnectParams, device: &DeviceProof, nonce: &str, now: UnixMs) -> Result<(), ErrorShape> {
    let refuse = |code: &str, reason: &str, text: &str| {
        Err(ErrorShape::invalid(text).with(json!({"code": format!("DEVICE_AUTH_{code}"), "reason": reason})))
    };
    let key = URL_SAFE_NO_PAD.decode(device.public_key.trim_end_matches('=')).unwrap_or_default();
    if key.len() != 32 || device.id != hex(&Sha256::digest(&key)) {
        return refuse("DEVICE_ID_MISMATCH", "device-id-mismatch", "device identity mismatch");
    }
    if (now - device.signed_at).abs() > SIGNATURE_WINDOW_MS {
        return refuse("SIGNATURE_EXPIRED", "device-signature-stale", "device signature expired");
    }
    match device.nonce.as_deref() {
        None | Some("") => return refuse("NONCE_REQUIRED", "device-nonce-missing", "device nonce required"),
        Some(n) if n != nonce => return refuse("NONCE_MISMATCH", "device-nonce-mismatch", "device nonce mismatch"),
        Some(_) => {}
    }
    let signature = URL_SAFE_NO_PAD.decode(device.signature.trim_end_matches('=')).unwrap_or_default();
    let verifier = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, &key);
    let v2 = signed_text(params, device, "v2", nonce);
    let v3 = format!(
        "{}|{}|{}",
        signed_text(params, device, "v3", nonce),
        params.client.platform.trim().to_ascii_lowercase(),
        params.client.device_family.as_deref().unwrap_or_default().trim().to_ascii_lowercase(),
    );
    if [v3, v2].iter().any(|text| verifier.verify(text.as_bytes(), &signature).is_ok()) {
        Ok(())
    } else {
        refuse("SIGNATURE_INVALID", "device-signature", "device signature invalid")
    }
}

fn signed_text(params: &ConnectParams, device: &DeviceProof, version: &str, nonce: &str) -> String {
    [
        version,
        &device.id,
        &params.client.id,
        &params.client.mode,
        params.role.as_deref().unwrap_or("operator"),
        &params.scopes.join(","),
        &device.signed_at.to_string(),
        params.auth.token.as_deref().unwrap_or_default(),
        nonce,
    ]
    .join("|")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Where the connection came from, as its upgrade request says.
#[derive(Clone, Debug, Default)]
pub struct Provenance {
    /// The `Host` header.
    pub host: String,
    /// The `Origin` header; native clients send none.
    pub origin: Option<String>,
    /// A browser says that another site's page makes the request, although it sends no `Origin`.
    pub cross_site: bool,
    /// The peer's address.
    pub peer: Option<IpAddr>,
}

/// Which hosts and origins are let in.
#[derive(Clone, Debug)]
pub struct OriginRules {
    /// `gateway.controlUi.allowedOrigins`.
    pub allowed: Vec<String>,
    /// The API listens on loopback only.
    pub loopback_only: bool,
    /// The machine's own name.
    pub hostname: String,
}

impl OriginRules {
    /// A page on the web must not reach the API through a visitor's browser, not even by renaming itself (DNS rebinding).
    ///
    /// # Errors
    /// The error frame to send before closing with 1008.
    pub fn check(&self, from: &Provenance) -> Result<(), ErrorShape> {
        let refuse = |what: String| {
            Err(ErrorShape::invalid(format!("origin not allowed ({what}; add it to gateway.controlUi.allowedOrigins)"))
                .with(json!({"code": "CONTROL_UI_ORIGIN_NOT_ALLOWED"})))
        };
        let host = host_name(&from.host);
        let host_known = is_loopback(&host)
            || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
            || (!self.hostname.is_empty() && host.eq_ignore_ascii_case(&self.hostname))
            || self.allowed.iter().any(|o| origin_host(o).is_some_and(|h| host_name(&h) == host));
        if from.origin.is_none() && from.cross_site {
            return refuse("a page of another site".to_owned());
        }
        let Some(origin) = from.origin.as_deref() else {
            // Native clients may use any name of a machine that listens for others.
            return if host_known || !self.loopback_only { Ok(()) } else { refuse(format!("host {host}")) };
        };
        let listed = self.allowed.iter().any(|o| o.trim_end_matches('/').eq_ignore_ascii_case(origin));
        let same = origin_host(origin).is_some_and(|o| {
            o.eq_ignore_ascii_case(&from.host)
                || (is_loopback(&host_name(&o)) && is_loopback(&host) && port_of(&o) == port_of(&from.host))
        });
        if host_known && (listed || same) { Ok(()) } else { refuse(format!("{origin} at host {host}")) }
    }
}

fn origin_host(origin: &str) -> Option<String> {
    let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))?;
    Some(rest.split('/').next().unwrap_or(rest).to_ascii_lowercase())
}

fn host_name(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    if host.starts_with('[') {
        return host.split_inclusive(']').next().unwrap_or_default().to_owned();
    }
    host.split(':').next().unwrap_or_default().to_owned()
}

fn port_of(host: &str) -> Option<u16> {
    host.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// What an operator connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Look.
    Read,
    /// Send.
    Write,
    /// Let devices and people in.
    Pairing,
    /// Everything.
    Admin,
}

impl Scope {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "operator.read",
            Self::Write => "operator.write",
            Self::Pairing => "operator.pairing",
            Self::Admin => "operator.admin",
        }
    }

    /// `admin` implies all, `write` implies `read`.
    pub fn granted_by(self, scopes: &[String]) -> bool {
        let has = |s: Self| scopes.iter().any(|g| g == s.name());
        has(Self::Admin) || has(self) || (self == Self::Read && has(Self::Write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const ID: &str = "56475aa75463474c0285df5dbf2bcab73da651358839e9b77481b2eab107708c";
    const KEY: &str = "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg";
    const NONCE: &str = "11111111-2222-4333-8444-555555555555";
    const AT: i64 = 1_795_292_319_606;
    const V2: &str = "-cjmQHkPX6j8enxg_yt9ZFhImjZMXRIlwyhCg659SlU3cyCswESzimTpBDcCBIvnxBFbKE2CN1etdXKFEf1aAQ";
    const V3: &str = "NPXR8ydBhByJNYwch-jq1_TAFRdCdT9_VctdYykisdUF1TgJkLjduqUjDmohtr02I7g6EyK07_AweYRdgyFGAQ";

    fn params(family: Option<&str>, nonce: &str, signature: &str, id: &str) -> ConnectParams {
        let Value::Object(map) = json!({
            "minProtocol": 3, "maxProtocol": 3,
            "client": {"id": "cli", "version": "dev", "platform": "linux", "mode": "cli", "deviceFamily": family},
            "auth": {"token": "tok-interop-0123456789"}, "role": "operator",
            "scopes": ["operator.admin", "operator.approvals", "operator.pairing"],
            "device": {"id": id, "publicKey": KEY, "signature": signature, "signedAt": AT, "nonce": nonce},
        }) else {
            unreachable!()
        };
        ConnectParams::parse(map).unwrap()
    }

    fn verdict(p: &ConnectParams, now: i64) -> Result<(), String> {
        check_device(p, p.device.as_ref().unwrap(), NONCE, now).map_err(|e| e.message)
    }

    #[test]
    fn device_proofs_of_the_published_vectors_hold() {
        assert_eq!(verdict(&params(None, NONCE, V2, ID), AT), Ok(()));
        assert_eq!(verdict(&params(Some("Linux "), NONCE, V3, ID), AT + 1000), Ok(()));
    }

    #[test]
    fn a_wrong_proof_is_named() {
        for (params, now, want) in [
            (params(None, NONCE, V2, "00"), AT, "device identity mismatch"),
            (params(None, NONCE, V2, ID), AT + 700_000, "device signature expired"),
            (params(None, "", V2, ID), AT, "device nonce required"),
            (params(None, "other", V2, ID), AT, "device nonce mismatch"),
            (params(Some("mac"), NONCE, V3, ID), AT, "device signature invalid"),
            (params(None, NONCE, "AAAA", ID), AT, "device signature invalid"),
        ] {
            assert_eq!(verdict(&params, now), Err(want.to_owned()));
        }
    }

    #[test]
    fn tokens_are_compared_and_named() {
        assert_eq!(check_token("secret", Some("secret")), Ok(()));
        let code = |offered: Option<&str>| check_token("secret", offered).unwrap_err().details.unwrap()["code"].clone();
        assert_eq!(code(None), "AUTH_TOKEN_MISSING");
        assert_eq!(code(Some("")), "AUTH_TOKEN_MISSING");
        assert_eq!(code(Some("secre")), "AUTH_TOKEN_MISMATCH");
        assert!(check_token("", Some("")).is_err(), "an empty secret lets nobody in");
    }

    #[test]
    fn origins() {
        let rules = |loopback_only: bool| OriginRules {
            allowed: vec!["https://ui.example".into()],
            loopback_only,
            hostname: "box".into(),
        };
        let from = |host: &str, origin: Option<&str>| Provenance {
            host: host.into(),
            origin: origin.map(str::to_owned),
            ..Provenance::default()
        };
        for (local, host, origin, ok) in [
            (true, "127.0.0.1:18789", None, true),
            (true, "localhost:18789", None, true),
            (true, "[::1]:18789", None, true),
            (true, "evil.example", None, false),
            (false, "verso.lan:18789", None, true),
            (true, "127.0.0.1:18789", Some("http://127.0.0.1:18789"), true),
            (true, "127.0.0.1:18789", Some("http://localhost:18789"), true),
            (true, "127.0.0.1:18789", Some("http://localhost:3000"), false),
            (true, "127.0.0.1:18789", Some("https://evil.example"), false),
            (true, "127.0.0.1:18789", Some("null"), false),
            (true, "evil.example:18789", Some("http://evil.example:18789"), false),
            (false, "evil.example:18789", Some("http://evil.example:18789"), false),
            (false, "box:18789", Some("http://box:18789"), true),
            (true, "127.0.0.1:18789", Some("https://ui.example"), true),
            (true, "ui.example", Some("https://ui.example"), true),
        ] {
            assert_eq!(rules(local).check(&from(host, origin)).is_ok(), ok, "{local} {host} {origin:?}");
        }
    }

    #[test]
    fn scopes_imply() {
        let s = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert!(Scope::Read.granted_by(&s(&["operator.write"])));
        assert!(Scope::Pairing.granted_by(&s(&["operator.admin"])));
        assert!(!Scope::Write.granted_by(&s(&["operator.read"])));
        assert!(!Scope::Read.granted_by(&s(&["operator.pairing"])));
    }
}
