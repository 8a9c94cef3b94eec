//! Backoff and reconnect.

use super::common::*;

pub fn functions(name: &str) -> Option<(Run, Deviation)> {
    Some(match name {
        "computeBackoff" => (compute_backoff, NEVER),
        "resolveReconnectPolicy" => (reconnect_policy, NEVER),
        "resolveHeartbeatSeconds" => (heartbeat_seconds, NEVER),
        "monitorWebChannel reconnect" => (reconnect, reconnect_deviation),
        _ => return None,
    })
}

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
