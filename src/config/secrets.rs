//! Finds the secrets of a config, so that nothing that Verso says holds them.

use super::include::Expansion;
use super::problem::{Findings, KeyPath};
use super::source::{Kind, Node};
use crate::disclosure::{self, SHORTEST, Secrets};

/// The secrets of a config. The texts of those keys that hold one are told one by one to `each`.
pub(super) fn collect(tree: &Node, expansions: &[Expansion], each: &mut dyn FnMut(&KeyPath, &str)) -> Secrets {
    let mut walk = Walk { found: Secrets::default(), each };
    walk.node(tree, &KeyPath::default(), "", Secret::No);
    let values = expansions.iter().flat_map(|expansion| &expansion.values);
    values.filter(|(name, _)| disclosure::is_secret_variable(name)).for_each(|(_, value)| walk.found.add(value));
    walk.found
}

/// Warns of secrets that are too short to be hidden: half of every text would go with them.
pub(super) fn warn_of_short(tree: &Node, findings: &mut Findings) {
    let mut short = Vec::new();
    collect(tree, &[], &mut |path, text| {
        let count = text.trim().chars().count();
        if count > 0 && count < SHORTEST {
            short.push(path.clone());
        }
    });
    for path in short {
        findings.warn(
            path,
            format!("this secret has fewer than {SHORTEST} characters and cannot be hidden in logs and answers; use a longer one"),
        );
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Secret {
    No,
    /// Every text below is one.
    All,
    /// The texts below are values of headers.
    Headers,
}

struct Walk<'a> {
    found: Secrets,
    each: &'a mut dyn FnMut(&KeyPath, &str),
}

impl Walk<'_> {
    fn node(&mut self, node: &Node, path: &KeyPath, key: &str, secret: Secret) {
        match &node.kind {
            Kind::Map(map) => {
                for (key, child) in map {
                    let secret = match secret {
                        Secret::No if disclosure::is_secret_key(key) => Secret::All,
                        Secret::No if key == "headers" => Secret::Headers,
                        Secret::No if path_ends(path, "env") && disclosure::is_secret_variable(key) => Secret::All,
                        secret => secret,
                    };
                    self.node(child, &path.key(key), key, secret);
                }
            }
            Kind::List(list) => {
                let texts =
                    list.iter().filter_map(|n| if let Kind::Text(t) = &n.kind { Some(t.as_str()) } else { None });
                self.found.add_arguments(texts);
                list.iter().enumerate().for_each(|(i, n)| self.node(n, &path.index(i), key, secret));
            }
            Kind::Text(text) => self.text(text, path, key, secret),
            Kind::Number(number) if secret == Secret::All => self.found.add(&number.to_string()),
            _ => {}
        }
    }

    fn text(&mut self, text: &str, path: &KeyPath, key: &str, secret: Secret) {
        match secret {
            Secret::All => {
                self.found.add(text);
                (self.each)(path, text);
            }
            Secret::Headers => {
                self.found.add_header(key, text);
                if disclosure::is_secret_header(key) {
                    (self.each)(path, text);
                }
            }
            Secret::No => {}
        }
        self.found.add_addresses(text);
    }
}

fn path_ends(path: &KeyPath, key: &str) -> bool {
    path.0.last().is_some_and(|last| matches!(last, super::problem::Seg::Key(k) if k == key))
}
