use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(verso::cli::run(std::env::args_os()))
}
