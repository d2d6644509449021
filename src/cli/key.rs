//! `offhook key`: which key seals the passwords, where it comes from, and a new one for all of them. Never shows a key.

use std::fmt::Write as _;

use super::{Context, Failure, Outcome, open, output};
use crate::store::{KeyUse, Rotation, StoreError, VaultError, VaultKey};

/// Where examples/offhook.service has the encrypted credential.
const CREDENTIAL: &str = "/etc/credstore.encrypted/offhook-key";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Which keys there are, where they come from, and how many passwords each opens
    Show,
    /// Seal every password with a new key; a running agent goes on with it
    Rotate {
        /// Do not keep the old key: backups made before cannot be opened any more
        #[arg(long, conflicts_with = "prepare")]
        forget_old: bool,
        /// Only put a new key into the key file, beside the present one, so that it can be copied to other hosts with
        /// an agent on the same PostgreSQL; the next `key rotate` uses it
        #[arg(long)]
        prepare: bool,
    },
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    open::only_owner(context)?;
    match args {
        Args::Show => show(context).await,
        Args::Rotate { prepare: true, .. } => prepare(context).await,
        Args::Rotate { forget_old, .. } => rotate(forget_old, context).await,
    }
}

async fn show(context: &Context) -> Outcome {
    let keys = open::store(context).await?.vault_keys().await?;
    output::listing(context.json, &keys, &["KEY", "STATE", "PASSWORDS", "ORIGIN"], |key| {
        let path = key.path.as_ref().map(|path| path.display().to_string());
        vec![
            key.id.clone(),
            state(key.state).to_owned(),
            key.values.to_string(),
            origin(key, path.as_deref().unwrap_or_default()),
        ]
    });
    let missing: i64 = keys.iter().filter(|key| key.state == KeyUse::Missing).map(|key| key.values).sum();
    if missing > 0 {
        return Err(Failure::no(
            "key_missing",
            format!("{missing} passwords are sealed with a key that is not here"),
            VaultError::Missing(context.places.key_file()).remedy(),
        ));
    }
    Ok(())
}

fn state(state: KeyUse) -> &'static str {
    match state {
        KeyUse::Current => "current",
        KeyUse::Next => "next",
        KeyUse::Old => "old",
        KeyUse::Missing => "missing",
    }
}

fn origin(key: &VaultKey, path: &str) -> String {
    match key.origin {
        Some("credential") => format!("systemd credential {path}"),
        Some("retired") => format!("{path}, for backups made before it was replaced"),
        Some("file") => format!("key file {path}"),
        Some(other) => other.to_owned(),
        None => "nowhere".to_owned(),
    }
}

async fn prepare(context: &Context) -> Outcome {
    let store = open::store(context).await?;
    let id = store.prepare_key().await.map_err(explained)?;
    if context.json {
        output::value(&serde_json::json!({ "next": id }));
    } else {
        let file = context.places.key_file().display().to_string();
        output::print(&format!(
            "{file} holds the next key ({id}) beside the present one.\nCopy it to the other hosts of this database, \
             then run here: offhook key rotate\n"
        ));
    }
    Ok(())
}

async fn rotate(forget_old: bool, context: &Context) -> Outcome {
    let store = open::store(context).await?;
    let mut progress = output::Progress::new("sealed");
    let rotation = store
        .rotate_key(forget_old, &mut |done, total| progress.show(done as u64, total as u64))
        .await
        .map_err(explained)?;
    progress.end();
    open::poke(context);
    if context.json {
        output::value(&rotation);
    } else {
        output::print(&told(&rotation));
    }
    for place in &rotation.broken {
        eprintln!("offhook: the sealed value of {place} was broken before and stays so; set it again");
    }
    Ok(())
}

fn told(rotation: &Rotation) -> String {
    let Rotation { from, to, values, kept, .. } = rotation;
    let mut text =
        format!("{values} passwords and tokens are sealed with the key {to} now, and none with {from}.\n");
    for file in kept {
        let file = file.display();
        let _ = writeln!(text, "The old key is kept in {file}: only backups made before need it.");
    }
    text.push_str(
        "Store a copy of the key apart from your backups, and make a new backup: offhook backup FILE\n",
    );
    text
}

/// A key of systemd's can be changed by an administrator only, and this is how.
fn explained(error: StoreError) -> Failure {
    let StoreError::Vault(VaultError::Credential(_)) = &error else { return error.into() };
    Failure::no("key_in_credential", error.to_string(), steps())
}

fn steps() -> String {
    let (file, next) = (CREDENTIAL, format!("{CREDENTIAL}.next"));
    format!(
        "as root, give it a new key before the present one, let offhook seal with it, then drop the old one:\n    \
         ({{ od -An -v -tx1 -N32 /dev/urandom | tr -d ' \\n'; echo; systemd-creds decrypt --name=offhook-key {file} -; }} \
         | systemd-creds encrypt --name=offhook-key - {next}) && mv {next} {file}\n    \
         systemctl restart offhook\n    \
         offhook key rotate\n    \
         systemd-creds decrypt --name=offhook-key {file} - | head -n 1 \
         | systemd-creds encrypt --name=offhook-key - {next} && mv {next} {file}\n    \
         systemctl restart offhook\n  \
         {file} is where examples/offhook.service has it; backups made before need the old key: keep a copy of it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_keys_is_told_with_what_is_left_to_do() {
        let rotation = Rotation {
            from: "00000001".to_owned(),
            to: "00000002".to_owned(),
            values: 3,
            broken: Vec::new(),
            kept: vec!["/etc/offhook/offhook.key.00000001".into()],
        };
        let text = told(&rotation);
        assert!(text.contains("3 passwords") && text.contains("offhook.key.00000001"), "{text}");
        assert!(!told(&Rotation { kept: Vec::new(), ..rotation }).contains("kept"));
    }

    #[test]
    fn a_key_of_systemds_is_answered_with_the_steps() {
        let failure = explained(StoreError::Vault(VaultError::Credential("/run/credentials/x".into())));
        assert_eq!((failure.exit, failure.code), (super::super::Exit::No, "key_in_credential"));
        assert!(failure.remedy.contains("systemd-creds encrypt --name=offhook-key"), "{}", failure.remedy);
    }
}
