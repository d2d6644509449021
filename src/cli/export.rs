//! `offhook export`: the inventory in the form that `import` reads, so that it can be edited, or moved to another host.
//! Passwords only when asked, only for root or the data's owner, and written down.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::{Context, Failure, Outcome, open, output};
use crate::device::{Account, Approval, Device, Key, Srtp, Transport};
use crate::secret::{Secret, SecretKind};
use crate::store::{Store, StoreError, Tally};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to; standard output if none is given
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Write the passwords too, readable for everybody who gets the file
    #[arg(long)]
    with_secrets: bool,
}

const HEAD: [&str; 13] = [
    "mac",
    "vendor",
    "model",
    "gigaset_id",
    "line",
    "username",
    "auth_id",
    "display_name",
    "label",
    "registrar",
    "transport",
    "outbound_proxy",
    "srtp",
];
const SECRETS_HEAD: [&str; 3] = ["password", "web_password", "menu_password"];
const KEYS_HEAD: [&str; 8] = ["mac", "vendor", "model", "key", "kind", "value", "label", "line"];

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    if args.with_secrets {
        open::only_owner(context)?;
    }
    let store = open::store(context).await?;
    let devices: Vec<_> = store.inventory().devices();
    let left_out = devices.iter().filter(|device| device.approval != Approval::Approved).count();
    let sheet = Sheet::new(&store, args.with_secrets)?;
    if args.with_secrets {
        store.audit_export(&sheet.tally()).await?;
    }
    let text = if context.json { sheet.json()? } else { sheet.csv()? };
    match &args.file {
        None => output::print(&text),
        Some(file) => {
            let mut options = OpenOptions::new();
            let written = options.write(true).create(true).truncate(true).mode(0o600).open(file);
            written.and_then(|mut open| open.write_all(text.as_bytes())).map_err(|error| {
                let message = format!("cannot write {}: {error}", file.display());
                Failure::failed("write", message, "check the folder and its permissions")
            })?;
        }
    }
    if left_out > 0 {
        eprintln!(
            "note: {left_out} pending or blocked devices are not in it; a table of accounts cannot say that"
        );
    }
    Ok(())
}

/// A row of the keys' table.
fn key_cells([mac, vendor, model]: [&str; 3], key: &Key) -> Vec<Zeroizing<String>> {
    let Key { number, kind, value, label, line } = key;
    let (number, line) = (number.to_string(), line.map(|line| line.to_string()).unwrap_or_default());
    let cells = [mac, vendor, model, &number, kind.as_str(), value, label, &line];
    cells.map(|cell| Zeroizing::new(cell.to_owned())).to_vec()
}

/// The rows, as texts; empty where there is nothing.
struct Sheet {
    with_secrets: bool,
    accounts: Vec<Vec<Zeroizing<String>>>,
    keys: Vec<Vec<Zeroizing<String>>>,
    devices: usize,
}

impl Sheet {
    fn new(store: &Store, with_secrets: bool) -> Result<Self, StoreError> {
        let mut sheet = Self { with_secrets, accounts: Vec::new(), keys: Vec::new(), devices: 0 };
        for device in store.inventory().devices() {
            if device.approval == Approval::Approved {
                sheet.devices += 1;
                sheet.add_device(store, &device)?;
            }
        }
        // The accounts of a device that is left out are the pool's here; where it is, they stay with it.
        let exported = |mac| store.inventory().device(mac).is_some_and(|d| d.approval == Approval::Approved);
        let accounts = store.inventory().accounts();
        for holding in accounts.iter().filter(|holding| !holding.on.is_some_and(|(mac, _)| exported(mac))) {
            let mut row = account_cells(&holding.account, holding.label.as_deref());
            let mut cells = vec![Zeroizing::default(); 5];
            cells.append(&mut row);
            if with_secrets {
                cells.push(plain(store.account_password(&holding.account)?));
                cells.extend([Zeroizing::default(), Zeroizing::default()]);
            }
            sheet.accounts.push(cells);
        }
        for (group, common) in &store.inventory().commons().groups {
            let (vendor, model) = group.names();
            sheet.keys.extend(common.keys.values().map(|key| key_cells(["", vendor, model], key)));
        }
        Ok(sheet)
    }

    fn add_device(&mut self, store: &Store, device: &Device) -> Result<(), StoreError> {
        let own = |line: Option<u16>| {
            let vendor = device.vendor.as_ref().map(ToString::to_string);
            let line = line.map(|line| line.to_string());
            let cells =
                [Some(device.mac.to_string()), vendor, device.model.clone(), device.gigaset_id.clone(), line];
            cells.map(|cell| Zeroizing::new(cell.unwrap_or_default())).to_vec()
        };
        let device_secrets = |first: bool| -> Result<[Zeroizing<String>; 2], StoreError> {
            if !first {
                return Ok([Zeroizing::default(), Zeroizing::default()]);
            }
            let open = |kind| store.reveal(device, kind, None).map(plain);
            Ok([open(SecretKind::Webui)?, open(SecretKind::Menu)?])
        };
        if device.lines.is_empty() {
            let mut row = own(None);
            row.extend(std::iter::repeat_with(Zeroizing::default).take(HEAD.len() - row.len()));
            if self.with_secrets {
                row.push(Zeroizing::default());
                row.extend(device_secrets(true)?);
            }
            self.accounts.push(row);
        }
        for (place, line) in device.lines.iter().enumerate() {
            let mut row = own(Some(line.number));
            row.append(&mut account_cells(&line.account, line.label.as_deref()));
            if self.with_secrets {
                row.push(plain(store.reveal(device, SecretKind::Sip, Some(line.number))?));
                row.extend(device_secrets(place == 0)?);
            }
            self.accounts.push(row);
        }
        self.keys.extend(device.keys.iter().map(|key| key_cells([&device.mac.to_string(), "", ""], key)));
        Ok(())
    }

    fn tally(&self) -> Tally {
        Tally { devices: self.devices, accounts: self.accounts.len(), keys: self.keys.len() }
    }

    fn head(&self) -> Vec<&'static str> {
        let secrets: &[&str] = if self.with_secrets { &SECRETS_HEAD } else { &[] };
        HEAD.iter().chain(secrets).copied().collect()
    }

    /// Both tables, the second after an empty line.
    fn csv(&self) -> Result<Zeroizing<String>, Failure> {
        let mut text = table(&self.head(), &self.accounts)?;
        if !self.keys.is_empty() {
            text.push('\n');
            text.push_str(&table(&KEYS_HEAD, &self.keys)?);
        }
        Ok(text)
    }

    fn json(&self) -> Result<Zeroizing<String>, Failure> {
        let object = |head: &[&'static str], row: &[Zeroizing<String>]| {
            let cells = head.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
            let cells = cells.map(|(name, cell)| ((*name).to_owned(), serde_json::json!(cell.as_str())));
            serde_json::Value::Object(cells.collect())
        };
        let accounts: Vec<_> = self.accounts.iter().map(|row| object(&self.head(), row)).collect();
        let keys: Vec<_> = self.keys.iter().map(|row| object(&KEYS_HEAD, row)).collect();
        let text = serde_json::to_string_pretty(&serde_json::json!({ "accounts": accounts, "keys": keys }));
        text.map(|text| Zeroizing::new(format!("{text}\n"))).map_err(unwritten)
    }
}

/// From `username` to `srtp`.
fn account_cells(account: &Account, label: Option<&str>) -> Vec<Zeroizing<String>> {
    let own_auth_id = Some(account.auth_id.as_str()).filter(|auth_id| *auth_id != account.username);
    [
        Some(account.username.as_str()),
        own_auth_id,
        account.display_name.as_deref(),
        label,
        account.registrar.as_deref(),
        account.transport.map(Transport::as_str),
        account.outbound_proxy.as_deref(),
        account.srtp.map(Srtp::as_str),
    ]
    .map(|cell| Zeroizing::new(cell.unwrap_or_default().to_owned()))
    .to_vec()
}

fn table(head: &[&str], rows: &[Vec<Zeroizing<String>>]) -> Result<Zeroizing<String>, Failure> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(head).map_err(unwritten)?;
    for row in rows {
        writer.write_record(row.iter().map(|cell| cell.as_bytes())).map_err(unwritten)?;
    }
    let bytes = writer.into_inner().map_err(unwritten)?;
    String::from_utf8(bytes).map(Zeroizing::new).map_err(unwritten)
}

fn plain(secret: Option<Secret>) -> Zeroizing<String> {
    Zeroizing::new(secret.map(|secret| secret.expose().to_owned()).unwrap_or_default())
}

fn unwritten(error: impl std::fmt::Display) -> Failure {
    Failure::failed("export", format!("cannot write the table: {error}"), "try again with more memory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::read_csv;
    use crate::clock::{Clock, Entropy};
    use crate::store::{ImportOptions, Plan, Vault};

    const OFFICE: &str = "mac,vendor,model,line,username,auth_id,password,display_name,label,registrar,gigaset_id,srtp\n\
                          805e00000001,yealink,T46U,1,101,a101,\"ge,heim\",\"Ada \"\"A\"\"\",Front,,,off\n\
                          805e00000001,,,3,102,,geheim2,,,pbx:5061,,\n\
                          7c2f80000001,gigaset,N670,,,,,,,,AB12,\n\
                          ,,,,201,,geheim3,Pool,,,,\n\
                          mac,key,kind,value,label\n\
                          805e00000001,1,url,\"http://a/?b=c,d\",\n";

    async fn store(folder: &std::path::Path, key: u8) -> Store {
        let url = format!("sqlite:{}", folder.join(format!("{key}.db")).display());
        Store::open(&url, Vault::with_key([key; 32]), Clock::System, Entropy::System).await.unwrap()
    }

    async fn import(store: &Store, text: &str) -> Plan {
        let mut sheet = crate::store::Sheet::default();
        read_csv("a.csv", text.as_bytes(), &mut sheet);
        store.import(&sheet, ImportOptions { prune: true, ..ImportOptions::default() }).await.unwrap()
    }

    #[tokio::test]
    async fn what_was_exported_is_what_would_be_imported() {
        let folder = tempfile::tempdir().unwrap();
        let one = store(folder.path(), 1).await;
        assert!(import(&one, OFFICE).await.applied);
        let plain = Sheet::new(&one, false).unwrap().csv().unwrap_or_default();
        assert!(!plain.contains("heim"), "{}", *plain);
        let again = import(&one, &plain).await;
        assert!(again.is_empty() && again.problems.is_empty(), "{again:?}");
        one.block("805e00000001".parse().unwrap()).await.unwrap();
        let again = import(&one, &Sheet::new(&one, false).unwrap().csv().unwrap_or_default()).await;
        assert!(again.is_empty(), "a blocked phone keeps its accounts: {again:?}");
    }

    #[tokio::test]
    async fn an_inventory_moves_to_another_host_with_its_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (store(folder.path(), 1).await, store(folder.path(), 2).await);
        import(&one, OFFICE).await;
        let all = Sheet::new(&one, true).unwrap();
        let plan = import(&other, &all.csv().unwrap_or_default()).await;
        assert!(plan.applied && plan.problems.is_empty(), "{plan:?}");
        for device in one.inventory().devices() {
            let moved = other.inventory().device(device.mac).unwrap();
            for (kind, line) in
                [(SecretKind::Webui, None), (SecretKind::Menu, None), (SecretKind::Sip, Some(3))]
            {
                assert_eq!(
                    one.reveal(&device, kind, line).unwrap(),
                    other.reveal(&moved, kind, line).unwrap()
                );
            }
        }
        assert_eq!(
            *Sheet::new(&other, true).unwrap().csv().unwrap_or_default(),
            *all.csv().unwrap_or_default()
        );
    }
}
