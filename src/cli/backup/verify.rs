//! `verso backup verify`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::secret::OpenArgs;
use super::{Failure, Printer, described, failed, input, lines, show, staged};
use crate::store::backup::read::{Unpack, unpack};

/// Arguments of `verso backup verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The archive, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    open: OpenArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs `verso backup verify`.
pub(super) fn run(args: &VerifyArgs, p: &mut Printer<'_>) -> Result<(), Failure> {
    let scratch = staged::scratch()?;
    let unpacking =
        Unpack { into: scratch.path(), judge: &mut |_| Ok(()), wants: &|member| staged::is_looked_into(member) };
    let contents =
        unpack(input(&args.file)?, &mut |lock| args.open.key(lock), unpacking).map_err(|e| failed(&args.file, e))?;
    let remarks = staged::check(scratch.path(), &contents.manifest).map_err(|why| {
        Failure::new(format!("{} is as it was written, but cannot be used: {why}", args.file.display()))
    })?;
    let mut value = described(&contents.manifest, &contents.members, contents.lock);
    value["ok"] = json!(true);
    value["warnings"] = json!(remarks);
    show(p, &value, || {
        let mut out = lines(&contents.manifest, &contents.members, contents.lock);
        out.extend(remarks.iter().map(|remark| format!("warning: {remark}")));
        out.push("Every byte is as it was written; the databases and the configuration can be read.".into());
        out
    });
    Ok(())
}
