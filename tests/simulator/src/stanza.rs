//! Small vocabulary for reading and writing stanzas.

use std::fmt::Write as _;

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, NodeContent};

/// JID of the server itself.
pub(crate) const SERVER: &str = "s.whatsapp.net";

/// Starts a node.
pub(crate) fn el(tag: &'static str) -> NodeBuilder {
    NodeBuilder::new(tag)
}

/// Reading access to a received node.
pub trait NodeExt {
    /// Attribute as text.
    fn text(&self, key: &str) -> Option<String>;
    /// Attribute as text, empty when absent.
    fn text_or_empty(&self, key: &str) -> String {
        self.text(key).unwrap_or_default()
    }
    /// Attribute as a JID.
    fn jid(&self, key: &str) -> Option<Jid>;
    /// First child with this tag.
    fn child(&self, tag: &str) -> Option<&Node>;
    /// All children.
    fn kids(&self) -> &[Node];
    /// Content as bytes, whether it was sent as bytes or as a string.
    fn content_bytes(&self) -> Vec<u8>;
    /// Sets an attribute.
    fn set(&mut self, key: &'static str, value: impl Into<wacore_binary::NodeValue>)
    where
        Self: Sized;
    /// Appends a child.
    fn push(&mut self, child: Node);
}

impl NodeExt for Node {
    fn text(&self, key: &str) -> Option<String> {
        self.attrs.get(key).map(|v| v.as_str().into_owned())
    }

    fn jid(&self, key: &str) -> Option<Jid> {
        self.attrs.get(key).and_then(|v| v.to_jid())
    }

    fn child(&self, tag: &str) -> Option<&Node> {
        self.kids().iter().find(|n| n.tag == tag)
    }

    fn kids(&self) -> &[Node] {
        match &self.content {
            Some(NodeContent::Nodes(nodes)) => nodes,
            _ => &[],
        }
    }

    fn content_bytes(&self) -> Vec<u8> {
        match &self.content {
            Some(NodeContent::Bytes(b)) => b.to_vec(),
            Some(NodeContent::String(s)) => s.as_bytes().to_vec(),
            _ => Vec::new(),
        }
    }

    fn set(&mut self, key: &'static str, value: impl Into<wacore_binary::NodeValue>) {
        self.attrs.insert(key, value);
    }

    fn push(&mut self, child: Node) {
        match &mut self.content {
            Some(NodeContent::Nodes(nodes)) => nodes.push(child),
            other => *other = Some(NodeContent::Nodes(vec![child])),
        }
    }
}

/// Big-endian number of 1 to 4 bytes.
pub(crate) fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |n, b| (n << 8) | u32::from(*b))
}

/// A key identifier: 3 bytes, big-endian.
pub(crate) fn id3(id: u32) -> Vec<u8> {
    id.to_be_bytes()[1..].to_vec()
}

/// Exactly 32 bytes of a child's content.
pub(crate) fn child32(node: &Node, tag: &str) -> Option<[u8; 32]> {
    node.child(tag)?.content_bytes().try_into().ok()
}

/// One stanza as text, long content shortened: what a trace shows.
pub fn show(node: &Node) -> String {
    let mut out = String::new();
    write_node(node, &mut out, 0);
    out
}

fn write_node(node: &Node, out: &mut String, depth: usize) {
    let _ = write!(out, "<{}", node.tag);
    for (key, value) in node.attrs.iter() {
        let _ = write!(out, " {key}=\"{value}\"");
    }
    match &node.content {
        None => out.push_str("/>"),
        Some(NodeContent::Nodes(nodes)) => {
            out.push('>');
            for (n, child) in nodes.iter().enumerate() {
                if n == 12 || depth > 8 {
                    let _ = write!(out, "<!-- {} more -->", nodes.len() - n);
                    break;
                }
                write_node(child, out, depth + 1);
            }
            let _ = write!(out, "</{}>", node.tag);
        }
        Some(NodeContent::String(s)) => {
            let _ = write!(out, ">{s}</{}>", node.tag);
        }
        Some(NodeContent::Bytes(b)) => {
            let printable = std::str::from_utf8(b).ok().filter(|s| s.len() < 80 && !s.chars().any(char::is_control));
            match printable {
                Some(s) => {
                    let _ = write!(out, ">{s}</{}>", node.tag);
                }
                None => {
                    let _ = write!(out, "><!-- {} bytes", b.len());
                    for byte in b.iter().take(8) {
                        let _ = write!(out, " {byte:02x}");
                    }
                    let _ = write!(out, " --></{}>", node.tag);
                }
            }
        }
    }
}
