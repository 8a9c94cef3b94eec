//! Behaviour, from phone to phone: one module a capability.

mod answers;
mod architecture;
mod support;
