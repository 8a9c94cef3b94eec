//! Parameters of a method: read by name, every mistake named in the words that clients know.

use std::time::Duration;

use serde_json::{Map, Value};

use super::protocol::ErrorShape;

/// The parameters of one request.
#[derive(Clone, Debug)]
pub struct Params {
    method: &'static str,
    map: Map<String, Value>,
}

impl Params {
    /// Takes the parameters of a request to `method`.
    pub fn new(method: &'static str, map: Map<String, Value>) -> Self {
        Self { method, map }
    }

    /// An error about these parameters.
    pub fn wrong(&self, what: impl std::fmt::Display) -> ErrorShape {
        ErrorShape::invalid(format!("invalid {} params: {what}", self.method))
    }

    /// Refuses keys that are not in the list.
    ///
    /// # Errors
    /// Names the first foreign key.
    pub fn only(&self, known: &[&str]) -> Result<(), ErrorShape> {
        match self.map.keys().find(|k| !known.contains(&k.as_str())) {
            Some(key) => Err(self.wrong(format!("at root: unexpected property '{key}'"))),
            None => Ok(()),
        }
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    /// A text, trimmed; absent, `null` and blank are `None`.
    ///
    /// # Errors
    /// When it is no text.
    pub fn text(&self, key: &str) -> Result<Option<String>, ErrorShape> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s.trim()).filter(|s| !s.is_empty()).map(str::to_owned)),
            Some(_) => Err(self.wrong(format!("at /{key}: must be string"))),
        }
    }

    /// A text as it came, blanks included.
    ///
    /// # Errors
    /// When it is no text.
    pub fn raw_text(&self, key: &str) -> Result<Option<String>, ErrorShape> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s.clone())),
            Some(_) => Err(self.wrong(format!("at /{key}: must be string"))),
        }
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// When it is absent or no text.
    pub fn required(&self, key: &str) -> Result<String, ErrorShape> {
        match self.text(key)? {
            Some(text) => Ok(text),
            None if self.get(key).is_some() => {
                Err(self.wrong(format!("at /{key}: must NOT have fewer than 1 characters")))
            }
            None => Err(self.wrong(format!("must have required property '{key}'"))),
        }
    }

    /// A list of texts, trimmed, without empty ones; one text counts as a list.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn texts(&self, key: &str) -> Result<Vec<String>, ErrorShape> {
        let wrong = || self.wrong(format!("at /{key}: must be array of strings"));
        let list = match self.get(key) {
            None => return Ok(Vec::new()),
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(list)) => {
                list.iter().map(|v| v.as_str().map(str::to_owned).ok_or_else(wrong)).collect::<Result<_, _>>()?
            }
            Some(_) => return Err(wrong()),
        };
        Ok(list.iter().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect())
    }

    /// A whole number.
    ///
    /// # Errors
    /// When it is none.
    pub fn integer(&self, key: &str) -> Result<Option<i64>, ErrorShape> {
        match self.get(key) {
            None => Ok(None),
            Some(v) => v.as_i64().map(Some).ok_or_else(|| self.wrong(format!("at /{key}: must be integer"))),
        }
    }

    /// The parameters inside one of these; none when it is absent.
    ///
    /// # Errors
    /// When it is no object.
    pub fn object(&self, key: &str) -> Result<Self, ErrorShape> {
        match self.get(key) {
            None => Ok(Self::new(self.method, Map::new())),
            Some(Value::Object(map)) => Ok(Self::new(self.method, map.clone())),
            Some(_) => Err(self.wrong(format!("at /{key}: must be object"))),
        }
    }

    /// A switch; absent is false.
    ///
    /// # Errors
    /// When it is no boolean.
    pub fn flag(&self, key: &str) -> Result<bool, ErrorShape> {
        match self.get(key) {
            None => Ok(false),
            Some(Value::Bool(b)) => Ok(*b),
            Some(_) => Err(self.wrong(format!("at /{key}: must be boolean"))),
        }
    }

    /// A whole number that is not negative.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn number(&self, key: &str) -> Result<Option<u64>, ErrorShape> {
        match self.get(key) {
            None => Ok(None),
            Some(v) => match v.as_u64() {
                Some(n) => Ok(Some(n)),
                None => Err(self.wrong(format!("at /{key}: must be integer >= 0"))),
            },
        }
    }

    /// `timeoutMs` within its bounds.
    ///
    /// # Errors
    /// When it is no number.
    pub fn timeout(&self, default: Duration, least: Duration, most: Duration) -> Result<Duration, ErrorShape> {
        Ok(self.number("timeoutMs")?.map_or(default, Duration::from_millis).clamp(least, most))
    }

    /// True when the key is there with something in it.
    pub fn has(&self, key: &str) -> bool {
        match self.get(key) {
            None => false,
            Some(Value::String(s)) => !s.trim().is_empty(),
            Some(Value::Array(a)) => !a.is_empty(),
            Some(_) => true,
        }
    }

    /// `accountId`, as typed.
    ///
    /// # Errors
    /// When it is no text.
    pub fn account(&self) -> Result<Option<String>, ErrorShape> {
        self.text("accountId")
    }

    /// `channel` must be absent or `whatsapp`.
    ///
    /// # Errors
    /// `unsupported channel: x`.
    pub fn channel(&self) -> Result<(), ErrorShape> {
        match self.text("channel")? {
            Some(c) if !c.eq_ignore_ascii_case(super::protocol::CHANNEL) => {
                Err(ErrorShape::invalid(format!("unsupported channel: {c}")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn params(value: Value) -> Params {
        let Value::Object(map) = value else { panic!("an object") };
        Params::new("send", map)
    }

    #[test]
    fn mistakes_are_named() {
        let p = params(json!({"to": 5, "a": true, "n": -1, "blank": " ", "channel": "nochan"}));
        let said = |e: Result<String, ErrorShape>| e.unwrap_err().message;
        assert_eq!(said(p.required("to")), "invalid send params: at /to: must be string");
        assert_eq!(
            said(p.required("idempotencyKey")),
            "invalid send params: must have required property 'idempotencyKey'"
        );
        assert_eq!(said(p.required("blank")), "invalid send params: at /blank: must NOT have fewer than 1 characters");
        assert_eq!(p.number("n").unwrap_err().message, "invalid send params: at /n: must be integer >= 0");
        assert_eq!(p.channel().unwrap_err().message, "unsupported channel: nochan");
        assert_eq!(
            p.only(&["to", "a", "n", "blank"]).unwrap_err().message,
            "invalid send params: at root: unexpected property 'channel'"
        );
        assert_eq!((p.flag("a"), p.flag("gone"), p.text("blank")), (Ok(true), Ok(false), Ok(None)));
    }
}
