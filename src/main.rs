use clap::Parser;
#[derive(Parser)]
enum C {
    #[cfg(feature = "demo")]
    Demo(verso::cli::demo::DemoArgs),
}
fn main() -> std::process::ExitCode {
    if let Ok(f) = std::env::var("VERSO_LOG") {
        tracing_subscriber::fmt().with_env_filter(f).with_writer(std::io::stderr).init();
    }
    match C::parse() {
        #[cfg(feature = "demo")]
        C::Demo(a) => verso::cli::demo::run(&a).unwrap(),
    }
}
