//! `farmgate admin`

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use super::Failure;
use crate::admin::ca::{
    self, Authority, CaError, Done, Format, Init, Issued, KeyType, Name, Password, Reason, Row, State,
};
use crate::config;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make the CA that vouches for administrators, or take over an existing one.
    Init(InitArguments),
    /// Make a key and a certificate for somebody (NAME.p12), or sign their request (NAME.crt).
    Issue(IssueArguments),
    /// On your own machine: make a key (NAME.key) and a request (NAME.csr) for the operator to sign.
    Request(RequestArguments),
    /// On your own machine: put NAME.key and the NAME.crt you were sent into NAME.p12, for the browser.
    Bundle(BundleArguments),
    /// Revoke somebody's certificates, or one. Counts from the next request on, without a reload.
    Revoke(RevokeArguments),
    /// Show every certificate that was issued.
    List(ListArguments),
}

#[derive(Debug, Args)]
pub(super) struct InitArguments {
    /// Its name: "/C=DE/O=GNU Guix/CN=Admin CA", or only the common name. [default: made of the first site's name]
    #[arg(long)]
    subject: Option<String>,
    /// How long it is valid. Certificates end with it.
    #[arg(long, default_value_t = 3650)]
    days: u32,
    #[arg(long, default_value_t, value_parser = key_types(), help = "The kind of key")]
    key_type: KeyType,
    /// Take over this CA instead of making one: what it signed stays valid.
    #[arg(long, num_args = 2, value_names = ["CERT", "KEY"], conflicts_with_all = ["subject", "days", "key_type"])]
    import: Option<Vec<PathBuf>>,
}

#[derive(Debug, Args)]
pub(super) struct IssueArguments {
    /// Whose it is. With --csr it can be left out: then the common name of the request counts.
    #[arg(required_unless_present = "csr")]
    name: Option<String>,
    /// How long it is valid.
    #[arg(long, default_value_t = 365)]
    days: u32,
    /// Sign this request (PEM or DER). Only the key and the name are taken from it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key_type", "password_file", "ask_password", "legacy"])]
    csr: Option<PathBuf>,
    #[arg(long, default_value_t, value_parser = key_types(), help = "The kind of key")]
    key_type: KeyType,
    #[command(flatten)]
    bundle: BundleOptions,
}

#[derive(Debug, Args)]
pub(super) struct RequestArguments {
    /// Your name.
    name: String,
    #[arg(long, default_value_t, value_parser = key_types(), help = "The kind of key")]
    key_type: KeyType,
}

#[derive(Debug, Args)]
pub(super) struct BundleArguments {
    /// The name of the two files, without .key and .crt.
    name: String,
    #[command(flatten)]
    bundle: BundleOptions,
}

/// What .p12 to write.
#[derive(Debug, Args)]
struct BundleOptions {
    /// Take the password from the first line of this file. Without, one is made up and shown once.
    #[arg(long, value_name = "FILE", conflicts_with = "ask_password")]
    password_file: Option<PathBuf>,
    /// Ask for the password.
    #[arg(long)]
    ask_password: bool,
    /// Encrypt with triple-DES and SHA-1, for importers that say "wrong password" otherwise (macOS through 14, old
    /// Windows and Android). Weaker: whoever gets hold of the file guesses its password faster. Send it on a safe
    /// way, and remove it once it is imported.
    #[arg(long)]
    legacy: bool,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArguments {
    /// A name, which revokes all its certificates, or a serial number.
    #[arg(value_name = "NAME|SERIAL")]
    which: String,
    #[arg(long, default_value_t, value_parser = reasons(), help = "Why; also in the list for others")]
    reason: Reason,
    /// Take a serial number that is not in the register: of a certificate from before the CA was taken over.
    #[arg(long)]
    unlisted: bool,
}

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, command: Command) -> Result<(), Failure> {
    let here = Path::new("");
    match command {
        Command::Init(arguments) => init(config, arguments),
        Command::Issue(arguments) => issue(config, &arguments, here),
        Command::Request(arguments) => request(&arguments, here),
        Command::Bundle(arguments) => bundle(&arguments, here),
        Command::Revoke(arguments) => revoke(config, &arguments),
        Command::List(arguments) => list(config, &arguments),
    }
}

fn init(config: &Path, arguments: InitArguments) -> Result<(), Failure> {
    let config = config::load(config)?.config;
    let done = match arguments.import.as_deref() {
        Some([certificate, key]) => ca::import(&config.paths.state, certificate, key)?,
        _ => {
            let subject = arguments.subject.unwrap_or_else(|| default_subject(&config));
            let (days, key_type) = (arguments.days, arguments.key_type);
            ca::init(&config.paths.state, &Init { subject, days, key_type })?
        }
    };
    println!("The admin CA is in {}.", done.made.parent().unwrap_or(&done.made).display());
    print_notes(&done.notes);
    if done.made == config.admin.client_ca {
        println!("Next: farmgate admin issue NAME");
    } else {
        // A gate that goes by another CA lets nobody in with what this one issues, unless they are one.
        println!(
            "The gate goes by admin.client_ca = \"{}\": if that is not the same CA, leave that line out.",
            config.admin.client_ca.display()
        );
    }
    Ok(())
}

fn issue(config: &Path, arguments: &IssueArguments, here: &Path) -> Result<(), Failure> {
    let name = arguments.name.as_deref().map(name).transpose()?;
    let authority = Authority::open(&config::load(config)?.config.paths.state)?;
    if let Some(csr) = &arguments.csr {
        let done = authority.sign(csr, name.as_ref(), arguments.days, here)?;
        print_issued(&done);
        return Ok(());
    }
    // clap takes no command line without either.
    let name = name.ok_or_else(|| Failure::Wrong("expected a NAME".into()))?;
    let chosen = arguments.bundle.password(&name)?;
    let (password, format) = (&chosen.password, arguments.bundle.format());
    let done = authority.issue(&name, arguments.days, arguments.key_type, (password, format), here)?;
    print_issued(&done);
    chosen.show();
    Ok(())
}

fn request(arguments: &RequestArguments, here: &Path) -> Result<(), Failure> {
    let [key, request] = ca::request(&name(&arguments.name)?, arguments.key_type, here)?;
    println!("{}: your key. It stays here.", key.display());
    println!("{}: for the operator, who signs it with", request.display());
    println!("    farmgate admin issue --csr {}", request.display());
    println!("Then, with the .crt you get: farmgate admin bundle '{}'", arguments.name);
    Ok(())
}

fn bundle(arguments: &BundleArguments, here: &Path) -> Result<(), Failure> {
    let name = name(&arguments.name)?;
    let chosen = arguments.bundle.password(&name)?;
    let done = ca::bundle(&name, &chosen.password, arguments.bundle.format(), here)?;
    println!("{}: for the browser.", done.made.display());
    print_notes(&done.notes);
    chosen.show();
    Ok(())
}

fn revoke(config: &Path, arguments: &RevokeArguments) -> Result<(), Failure> {
    let authority = Authority::open(&config::load(config)?.config.paths.state)?;
    let done = authority.revoke(&arguments.which, arguments.reason, arguments.unlisted)?;
    if done.made.is_empty() {
        println!("Nothing to revoke: every certificate of {} has expired.", arguments.which);
    }
    for one in &done.made {
        let when = if one.now { "revoked" } else { "was revoked before" };
        println!("{} {}: {when}", one.serial, one.name);
    }
    print_notes(&done.notes);
    Ok(())
}

fn list(config: &Path, arguments: &ListArguments) -> Result<(), Failure> {
    let rows = ca::list(&config::load(config)?.config.paths.state)?;
    if arguments.json {
        let json = serde_json::to_string_pretty(&rows).map_err(|error| Failure::Failed(error.to_string()))?;
        println!("{json}");
        return Ok(());
    }
    let cells: Vec<[String; 6]> = rows.iter().map(cells).collect();
    let titles = ["NAME", "SERIAL", "FROM", "UNTIL", "STATE", "LAST SEEN"].map(str::to_owned);
    let width = |column: usize| {
        [&titles].into_iter().chain(&cells).map(|row| row[column].chars().count()).max().unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    for row in [&titles].into_iter().chain(&cells) {
        let line: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("{}", line.join("  ").trim_end());
    }
    Ok(())
}

fn cells(row: &Row) -> [String; 6] {
    let state = match (row.state, row.revoked_day(), row.reason) {
        (State::Revoked, Some(day), Some(Reason::Unspecified) | None) => format!("revoked {day}"),
        (State::Revoked, Some(day), Some(reason)) => format!("revoked {day} ({reason})"),
        (State::Revoked, None, _) => "revoked".into(),
        (State::Valid, ..) => "valid".into(),
        (State::Expired, ..) => "expired".into(),
        (State::Unlisted, ..) => "not issued here".into(),
    };
    let last_seen = row.last_seen.clone().unwrap_or_else(|| "-".into());
    let name = if row.name.is_empty() { "?".into() } else { row.name.clone() };
    [name, row.serial.clone(), row.first_day(), row.last_day(), state, last_seen]
}

impl BundleOptions {
    fn password(&self, name: &Name) -> Result<Chosen, Failure> {
        if let Some(file) = &self.password_file {
            return Ok(Chosen { password: Password::read(file)?, made_up: false });
        }
        if self.ask_password {
            return Ok(Chosen { password: Password::ask(&name.file("p12"))?, made_up: false });
        }
        Ok(Chosen { password: Password::generate()?, made_up: true })
    }

    fn format(&self) -> Format {
        if self.legacy { Format::Legacy } else { Format::Modern }
    }
}

/// A password, and whether anybody knows it yet.
struct Chosen {
    password: Password,
    made_up: bool,
}

impl Chosen {
    fn show(&self) {
        if self.made_up {
            println!("Password: {}", self.password.as_str());
            println!("It is shown only now. Whoever imports the file is asked for it.");
        }
    }
}

fn default_subject(config: &config::Config) -> String {
    let site = config.sites.first().and_then(|site| site.names.first());
    // An organization name has 64 characters at the most.
    let site = site.filter(|name| name.chars().count() <= 64 && !name.contains(['/', '\\']));
    site.map_or("farmgate admin CA".into(), |site| format!("/O={site}/CN=farmgate admin CA"))
}

fn print_issued(done: &Done<Issued>) {
    let issued = &done.made;
    println!("{}: certificate {} for {}", issued.file.display(), issued.serial, issued.name);
    println!("Valid through {} (UTC).", issued.last_day());
    print_notes(&done.notes);
}

fn print_notes(notes: &[String]) {
    for note in notes {
        eprintln!("{note}");
    }
}

fn name(text: &str) -> Result<Name, Failure> {
    Ok(text.parse::<Name>().map_err(CaError::from)?)
}

fn key_types() -> impl TypedValueParser<Value = KeyType> {
    PossibleValuesParser::new(KeyType::ALL.map(KeyType::token)).try_map(|text| text.parse::<KeyType>())
}

fn reasons() -> impl TypedValueParser<Value = Reason> {
    PossibleValuesParser::new(Reason::ALL.map(Reason::token)).try_map(|text| text.parse::<Reason>())
}

impl From<CaError> for Failure {
    fn from(error: CaError) -> Self {
        let text = error.to_string();
        if error.is_usage() { Self::Wrong(text) } else { Self::Failed(text) }
    }
}
