//! Calls of tools, as chat completions put them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::AgentError;
use super::super::toolbox::{Tool, Toolbox};

/// A call in an answer. It is sent back as it came.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Call {
    /// Not every server numbers its calls.
    #[serde(default)]
    pub id: String,
    #[serde(default = "function", rename = "type")]
    kind: String,
    function: Function,
}

#[derive(Clone, Deserialize, Serialize)]
struct Function {
    name: String,
    /// JSON in a string; some servers put the object itself.
    #[serde(default)]
    arguments: Value,
}

fn function() -> String {
    "function".to_owned()
}

impl Call {
    /// Carries it out and gives what the model is told.
    pub async fn run(&self, toolbox: &dyn Toolbox) -> String {
        let Function { name, arguments } = &self.function;
        let arguments = match arguments {
            Value::String(text) if text.trim().is_empty() => Ok(json!({})),
            Value::String(text) => serde_json::from_str(text).map_err(|e| format!("The arguments are no JSON: {e}.")),
            Value::Null => Ok(json!({})),
            object => Ok(object.clone()),
        };
        let done = match arguments {
            Ok(arguments) => toolbox.call(name, arguments).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(result) => {
                tracing::debug!(target: "agent", tool = name, "a tool was used");
                result.to_string()
            }
            Err(error) => {
                tracing::warn!(target: "agent", tool = name, error, "a tool was not used");
                refused(&error)
            }
        }
    }
}

/// What the model is told when a call is not carried out.
pub(super) fn refused(error: &str) -> String {
    json!({"ok": false, "error": error}).to_string()
}

/// A tool as a request describes it.
pub(super) fn described(tool: &Tool) -> Value {
    let Tool { name, about, parameters } = tool;
    json!({"type": "function", "function": {"name": name, "description": about, "parameters": parameters}})
}

/// The server or its model takes no tools: Ollama, vLLM and llama.cpp refuse the whole request then.
pub(super) fn takes_no_tools(error: &AgentError) -> bool {
    matches!(error, AgentError::Failed { status: 400 | 404 | 422 | 500 | 501, message, .. }
        if message.to_ascii_lowercase().contains("tool"))
}
