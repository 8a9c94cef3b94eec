//! Signal addresses: `<user>[_<domain>].<device>` at Baileys, `<user>[:<device>]@<server>.0` here.

use whatsapp_rust::wacore::types::jid::JidExt;
use whatsapp_rust::wacore_binary::Jid;

/// Baileys' numbers for the servers, and the names of the servers in our addresses.
const DOMAINS: [(&str, &str, &str); 4] = [
    ("0", "s.whatsapp.net", "c.us"),
    ("1", "lid", "lid"),
    ("128", "hosted", "hosted"),
    ("129", "hosted.lid", "hosted.lid"),
];

/// The device that `<user>[_<domain>]` and `<device>` name.
pub(super) fn jid(user: &str, device: &str) -> Option<Jid> {
    let (user, domain) = user.split_once('_').unwrap_or((user, "0"));
    let server = DOMAINS.iter().find(|(number, _, _)| *number == domain)?.1;
    let device: u16 = device.parse().ok()?;
    if user.is_empty() || !user.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    match device {
        0 => format!("{user}@{server}").parse().ok(),
        device => format!("{user}:{device}@{server}").parse().ok(),
    }
}

/// Our address for Baileys' `<user>[_<domain>].<device>`.
pub(super) fn ours(theirs: &str) -> Option<String> {
    let (user, device) = theirs.rsplit_once('.')?;
    Some(jid(user, device)?.to_protocol_address_string())
}

/// User with domain, and device, of one of our addresses.
pub(super) fn theirs(ours: &str) -> Option<(String, String)> {
    let (name, server) = ours.strip_suffix(".0")?.split_once('@')?;
    let domain = DOMAINS.iter().find(|(_, _, known)| *known == server)?.0;
    let (user, device) = name.split_once(':').unwrap_or((name, "0"));
    let user = if domain == "0" { user.to_owned() } else { format!("{user}_{domain}") };
    Some((user, device.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_over_and_back() {
        let cases = [
            ("15551234567.0", "15551234567@c.us.0"),
            ("15551234567.12", "15551234567:12@c.us.0"),
            ("777_1.0", "777@lid.0"),
            ("777_1.4", "777:4@lid.0"),
            ("777_129.99", "777:99@hosted.lid.0"),
            ("1555_128.99", "1555:99@hosted.0"),
        ];
        for (theirs_form, ours_form) in cases {
            assert_eq!(ours(theirs_form).as_deref(), Some(ours_form), "{theirs_form}");
            let (user, device) = theirs(ours_form).expect("readable");
            assert_eq!(format!("{user}.{device}"), theirs_form);
        }
        for odd in ["", "1555", "1555.x", "1555_9.0", ".0", "a b.0", "1555.70000"] {
            assert_eq!(ours(odd), None, "{odd}");
        }
        assert_eq!(theirs("1203@g.us.0"), None);
    }
}
