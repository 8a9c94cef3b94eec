//! Behaviour, from phone to phone: one module a capability.

mod admission;
mod answers;
mod catch_up;
mod architecture;
mod cli;
mod commands;
mod crash;
mod debounce;
mod groups;
mod hostile;
mod login;
mod pairing;
mod personal;
mod process;
mod receipts;
mod supervision;
mod support;
mod vectors;
