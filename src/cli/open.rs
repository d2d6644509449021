//! What every command that touches the inventory needs: the store, opened as its owner; a password from standard input;
//! and a word to the running agent when something was written.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::termios;
use nix::unistd::{Uid, User};
use zeroize::Zeroizing;

use super::{Context, Failure};
use crate::agent::release_terms;
use crate::clock::{Clock, Entropy};
use crate::net::interfaces::Table;
pub(crate) use crate::operate::failure::link as link_failure;
use crate::operate::release::Releases;
use crate::profile::{Catalog, Site};
use crate::secret::Secret;
use crate::store::{self, Store, Vault};

/// Where an installation for the whole host keeps its data.
const SYSTEM_DATA: &str = "/var/lib/offhook";
/// And its configuration.
const SYSTEM_CONFIG: &str = "/etc/offhook";
/// Where systemd keeps the credentials of the service while it runs, for root and the service's user to read.
const SERVICE_CREDENTIALS: &str = "/run/credentials/offhook.service";
/// The credential's name: `LoadCredentialEncrypted=offhook-key:…`.
const CREDENTIAL: &str = "offhook-key";

/// The database's URL: as configured, else a file in the data folder.
pub(crate) fn store_url(context: &Context) -> String {
    let usual = || format!("sqlite:{}", context.places.data.join("offhook.db").display());
    context.config.store.url.clone().unwrap_or_else(usual)
}

/// The vault: its key is given by systemd, or lies in a file of the configuration folder.
pub(crate) fn vault(context: &Context) -> Vault {
    let own = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    // A command of root, or of the service's user, has no credentials of its own; the running service's lie here.
    let service =
        (context.places.config == Path::new(SYSTEM_CONFIG)).then(|| PathBuf::from(SERVICE_CREDENTIALS));
    let given = own.into_iter().chain(service).map(|folder| folder.join(CREDENTIAL));
    // A folder that this user may not enter is as good as none.
    let given = given.filter(|file| file.exists());
    Vault::at(&context.places.key_file()).owned_like(&context.places.data).with_credentials(given)
}

/// Opens the store as the user that it belongs to, or as root. Without the key of its passwords it opens all the same,
/// for the many commands that need none of them; one that does then says that the key is missing.
pub(crate) async fn store(context: &Context) -> Result<Store, Failure> {
    opened(context, vault(context).or_locked()).await
}

/// The same for whoever is lost without the key.
pub(crate) async fn store_with_key(context: &Context) -> Result<Store, Failure> {
    opened(context, vault(context)).await
}

async fn opened(context: &Context, vault: Vault) -> Result<Store, Failure> {
    let url = store_url(context);
    if let Some(file) = store::sqlite_file(&url) {
        own(context, &file)?;
        let key = context.places.key_file();
        if !key.exists() && file.parent() == key.parent() {
            let folder = context.places.config.display();
            eprintln!("offhook: the key of all passwords will lie beside the database, in {folder}");
            eprintln!("  set agent.data_dir to another folder, so that a copy of one is not a copy of both");
        }
    }
    let store = Store::open(&url, vault, Clock::System, Entropy::System).await?;
    Ok(store.acting_as(&actor()).under(release_terms(&context.config)))
}

/// How the passwords of phones stand, by the rules of this configuration and its profiles.
pub(crate) fn releases<'a>(context: &'a Context, store: &'a Store) -> Releases<'a> {
    let (catalog, _) = Catalog::load(context.config.profiles.dir.as_deref());
    Releases::new(&context.config, Arc::new(catalog), store)
}

/// The profiles of this installation; broken ones are told by `offhook profile check`, and left out.
pub(crate) fn catalog(context: &Context) -> Catalog {
    Catalog::load(context.config.profiles.dir.as_deref()).0
}

/// The site of this configuration; the host's time zone where it names none.
pub(crate) fn site(context: &Context) -> Site {
    let config = &context.config;
    let site = Site::new(&config.site, &config.sip, &crate::agent::host_timezone());
    Site { menu: config.menu.enabled, ..site }
}

/// Our address on the phone's link; else the first of any link, else one that stands for it (RFC 5737).
pub(crate) fn own_address(phone: Option<Ipv4Addr>, context: &Context) -> String {
    let table = Table::read(&context.config.agent.interfaces).unwrap_or_default();
    let linked = phone.and_then(|phone| table.on_link(phone, None)).map(|(_, ours)| ours);
    let outward = table.interfaces().iter().filter(|interface| interface.up && !interface.loopback);
    let first = || outward.flat_map(|interface| &interface.addresses).map(|(address, _)| *address).next();
    linked.or_else(first).unwrap_or(Ipv4Addr::new(192, 0, 2, 1)).to_string()
}

/// The URL of the phones' files at this host.
pub(crate) fn base(host: &str, context: &Context) -> String {
    let port = context.config.http.listen.address().map_or(80, |address| address.port());
    format!("http://{host}:{port}/")
}

/// Refuses everybody but root and the user that the data belongs to.
pub(crate) fn only_owner(context: &Context) -> Result<(), Failure> {
    let database = store::sqlite_file(&store_url(context));
    let key = context.places.key_file();
    [database, Some(key)].into_iter().flatten().try_for_each(|file| owned(&file))
}

/// Tells the running agent, if there is one, that something was written.
pub(crate) fn poke(context: &Context) {
    store::poke(&context.places.socket());
}

/// A password from standard input, without echo where that is a terminal.
pub(crate) fn read_secret(prompt: &str) -> Result<Secret, Failure> {
    let stdin = std::io::stdin();
    let unread = |error: std::io::Error| {
        Failure::failed("stdin", format!("cannot read the password: {error}"), "give it on standard input")
    };
    let echo = stdin.is_terminal().then(|| silence(&stdin)).flatten();
    if echo.is_some() {
        let _ = write!(std::io::stderr(), "{prompt}: ");
    }
    let mut line = Zeroizing::new(String::new());
    let read = stdin.lock().read_line(&mut line);
    if let Some(echo) = echo {
        let _ = termios::tcsetattr(&stdin, termios::SetArg::TCSANOW, &echo);
        let _ = writeln!(std::io::stderr());
    }
    read.map_err(unread)?;
    let text = line.strip_suffix('\n').unwrap_or(&line);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() || text.contains(char::is_control) {
        return Err(Failure::usage(
            "password",
            "an empty password, or one with a control character, is not taken",
            "give it on standard input, in one line",
        ));
    }
    Ok(Secret::new(text))
}

/// Switches the terminal's echo off; gives back how it was.
fn silence(stdin: &std::io::Stdin) -> Option<termios::Termios> {
    let before = termios::tcgetattr(stdin).ok()?;
    let mut silent = before.clone();
    silent.local_flags.remove(termios::LocalFlags::ECHO);
    termios::tcsetattr(stdin, termios::SetArg::TCSANOW, &silent).ok()?;
    Some(before)
}

/// Fails, before anything is made, when the inventory is another user's.
pub(crate) fn own(context: &Context, file: &Path) -> Result<(), Failure> {
    match std::fs::metadata(file) {
        Ok(_) => return owned(file),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return file.parent().map_or(Ok(()), owned);
        }
        Err(_) => {}
    }
    let system = PathBuf::from(SYSTEM_DATA);
    let usual = context.config_file.is_none() && context.config.store.url.is_none();
    if usual && context.places.data != system && system.exists() {
        return Err(Failure::failed(
            "other_user",
            format!(
                "{} has no inventory of its own here, and the one in {SYSTEM_DATA} belongs to {}",
                actor(),
                owner(&system)
            ),
            format!("run the command as root, or: sudo -u {} offhook …", owner(&system)),
        ));
    }
    Ok(())
}

fn owned(file: &Path) -> Result<(), Failure> {
    let effective = Uid::effective();
    let Ok(metadata) = std::fs::metadata(file) else { return Ok(()) };
    if effective.is_root() || metadata.uid() == effective.as_raw() {
        return Ok(());
    }
    Err(Failure::failed(
        "other_user",
        format!("{} belongs to {}, and this command runs as {}", file.display(), owner(file), actor()),
        format!("run it as root, or: sudo -u {} offhook …", owner(file)),
    ))
}

fn owner(path: &Path) -> String {
    std::fs::metadata(path).map_or_else(|_| "another user".to_owned(), |metadata| name(metadata.uid()))
}

/// Who runs this command, for the audit.
pub(crate) fn actor() -> String {
    let user = name(Uid::effective().as_raw());
    match std::env::var("SUDO_USER") {
        Ok(real) if Uid::effective().is_root() && real != user => format!("{user} ({real})"),
        Ok(_) | Err(_) => user,
    }
}

fn name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => format!("user {uid}"),
    }
}
