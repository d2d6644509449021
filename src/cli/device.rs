//! `offhook device`: the phones of the inventory and those that wait, one deed per subcommand.

pub(super) mod arm;
pub(super) mod point;
mod push;
mod setting;

use super::{Context, Failure, Outcome, open, output};
use crate::device::{Approval, Mac};
use crate::operate::fleet::Fleet;
use crate::operate::setting::{assigned, removed};
use crate::operate::view::{self, Shown, Summary};
use crate::profile::Told;
use crate::secret::SecretKind;
use crate::store::{Give, Store};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// List the phones
    List {
        /// Only those that wait for approval
        #[arg(long)]
        pending: bool,
    },
    /// Everything known of a phone, without its secrets
    Show {
        /// In any usual form
        mac: Mac,
    },
    /// Serve phones that wait, that were blocked, or that will come
    Approve {
        /// In any usual form
        #[arg(required = true)]
        macs: Vec<Mac>,
        /// Give it this account of the pool, NAME or NAME@REGISTRAR, instead of the next one
        #[arg(long, value_name = "ACCOUNT", conflicts_with = "without_account")]
        account: Option<String>,
        /// Give it no account
        #[arg(long)]
        without_account: bool,
    },
    /// Let passwords leave once more, to the phone itself: after a factory reset, or when a window closed too early
    Rearm(arm::Rearm),
    /// Let passwords leave no more; a running transfer of them is aborted
    Lock(arm::Macs),
    /// Say that phones have their passwords, typed in by hand: files may come without them
    Confirm(arm::Macs),
    /// Tell running phones to look for their configuration again, by SIP NOTIFY, and say who came
    Resync(push::Args),
    /// Tell running phones to start anew, by SIP NOTIFY, and say who came
    Reboot(push::Args),
    /// Point running phones here: by SIP NOTIFY, or by the web interface of a phone as sold, and say who came
    Point(point::Args),
    /// Never serve phones; they keep their accounts
    Block {
        /// In any usual form
        #[arg(required = true)]
        macs: Vec<Mac>,
    },
    /// Put a new phone in an old one's place
    Replace {
        /// The phone that goes
        old: Mac,
        /// The phone that comes
        new: Mac,
    },
    /// Remove phones; their accounts go back to the pool
    Remove {
        /// In any usual form
        #[arg(required = true)]
        macs: Vec<Mac>,
        /// Remove their accounts too
        #[arg(long)]
        with_accounts: bool,
    },
    /// Show a password; it is written down who did
    Reveal {
        /// In any usual form
        mac: Mac,
        /// Which: sip, menu or webui
        #[arg(long)]
        kind: SecretKind,
        /// Which line's SIP password
        #[arg(long, default_value_t = 1)]
        line: u16,
    },
    /// Set, or with NAME= remove, settings of this phone alone
    Set {
        /// In any usual form
        mac: Mac,
        /// Facts of the site that this phone has otherwise (timezone, language, vlan, …), any setting of its profile, or
        /// raw:NAME, a parameter of the vendor's own
        #[arg(required = true, value_name = "NAME=VALUE")]
        settings: Vec<String>,
    },
    /// Remove settings of this phone alone: what holds for its model or the site shows again
    Unset {
        /// In any usual form
        mac: Mac,
        /// As device show has them
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    if matches!(args, Args::Reveal { .. }) {
        open::only_owner(context)?;
    }
    let store = open::store(context).await?;
    match args {
        Args::List { pending } => list(context, &store, pending).await,
        Args::Show { mac } => show(context, &store, mac).await,
        Args::Approve { macs, account, without_account } => {
            let give = match account {
                Some(_) if macs.len() > 1 => {
                    return Err(Failure::usage(
                        "account",
                        "one account cannot go to several phones",
                        "approve them one by one",
                    ));
                }
                Some(name) => Give::Account(name),
                None if without_account => Give::Nothing,
                None => Give::NextFree,
            };
            approve(context, &store, &macs, &give).await
        }
        Args::Rearm(args) => arm::rearm(context, &store, args).await,
        Args::Lock(args) => arm::lock(context, &store, args).await,
        Args::Confirm(args) => arm::confirm(context, &store, args).await,
        Args::Resync(args) => push::run(context, &store, args, Told::Resync).await,
        Args::Reboot(args) => push::run(context, &store, args, Told::Reboot).await,
        Args::Point(args) => point::run(context, args).await,
        Args::Block { macs } => {
            for mac in &macs {
                store.block(*mac).await?;
                open::poke(context);
            }
            done(context, &store, &macs, "is blocked: it gets nothing any more");
            Ok(())
        }
        Args::Replace { old, new } => {
            store.replace(old, new).await?;
            open::poke(context);
            done(context, &store, &[new], &format!("has the place of {old}, with passwords of its own"));
            Ok(())
        }
        Args::Remove { macs, with_accounts } => remove(context, &store, &macs, with_accounts).await,
        Args::Reveal { mac, kind, line } => reveal(context, &store, mac, kind, line).await,
        Args::Set { mac, settings } => {
            let settings = settings.iter().map(|text| assigned(text)).collect::<Result<Vec<_>, _>>()?;
            setting::set(context, &store, mac, &settings).await
        }
        Args::Unset { mac, names } => {
            let settings: Vec<_> = names.iter().map(|name| removed(name)).collect();
            setting::set(context, &store, mac, &settings).await
        }
    }
}

async fn list(context: &Context, store: &Store, pending: bool) -> Outcome {
    let sightings = store.sightings(None).await?;
    let wanted = |approval| !pending || approval == Approval::Pending;
    let devices = store.inventory().devices();
    let devices = devices.iter().filter(|device| wanted(device.approval));
    let rows: Vec<Summary> = Summary::of(devices, &sightings, &open::releases(context, store));
    let heads = ["MAC", "VENDOR", "MODEL", "STATE", "PASSWORDS", "ACCOUNTS", "WAY", "ADDRESS", "LAST SEEN"];
    output::listing(context.json, &rows, &heads, Summary::cells);
    if rows.is_empty() && !context.json {
        eprintln!("no phones{}", if pending { " wait for approval" } else { " yet" });
    }
    Ok(())
}

async fn show(context: &Context, store: &Store, mac: Mac) -> Outcome {
    let device = view::known(store, mac).await?;
    let sightings = store.sightings(Some(mac)).await?;
    let timeline = store.timeline(mac, None).await?;
    let (catalog, site, files) = (open::catalog(context), open::site(context), context.places.files());
    let laid = Fleet { store, catalog: &catalog, site: &site, files: &files }.laid(&device);
    let shown = Shown::new(&device, sightings, timeline, &open::releases(context, store).of(&device), laid);
    if context.json {
        output::value(&shown);
    } else {
        output::print(&shown.text());
    }
    Ok(())
}

async fn approve(context: &Context, store: &Store, macs: &[Mac], give: &Give) -> Outcome {
    let releases = open::releases(context, store);
    for mac in macs {
        let approved = store.approve(*mac, give).await?;
        open::poke(context);
        if context.json {
            continue;
        }
        let account = match (&approved.given, approved.device.lines.first()) {
            (Some(name), _) => format!("with account {name} from the pool"),
            (None, Some(line)) => format!("with account {}", line.account.username),
            (None, None) => {
                "without an account, for the pool is empty; offhook account move gives it one".to_owned()
            }
        };
        let told = arm::can_be_told(&releases, &approved.device);
        let now = if told { format!("; offhook device resync {mac} tells it now") } else { String::new() };
        output::print(&format!(
            "{mac} is approved {account}; it is served at its next request or boot{now}\n"
        ));
    }
    if context.json {
        done(context, store, macs, "");
    }
    Ok(())
}

async fn remove(context: &Context, store: &Store, macs: &[Mac], with_accounts: bool) -> Outcome {
    let mut removed = Vec::new();
    for mac in macs {
        let accounts = store.remove(*mac, with_accounts).await?;
        open::poke(context);
        if !context.json {
            let fate = match (accounts.is_empty(), with_accounts) {
                (true, _) => String::new(),
                (false, true) => format!("; with it account {}", accounts.join(", ")),
                (false, false) => format!("; account {} is in the pool now", accounts.join(", ")),
            };
            output::print(&format!("{mac} is removed{fate}; block it to keep it out\n"));
        }
        removed
            .push(serde_json::json!({ "mac": mac, "accounts": accounts, "accounts_removed": with_accounts }));
    }
    if context.json {
        output::value(&removed);
    }
    Ok(())
}

async fn reveal(context: &Context, store: &Store, mac: Mac, kind: SecretKind, line: u16) -> Outcome {
    if kind == SecretKind::Prov {
        return Err(Failure::usage(
            "kind",
            "the phone's own token is not shown",
            format!("offhook url {mac} prints a URL for it"),
        ));
    }
    let line = (kind == SecretKind::Sip).then_some(line);
    let Some(secret) = store.reveal_to_person(mac, kind, line).await? else {
        let place = line.map(|line| format!(" on line {line}")).unwrap_or_default();
        return Err(Failure::no(
            "not_set",
            format!("{mac} has no {kind} password{place}"),
            "offhook device show tells what it has",
        ));
    };
    if context.json {
        let shown = zeroize::Zeroizing::new(secret.expose().to_owned());
        output::value(
            &serde_json::json!({ "mac": mac, "kind": kind, "line": line, "secret": shown.as_str() }),
        );
    } else {
        output::print(&zeroize::Zeroizing::new(format!("{}\n", secret.expose())));
    }
    Ok(())
}

/// Says what became of phones: a sentence each, or the phones as JSON.
fn done(context: &Context, store: &Store, macs: &[Mac], sentence: &str) {
    if context.json {
        let devices: Vec<_> = macs.iter().filter_map(|mac| store.inventory().device(*mac)).collect();
        return output::value(&Summary::of(devices.iter(), &[], &open::releases(context, store)));
    }
    for mac in macs {
        output::print(&format!("{mac} {sentence}\n"));
    }
}
