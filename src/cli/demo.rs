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
            _ = tokio::signal::ctrl_c() => {
                println!();
                Ok(true)
            }
        };
        stage.stop().await;
        Ok(if held? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}
