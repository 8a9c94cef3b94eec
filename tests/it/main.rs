//! Behaviour, from phone to phone: one module a capability.

mod answers;
mod architecture;
mod baileys_folder;
mod cli;
mod commands;
mod crash;
mod groups;
mod login;
mod pairing;
mod process;
mod supervision;
mod support;
mod transfer;
mod vectors;
mod why;
