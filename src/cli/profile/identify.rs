//! `offhook profile identify`: which phone this is, from what it says of itself or shows to whoever asks.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::{Context, Failure, Outcome, output};
use super::catalog;
use crate::device::{Mac, Source, Vendor};
use crate::pnp::message::Subscribe;
use crate::profile::{Catalog, Certainty, Clue, ReadClue, WebAnswer};

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Args {
    /// The User-Agent of an HTTP request
    #[arg(long, value_name = "S")]
    user_agent: Option<String>,
    /// The User-Agent of a SIP message
    #[arg(long, value_name = "S")]
    sip_user_agent: Option<String>,
    /// DHCP option 60
    #[arg(long, value_name = "S")]
    vendor_class: Option<String>,
    /// A file with a SUBSCRIBE, as captured
    #[arg(long, value_name = "FILE")]
    subscribe: Option<PathBuf>,
    /// The title of the host's web page
    #[arg(long, value_name = "S")]
    title: Option<String>,
    /// The realm that its web server asks a password for
    #[arg(long, value_name = "S")]
    realm: Option<String>,
    /// The Server header of its web server
    #[arg(long, value_name = "S")]
    server: Option<String>,
    /// A file with what it answered to GET /, headers and body
    #[arg(long, value_name = "FILE")]
    answer: Option<PathBuf>,
    /// An identity page that it was asked for, as the profile has its path, and a file with its body
    #[arg(long, num_args = 2, value_names = ["P", "FILE"])]
    page: Vec<String>,
    /// The path of an HTTP or TFTP request
    #[arg(long, value_name = "P")]
    path: Option<String>,
    /// The hardware address
    #[arg(long)]
    mac: Option<Mac>,
}

#[derive(Serialize)]
struct IdentifiedRow<'a> {
    vendor: Option<&'a Vendor>,
    model: Option<&'a str>,
    firmware: Option<&'a str>,
    mac: Option<Mac>,
    confidence: u8,
    certainty: Certainty,
    clues: &'a [ReadClue],
    contradictions: &'a [String],
}

pub(super) fn run(args: &Args, context: &Context) -> Outcome {
    let catalog = catalog(context);
    let found = catalog.identify(&clues(args, &catalog)?);
    let identity = &found.identity;
    let row = IdentifiedRow {
        vendor: identity.vendor.as_ref(),
        model: identity.model.as_deref(),
        firmware: identity.firmware.as_deref(),
        mac: identity.mac,
        confidence: found.confidence,
        certainty: found.certainty(),
        clues: &found.clues,
        contradictions: &found.contradictions,
    };
    if context.json {
        output::value(&row);
    } else {
        output::print(&sentence(&row));
    }
    // A hint is not nothing, but a MAC that was typed in and lies in nobody's range is.
    let recognised = found.clues.iter().any(|clue| clue.vendor.is_some() || clue.model.is_some());
    if recognised { Ok(()) } else { Err(Failure::told()) }
}

fn sentence(row: &IdentifiedRow<'_>) -> String {
    let text = |value: Option<&str>| value.unwrap_or("unknown").to_owned();
    let mut said = format!(
        "vendor      {}\nmodel       {}\nfirmware    {}\nmac         {}\nconfidence  {}, {}\n",
        text(row.vendor.map(Vendor::as_str)),
        text(row.model),
        text(row.firmware),
        text(row.mac.map(|mac| mac.to_string()).as_deref()),
        row.confidence,
        row.certainty.as_str()
    );
    for clue in row.clues {
        let vendor = clue.vendor.as_ref().map_or("no vendor", Vendor::as_str);
        let (source, text, confidence) = (clue.source.as_str(), &clue.text, clue.confidence);
        let _ = writeln!(said, "clue        {source}: {text} ({vendor}, {confidence})");
    }
    for contradiction in row.contradictions {
        let _ = writeln!(said, "but         {contradiction}");
    }
    said
}

fn clues(args: &Args, catalog: &Catalog) -> Result<Vec<Clue>, Failure> {
    let texts = [
        (Source::HttpUserAgent, &args.user_agent),
        (Source::SipUserAgent, &args.sip_user_agent),
        (Source::DhcpVendorClass, &args.vendor_class),
        (Source::HttpPath, &args.path),
        (Source::HttpTitle, &args.title),
        (Source::HttpRealm, &args.realm),
        (Source::HttpServer, &args.server),
    ];
    let mut clues: Vec<Clue> =
        texts.into_iter().filter_map(|(source, text)| Some(Clue::new(source, text.clone()?))).collect();
    clues.extend(args.mac.map(|mac| Clue::new(Source::Oui, mac.to_string())));
    if let Some(file) = &args.subscribe {
        clues.extend(subscribe_clues(file)?);
    }
    if let Some(file) = &args.answer {
        clues.extend(answer_clues(file, catalog)?);
    }
    if let [path, file] = args.page.as_slice() {
        if catalog.pages_at(path).next().is_none() {
            return Err(Failure::no(
                "not_found",
                format!("no profile has a page {path}"),
                "write the path as a [[page]] has it, with its query; offhook profile check names pages that are wrong",
            ));
        }
        let body = bytes_of(Path::new(file))?;
        clues.extend(catalog.pages_at(path).flat_map(|page| page.clues(&body)));
    }
    Ok(clues)
}

fn bytes_of(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| {
        Failure::usage(
            "unreadable",
            format!("cannot read {}: {error}", file.display()),
            "name a readable file",
        )
    })
}

fn answer_clues(file: &Path, catalog: &Catalog) -> Result<Vec<Clue>, Failure> {
    let bytes = bytes_of(file)?;
    let Some(answer) = WebAnswer::read(&bytes) else {
        return Err(Failure::no(
            "not_an_answer",
            format!("{} is no answer of a web server", file.display()),
            "give it as it came, from the line HTTP/1.1 200 OK on",
        ));
    };
    let on_page = catalog.pages_at("/").flat_map(|page| page.clues(answer.body()));
    Ok(answer.clues().into_iter().chain(on_page).collect())
}

fn subscribe_clues(file: &Path) -> Result<Vec<Clue>, Failure> {
    let bytes = bytes_of(file)?;
    let subscribe = Subscribe::parse(&bytes).map_err(|error| {
        Failure::no(
            "not_a_subscribe",
            format!("{}: {error}", file.display()),
            "give one SUBSCRIBE as it came, header by header",
        )
    })?;
    Ok(subscribe.clues())
}
