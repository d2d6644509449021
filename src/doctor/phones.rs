//! The vendor profiles, and the phones of the inventory against them: what will keep a phone from registering, known
//! before it asks. Only judges what was read.

use std::path::Path;
use std::sync::Arc;

use super::{Finding, some_of};
use crate::device::{Approval, Device, Mac};
use crate::profile::{Catalog, ProfileError};
use crate::store::Holding;

/// Profiles that were refused. `missing`: the folder of added ones, where there is none.
pub(super) fn profiles(broken: &[ProfileError], missing: Option<&Path>, count: usize) -> Vec<Finding> {
    if let Some(folder) = missing {
        let text = format!("profiles.dir is {}, and there is no such folder", folder.display());
        return vec![Finding::broken(
            "profiles",
            text,
            "make the folder, or take profiles.dir out of the configuration",
        )];
    }
    let refused = |error: &ProfileError| {
        let text = format!("the profile {} is refused: {}", error.file, error.message);
        let line = error.line.map(|line| format!("line {line}"));
        let place = [line, error.key.clone()].into_iter().flatten().collect::<Vec<String>>().join(", ");
        let fix =
            if error.remedy.is_empty() { "offhook profile check".to_owned() } else { error.remedy.clone() };
        Finding::broken("profiles", text, fix).seen(place)
    };
    if broken.is_empty() {
        return vec![Finding::ok("profiles", format!("{count} vendor profiles, none refused"))];
    }
    broken.iter().map(refused).collect()
}

/// Phones that cannot come up with what the inventory has of them.
pub(super) fn inventory(devices: &[Arc<Device>], accounts: &[Holding], catalog: &Catalog) -> Vec<Finding> {
    let approved: Vec<&Arc<Device>> =
        devices.iter().filter(|device| device.approval == Approval::Approved).collect();
    let pending = devices.iter().filter(|device| device.approval == Approval::Pending).count();
    let those = |is: &dyn Fn(&Device) -> bool| -> Vec<Mac> {
        approved.iter().filter(|device| is(device)).map(|device| device.mac).collect()
    };
    let mut findings = Vec::new();
    let mut warn = |found: Vec<String>, what: &str, fix: &str| {
        if !found.is_empty() {
            let text = format!("{} {what}: {}", found.len(), some_of(&found));
            findings.push(Finding::warn("inventory", text, fix));
        }
    };
    let named = |macs: Vec<Mac>| macs.iter().map(Mac::to_string).collect::<Vec<String>>();
    warn(
        named(those(&|device| device.lines.is_empty())),
        "approved phones have no account, and will not register",
        "offhook account move ACCOUNT MAC, or offhook import",
    );
    let open = accounts.iter().filter(|holding| holding.on.is_some() && holding.account.password.is_none());
    warn(
        open.map(|holding| holding.account.username.clone()).collect(),
        "accounts on phones have no password",
        "offhook account set-password ACCOUNT",
    );
    warn(
        named(those(&|device| device.vendor.is_none())),
        "approved phones are of a vendor that is not known, and get no configuration until they are recognised",
        "name the vendor: offhook import with the columns mac and vendor",
    );
    let of_nobody = |device: &Device| {
        device
            .vendor
            .as_ref()
            .is_some_and(|vendor| catalog.get(vendor).is_none_or(|profile| profile.files().next().is_none()))
    };
    let mut vendors: Vec<String> = approved
        .iter()
        .filter(|device| of_nobody(device))
        .filter_map(|device| device.vendor.as_ref().map(ToString::to_string))
        .collect();
    vendors.sort();
    vendors.dedup();
    warn(
        vendors,
        "vendors of approved phones have no profile that makes files",
        "offhook profile list shows the vendors; correct the name, or write a profile (profiles.dir)",
    );
    let unheard_of = |device: &Device| {
        let profile = device.vendor.as_ref().and_then(|vendor| catalog.get(vendor));
        let model = device.model.as_deref();
        profile.zip(model).is_some_and(|(profile, model)| {
            profile.models().next().is_some() && profile.model(&profile.model_name(model)).is_none()
        })
    };
    let models = approved.iter().filter(|device| unheard_of(device));
    warn(
        models.map(|one| format!("{} {}", one.model.clone().unwrap_or_default(), one.mac)).collect(),
        "approved phones are of models that their profile does not describe: they get what every model gets",
        "offhook profile list --json shows the models; correct the model where it is misspelt",
    );
    if findings.is_empty() {
        let text = format!(
            "{} approved phones, each with what it needs; {pending} wait for approval",
            approved.len()
        );
        findings.push(Finding::ok("inventory", text));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use crate::store::ImportOptions;
    use crate::store::testing::{Bench, sheet};

    #[tokio::test]
    async fn phones_that_cannot_come_up_are_named() {
        let bench = Bench::sqlite();
        let store = bench.store().await;
        let good = "mac,vendor,model,username,password\n001565000001,yealink,T46U,101,a\n";
        store.import(&sheet(good), ImportOptions::default()).await.unwrap();
        let catalog = Catalog::builtin().unwrap();
        let judge = || inventory(&store.inventory().devices(), &store.inventory().accounts(), &catalog);
        assert_eq!(
            judge(),
            [Finding::ok("inventory", "1 approved phones, each with what it needs; 0 wait for approval")]
        );
        let bad = "mac,vendor,model,username,password\n001565000002,yealink,T999,102,\n001565000003,yealink,T46U,,\n\
                   0004f2000004,nonesuch,,104,d\n";
        store.import(&sheet(bad), ImportOptions::default()).await.unwrap();
        let found = judge();
        assert!(found.iter().all(|one| one.state == State::Warn), "{found:#?}");
        let has =
            |words: &str| assert!(found.iter().any(|one| one.text.contains(words)), "{words}: {found:#?}");
        has("1 approved phones have no account, and will not register: 00:15:65:00:00:03");
        has("1 accounts on phones have no password: 102");
        has("1 vendors of approved phones have no profile that makes files: nonesuch");
        has(
            "1 approved phones are of models that their profile does not describe: they get what every model gets: T999",
        );
    }

    #[test]
    fn a_bad_profile_is_named_with_its_line() {
        let error = ProfileError {
            file: "acme/profile.toml".to_owned(),
            line: Some(7),
            key: Some("pnp.url".to_owned()),
            message: "unknown key".to_owned(),
            remedy: "take it out".to_owned(),
        };
        let found = profiles(&[error], None, 29);
        assert_eq!(
            (found[0].state, found[0].text.as_str()),
            (State::Broken, "the profile acme/profile.toml is refused: unknown key")
        );
        assert_eq!((found[0].evidence.as_str(), found[0].fix.as_str()), ("line 7, pnp.url", "take it out"));
        assert_eq!(profiles(&[], None, 30)[0].state, State::Ok);
        assert_eq!(profiles(&[], Some(Path::new("/nonesuch")), 30)[0].state, State::Broken);
    }
}
