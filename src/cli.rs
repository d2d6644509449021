//! The command line: one file per command. A command opens what it needs, does one thing, prints it for a person or as
//! JSON, and fails with a code, a sentence and a remedy.

pub(crate) mod open;
pub(crate) mod output;

mod account;
mod alarm;
mod audit;
mod backup;
mod completions;
mod demo;
mod device;
mod dhcp;
mod directory;
mod export;
mod firmware;
mod fkey;
mod import;
mod key;
mod plan;
mod profile;
mod rearm;
mod restore;
mod run;
mod scan;
mod simulate;
mod site;
mod tls;
mod token;
mod url;
mod why;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::config::{self, Config, ConfigError, Places};
pub(crate) use crate::operate::{Exit, Failure};

/// Zero-touch provisioning agent for SIP desk phones.
#[derive(Debug, Parser)]
#[command(name = "offhook", version, propagate_version = true, max_term_width = 100)]
struct CommandLine {
    /// Configuration file (default: offhook.toml in the configuration folder, if it exists)
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve phones: hear PnP, hand out URLs, serve files by HTTP and TFTP
    Run(run::Args),
    /// The real agent and a few simulated phones on loopback: the whole job before your eyes
    Demo(demo::Args),
    /// A phone's whole life on the wire, against this or any other server
    Simulate(simulate::Args),
    /// Bring phones, accounts and function keys from a file
    Import(import::Args),
    /// Write the inventory in the form that import reads
    Export(export::Args),
    /// The phones of the inventory, and those that wait for approval
    #[command(subcommand)]
    Device(device::Args),
    /// SIP accounts, on phones and in the pool
    #[command(subcommand)]
    Account(account::Args),
    /// What phones have in common: settings of the site, of a vendor, of a model
    #[command(subcommand)]
    Site(site::Args),
    /// Function keys: plans of the site, of vendors and models, and those of single phones
    #[command(subcommand)]
    Fkey(fkey::Args),
    /// The company directory on the phones: bring contacts, list and remove them
    #[command(subcommand)]
    Directory(directory::Args),
    /// Firmware: the catalog of releases, and what each phone gets next
    #[command(subcommand)]
    Firmware(firmware::Args),
    /// What would change for phones, against what each fetched last
    Plan(plan::Args),
    /// What the LAN's DHCP server has to tell the phones
    #[command(subcommand)]
    Dhcp(dhcp::Args),
    /// Find phones that did not ask: who is there, which of them are phones, and what has changed since the last time
    Scan(scan::Args),
    /// Let the passwords of many phones leave once more
    Rearm(rearm::Args),
    /// The exact path to type into a phone, and where
    Url(url::Args),
    /// Why a phone does not come up: the first step that broke, and what to do about it
    Why(why::Args),
    /// Who did what and when; and whether that record is whole
    Audit(audit::Args),
    /// What an administrator should look at
    #[command(subcommand)]
    Alarm(alarm::Args),
    /// What programs may do by the REST API, and until when
    #[command(subcommand)]
    Token(token::Args),
    /// Save everything in one file, passwords sealed; the key is not in it
    Backup(backup::Args),
    /// Make a backup the database again; nothing that was there is lost
    Restore(restore::Args),
    /// The key that all passwords are sealed with
    #[command(subcommand)]
    Key(key::Args),
    /// The certificates of this host, and our own authority for phones to trust
    #[command(subcommand)]
    Tls(tls::Args),
    /// Vendor profiles: list, check, test, render, identify
    #[command(subcommand)]
    Profile(profile::Args),
    /// Shell completions
    Completions(completions::Args),
}

/// What a command needs to know about where it runs.
pub(crate) struct Context {
    /// The configuration, read and understood.
    pub(crate) config: Config,
    /// Its file, if there is one.
    pub(crate) config_file: Option<PathBuf>,
    /// The folders of this installation.
    pub(crate) places: Places,
    /// Whether to print JSON.
    pub(crate) json: bool,
}

pub(crate) type Outcome = Result<(), Failure>;

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage("config", error.to_string(), "examples/offhook.toml shows every key with its default")
    }
}

/// Runs the program; the only place that turns a failure into text and an exit code.
pub fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => return misused(&error, std::env::args_os()),
    };
    let json = line.json;
    let failure = match run_command(line) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(failure) => failure,
    };
    if !failure.message.is_empty() {
        output::failure(&failure, json);
    }
    ExitCode::from(match failure.exit {
        Exit::No => 1,
        Exit::Usage => 2,
        Exit::Failed => 3,
    })
}

/// A command line that was not understood (or asked for help): in clap's words for a person, as an error object for a
/// program.
fn misused(error: &clap::Error, mut words: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    if error.use_stderr() && words.any(|word| word == "--json") {
        output::failure(&misuse(error), true);
    } else {
        // A closed pipe is nobody's trouble.
        let _ = error.print();
    }
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

fn misuse(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let said = text.split("\n\n").next().unwrap_or_default();
    let said = said.strip_prefix("error: ").unwrap_or(said).trim();
    Failure::usage("usage", said, "offhook help, or --help after the command, shows what it takes")
}

fn run_command(line: CommandLine) -> Outcome {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| {
        Failure::failed(
            "runtime",
            format!("cannot start the async runtime: {error}"),
            "check the limits of this user",
        )
    })?;
    let context = context(line.config.as_deref(), line.json)?;
    log_to_stderr(matches!(line.command, Command::Run(_)), line.json);
    runtime.block_on(async {
        match line.command {
            Command::Run(args) => run::run(args, context).await,
            Command::Demo(args) => demo::run(args, context).await,
            Command::Simulate(args) => simulate::run(args, context).await,
            Command::Import(args) => import::run(args, &context).await,
            Command::Export(args) => export::run(args, &context).await,
            Command::Device(args) => device::run(args, &context).await,
            Command::Account(args) => account::run(args, &context).await,
            Command::Site(args) => site::run(args, &context).await,
            Command::Fkey(args) => fkey::run(args, &context).await,
            Command::Directory(args) => directory::run(args, &context).await,
            Command::Firmware(args) => firmware::run(args, &context).await,
            Command::Plan(args) => plan::run(args, &context).await,
            Command::Dhcp(args) => dhcp::run(args, &context).await,
            Command::Scan(args) => scan::run(args, &context).await,
            Command::Rearm(args) => rearm::run(args, &context).await,
            Command::Url(args) => url::run(args, &context).await,
            Command::Why(args) => why::run(args, &context).await,
            Command::Audit(args) => audit::run(args, &context).await,
            Command::Alarm(args) => alarm::run(args, &context).await,
            Command::Token(args) => token::run(args, &context).await,
            Command::Backup(args) => backup::run(args, &context).await,
            Command::Restore(args) => restore::run(args, &context).await,
            Command::Key(args) => key::run(args, &context).await,
            Command::Tls(args) => tls::run(&args, &context),
            Command::Profile(args) => profile::run(args, &context).await,
            Command::Completions(args) => {
                completions::run(&args);
                Ok(())
            }
        }
    })
}

/// Events go to standard error: a running agent's from INFO on, a command's only when something is wrong. `OFFHOOK_LOG`
/// says otherwise (`debug`, `offhook::pnp=trace`).
fn log_to_stderr(runs: bool, json: bool) {
    let usual = if runs { "info" } else { "warn" };
    let wanted = std::env::var("OFFHOOK_LOG").unwrap_or_else(|_| usual.to_owned());
    let filter = EnvFilter::try_new(&wanted).unwrap_or_else(|_| EnvFilter::new(usual));
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if json {
        log.json().init();
    } else {
        log.with_ansi(std::io::stderr().is_terminal()).init();
    }
}

/// Reads the configuration and settles the folders. With `--config`, that file's folder is the configuration folder.
fn context(config_file: Option<&Path>, json: bool) -> Result<Context, Failure> {
    let usual = Places::usual(is_system_user(), |name| std::env::var(name).ok());
    // Not `std::env::vars`, which panics on a variable that is not UTF-8, whosever it is.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let loaded = config::load(config_file, &usual.config.join("offhook.toml"), environment)?;
    let mut places = usual.with_data(loaded.config.agent.data_dir.as_deref());
    if let Some(folder) = config_file.and_then(Path::parent) {
        places.config = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() };
    }
    Ok(Context { config: loaded.config, config_file: loaded.file, places, json })
}

/// Whether the folders of the whole host are this user's: root's, and those of the user that the service runs as.
fn is_system_user() -> bool {
    use std::os::unix::fs::MetadataExt;
    let user = nix::unistd::Uid::effective();
    let data = Places::usual(true, |_| None).data;
    user.is_root() || std::fs::metadata(data).is_ok_and(|data| data.uid() == user.as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misuse_is_told_to_programs_too() {
        let error = CommandLine::try_parse_from(["offhook", "--json", "device", "show", "zz"]).unwrap_err();
        let failure = misuse(&error);
        assert_eq!((failure.exit, failure.code), (Exit::Usage, "usage"));
        assert!(failure.message.starts_with("invalid value 'zz' for '<MAC>'"), "{}", failure.message);
        assert!(!failure.message.contains('\n'), "{}", failure.message);
    }
}
