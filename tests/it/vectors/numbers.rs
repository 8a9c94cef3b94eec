//! Numbers, JIDs and targets.

use super::common::*;

pub fn functions(name: &str) -> Option<(Run, Deviation)> {
    Some(match name {
        "normalizeE164" => (|i| Ok(json!(E164::parse(text(i)).ok())), not_a_plain_number),
        "toWhatsappJid" => (to_jid, not_a_plain_number),
        "jidToE164" => (jid_number, lid_lookup),
        "resolveJidToE164" => (jid_number, lid_lookup),
        "normalizeWhatsAppTarget" => (target, lid_target),
        "isWhatsAppGroupJid" => (|i| Ok(json!(matches!(Target::parse(text(i)), Ok(Target::Group(_))))), NEVER),
        "isSelfChatMode" => (self_chat, NEVER),
        _ => return None,
    })
}

const NO_LID_FILES: LeftOut = LeftOut("LIDs are looked up by the WhatsApp edge");

fn to_jid(input: &Value) -> Outcome {
    Ok(json!(Target::parse(text(input)).ok().map(|t| t.jid())))
}

fn not_a_plain_number(input: &Value, expected: &Value) -> Option<&'static str> {
    let number = text(input).trim().trim_start_matches("whatsapp:").trim_start_matches("tel:").trim();
    if !number.bytes().any(|b| b.is_ascii_digit()) {
        return Some("8.1 text without digits names nobody");
    }
    if number.contains('@')
        && !matches!(Target::parse(number), Ok(target) if target.jid().to_string() == text(expected))
    {
        return Some("13.1 only addresses that can be written to are targets");
    }
    spelled_otherwise(number)
}

/// What 24.7 makes of a spelling that the original repairs or keeps.
fn spelled_otherwise(number: &str) -> Option<&'static str> {
    if number.get(1..).is_some_and(|rest| rest.contains('+')) {
        return Some("24.7 a number has one plus");
    }
    let of_a_number = |c: char| {
        c.is_ascii_digit() || c.is_whitespace() || "+.-()[]".contains(c) || ('\u{2010}'..='\u{2015}').contains(&c)
    };
    if !number.contains('@') && !number.chars().all(of_a_number) {
        return Some("24.7 letters and other characters are no part of a number");
    }
    number.starts_with('0').then_some("24.7 a leading 00 is +, and no country code begins with 0")
}

fn jid_number(input: &Value) -> Outcome {
    let jid = jid(text(input));
    Ok(json!(jid.and_then(|jid| jid.e164())))
}

fn lid_lookup(input: &Value, expected: &Value) -> Option<&'static str> {
    let is_lid = jid(text(input)).is_some_and(|jid| jid.is_lid());
    (is_lid && expected.is_string()).then_some(NO_LID_FILES.0)
}

fn target(input: &Value) -> Outcome {
    Ok(match Target::parse(text(input)) {
        Ok(Target::Number(number)) => json!(number),
        Ok(other) => json!(other.jid()),
        Err(_) => Value::Null,
    })
}

fn lid_target(input: &Value, _: &Value) -> Option<&'static str> {
    let target = text(input).trim().to_lowercase();
    if target.ends_with("@lid") {
        return Some("13.1 a LID stays a LID");
    }
    if target.ends_with("@hosted") {
        return Some("13.1 a hosted number is a number");
    }
    spelled_otherwise(target.trim_start_matches("whatsapp:").trim())
}

fn self_chat(input: &Value) -> Outcome {
    let own = E164::parse(text(&input["self"])).ok();
    let list = parse_list(strings(&input["allowFrom"]));
    Ok(json!(own.is_some_and(|own| list.has_number(&own))))
}
