//! Behaviour, from phone to phone: one module a capability.

mod answers;
mod architecture;
mod cli;
mod commands;
mod crash;
mod groups;
mod login;
mod media_in;
mod pairing;
mod process;
mod supervision;
mod support;
mod vectors;
mod why;
