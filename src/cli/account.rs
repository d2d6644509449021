//! `offhook account`: SIP accounts, on phones and in the pool. A password comes by standard input, never as an argument:
//! arguments are seen by every user of the host.

use serde::Serialize;

use super::{Context, Failure, Outcome, open, output};
use crate::accounts::is_host;
use crate::device::{Mac, Srtp, Transport};
use crate::operate::view::AccountShown;
use crate::release::{Grant, GrantId};
use crate::store::{Holding, NewAccount, Store};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// List the accounts
    List {
        /// Only those of the pool
        #[arg(long)]
        pool: bool,
    },
    /// Add an account to the pool, or to a phone; its password comes by standard input
    Add(Box<Add>),
    /// Give an account a new password, by standard input
    SetPassword {
        /// NAME, or NAME@REGISTRAR
        account: String,
    },
    /// Put an account on a phone, or back into the pool
    Move {
        /// NAME, or NAME@REGISTRAR
        account: String,
        /// A phone's MAC, or pool
        to: Destination,
        /// Which line; the next free one if none is given
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..=100))]
        line: Option<u16>,
    },
    /// Remove an account, from its phone too
    Remove {
        /// NAME, or NAME@REGISTRAR
        account: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// The user part of the SIP address
    username: String,
    /// The name in the digest, where it is another one
    #[arg(long)]
    auth_id: Option<String>,
    /// What the other side's display shows
    #[arg(long)]
    display_name: Option<String>,
    /// What the phone shows beside the line key
    #[arg(long)]
    label: Option<String>,
    /// HOST or HOST:PORT, where it is not the site's
    #[arg(long)]
    registrar: Option<String>,
    /// udp, tcp or tls, where it is not the site's
    #[arg(long)]
    transport: Option<Transport>,
    /// HOST or HOST:PORT
    #[arg(long)]
    outbound_proxy: Option<String>,
    /// off, optional or mandatory
    #[arg(long)]
    srtp: Option<Srtp>,
    /// Ask for no password
    #[arg(long)]
    without_password: bool,
    /// Put it on this phone's next free line
    #[arg(long, value_name = "MAC")]
    to: Option<Mac>,
}

/// Where an account goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Destination {
    Pool,
    Device(Mac),
}

impl std::str::FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "pool" => Ok(Self::Pool),
            mac => mac.parse().map(Self::Device).map_err(|error| format!("{error}, or 'pool'")),
        }
    }
}

/// One account as listings show it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    account: AccountShown<'a>,
    label: Option<&'a str>,
    mac: Option<Mac>,
    line: Option<u16>,
}

impl<'a> Shown<'a> {
    fn new(holding: &'a Holding) -> Self {
        Self {
            account: AccountShown::new(&holding.account),
            label: holding.label.as_deref(),
            mac: holding.on.map(|(mac, _)| mac),
            line: holding.on.map(|(_, line)| line),
        }
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let store = open::store(context).await?;
    match args {
        Args::List { pool } => {
            list(context, &store, pool);
            Ok(())
        }
        Args::Add(add) => {
            let holding = add_account(&store, *add).await?;
            told(context, &holding, "is added");
            Ok(())
        }
        Args::SetPassword { account } => {
            store.inventory().find_account(&account)?;
            let password = open::read_secret(&format!("new password of {account}"))?;
            let holding = store.set_password(&account, &password).await?;
            told(context, &holding, &format!("has a new password; {}", follows(&store, &holding)));
            Ok(())
        }
        Args::Move { account, to, line } => {
            let to = match to {
                Destination::Pool => None,
                Destination::Device(mac) => Some((mac, line)),
            };
            let holding = store.move_account(&account, to).await?;
            told(context, &holding, "is moved");
            Ok(())
        }
        Args::Remove { account } => {
            let holding = store.remove_account(&account).await?;
            told(context, &holding, "is removed");
            Ok(())
        }
    }
}

fn list(context: &Context, store: &Store, pool: bool) {
    let holdings = store.inventory().accounts();
    let rows: Vec<Shown<'_>> =
        holdings.iter().filter(|holding| !pool || holding.on.is_none()).map(Shown::new).collect();
    let heads = ["USERNAME", "REGISTRAR", "DISPLAY NAME", "ON", "LINE", "PASSWORD"];
    output::listing(context.json, &rows, &heads, |row| {
        let account = &row.account;
        vec![
            account.username.to_owned(),
            account.registrar.unwrap_or("-").to_owned(),
            account.display_name.unwrap_or("-").to_owned(),
            row.mac.map_or_else(|| "pool".to_owned(), |mac| mac.to_string()),
            row.line.map_or_else(|| "-".to_owned(), |line| line.to_string()),
            row.account.password(),
        ]
    });
}

async fn add_account(store: &Store, add: Add) -> Result<Holding, Failure> {
    let refuse =
        |message: &str| Failure::usage("account", message, "offhook account add --help shows what is taken");
    let new = NewAccount {
        username: add.username,
        auth_id: add.auth_id,
        display_name: add.display_name,
        label: add.label,
        registrar: add.registrar,
        transport: add.transport,
        outbound_proxy: add.outbound_proxy,
        srtp: add.srtp,
    };
    let texts = [Some(&new.username), new.auth_id.as_ref(), new.display_name.as_ref(), new.label.as_ref()];
    if texts.into_iter().flatten().any(|text| text.is_empty() || text.contains(char::is_control)) {
        return Err(refuse("an empty text, or one with a control character, is not taken"));
    }
    if [Some(&new.username), new.auth_id.as_ref()]
        .into_iter()
        .flatten()
        .any(|name| name.contains(char::is_whitespace))
    {
        return Err(refuse("a user name has no spaces"));
    }
    if [&new.registrar, &new.outbound_proxy].into_iter().flatten().any(|host| !is_host(host)) {
        return Err(refuse("a registrar or proxy is HOST or HOST:PORT"));
    }
    if let Some(mac) = add.to
        && store.inventory().device(mac).is_none()
    {
        return Err(crate::store::StoreError::NoDevice(mac).into());
    }
    let prompt = format!("password of {}", new.username);
    let password = if add.without_password { None } else { Some(open::read_secret(&prompt)?) };
    let holding = store.add_account(&new, password.as_ref()).await?;
    let Some(mac) = add.to else { return Ok(holding) };
    let name = match &new.registrar {
        Some(registrar) => format!("{}@{registrar}", new.username),
        None => new.username,
    };
    Ok(store.move_account(&name, Some((mac, None))).await?)
}

/// What becomes of a new password: it is armed by itself.
fn follows(store: &Store, holding: &Holding) -> String {
    let Some((mac, _)) = holding.on else {
        return "it leaves with the phone that gets the account".to_owned();
    };
    let grants = store.inventory().grants(mac);
    let grant = grants.as_ref().and_then(|grants| grants.get(GrantId::sip(holding.account.id)));
    if grant.is_some_and(Grant::is_armed) {
        "the phone gets it at its next contact, and the old one leaves no more".to_owned()
    } else {
        format!("it stays here until the phone is served: offhook device approve {mac}")
    }
}

/// Says what became of an account, and tells the agent.
fn told(context: &Context, holding: &Holding, sentence: &str) {
    open::poke(context);
    if context.json {
        return output::value(&Shown::new(holding));
    }
    let place = match holding.on {
        Some((mac, line)) => format!("line {line} of {mac}"),
        None => "the pool".to_owned(),
    };
    output::print(&format!("account {} ({place}) {sentence}\n", holding.account.username));
}
