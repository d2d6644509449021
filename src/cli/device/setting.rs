//! `offhook device set`: settings of one phone alone. What cannot be right is refused before it is written: a fact that
//! has no such value, a name that no profile reads, a value with which the phone's files cannot be made.

use std::collections::BTreeSet;

use super::{Context, Failure, Outcome, done, open};
use crate::device::{Device, Mac};
use crate::profile::{Catalog, Profile, Scope, Site, Subject, check_fact};
use crate::provision::{DEVICE_SETTINGS, device_window};
use crate::store::Store;

/// What the settings about the release of a phone's passwords begin with.
const RELEASE: &str = "release.";

/// A name, and its value; `None` removes.
type Setting = (String, Option<String>);

pub(super) async fn set(context: &Context, store: &Store, mac: Mac, texts: &[String]) -> Outcome {
    let settings = texts.iter().map(|text| setting(text)).collect::<Result<Vec<_>, _>>()?;
    let (catalog, _) = Catalog::load(context.config.profiles.dir.as_deref());
    let device = store.inventory().device(mac);
    let profile = device.as_ref().and_then(|device| catalog.get(device.vendor.as_ref()?));
    for note in known(&settings, &catalog, profile.map(AsRef::as_ref))? {
        eprintln!("note: {note}");
    }
    if let (Some(device), Some(profile)) = (&device, profile) {
        let site = Site::new(&context.config.site, &context.config.sip, &crate::agent::host_timezone());
        for note in consequences(device, &settings, profile, &site)? {
            eprintln!("note: {note}");
        }
    }
    store.set(mac, &settings).await?;
    open::poke(context);
    done(context, store, &[mac], "has these settings at its next fetch");
    Ok(())
}

/// `KEY=VALUE`; `KEY=` removes. A fact of the site must have a value that it can have.
fn setting(text: &str) -> Result<Setting, Failure> {
    let refuse = |reason: &str| {
        Failure::usage(
            "setting",
            format!("a setting is not understood: {reason}"),
            "write KEY=VALUE, or KEY= to remove it",
        )
    };
    let (name, value) = text.split_once('=').ok_or_else(|| refuse("there is no '='"))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 100 || !name.chars().all(plain) {
        return Err(refuse("a name has letters, digits, '.', '_' and '-'"));
    }
    if value.contains(char::is_control) || value.chars().count() > 1_024 {
        return Err(refuse("a value has no control characters, and at most 1024 others"));
    }
    let value = Some(value).filter(|value| !value.is_empty());
    if let Some(Err(reason)) = value.and_then(|value| check_fact(name, value)) {
        return Err(refuse(&format!("{name}: {reason}")));
    }
    if name.starts_with(RELEASE) {
        check_release(name, value)?;
    }
    Ok((name.to_owned(), value.map(str::to_owned)))
}

/// A window of this phone alone.
fn check_release(name: &str, value: Option<&str>) -> Outcome {
    let names = DEVICE_SETTINGS.map(|(name, _)| name);
    let refuse = |message: String| {
        let remedy =
            format!("a phone's own windows are {}: write KEY=20m, or KEY= to remove it", names.join(", "));
        Failure::usage("setting", message, remedy)
    };
    if !names.contains(&name) {
        return Err(refuse(format!("no phone has a setting '{name}' of its own")));
    }
    let checked = value.map_or(Ok(()), |value| device_window(name, value).map(|_| ()));
    checked.map_err(|reason| {
        let message = if reason.starts_with(name) { reason } else { format!("{name}: {reason}") };
        refuse(message)
    })
}

/// Refuses names that nobody reads, and tells those that only other vendors' phones know. Anything can be removed.
fn known(settings: &[Setting], catalog: &Catalog, own: Option<&Profile>) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    for (name, value) in settings {
        if value.is_none() || check_fact(name, "").is_some() || name.starts_with(RELEASE) {
            continue;
        }
        if !catalog.profiles().any(|profile| profile.reads_setting(name)) {
            return Err(Failure::usage(
                "setting",
                format!("no profile reads '{name}': it would change nothing"),
                "the README of the vendor's profile lists its settings by neutral name",
            ));
        }
        if let Some(own) = own.filter(|own| !own.reads_setting(name)) {
            notes.push(format!("the profile of {} does not read '{name}': it changes nothing", own.vendor()));
        }
    }
    Ok(notes)
}

/// What the phone's files say about the settings that they did not say before. A phone that has its files must not lose
/// them by a setting.
fn consequences(
    device: &Device,
    settings: &[Setting],
    profile: &Profile,
    site: &Site,
) -> Result<BTreeSet<String>, Failure> {
    let mut changed = device.clone();
    for (name, value) in settings {
        match value {
            Some(value) => changed.settings.insert(name.clone(), value.clone()),
            None => changed.settings.remove(name),
        };
    }
    let mut notes = BTreeSet::new();
    for (id, _) in
        profile.files_for(device.model.as_deref()).filter(|(_, file)| file.scope() == Scope::Device)
    {
        // Which host this is makes no difference to what is asked here (RFC 5737).
        let (host, base) = ("192.0.2.1", "http://192.0.2.1/");
        let render =
            |device| profile.render(id, &Subject { device: Some(device), model: None, site, host, base });
        match (render(device), render(&changed)) {
            (Ok(before), Ok(after)) => {
                notes.extend(after.notes().iter().filter(|note| !before.notes().contains(note)).cloned());
            }
            (Ok(_), Err(error)) => {
                return Err(Failure::usage(
                    "setting",
                    format!("with these settings the phone's files cannot be made: {error}"),
                    "the README of the vendor's profile lists the values of each setting",
                ));
            }
            (Err(_), _) => {}
        }
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Vendor;

    #[test]
    fn a_setting_is_a_name_and_a_value() {
        assert_eq!(setting("a.b=c=d").unwrap(), ("a.b".to_owned(), Some("c=d".to_owned())));
        assert_eq!(setting("a=").unwrap(), ("a".to_owned(), None));
        assert_eq!(setting("vlan=").unwrap(), ("vlan".to_owned(), None));
        for wrong in ["a", "=b", "a b=c", "a=b\nc", "vlan=4095", "timezone=Mars/Olympus"] {
            assert!(setting(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn names_that_nobody_reads_are_refused() {
        let catalog = Catalog::builtin().unwrap();
        let snom = catalog.get(&Vendor::new("snom")).map(AsRef::as_ref);
        let check = |text: &str, notes: Option<usize>| {
            let told = known(&[setting(text).unwrap()], &catalog, snom).ok().map(|notes| notes.len());
            assert_eq!(told, notes, "{text}");
        };
        check("voicemail=*97", Some(0));
        check("timezone=Europe/Berlin", Some(0));
        check("ipui_1=0260A12345", Some(0));
        check("tls_verify=off", Some(1));
        check("nonsense=1", None);
        check("nonsense=", Some(0));
        check("release.sip_window=20m", Some(0));
    }

    #[test]
    fn a_window_of_a_phone_is_checked() {
        for right in ["release.window=20m", "release.webui_window=none", "release.menu_window="] {
            assert!(setting(right).is_ok(), "{right}");
        }
        let rows = [
            ("release.window=59s", "release.window: '59s' is no window; write 1m to 24h"),
            ("release.sip_window=25h", "release.sip_window: '25h' is no window"),
            ("release.window=none", "release.window is none, but only the web password"),
            ("release.window=soon", "release.window: 'soon' is not a length of time"),
            ("release.prov_window=20m", "no phone has a setting 'release.prov_window' of its own"),
        ];
        for (wrong, message) in rows {
            let failure = setting(wrong).unwrap_err();
            assert!(failure.message.starts_with(message), "{wrong}: {}", failure.message);
            assert!(failure.remedy.contains("release.webui_window"), "{}", failure.remedy);
        }
    }

    #[test]
    fn a_setting_shows_in_the_phones_file_or_is_refused() {
        let catalog = Catalog::builtin().unwrap();
        let mac = "805ec0aabbcc".parse().unwrap();
        let rows = [
            ("yealink", "T46U", "{mac}.cfg", "local_time.time_zone = -5\n"),
            ("snom", "D785", "{MAC}.xml", ">USA-5<"),
        ];
        for (vendor, model, path, text) in rows {
            let profile = catalog.get(&Vendor::new(vendor)).unwrap();
            let mut phone = profile.sample_device(mac, Some(model));
            let site = Site::default();
            let told =
                |phone: &Device, text: &str| consequences(phone, &[setting(text).unwrap()], profile, &site);
            assert_eq!(told(&phone, "timezone=America/New_York").unwrap(), BTreeSet::new(), "{vendor}");
            assert!(told(&phone, "dtmf=morse").unwrap_err().message.contains("morse"), "{vendor}");
            assert_eq!(told(&phone, "language=xx").unwrap().len(), 1, "{vendor}");
            phone.settings.insert("timezone".to_owned(), "America/New_York".to_owned());
            let (id, _) = profile.files().find(|(_, file)| file.path().to_string() == path).unwrap();
            let subject =
                Subject { device: Some(&phone), model: None, site: &site, host: "h", base: "http://h/" };
            let plain = profile.render(id, &subject).unwrap().plain();
            assert!(plain.contains(text), "{vendor}: {plain}");
        }
    }
}
