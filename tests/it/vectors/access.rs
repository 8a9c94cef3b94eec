//! Admission and pairing.

use super::common::*;

pub fn functions(name: &str) -> Option<(Run, Deviation)> {
    Some(match name {
        "checkInboundAccessControl" => (access as Run, account_policy as Deviation),
        "pairing store sequence" => (pairing, NEVER),
        "randomCode shape (200 samples)" => (code_shape, NEVER),
        _ => return None,
    })
}

fn access(input: &Value) -> Outcome {
    let (config, params) = (config(&input["config"])?, &input["params"]);
    let account = account_of(&config, &params["accountId"])?;
    let mut message = message(&account.id, text(&params["from"]), &params["senderE164"])?;
    message.from_me = params["isFromMe"] == true;
    message.push_name = params["pushName"].as_str().map(str::to_owned);
    message.timestamp = params["messageTimestampMs"].as_i64().unwrap_or(0);
    if message.from_me && params["group"] != true {
        message.chat_number = E164::from_digits(text(&params["from"]));
    }
    // Groups: admission alone, so nothing here may depend on the mention.
    let judge = Judge {
        me: identity(&params["selfE164"], &Value::Null),
        approved: strings(&input["store"]),
        connected_at: params["connectedAtMs"].as_i64().unwrap_or(1_000_000),
        activation: Some(Activation::Always),
    };
    let decision = judge.decide(&config, &account, &message);
    // 24.29: what the owner writes to somebody is context; nobody lets it in.
    let own = |hold: &Hold| hold.reason == IgnoreReason::OwnMessageToOther;
    let allowed = !matches!(&decision.verdict, Verdict::Drop { .. })
        && !matches!(&decision.verdict, Verdict::Hold(hold) if own(hold));
    let mut rng = rand::rng();
    let mut book = PairingBook::new(account.id.clone());
    for id in strings(&input["pendingBefore"]) {
        book.request(id, None, judge.connected_at, &mut rng);
    }
    let mut sent = Vec::new();
    for effect in &decision.effects {
        let Effect::RequestPairing { sender, name, reply, .. } = effect else { continue };
        let asked = book.request(sender, name.as_deref(), judge.connected_at, &mut rng);
        if let (Requested::New { code }, true) = (asked, reply) {
            let text = pairing_text(sender, &code).replace(&code, "<CODE8>");
            sent.push(json!({ "jid": params["remoteJid"], "text": text }));
        }
    }
    let pending: Vec<Value> =
        book.records().iter().map(|r| json!({ "id": r.id, "meta": { "name": r.name } })).collect();
    let own = judge.me.as_ref().and_then(Identity::number);
    Ok(json!({
        "allowed": allowed,
        "isSelfChat": dm::is_self_chat_mode(&account.rules, own.as_ref()),
        "resolvedAccountId": account.id,
        "sent": sent,
        "pendingAfter": pending,
    }))
}

fn account_policy(input: &Value, _: &Value) -> Option<&'static str> {
    let whatsapp = input.pointer("/config/channels/whatsapp")?;
    let account = whatsapp.get("accounts")?.get(text(&input["params"]["accountId"]))?;
    let narrow = |list: Option<&Value>| list.is_some_and(|list| !strings(list).contains(&"*"));
    if (whatsapp["dmPolicy"] == "open" && account.get("dmPolicy").is_none() && narrow(account.get("allowFrom")))
        || (whatsapp["groupPolicy"] == "open"
            && account.get("groupPolicy").is_none()
            && narrow(account.get("groupAllowFrom")))
    {
        return Some("24.5 an inherited open and an own list: the list counts");
    }
    if account.get("dmPolicy").is_some() {
        return Some("2.4 the account's dmPolicy wins");
    }
    // The original gives accounts defaults of their own, which hide the root's values.
    (account.get("groupPolicy").is_none() && whatsapp.get("groupPolicy").is_some())
        .then_some("2.4 resolve first, default last")
}

fn pairing(input: &Value) -> Outcome {
    let account = AccountId::new("default");
    let (mut book, mut rng) = (PairingBook::new(account), rand::rng());
    let (mut now, mut codes, mut allowed) = (1_767_225_600_000_i64, Vec::<String>::new(), Vec::<String>::new());
    let mut out = Vec::new();
    for step in input["steps"].as_array().into_iter().flatten() {
        let code_at =
            |codes: &[String]| step[1].as_u64().and_then(|n| codes.get(n as usize).cloned()).unwrap_or_default();
        let name_of = |code: &str, codes: &[String]| {
            codes.iter().position(|c| c == code).map(|n| format!("#{n}")).unwrap_or_default()
        };
        out.push(match text(&step[0]) {
            "upsert" => match book.request(text(&step[1]).trim(), step[2].as_str(), now, &mut rng) {
                Requested::New { code } => {
                    codes.push(code.clone());
                    json!({ "created": true, "code": name_of(&code, &codes) })
                }
                Requested::Refreshed { code } => json!({ "created": false, "code": name_of(&code, &codes) }),
                Requested::Full => json!({ "created": false, "code": "" }),
            },
            "list" => {
                let list = book.list(now);
                let row = |r: &&verso::policy::pairing::PairingRecord| {
                    json!({ "id": r.id, "code": name_of(&r.code, &codes), "createdAt": iso(r.created_at),
                            "lastSeenAt": iso(r.last_seen_at), "meta": { "name": r.name } })
                };
                list.iter().map(row).collect()
            }
            how @ ("approve" | "approveLower") => {
                let code = code_at(&codes);
                let code = if how == "approveLower" { code.to_lowercase() } else { code };
                match book.approve(&code, now) {
                    Some(record) => {
                        if !allowed.contains(&record.id) {
                            allowed.push(record.id.clone());
                        }
                        json!({ "id": record.id })
                    }
                    None => Value::Null,
                }
            }
            "allow" => json!(allowed),
            "t" => {
                now += step[1].as_i64().unwrap_or(0);
                json!("ok")
            }
            _ => return Err(LeftOut("a step of the original's store that is not the book's")),
        });
    }
    Ok(Value::Array(out))
}

fn iso(ms: i64) -> String {
    let time = time::OffsetDateTime::from_unix_timestamp(ms / 1000).expect("a time");
    let (date, time) = (time.date(), time.time());
    format!("{date}T{:02}:{:02}:{:02}.{:03}Z", time.hour(), time.minute(), time.second(), ms % 1000)
}

fn code_shape(_: &Value) -> Outcome {
    let fine = |code: String| code.len() == 8 && code.bytes().all(|b| CODE_ALPHABET.contains(&b));
    Ok(json!({ "allMatch": (0..200).all(|_| fine(random_code(&mut rand::rng()))) }))
}
