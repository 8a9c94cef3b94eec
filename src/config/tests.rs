use super::*;

fn env() -> ResolveEnv {
    ResolveEnv::new("/home/u", "/home/u/.verso")
}

fn ok(text: &str) -> Loaded {
    load_text(text, &env())
        .unwrap_or_else(|p| panic!("{text}\n{}", Rejected { problems: p, files: vec![], fingerprint: 0 }))
}

fn problems(text: &str) -> Vec<String> {
    load_text(text, &env()).map(|_| ()).expect_err("must be rejected").iter().map(ToString::to_string).collect()
}

fn account(config: &Config, id: &str) -> Arc<AccountConfig> {
    config.accounts[&crate::ids::AccountId::new(id)].clone()
}

#[test]
fn the_empty_file_is_a_whole_config() {
    let config = ok("{}").config;
    assert_eq!(config.default_account.as_str(), "default");
    assert_eq!(config.agents.default_agent().model.to_string(), "echo");
    assert_eq!(account(&config, "default").rules.dm_policy, DmPolicy::Pairing);
    assert_eq!(account(&config, "default").rules.group_policy, GroupPolicy::Allowlist);
    assert_eq!(account(&config, "default").rules.media_max_bytes, 50 << 20);
}

#[test]
fn all_problems_are_told_at_once_with_their_places() {
    let text = "{\n  chanels: {},\n  channels: { whatsapp: {\n    dmPolicy: 'bogus',\n    allowFrom: [15551234567, 'bob'],\n    textChunkLimit: 0,\n  } },\n}";
    assert_eq!(
        problems(text),
        [
            "2:3: chanels: Unrecognized key: \"chanels\" (did you mean \"channels\"?)",
            "4:15: channels.whatsapp.dmPolicy: Invalid option: expected one of \"pairing\"|\"allowlist\"|\"open\"|\"disabled\" (\"bogus\" is none of them)",
            "5:17: channels.whatsapp.allowFrom.0: Invalid input: expected string, received number (put it into quotes: \"15551234567\")",
            "6:21: channels.whatsapp.textChunkLimit: Too small: expected number to be >0 (it is 0)",
        ]
    );
}

#[test]
fn the_first_config_is_valid_and_complete() {
    let env = ResolveEnv::new("/home/me", "/home/me/.verso");
    let loaded = load_text(FIRST_CONFIG, &env).expect("valid");
    assert_eq!(loaded.warnings, []);
    assert!(loaded.config.accounts.len() == 1 && loaded.config.accounts.values().all(|a| a.link.enabled));
}
