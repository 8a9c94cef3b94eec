//! What a model may do besides answering. The tools themselves are made by whoever asks for an answer.

use futures::future::BoxFuture;
use serde_json::Value;

/// A tool as the model is told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name in calls.
    pub name: &'static str,
    /// What it does, for the model.
    pub about: &'static str,
    /// JSON Schema of its arguments.
    pub parameters: Value,
}

/// The tools of one run.
pub trait Toolbox: Send + Sync {
    /// What the model is offered.
    fn offered(&self) -> Vec<Tool>;

    /// Carries out a call. Both outcomes are told to the model, which may call a tool that it was not offered.
    fn call<'a>(&'a self, name: &'a str, arguments: Value) -> BoxFuture<'a, Result<Value, String>>;
}
