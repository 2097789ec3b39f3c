//! `psescope doctor`: what was found on this machine, what was chosen, and why.

use clap::Args;

use crate::{
    cli::{args::ModelArgs, exit::Done},
    runtime::doctor,
    tui,
};

/// What was found on this machine, what was chosen, and why.
#[derive(Debug, Args)]
pub struct DoctorCommand {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model_args: ModelArgs,
}

impl DoctorCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        let found = doctor::gather(&self.model_args.runtime());
        let terminal = tui::doctor::report();
        if self.json {
            println!(
                "{}",
                serde_json::json!({"schema": "psescope.doctor/1", "version": env!("CARGO_PKG_VERSION"), "runtime": found, "terminal": terminal})
            );
        } else {
            for line in found.lines() {
                println!("{line}");
            }
            println!("terminal");
            for (name, value) in terminal {
                println!("  {name:<12} {value}");
            }
        }
        Ok(Done::Yes)
    }
}
