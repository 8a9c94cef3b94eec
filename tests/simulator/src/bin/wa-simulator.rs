//! The simulator as a program: prints one JSON line with its addresses, then serves until `shutdown`, Ctrl-C or SIGTERM.

use std::io::Write as _;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use wa_simulator::World;
use wa_simulator::control::Control;

/// A WhatsApp multi-device server on loopback, with simulated phones, driven over HTTP.
#[derive(Parser)]
struct Args {
    /// Port of the WebSocket; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    ws_port: u16,
    /// Port of the control API; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    control_port: u16,
    /// Tell companions at pairing to address chats by phone number instead of LID.
    #[arg(long)]
    pn_addressing: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    let world = World::builder().ws_port(args.ws_port).lid_addressing(!args.pn_addressing).start().await?;
    let control = Control::start(world.clone(), args.control_port).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", control.addresses(&world))?;
    stdout.flush()?;

    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        () = control.ended() => {}
        result = tokio::signal::ctrl_c() => result?,
        _ = terminate.recv() => {}
    }
    world.shutdown();
    Ok(())
}
