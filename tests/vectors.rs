//! Holds the pure rules against input and output of the original.
//!
//! Runs every file of the folder in `VERSO_VECTORS` (default: `tests/vectors`) as far as Verso has the function, prints
//! `<function>: passed/total (left out n)` and fails on a mismatch that no deviation explains. A deviation is a rule, not a list of cases: it looks
//! at the case and names the section of the specification whose "Verso:" line says otherwise.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use unicode_segmentation::UnicodeSegmentation;
use verso::backoff;
use verso::command::{self, Activation, ConfigCommand, Switches};
use verso::config::model::*;
use verso::config::{ResolveEnv, edit, load_text};
use verso::delivery::{self, Delivery, Variables};
use verso::event::{Body, Content, DownReason, Identity, InboundMessage, Quote};
use verso::ids::{AccountId, AgentId, E164, Jid, MessageId, SessionKey};
use verso::policy::allowlist::{Person, owners, parse_approved, parse_list};
use verso::policy::decide::{Decision, Effect, Verdict, View, decide};
use verso::policy::link_state::{Action, Input, LinkMachine};
use verso::policy::mention::{self, Mention, MentionTable, Patterns};
use verso::policy::pairing::{CODE_ALPHABET, PairingBook, Requested, pairing_text, random_code};
use verso::policy::{dm, group, receipts};
use verso::routing::bindings::{Chat, route};
use verso::routing::session_key::{self, KeyParts};
use verso::routing::target::Target;
use verso::session::pending::{Pending, PendingMessage};
use verso::text::chunk;
use verso::text::envelope::{self, Line, Options, Quoted, Sender};
use verso::text::history;

/// A case that Verso's function cannot be given, with the reason.
struct LeftOut(&'static str);

/// What Verso's function gives.
type Outcome = Result<Value, LeftOut>;
type Run = fn(&Value) -> Outcome;
/// Functions whose record holds more than the rule: only these keys are compared.
const IN_PART: &[(&str, &[&str])] = &[
    // What Verso marks as read is decided and tested apart (6.7).
    ("checkInboundAccessControl", &["allowed", "isSelfChat", "resolvedAccountId", "sent", "pendingAfter"]),
    // The words of the log are the supervisor's.
    ("monitorWebChannel reconnect", &["connects", "sleeps", "finalStatus"]),
    // The rest is the original's debug record.
    ("debugMention", &["wasMentioned"]),
];
/// The section that says why Verso differs in this case.
type Deviation = fn(&Value, &Value) -> Option<&'static str>;

#[test]
fn the_rules_agree_with_the_original() {
    let folder = std::env::var_os("VERSO_VECTORS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors"), PathBuf::from);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("cannot read {}: {e}", folder.display()))
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no vectors in {}", folder.display());
    let (mut failures, mut ran) = (Vec::new(), 0);
    for path in files {
        let text = std::fs::read_to_string(&path).expect("readable");
        let file: Value = serde_json::from_str(&without_lone_surrogates(&renamed(&text))).expect("JSON");
        let topic = path.file_stem().expect("name").to_string_lossy().into_owned();
        for group in file["groups"].as_array().into_iter().flatten() {
            let name = group["fn"].as_str().unwrap_or_default();
            let cases = group["cases"].as_array().map_or(&[][..], Vec::as_slice);
            let Some((run, deviation)) = functions(name) else {
                println!("{topic} {name}: 0/{} (left out {}: Verso has no such function)", cases.len(), cases.len());
                continue;
            };
            let (mut passed, mut left_out) = (0, BTreeMap::<&str, usize>::new());
            for case in cases {
                let (input, expected) = (&case["input"], &in_part(name, &case["expected"]));
                match run(input) {
                    Err(LeftOut(why)) => *left_out.entry(why).or_default() += 1,
                    Ok(got) if bare(&got) == bare(expected) => passed += 1,
                    Ok(got) => match deviation(input, expected) {
                        Some(section) => *left_out.entry(section).or_default() += 1,
                        None => failures.push(format!(
                            "{topic} {name}\n  input    {input}\n  expected {expected}\n  got      {got}"
                        )),
                    },
                }
            }
            ran += passed;
            let total: usize = left_out.values().sum();
            println!("{topic} {name}: {passed}/{} (left out {total}{})", cases.len(), reasons(&left_out));
        }
    }
    assert!(failures.is_empty(), "{} mismatches:\n{}", failures.len(), failures.join("\n"));
    assert!(ran > 0, "no case ran");
}

/// The keys of an expected record that are compared.
fn in_part(name: &str, expected: &Value) -> Value {
    let keys = IN_PART.iter().find(|(function, _)| *function == name).map(|(_, keys)| *keys);
    match (keys, expected.as_object()) {
        (Some(keys), Some(map)) => {
            map.iter().filter(|(k, _)| keys.contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
        }
        _ => expected.clone(),
    }
}

fn reasons(left_out: &BTreeMap<&str, usize>) -> String {
    left_out.iter().map(|(why, n)| format!("; {n}: {why}")).collect()
}

/// The product's name in literals, also where a case hides an invisible character in it.
fn renamed(text: &str) -> String {
    let name = regex::Regex::new(r"([Oo])pen((?:\\u[0-9a-fA-F]{4}|[\x{200b}-\x{200f}\x{2060}\x{feff}])?)[Cc]law")
        .expect("a pattern");
    name.replace_all(text, |found: &regex::Captures<'_>| {
        format!("{}er{}so", if &found[1] == "O" { "V" } else { "v" }, &found[2])
    })
    .into_owned()
}

/// Rust's strings hold no lone surrogates: they become U+FFFD.
fn without_lone_surrogates(text: &str) -> String {
    let unit = |at: usize| {
        let escape = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(escape, 16).ok()
    };
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    while let Some(found) = text[at..].find('\\') {
        out.push_str(&text[at..at + found]);
        at += found;
        match (unit(at), unit(at + 6)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => {
                out.push_str(&text[at..at + 12]);
                at += 12;
            }
            (Some(0xd800..0xe000), _) => {
                out.push_str("\\ufffd");
                at += 6;
            }
            _ => {
                out.push_str(&text[at..at + 2]);
                at += 2;
            }
        }
    }
    out + &text[at..]
}

/// Without nulls and empty objects, which also stand for "undefined"; whole numbers alike however written.
fn bare(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().map(|(k, v)| (k.clone(), bare(v)));
            Value::Object(kept.filter(|(_, v)| !v.is_null() && *v != json!({})).collect())
        }
        Value::Array(list) => list.iter().map(bare).collect(),
        Value::Number(n) => n.as_f64().map_or(value.clone(), |n| json!(n)),
        other => other.clone(),
    }
}

const NO_LID_FILES: LeftOut = LeftOut("LIDs are looked up by the WhatsApp edge");

fn functions(name: &str) -> Option<(Run, Deviation)> {
    let never: Deviation = |_, _| None;
    Some(match name {
        "checkInboundAccessControl" => (access as Run, account_policy as Deviation),
        "pairing store sequence" => (pairing, never),
        "randomCode shape (200 samples)" => (code_shape, never),
        "computeBackoff" => (compute_backoff, never),
        "resolveReconnectPolicy" => (reconnect_policy, never),
        "resolveHeartbeatSeconds" => (heartbeat_seconds, never),
        "monitorWebChannel reconnect" => (reconnect, reconnect_deviation),
        "normalizeE164" => (|i| Ok(json!(E164::normalize(text(i)))), not_a_plain_number),
        "toWhatsappJid" => (to_jid, not_a_plain_number),
        "jidToE164" => (jid_number, lid_lookup),
        "resolveJidToE164" => (jid_number, lid_lookup),
        "normalizeWhatsAppTarget" => (target, lid_target),
        "isWhatsAppGroupJid" => (|i| Ok(json!(matches!(Target::parse(text(i)), Ok(Target::Group(_))))), never),
        "isSelfChatMode" => (self_chat, never),
        "buildAgentPeerSessionKey" => (peer_key, main_key),
        "resolveAgentRoute" => (agent_route, route_deviation),
        "buildGroupHistoryKey" => (history_key, never),
        "normalizeAgentId" => (|i| Ok(json!(AgentId::new(text(i)))), never),
        "normalizeAccountId" => (|i| Ok(json!(AccountId::new(text(i)))), never),
        "parseAgentSessionKey" => (parse_key, never),
        "formatInboundEnvelope" => (format_envelope, never),
        "formatReplyContext" => (reply_context, quoted_marker),
        "buildInboundLine" => (inbound_line, |i, e| quoted_marker(&i["msg"], e)),
        "chunkMarkdownText" | "chunkMarkdownTextWithMode:length" => (|i| cut(i, ChunkMode::Length), chunk_deviation),
        "chunkMarkdownTextWithMode:newline" => (|i| cut(i, ChunkMode::Newline), chunk_deviation),
        "resolveTextChunkLimit" => (chunk_limit, never),
        "resolveChunkMode" => (chunk_mode, never),
        "resolveMessagePrefix" => (message_prefix, never),
        "resolveResponsePrefix" => (response_prefix, never),
        "resolveResponsePrefixTemplate" => (|i| template(i, true), never),
        "resolveResponsePrefixTemplate(empty ctx)" => (|i| template(i, false), never),
        "extractShortModelName" => (|i| Ok(json!(delivery::short_model_name(text(i)))), never),
        "normalizeReplyPayload" => (reply_payload, tokens_in_text),
        "applyGroupGating" => (gating, gating_deviation),
        "resolveChannelGroupPolicy" => (group_policy, group_case),
        "shouldAckReactionForWhatsApp" => (ack, never),
        "buildHistoryContext" => (history_context, never),
        "buildHistoryContextFromEntries" => (history_entries, never),
        "appendHistoryEntry(sequence of bodies, limit)" => (history_append, never),
        "key eviction" => (history_eviction, never),
        "historyEntryFormat" => (history_entry, never),
        "formatGroupMembers" => (group_members, never),
        "resolvePeerId" => (peer_id, never),
        "normalizeCommandBody" => (|i| Ok(json!(command::normalize(text(i)))), never),
        "hasControlCommand" => (|i| Ok(json!(command::is_command(text(i), Switches::default()))), never),
        "isControlCommandMessage" => (|i| Ok(json!(command::is_control_message(text(i), Switches::default()))), never),
        "hasInlineCommandTokens" => (|i| Ok(json!(command::has_inline_command(text(i)))), never),
        "resolveWhatsAppCommandAuthorized" => (command_authorized, never),
        "debugMention" => (debug_mention, mention_deviation),
        "stripMentionsForCommand" => (strip_mentions, never),
        "parseActivationCommand" => (activation, never),
        "resolveOwnerList" => (owner_list, never),
        "parseConfigCommand" => (config_command, never),
        "parseConfigPath" => (config_path, never),
        "set/unset" => {
            (config_edit, |i, _| i["o"]["a"].is_array().then_some("10.4 a path through a list sets its entry"))
        }
        "isSilentReplyText" => (
            |i| Ok(json!(delivery::is_silent(text(i)))),
            |i, _| (text(i).contains(delivery::SILENT)).then_some("12.1 the token must stand alone"),
        ),
        _ => return None,
    })
}

// ---- the case's parts ----

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The config as Verso means it. A refusal must be one that the specification asks for.
fn config(value: &Value) -> Result<Arc<Config>, LeftOut> {
    let config = if value.is_object() { without_nulls(value).to_string() } else { "{}".to_owned() };
    load_text(&config, &ResolveEnv::new("/home/u", "/home/u/.verso")).map(|loaded| loaded.config).map_err(|rejected| {
        let text: String = rejected.iter().map(|problem| format!("{problem}\n")).collect();
        let asked_for = |words: &[&str]| words.iter().all(|w| text.contains(w));
        if asked_for(&["llowFrom", "names nobody"]) || asked_for(&["llowFrom", "digit"]) {
            LeftOut("8.1 entries that name nobody are refused by the config")
        } else if asked_for(&["textChunkLimit"]) || asked_for(&["heartbeatSeconds"]) {
            LeftOut("2.4 the config refuses numbers that must be above 0")
        } else if asked_for(&["bindings.", "names no such chat"]) {
            LeftOut("16.4 a binding that can never match is refused by the config")
        } else {
            panic!("the config is refused: {text}\n{config}")
        }
    })
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            map.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), without_nulls(v))).collect()
        }
        Value::Array(list) => list.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

fn account_of(config: &Config, id: &Value) -> Result<Arc<AccountConfig>, LeftOut> {
    let id = id.as_str().map_or_else(|| config.default_account.clone(), AccountId::new);
    config.account(&id).cloned().ok_or(LeftOut("an account that is not configured has no rules"))
}

fn jid(raw: &str) -> Option<Jid> {
    raw.parse().ok()
}

fn identity(number: &Value, own_jid: &Value) -> Option<Identity> {
    let jid = jid(text(own_jid)).or_else(|| Some(Jid::of_number(&E164::normalize(text(number))?)))?;
    Some(Identity { jid, lid: None, push_name: None })
}

/// A sender that WhatsApp does not identify.
fn nobody() -> Jid {
    jid("0@unknown").expect("a JID")
}

fn message(account: &AccountId, chat: &str, sender: &Value) -> Result<InboundMessage, LeftOut> {
    let number = E164::normalize(text(sender));
    let chat = Target::parse(chat).map(|t| t.jid()).map_err(|_| LeftOut("a chat that is no address"))?;
    Ok(InboundMessage {
        account: account.clone(),
        id: MessageId::new("M1"),
        sender: number.as_ref().map_or_else(nobody, Jid::of_number),
        sender_alt: None,
        sender_number: number,
        chat_number: None,
        chat,
        from_me: false,
        push_name: None,
        timestamp: 0,
        offline: false,
        content: Content::Body(Body { text: Some("hello".into()), ..Body::default() }),
    })
}

/// What a message is judged with besides the config.
struct Judge<'a> {
    me: Option<Identity>,
    approved: Vec<&'a str>,
    connected_at: i64,
    activation: Option<Activation>,
}

impl Judge<'_> {
    fn decide(&self, config: &Config, account: &AccountConfig, message: &InboundMessage) -> Decision {
        let (mentions, _) = MentionTable::compile(config);
        let approved = parse_approved(self.approved.iter().copied());
        let activation = |_: &SessionKey| self.activation;
        decide(
            message,
            &View {
                config,
                account,
                revision: 1,
                me: self.me.as_ref(),
                approved: &approved,
                connected_at: Some(self.connected_at),
                now: self.connected_at,
                mentions: &mentions,
                activation: &activation,
                sent_by_us: false,
            },
        )
    }
}

/// A generator that gives zeros.
struct Zeros;

impl rand::TryRng for Zeros {
    type Error = std::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(0)
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(0)
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        bytes.fill(0);
        Ok(())
    }
}

// ---- access, pairing ----

fn access(input: &Value) -> Outcome {
    let (config, params) = (config(&input["config"])?, &input["params"]);
    let account = account_of(&config, &params["accountId"])?;
    let mut message = message(&account.id, text(&params["from"]), &params["senderE164"])?;
    message.from_me = params["isFromMe"] == true;
    message.push_name = params["pushName"].as_str().map(str::to_owned);
    message.timestamp = params["messageTimestampMs"].as_i64().unwrap_or(0);
    if message.from_me && params["group"] != true {
        message.chat_number = E164::normalize(text(&params["from"]));
    }
    // Groups: admission alone, so nothing here may depend on the mention.
    let judge = Judge {
        me: identity(&params["selfE164"], &Value::Null),
        approved: strings(&input["store"]),
        connected_at: params["connectedAtMs"].as_i64().unwrap_or(1_000_000),
        activation: Some(Activation::Always),
    };
    let decision = judge.decide(&config, &account, &message);
    let allowed = !matches!(decision.verdict, Verdict::Drop { .. });
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

// ---- backoff ----

fn policy(value: &Value) -> ReconnectPolicy {
    let number = |key: &str, default: f64| value[key].as_f64().unwrap_or(default);
    ReconnectPolicy {
        initial: Duration::from_secs_f64(number("initialMs", 2000.0) / 1000.0),
        max: Duration::from_secs_f64(number("maxMs", 30_000.0) / 1000.0),
        factor: number("factor", 1.8),
        jitter: number("jitter", 0.25),
        max_attempts: number("maxAttempts", 12.0) as u32,
        slow_probe: None,
    }
}

fn compute_backoff(input: &Value) -> Outcome {
    let attempt = input["attempt"].as_f64().unwrap_or(0.0).max(0.0) as u32;
    let delay = backoff::delay(&policy(&input["policy"]), attempt, input["random"].as_f64().unwrap_or(0.0));
    Ok(json!(delay.as_millis() as u64))
}

fn reconnect_policy(input: &Value) -> Outcome {
    let mut wanted = input["reconnect"].as_object().cloned().unwrap_or_default();
    wanted.extend(input["overrides"].as_object().cloned().unwrap_or_default());
    let policy = config(&json!({ "web": { "reconnect": wanted } }))?.web.reconnect.clone();
    Ok(json!({
        "initialMs": policy.initial.as_millis() as u64, "maxMs": policy.max.as_millis() as u64, "factor": policy.factor,
        "jitter": policy.jitter, "maxAttempts": policy.max_attempts,
    }))
}

fn heartbeat_seconds(input: &Value) -> Outcome {
    let seconds = input.get("heartbeatSeconds").filter(|s| !s.is_null());
    let web = seconds.map_or(json!({}), |s| json!({ "heartbeatSeconds": s }));
    Ok(json!(config(&json!({ "web": web }))?.web.heartbeat.as_secs_f64()))
}

fn reason(close: &Value) -> DownReason {
    let detail = String::new;
    match close["status"].as_u64().unwrap_or(428) as u16 {
        _ if close["isLoggedOut"] == true => DownReason::LoggedOut { message: None },
        401 => DownReason::LoggedOut { message: None },
        402 | 403 => DownReason::Banned { expires_in: None },
        405 => DownReason::Outdated,
        408 => DownReason::OpenFailed { detail: detail() },
        429 => DownReason::RateLimited,
        440 => DownReason::Conflict,
        499 => DownReason::Stalled,
        515 => DownReason::RestartRequired,
        code @ (500 | 503) => DownReason::Unavailable { code },
        code @ (400 | 411 | 501) => DownReason::Rejected { code },
        _ => DownReason::Lost { detail: detail() },
    }
}

fn reconnect(input: &Value) -> Outcome {
    let web = WebConfig { enabled: true, heartbeat: Duration::from_secs(60), reconnect: policy(&input["reconnect"]) };
    let mut machine = LinkMachine::default();
    let (mut connects, mut sleeps, mut last) = (0_u64, Vec::new(), Value::Null);
    let mut closes = input["closes"].as_array().cloned().unwrap_or_default().into_iter();
    let mut inputs = vec![Input::Enable { linked: true }];
    let fail_on = input["failOnConnect"].as_u64();
    while let Some(next) = inputs.pop() {
        for action in machine.on(next, &web, 0, &mut Zeros) {
            match action {
                Action::StartTimer(after) => {
                    sleeps.push(after.as_millis() as u64);
                    inputs.push(Input::Timer);
                }
                Action::Resume => {
                    connects += 1;
                    let close = if fail_on == Some(connects) { Some(json!({ "status": 408 })) } else { closes.next() };
                    // The test ends the monitor when no close is left.
                    let Some(close) = close else {
                        machine.on(Input::Stop, &web, 0, &mut Zeros);
                        continue;
                    };
                    let reason = reason(&close);
                    last = json!({ "status": reason.status(), "loggedOut": matches!(reason, DownReason::LoggedOut { .. }) });
                    inputs.push(Input::Down { reason, lived: Duration::ZERO });
                }
                _ => {}
            }
        }
    }
    let status = json!({ "running": machine.state().is_live(), "connected": false, "reconnectAttempts": machine.attempts(), "lastDisconnect": last });
    Ok(json!({ "connects": connects, "sleeps": sleeps, "finalStatus": status }))
}

fn reconnect_deviation(input: &Value, _: &Value) -> Option<&'static str> {
    if !input["failOnConnect"].is_null() {
        return Some("5.3 a failure to open is an attempt like any other");
    }
    let other = |close: &Value| !matches!(close["status"].as_u64(), Some(401 | 408 | 428 | 499 | 500));
    input["closes"].as_array()?.iter().any(other).then_some("5.2 table of codes")
}

// ---- numbers, targets ----

fn to_jid(input: &Value) -> Outcome {
    Ok(json!(Target::parse(text(input)).ok().map(|t| t.jid())))
}

fn not_a_plain_number(input: &Value, expected: &Value) -> Option<&'static str> {
    let number = text(input).trim().trim_start_matches("whatsapp:").trim();
    if !number.bytes().any(|b| b.is_ascii_digit()) {
        return Some("8.1 text without digits names nobody");
    }
    if number.contains('@')
        && !matches!(Target::parse(number), Ok(target) if target.jid().to_string() == text(expected))
    {
        return Some("13.1 only addresses that can be written to are targets");
    }
    number.get(1..).is_some_and(|rest| rest.contains('+')).then_some("8.1 a number has one plus")
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
    text(input).to_lowercase().ends_with("@lid").then_some("13.1 a LID stays a LID")
}

fn self_chat(input: &Value) -> Outcome {
    let own = E164::normalize(text(&input["self"]));
    let list = parse_list(strings(&input["allowFrom"]));
    Ok(json!(own.is_some_and(|own| list.has_number(&own))))
}

// ---- routing ----

fn peer_key(input: &Value) -> Outcome {
    let mut session = Map::new();
    for key in ["dmScope", "identityLinks", "mainKey"] {
        if let Some(value) = input.get(key).filter(|v| !v.is_null()) {
            session.insert(key.to_owned(), value.clone());
        }
    }
    let config = config(&json!({ "session": session }))?;
    let (agent, account) = (AgentId::new(text(&input["agentId"])), AccountId::new(text(&input["accountId"])));
    let kind = input["peerKind"].as_str().unwrap_or("direct");
    let parts = KeyParts {
        agent: &agent,
        channel: text(&input["channel"]),
        account: &account,
        kind,
        peer: text(&input["peerId"]),
    };
    Ok(json!(session_key::peer_session(&parts, &config.session)))
}

fn main_key(input: &Value, _: &Value) -> Option<&'static str> {
    input["mainKey"].is_string().then_some("9.2 session.mainKey is honoured")
}

fn agent_route(input: &Value) -> Outcome {
    let query = &input["query"];
    if query["channel"].as_str().is_some_and(|c| !c.trim().eq_ignore_ascii_case("whatsapp"))
        || !query["parentPeer"].is_null()
        || !query["guildId"].is_null()
        || !query["teamId"].is_null()
    {
        return Err(LeftOut("Verso serves WhatsApp only"));
    }
    let config = config(&input["cfg"])?;
    let account = AccountId::new(text(&query["accountId"]));
    let kind = match text(&query["peer"]["kind"]) {
        "group" => PeerKind::Group,
        "" | "dm" | "direct" => PeerKind::Direct,
        _ => return Err(LeftOut("Verso serves direct chats and groups only")),
    };
    let id = text(&query["peer"]["id"]).trim();
    let ids: Vec<String> = if id.is_empty() { vec![] } else { vec![id.to_owned()] };
    let route = route(&config, Chat { account: &account, kind, ids: &ids });
    Ok(json!({
        "agentId": route.agent, "channel": "whatsapp", "accountId": account, "sessionKey": route.session,
        "mainSessionKey": route.main_session, "matchedBy": route.matched_by,
    }))
}

fn route_deviation(input: &Value, _: &Value) -> Option<&'static str> {
    let main = input["cfg"]["session"]["mainKey"].as_str().map(str::trim);
    if main.is_some_and(|m| !m.eq_ignore_ascii_case("main")) {
        return Some("9.2 session.mainKey is honoured");
    }
    let id = text(&input["query"]["peer"]["id"]);
    let spelled = |b: &Value| {
        let peer = text(&b["match"]["peer"]["id"]);
        peer != id && !id.is_empty() && Target::parse(peer).is_ok_and(|p| Target::parse(id).is_ok_and(|i| i == p))
    };
    input["cfg"]["bindings"].as_array()?.iter().any(spelled).then_some("9.1 peer ids are normalised")
}

fn history_key(input: &Value) -> Outcome {
    if input["channel"] != "whatsapp" || input["peerKind"] != "group" || text(&input["peerId"]).is_empty() {
        return Err(LeftOut("Verso keeps history of WhatsApp groups only"));
    }
    Ok(json!(session_key::history_key(&AccountId::new(text(&input["accountId"])), text(&input["peerId"]))))
}

fn parse_key(input: &Value) -> Outcome {
    Ok(session_key::parse(text(input)).map_or(Value::Null, |key| json!({ "agentId": key.agent, "rest": key.rest })))
}

// ---- texts ----

fn options(envelope: &Value) -> Result<Options, LeftOut> {
    let mut defaults = Map::new();
    for (from, to) in [("timezone", "envelopeTimezone"), ("userTimezone", "userTimezone")] {
        if let Some(value) = envelope[from].as_str().filter(|v| !v.is_empty()) {
            defaults.insert(to.to_owned(), json!(value));
        }
    }
    for (from, to) in [("includeTimestamp", "envelopeTimestamp"), ("includeElapsed", "envelopeElapsed")] {
        if envelope[from] == false {
            defaults.insert(to.to_owned(), json!("off"));
        }
    }
    let config = config(&json!({ "agents": { "defaults": defaults } }))?;
    let zones = PathBuf::from("/usr/share/zoneinfo");
    if !zones.join("UTC").exists() {
        return Err(LeftOut("this machine has no zone files"));
    }
    // The vectors' host runs on UTC.
    let load = |name: Option<&str>| std::fs::read(zones.join(name.unwrap_or("UTC"))).ok();
    Ok(Options::new(&config.agents.envelope, config.agents.user_timezone.as_deref(), load))
}

fn format_envelope(input: &Value) -> Outcome {
    let sender = &input["sender"];
    let label = Sender { name: sender["name"].as_str(), number: sender["e164"].as_str(), id: sender["id"].as_str() }
        .label()
        .filter(|_| matches!(text(&input["chatType"]), "group" | "channel"));
    let label = label.or_else(|| {
        let direct = text(&input["chatType"]) == "direct";
        input["senderLabel"].as_str().filter(|l| !direct && !l.trim().is_empty()).map(|l| l.trim().to_owned())
    });
    let body = text(&input["body"]);
    let body = label.map_or_else(|| body.to_owned(), |label| format!("{label}: {body}"));
    let (now, before) = (input["timestamp"].as_i64(), input["previousTimestamp"].as_i64());
    let options = options(&input["envelope"])?;
    Ok(json!(envelope::envelope(text(&input["channel"]), text(&input["from"]), now, before, &body, &options)))
}

fn quoted(message: &Value) -> Option<Quoted<'_>> {
    let body = message["replyToBody"].as_str().filter(|b| !b.is_empty())?;
    Some(Quoted { sender: message["replyToSender"].as_str(), id: message["replyToId"].as_str(), body })
}

fn reply_context(input: &Value) -> Outcome {
    Ok(json!(quoted(input).map(|q| q.block())))
}

fn quoted_marker(input: &Value, _: &Value) -> Option<&'static str> {
    let marked = |key: &str| envelope::neutralise(text(&input[key])) != text(&input[key]);
    (marked("replyToBody") || marked("body")).then_some("7.3 markers in people's text are neutralised")
}

fn inbound_line(input: &Value) -> Outcome {
    let (config, msg) = (config(&input["cfg"])?, &input["msg"]);
    let account = account_of(&config, &msg["accountId"])?;
    let agent = input["agentId"]
        .as_str()
        .and_then(|id| config.agent(&AgentId::new(id)))
        .unwrap_or(config.agents.default_agent());
    let rules = &account.rules;
    let name = agent.identity.name.as_deref();
    let prefix = envelope::message_prefix(rules.message_prefix.as_deref(), !rules.allow_from.is_empty(), name);
    let group = msg["chatType"] == "group";
    let sender =
        Sender { name: msg["senderName"].as_str(), number: msg["senderE164"].as_str(), id: msg["senderJid"].as_str() };
    let line = Line {
        from: text(&msg["from"]),
        body: text(&msg["body"]),
        prefix: &prefix,
        sender: group.then_some(sender),
        quote: quoted(msg),
        timestamp: msg["timestamp"].as_i64(),
        previous: input["previousTimestamp"].as_i64(),
    };
    Ok(json!(line.render(&options(&json!({ "timezone": "utc" }))?)))
}

fn cut(input: &Value, mode: ChunkMode) -> Outcome {
    let limit = input["limit"].as_i64().unwrap_or(0).max(0) as usize;
    if text(&input["text"]).contains('\u{fffd}') {
        return Err(LeftOut("Rust's texts hold no lone surrogates"));
    }
    Ok(json!(chunk::chunk(text(&input["text"]), limit, mode)))
}

fn chunk_deviation(input: &Value, expected: &Value) -> Option<&'static str> {
    let (whole, limit) = (text(&input["text"]), input["limit"].as_u64()? as usize);
    let chunks = strings(expected);
    if chunks.iter().any(|c| c.contains('\u{fffd}')) {
        return Some("12.4 surrogate pairs stay whole");
    }
    if limit > 0 && chunks.iter().any(|c| c.encode_utf16().count() > limit) {
        return Some("12.4 no chunk is longer than the limit");
    }
    let fence = |line: &str| line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~");
    if whole.lines().any(|l| fence(l) && l.encode_utf16().count() * 4 > limit * 3) {
        return Some("12.4 long opening lines are not repeated");
    }
    let graphemes = |text: &str| text.graphemes(true).filter(|g| !g.trim().is_empty()).count();
    let cut: usize = chunks.iter().map(|c| graphemes(c)).sum();
    let fenced = whole.lines().any(fence);
    (!fenced && cut != graphemes(whole)).then_some("12.4 graphemes stay whole")
}

fn chunk_limit(input: &Value) -> Outcome {
    let config = config(&input["cfg"])?;
    Ok(json!(account_of(&config, &input["accountId"])?.rules.text_chunk_limit))
}

fn chunk_mode(input: &Value) -> Outcome {
    let config = config(&input["cfg"])?;
    Ok(json!(match account_of(&config, &input["accountId"])?.rules.chunk_mode {
        ChunkMode::Length => "length",
        ChunkMode::Newline => "newline",
    }))
}

// ---- replies ----

fn message_prefix(input: &Value) -> Outcome {
    if input["opts"].get("fallback").is_some() {
        return Err(LeftOut("Verso's own name is the only fallback"));
    }
    let config = config(&input["cfg"])?;
    let account = account_of(&config, &input["opts"]["accountId"])?;
    let configured = input["opts"]["configured"].as_str().or(account.rules.message_prefix.as_deref());
    let listed = input["opts"]["hasAllowFrom"] == true || !account.rules.allow_from.is_empty();
    let name = config.agents.default_agent().identity.name.clone();
    Ok(json!(envelope::message_prefix(configured, listed, name.as_deref())))
}

fn response_prefix(input: &Value) -> Outcome {
    let config = config(input)?;
    let account = account_of(&config, &json!("work")).or_else(|_| account_of(&config, &Value::Null))?;
    let delivery = Delivery { rules: &account.rules, agent: config.agents.default_agent(), own_chat: false };
    let off = account.rules.response_prefix == ResponsePrefix::Text(String::new());
    Ok(if off { json!("") } else { json!(delivery::response_prefix(&delivery)) })
}

fn template(input: &Value, filled: bool) -> Outcome {
    let Some(template) = input.as_str() else { return Ok(Value::Null) };
    if template.to_lowercase().contains("think") && filled {
        return Err(LeftOut("the case does not say which thinking level was set"));
    }
    let model = ModelRef { provider: "openai".into(), name: "gpt-5.2".into() };
    let variables = Variables { model: Some(&model), name: Some("Mo"), think: None };
    Ok(json!(delivery::fill(
        template,
        if filled { &variables } else { &Variables { model: None, name: None, think: None } }
    )))
}

fn reply_payload(input: &Value) -> Outcome {
    let payload = &input["payload"];
    if payload.get("mediaUrl").is_some_and(|m| !m.is_null()) || payload.get("mediaUrls").is_some_and(|m| !m.is_null()) {
        return Err(LeftOut("media replies are planned elsewhere"));
    }
    let text = delivery::prepare(text(&payload["text"]), input["prefix"].as_str());
    Ok(text.map_or(Value::Null, |text| json!({ "text": text })))
}

fn tokens_in_text(input: &Value, _: &Value) -> Option<&'static str> {
    let text = text(&input["payload"]["text"]);
    if text.contains(delivery::SILENT) {
        return Some("12.1 the token must stand alone");
    }
    text.contains(delivery::HEARTBEAT_OK).then_some("15.3 newlines stay, residue goes, words are whole")
}

// ---- groups ----

fn body(msg: &Value) -> Body {
    let sender = jid(text(&msg["replyToSenderJid"]));
    let sender = sender.or_else(|| E164::normalize(text(&msg["replyToSenderE164"])).map(|n| Jid::of_number(&n)));
    let quote =
        sender.map(|sender| Quote { id: None, sender: Some(sender), body: text(&msg["replyToBody"]).to_owned() });
    Body {
        text: Some(text(&msg["body"]).to_owned()),
        media: None,
        quote,
        mentions: strings(&msg["mentionedJids"]).into_iter().filter_map(jid).collect(),
    }
}

fn gating(input: &Value) -> Outcome {
    let known = ["name", "cfg", "msg"];
    if input.as_object().is_some_and(|map| map.keys().any(|k| !known.contains(&k.as_str()))) {
        return Err(LeftOut("state of the original's session store"));
    }
    let mut cfg = input["cfg"].clone();
    // Gating comes after admission, which lets everybody in here.
    cfg["channels"]["whatsapp"]["groupPolicy"] = json!("open");
    let (config, msg) = (config(&cfg)?, &input["msg"]);
    let account = account_of(&config, &msg["accountId"])?;
    let mut message = message(&account.id, text(&msg["from"]), &msg["senderE164"])?;
    message.content = Content::Body(body(msg));
    let judge =
        Judge { me: identity(&msg["selfE164"], &msg["selfJid"]), approved: vec![], connected_at: 1, activation: None };
    let decision = judge.decide(&config, &account, &message);
    let sender = Sender { name: msg["senderName"].as_str(), number: msg["senderE164"].as_str(), id: None };
    let (process, mentioned, limit) = match &decision.verdict {
        Verdict::Dispatch(dispatch) => (true, json!(dispatch.mentioned), 0),
        Verdict::Hold(hold) if hold.reason.code() == "not-mentioned" => (false, json!(false), hold.limit),
        Verdict::Hold(hold) => (false, Value::Null, hold.limit),
        Verdict::Drop { .. } => (false, Value::Null, 0),
    };
    let entry = json!({
        "sender": sender.label().unwrap_or_else(|| "Unknown".to_owned()), "body": msg["body"], "timestamp": msg["timestamp"],
        "id": msg["id"], "senderJid": msg["senderJid"],
    });
    let history = if limit > 0 { vec![entry] } else { vec![] };
    Ok(json!({ "shouldProcess": process, "wasMentioned": mentioned, "history": history }))
}

fn gating_deviation(input: &Value, _: &Value) -> Option<&'static str> {
    let msg = &input["msg"];
    let me = identity(&msg["selfE164"], &msg["selfJid"]);
    let own = |raw: &str| jid(raw).zip(me.as_ref()).is_some_and(|(jid, me)| me.is_self(&jid));
    if own(text(&msg["replyToSenderJid"])) {
        return Some("8.3.7 users are compared, not devices");
    }
    group_case(&json!({ "cfg": input["cfg"], "groupId": msg["from"] }), &Value::Null)
        .or_else(|| scattered(msg, me.as_ref()))
}

fn group_case(input: &Value, _: &Value) -> Option<&'static str> {
    let whatsapp = &input["cfg"]["channels"]["whatsapp"];
    let keys = whatsapp["groups"].as_object().into_iter().flatten().map(|(key, _)| key);
    let other_case = |key: &String| *key != key.to_lowercase() && key.eq_ignore_ascii_case(text(&input["groupId"]));
    keys.into_iter().any(other_case).then_some("8.3.1 group ids are compared in lower case")
}

/// The own number's digits occur in the text, but not as one number.
fn scattered(msg: &Value, me: Option<&Identity>) -> Option<&'static str> {
    let digits: String = text(&msg["body"]).chars().filter(char::is_ascii_digit).collect();
    let own = me.and_then(Identity::number)?;
    digits.contains(own.digits()).then_some("8.3.6 scattered digits are no number")
}

fn group_policy(input: &Value) -> Outcome {
    let config = config(&input["cfg"])?;
    let account = account_of(&config, &input["accountId"])?;
    let rules = &account.rules;
    let entry = |group: Option<&GroupConfig>| group.map(|g| json!({ "requireMention": g.require_mention }));
    let served = |id: &str| jid(id).is_some_and(|jid| group::is_served(rules, &jid));
    let id = input["groupId"].as_str();
    let own = id.and_then(jid).and_then(|jid| entry(rules.group(&jid).0));
    Ok(json!({
        "allowlistEnabled": !rules.groups.is_empty(),
        "allowed": id.map_or(rules.groups.is_empty() || rules.groups.contains_key("*"), served),
        "groupConfig": own,
        "defaultConfig": entry(rules.groups.get("*")),
    }))
}

fn ack(input: &Value) -> Outcome {
    let group = match text(&input["groupMode"]) {
        "always" => AckGroup::Always,
        "never" => AckGroup::Never,
        _ => AckGroup::Mentions,
    };
    let reaction =
        AckReaction { emoji: text(&input["emoji"]).to_owned(), direct: input["directEnabled"] == true, group };
    let kind = match (input["isDirect"] == true, input["isGroup"] == true) {
        (true, _) => PeerKind::Direct,
        (_, true) => PeerKind::Group,
        _ => return Err(LeftOut("a chat is direct or a group")),
    };
    let activation = if input["groupActivated"] == true { Activation::Always } else { Activation::Mention };
    Ok(json!(receipts::ack(Some(&reaction), kind, input["wasMentioned"] == true, activation).is_some()))
}

fn pending_entry(sender: &str, body: &str, timestamp: Option<i64>, id: Option<&str>) -> PendingMessage {
    PendingMessage { sender: sender.to_owned(), body: body.to_owned(), timestamp, id: id.map(MessageId::new) }
}

fn history_context(input: &Value) -> Outcome {
    Ok(json!(history::context(text(&input["historyText"]), text(&input["currentMessage"]))))
}

fn history_entries(input: &Value) -> Outcome {
    let mut entries: Vec<String> = input["entries"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|e| format!("{}: {}", text(&e["sender"]), text(&e["body"])))
        .collect();
    // The original takes the last entry for the current message unless told otherwise.
    if input["excludeLast"] != false {
        entries.pop();
    }
    Ok(json!(history::context(&entries.join("\n"), text(&input["currentMessage"]))))
}

fn history_append(input: &Value) -> Outcome {
    let limit = input["limit"].as_i64().unwrap_or(0).max(0) as usize;
    let mut pending = Pending::default();
    for n in 0..input["n"].as_u64().unwrap_or(0) {
        pending.hold("g", pending_entry("S", &format!("b{n}"), None, None), limit);
    }
    Ok(json!(pending.peek("g").map(|m| m.body.clone()).collect::<Vec<_>>()))
}

fn history_eviction(input: &Value) -> Outcome {
    let mut pending = Pending::default();
    for n in 0..input["keys"].as_u64().unwrap_or(0) {
        pending.hold(&format!("k{n}"), pending_entry("S", "b", None, None), 5);
    }
    Ok(json!({ "size": pending.groups().count(), "first": pending.groups().next() }))
}

fn history_entry(input: &Value) -> Outcome {
    let message = pending_entry(
        text(&input["sender"]),
        text(&input["body"]),
        input["timestamp"].as_i64(),
        input["messageId"].as_str(),
    );
    // The group is the one of the vectors.
    Ok(json!(history::entry(&message, "120@g.us", &options(&json!({ "timezone": "utc" }))?)))
}

fn group_members(input: &Value) -> Outcome {
    let roster: Vec<(&str, &str)> =
        input["roster"].as_object().into_iter().flatten().map(|(number, name)| (number.as_str(), text(name))).collect();
    Ok(json!(history::members(&strings(&input["participants"]), &roster)))
}

fn peer_id(input: &Value) -> Outcome {
    let from = text(&input["from"]);
    if input["chatType"] == "group" {
        let id = input["conversationId"].as_str().unwrap_or(from);
        return Ok(json!(id.trim().to_lowercase()));
    }
    let number = E164::normalize(text(&input["senderE164"]));
    let jid = jid(from).or_else(|| E164::normalize(from).map(|n| Jid::of_number(&n)));
    Ok(json!(Person::from_addresses(number.as_ref(), jid.iter()).id()))
}

fn command_authorized(input: &Value) -> Outcome {
    let (config, msg) = (config(&input["cfg"])?, &input["msg"]);
    let account = account_of(&config, &msg["accountId"])?;
    let direct = msg["chatType"] == "direct";
    let sender = if direct && msg["senderE164"].is_null() { &msg["from"] } else { &msg["senderE164"] };
    let message = message(&account.id, text(&msg["from"]), sender)?;
    let judge = Judge {
        me: identity(&msg["selfE164"], &msg["selfJid"]),
        approved: vec![],
        connected_at: 1,
        activation: Some(Activation::Always),
    };
    // Whoever is not even let in uses no commands.
    let decision = judge.decide(&config, &account, &message);
    Ok(json!(matches!(decision.verdict, Verdict::Dispatch(dispatch) if dispatch.commands)))
}

fn debug_mention(input: &Value) -> Outcome {
    let (config, msg) = (config(&input["cfg"])?, &input["msg"]);
    let account = account_of(&config, &msg["accountId"])?;
    let agent = config.agent(&AgentId::new(text(&input["agentId"]))).unwrap_or(config.agents.default_agent());
    let patterns = Patterns::of_agent(agent).0;
    let me = identity(&msg["selfE164"], &msg["selfJid"]);
    let own = me.as_ref().and_then(Identity::number);
    let self_chat_mode = dm::is_self_chat_mode(&account.rules, own.as_ref());
    let found = mention::mention(&body(msg), Some(&patterns), me.as_ref(), self_chat_mode);
    Ok(json!({ "wasMentioned": found != Mention::None }))
}

fn mention_deviation(input: &Value, _: &Value) -> Option<&'static str> {
    let msg = &input["msg"];
    let name = input["cfg"]["agents"]["list"][0]["identity"]["name"].as_str().unwrap_or_default();
    if name.chars().next().is_some_and(|c| !c.is_ascii_alphanumeric()) {
        return Some("8.3.6 word boundaries are Unicode");
    }
    scattered(msg, identity(&msg["selfE164"], &msg["selfJid"]).as_ref())
}

fn strip_mentions(input: &Value) -> Outcome {
    let sources: Vec<String> = strings(&input["patterns"]).into_iter().map(str::to_owned).collect();
    let me = identity(&input["self"], &Value::Null);
    Ok(json!(mention::strip_for_command(text(&input["text"]), Some(&Patterns::compile(&sources).0), me.as_ref())))
}

fn activation(input: &Value) -> Outcome {
    Ok(match command::parse_activation(text(input)) {
        None => json!({ "hasCommand": false }),
        Some(mode) => json!({ "hasCommand": true, "mode": mode }),
    })
}

fn owner_list(input: &Value) -> Outcome {
    let me = identity(&input["self"], &Value::Null);
    Ok(json!(owners(&parse_list(strings(&input["allowFrom"])), me.as_ref()).numbers))
}

fn config_command(input: &Value) -> Outcome {
    Ok(match command::config::parse(text(input)) {
        ConfigCommand::Show { path: None } => json!({ "action": "show" }),
        ConfigCommand::Show { path } => json!({ "action": "show", "path": path }),
        ConfigCommand::Set { path, value } => json!({ "action": "set", "path": path, "value": value }),
        ConfigCommand::Unset { path } => json!({ "action": "unset", "path": path }),
        ConfigCommand::Error(message) => json!({ "action": "error", "message": message }),
    })
}

fn config_path(input: &Value) -> Outcome {
    Ok(match edit::parse_path(text(input)) {
        Ok(path) => json!({ "ok": true, "path": path }),
        Err(error) => json!({ "ok": false, "error": error.to_string() }),
    })
}

fn config_edit(input: &Value) -> Outcome {
    let path: Vec<String> = strings(&input["path"]).into_iter().map(str::to_owned).collect();
    let before = input["o"].to_string();
    let edited = if input["op"] == "set" {
        edit::set(&before, &path, &input["v"]).map(|after| (after, Value::Null))
    } else {
        edit::unset(&before, &path).map(|after| {
            let removed = json!(after.is_some());
            (after.unwrap_or(before), removed)
        })
    };
    Ok(match edited {
        Ok((after, removed)) => {
            json!({ "result": edit::json5_value(&after).unwrap_or_default(), "removed": removed })
        }
        Err(error) => json!({ "error": error.to_string() }),
    })
}
