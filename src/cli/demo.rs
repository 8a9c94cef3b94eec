//! `verso demo`: a simulated WhatsApp, a real gateway and a prompt between them. Only in builds with the feature `demo`.

mod check;
mod prompt;
mod stage;

use std::process::ExitCode;

use stage::Stage;

/// Arguments of `verso demo`.
#[derive(clap::Args, Debug)]
pub struct DemoArgs {
    /// Play a scripted tour without a prompt and exit with 0 only if everything held.
    #[arg(long)]
    check: bool,
}

/// Runs the demo until it is over or Ctrl-C ends it. Everything it wrote goes with it.
///
/// # Errors
/// When the simulator or the gateway cannot be started.
pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let system = actix::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started")
    });
    system.block_on(async {
        let stage = Stage::start().await?;
        let work =
            async { if args.check { check::run(&stage).await } else { prompt::run(&stage).await.map(|()| true) } };
        let held = tokio::select! {
            held = work => held,
            ended = until_signal() => {
                println!();
                ended.map(|()| true)
            }
        };
        stage.stop().await;
        let code = i32::from(!held?);
        // Not by returning: a thread that waits for the next line of the prompt would hold the process until Enter is pressed.
        std::process::exit(code)
    })
}

/// Ctrl-C, or the end of the terminal or session.
async fn until_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut int, mut term, mut hup) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    tokio::select! { _ = int.recv() => {}, _ = term.recv() => {}, _ = hup.recv() => {} }
    Ok(())
}
