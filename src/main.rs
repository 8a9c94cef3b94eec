use std::process::ExitCode;

fn main() -> ExitCode {
    verso::cli::run(std::env::args_os())
}
