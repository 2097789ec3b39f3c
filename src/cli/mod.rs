//! Arguments, subcommands, exit codes.

use std::path::PathBuf;

use clap::{ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind, parser::ValueSource};

/// Writes a line to standard output. A reader that went away is an error, not a panic, so this needs `?`'s company.
macro_rules! say {
    ($($line:tt)*) => {
        $crate::cli::tell::line(format_args!($($line)*))?
    };
}

/// Writes an object to standard output.
macro_rules! say_json {
    ($value:expr) => {
        $crate::cli::tell::object(&$value)?
    };
}

mod args;
mod case;
mod cmd;
mod compare;
pub mod config;
mod examples;
mod exit;
mod log;
mod progress;
mod recorded;
mod session;
mod tell;

pub use exit::run_and_exit_code;

/// A terminal microscope for adversarial examples.
///
/// Opens an ONNX image classifier and an image, attacks the image, and shows how the perturbation works. Without arguments it opens the
/// bundled sample. Keys are listed under `?` inside, and by `psescope generate keys`.
#[derive(Debug, Parser)]
#[command(name = "psescope", version, override_usage = USAGE, max_term_width = 120, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    /// Configuration to read instead of ./psescope.toml and the one in the configuration folder.
    #[arg(long, global = true, value_name = "FILE", env = "PSESCOPE_CONFIG", help_heading = "Program")]
    config: Option<PathBuf>,

    /// Say what is being done: on stderr, or in the interface's log file. -vv says more.
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Program")]
    verbose: u8,

    #[command(flatten)]
    inspect: cmd::tui::Inspector,
}

const USAGE: &str = "psescope [OPTIONS] [MODEL] [IMAGE]
       psescope <COMMAND> …";

const EXAMPLES: &str = "Examples:
  psescope                                             # the bundled model and photo
  psescope resnet50.onnx cat.jpg --preprocess imagenet
  psescope attack resnet50.onnx cat.jpg --attack ifgsm --eps 8/255 --target 'red fox' --json
  psescope pse resnet50.onnx cat.jpg --attack ifgsm --target 277 --grid 14 --json
  psescope layers run.pse --timeline --csv
  psescope units run.pse --layer LAYER --exact --top 20
  psescope mask run.pse --layer LAYER --top 16 --adaptive
  psescope attack resnet50.onnx cat.jpg --out run.pse; psescope export run.pse --html run.html
  psescope view run.pse
  psescope doctor

Exit codes: 0 done; 1 attack failed (only with --exit-code); 2 usage; 3 input or model unusable; 4 runtime or device; 130 interrupted.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Attack one image without the interface.
    #[command(after_help = examples::of("attack"))]
    Attack(cmd::attack::AttackCommand),
    /// Promotion-suppression map of a perturbation.
    #[command(after_help = examples::of("pse"))]
    Pse(cmd::pse::PseCommand),
    /// Class activation map.
    #[command(after_help = examples::of("cam"))]
    Cam(cmd::cam::CamCommand),
    /// What a perturbation changes in the network, layer by layer.
    #[command(after_help = examples::of("layers"))]
    Layers(cmd::layers::LayersCommand),
    /// What it changes at one layer, unit by unit, and what each change does to the logits.
    #[command(after_help = examples::of("units"))]
    Units(cmd::units::UnitsCommand),
    /// Mask units or put them back to clean, and see whether that undoes the attack.
    #[command(after_help = examples::of("mask"))]
    Mask(cmd::mask::MaskCommand),
    /// Write the gradient graph of a model.
    #[command(after_help = examples::of("grad"))]
    Grad(cmd::grad::GradCommand),
    /// What psescope sees in a model: inputs, logits, layers, gradient coverage, preprocessing, labels.
    #[command(after_help = examples::of("inspect"))]
    Inspect(cmd::inspect::InspectCommand),
    /// What is known about a perturbation, in sentences.
    #[command(after_help = examples::of("insight"))]
    Insight(cmd::insight::InsightCommand),
    /// Over a folder: how many attacked images masking units brings back, and at what cost.
    #[command(after_help = examples::of("recovery"))]
    Recovery(cmd::recovery::RecoveryCommand),
    /// Over a folder: which units an attack moves, and whether those are the interpretable ones.
    #[command(after_help = examples::of("sensitivity"))]
    Sensitivity(cmd::sensitivity::SensitivityCommand),
    /// The inspector on a recorded run, without its model.
    #[command(after_help = examples::of("view"))]
    View(cmd::view::ViewCommand),
    /// Reports of a recorded run: page, figure, arrays, numbers.
    #[command(after_help = examples::of("export"))]
    Export(cmd::export::ExportCommand),
    /// Attack every image of a folder: one row each, in parts that a cluster can share.
    #[command(after_help = examples::of("triage"))]
    Triage(Box<cmd::triage::TriageCommand>),
    /// Print pictures in the shell.
    #[command(after_help = examples::of("show"))]
    Show(cmd::show::ShowCommand),
    /// Which concepts the units of a layer agree with (network dissection); makes concept data too.
    #[command(after_help = examples::of("dissect"))]
    Dissect(cmd::dissect::DissectCommand),
    /// What was found on this machine, what was chosen, and why.
    #[command(after_help = examples::of("doctor"))]
    Doctor(cmd::doctor::DoctorCommand),
    /// ONNX Runtime: install it into the user's cache.
    #[command(subcommand)]
    #[command(after_help = examples::of("runtime"))]
    Runtime(cmd::runtime::RuntimeCommand),
    /// Shell completions, man page, commented configuration, key table, commented theme.
    #[command(subcommand)]
    #[command(after_help = examples::of("generate"))]
    Generate(cmd::generate::GenerateCommand),
}

impl Cli {
    /// The arguments, unless some of the inspector's stand before a subcommand, where they would mean nothing.
    fn from_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        if let Some(name) = matches.subcommand_name() {
            let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine) && !["config", "verbose"].contains(&id);
            let misplaced = matches.ids().map(clap::Id::as_str).find(|id| matches.try_contains_id(id).is_ok() && given(id));
            if let Some(id) = misplaced {
                let text = format!("'{}' stands before '{name}', where it means nothing; write it after '{name}'", id.replace('_', "-"));
                return Err(Self::command().error(ErrorKind::ArgumentConflict, text));
            }
        }
        Self::from_arg_matches(matches)
    }

    /// Runs the chosen subcommand.
    fn run(self) -> anyhow::Result<exit::Done> {
        // The inspector keeps a log of its own.
        if !matches!(self.command, None | Some(Command::View(_))) {
            log::init(self.verbose);
        }
        match self.command {
            None => self.inspect.run(self.verbose),
            Some(Command::Attack(c)) => c.run(),
            Some(Command::Pse(c)) => c.run(),
            Some(Command::Cam(c)) => c.run(),
            Some(Command::Layers(c)) => c.run(),
            Some(Command::Units(c)) => c.run(),
            Some(Command::Mask(c)) => c.run(),
            Some(Command::Grad(c)) => c.run(),
            Some(Command::Inspect(c)) => c.run(),
            Some(Command::Insight(c)) => c.run(),
            Some(Command::Recovery(c)) => c.run(),
            Some(Command::Sensitivity(c)) => c.run(),
            Some(Command::View(c)) => c.run(self.verbose),
            Some(Command::Export(c)) => c.run(),
            Some(Command::Triage(c)) => c.run(),
            Some(Command::Show(c)) => c.run(),
            Some(Command::Dissect(c)) => c.run(),
            Some(Command::Doctor(c)) => c.run(),
            Some(Command::Runtime(c)) => c.run(),
            Some(Command::Generate(c)) => c.run(),
        }
    }
}
