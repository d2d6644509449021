//! The rules of a release for one device: the configuration's, over them the profile's, over them the device's own.
//! Never waits.

use std::collections::BTreeMap;

use crate::config::ReleaseConfig;
use crate::profile::ReleaseRules;
use crate::release::{Policies, Window};
use crate::secret::SecretKind;

/// What the settings about a phone's release begin with.
pub const RELEASE_SETTINGS: &str = "release.";

/// The settings of a device that are about its release: `release.window`, `release.sip_window`, …
pub const DEVICE_SETTINGS: [(&str, &[SecretKind]); 4] = [
    ("release.window", &SecretKind::ALL),
    ("release.sip_window", &[SecretKind::Sip]),
    ("release.menu_window", &[SecretKind::Menu]),
    ("release.webui_window", &[SecretKind::Webui]),
];

/// Reads a device's setting about its release; an error names what is wrong with it.
pub fn device_window(name: &str, value: &str) -> Result<Window, String> {
    match value.parse()? {
        Window::UntilAcked if name != "release.webui_window" => Err(format!(
            "{name} is none, but only the web password may leave without a window; write 1m to 24h"
        )),
        window => Ok(window),
    }
}

/// The rules for a device of this vendor with these settings.
pub fn policies(
    config: &ReleaseConfig,
    rules: Option<&ReleaseRules>,
    settings: &BTreeMap<String, String>,
) -> Policies {
    let mut policies = Policies::all(config.window, config.close_on, config.max_releases);
    policies.on_contact = config.staged_ttl.0;
    let configured = [
        (SecretKind::Sip, config.sip_window),
        (SecretKind::Menu, config.menu_window),
        (SecretKind::Webui, config.webui_window),
    ];
    for (kind, window) in configured {
        set(&mut policies, kind, window);
    }
    if let Some(rules) = rules {
        for kind in SecretKind::ALL {
            set(&mut policies, kind, rules.windows.get(&kind).copied());
            if let Some(close_on) = rules.close_on.get(&kind) {
                policies.of_mut(kind).close_on = *close_on;
            }
        }
    }
    for (name, kinds) in DEVICE_SETTINGS {
        // A value that cannot be read was refused when it was set; one that was written past that changes nothing.
        let window = settings.get(name).and_then(|value| device_window(name, value).ok());
        for kind in kinds {
            set(&mut policies, *kind, window);
        }
    }
    for (kind, of) in rules.iter().flat_map(|rules| &rules.aliases) {
        policies.alias(*kind, *of);
    }
    policies
}

fn set(policies: &mut Policies, kind: SecretKind, window: Option<Window>) {
    if let Some(window) = window {
        policies.of_mut(kind).window = window;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_device_overrules_the_profile_and_the_profile_the_configuration() {
        let minutes = |minutes| Window::Of(Duration::from_mins(minutes));
        let config = ReleaseConfig { sip_window: Some(minutes(20)), ..ReleaseConfig::default() };
        let mut rules = ReleaseRules::default();
        rules.windows.insert(SecretKind::Webui, minutes(30));
        let settings = BTreeMap::from([("release.menu_window".to_owned(), "40m".to_owned())]);
        let window = |policies: &Policies, kind| policies.of(kind).window;
        let policies_ = policies(&config, Some(&rules), &settings);
        assert_eq!(window(&policies_, SecretKind::Sip), minutes(20));
        assert_eq!(window(&policies_, SecretKind::Webui), minutes(30));
        assert_eq!(window(&policies_, SecretKind::Menu), minutes(40));
        assert_eq!(window(&policies_, SecretKind::Prov), minutes(10));
        rules.aliases.insert(SecretKind::Menu, SecretKind::Webui);
        let policies_ = policies(&config, Some(&rules), &settings);
        assert_eq!(window(&policies_, SecretKind::Menu), minutes(30), "one parameter, the stricter window");
        assert!(device_window("release.sip_window", "none").is_err());
    }
}
