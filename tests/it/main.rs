//! Behaviour, from phone to phone: one module a capability.

mod admission;
mod answers;
mod architecture;
mod baileys_folder;
mod catch_up;
mod cli;
mod commands;
mod crash;
mod debounce;
mod groups;
mod hostile;
mod login;
mod media_in;
mod outbox;
mod pairing;
mod personal;
mod process;
mod queue;
mod receipts;
mod sending;
mod sessions;
mod supervision;
mod support;
mod transfer;
mod vectors;
mod why;
