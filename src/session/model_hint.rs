//! `/new <model> text`: the word after the trigger may name a model (behaviour.md 9.4).

use crate::config::model::{Config, ModelRef, ProviderApi};

/// The model that a text begins with, and the text after it. Only what the configuration knows is a model: `provider/name` with
/// a provider of it, or the name of a model that an agent has and that no ordinary word can be.
pub fn split<'t>(text: &'t str, config: &Config) -> Option<(ModelRef, &'t str)> {
    let text = text.trim();
    let word = text.split_whitespace().next()?;
    let rest = text[word.len()..].trim_start();
    model(word, config).map(|model| (model, rest))
}

/// Reads `provider/name`; `None` when there is no such provider.
pub fn parse(text: &str, config: &Config) -> Option<ModelRef> {
    let (provider, name) = text.split_once('/')?;
    let known = config.providers.values().find(|p| p.name.eq_ignore_ascii_case(provider))?;
    (!name.is_empty() && known.api != ProviderApi::Echo)
        .then(|| ModelRef { provider: known.name.clone(), name: name.to_owned() })
}

fn model(word: &str, config: &Config) -> Option<ModelRef> {
    if word.contains('/') {
        return parse(word, config);
    }
    let telling = word.chars().any(|c| !c.is_alphabetic());
    let agents = config.agents.list.iter().map(|agent| &agent.model);
    agents.into_iter().find(|model| telling && model.name.eq_ignore_ascii_case(word)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ResolveEnv, load_text};

    #[test]
    fn only_known_models_are_hints() {
        let text = "{ models: { providers: { local: { api: 'openai-completions', baseUrl: 'http://127.0.0.1/v1' } } },
            agents: { list: [{ id: 'a', model: 'local/tiny-2' }, { id: 'b', model: 'local/hello' }] } }";
        let loaded = load_text(text, &ResolveEnv::new("/home/u", "/home/u/.verso")).expect("a config");
        let read = |text| split(text, &loaded.config).map(|(model, rest)| (model.to_string(), rest.to_owned()));
        let hint = |model: &str, rest: &str| Some((model.to_owned(), rest.to_owned()));
        for (text, want) in [
            ("local/big hello there", hint("local/big", "hello there")),
            ("LOCAL/org/big", hint("local/org/big", "")),
            ("Tiny-2 hello", hint("local/tiny-2", "hello")),
            ("hello you", None),
            ("and/or this", None),
            ("local/ x", None),
            ("", None),
        ] {
            assert_eq!(read(text), want, "{text:?}");
        }
    }
}
