//! What phones have in common below what is their own: settings and function keys of a vendor, of a model, of the site;
//! and the layers that lie over each other.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Key, Vendor};

/// Where a value comes from; a later one lies over an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// What the agent works out: where the firmware and the language files lie that it serves.
    Agent,
    /// What this program takes where nobody says otherwise.
    Default,
    /// What the vendor's profile says of the model.
    Profile,
    /// Set for all phones of the vendor.
    Vendor,
    /// Set for all phones of the model.
    Model,
    /// Written in the configuration, `[site]`.
    Configuration,
    /// Set for all phones.
    Site,
    /// Set for the phone alone.
    Device,
}

impl Layer {
    /// The layer's name in listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Default => "default",
            Self::Profile => "profile",
            Self::Vendor => "vendor",
            Self::Model => "model",
            Self::Configuration => "configuration",
            Self::Site => "site",
            Self::Device => "device",
        }
    }
}

/// Phones that have something in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// All phones.
    Site,
    /// All of a vendor.
    Vendor(Vendor),
    /// All of a model, as the vendor prints it.
    Model(Vendor, String),
}

impl Group {
    /// The group of these two names, an empty one for any: how tables hold it.
    pub fn of(vendor: &str, model: &str) -> Self {
        match (vendor, model) {
            ("", _) => Self::Site,
            (vendor, "") => Self::Vendor(Vendor::new(vendor)),
            (vendor, model) => Self::Model(Vendor::new(vendor), model.to_owned()),
        }
    }

    /// Vendor and model; empty: any.
    pub fn names(&self) -> (&str, &str) {
        match self {
            Self::Site => ("", ""),
            Self::Vendor(vendor) => (vendor.as_str(), ""),
            Self::Model(vendor, model) => (vendor.as_str(), model),
        }
    }

    /// Its layer.
    pub fn layer(&self) -> Layer {
        match self {
            Self::Site => Layer::Site,
            Self::Vendor(_) => Layer::Vendor,
            Self::Model(..) => Layer::Model,
        }
    }

    /// Whether a phone of this vendor and model is one of the group.
    pub fn holds(&self, vendor: &str, model: Option<&str>) -> bool {
        match self {
            Self::Site => true,
            Self::Vendor(own) => own.as_str() == vendor,
            Self::Model(own, name) => {
                own.as_str() == vendor && model.is_some_and(|model| model.eq_ignore_ascii_case(name))
            }
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Site => f.write_str("site"),
            Self::Vendor(vendor) => vendor.fmt(f),
            Self::Model(vendor, model) => write!(f, "{vendor}/{model}"),
        }
    }
}

/// What the phones of a group have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Common {
    /// By their neutral names, and raw parameters.
    pub settings: BTreeMap<String, String>,
    /// The group's plan of function keys, by number.
    pub keys: BTreeMap<u16, Key>,
}

/// What all groups have in common. Built by the store, immutable afterwards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commons {
    /// Changes with everything in it; the files of every phone depend on it.
    pub revision: i64,
    /// Only groups that have something.
    pub groups: BTreeMap<Group, Common>,
}

impl Commons {
    /// What this group has.
    pub fn of(&self, group: &Group) -> Option<&Common> {
        self.groups.get(group)
    }

    /// What holds for a phone of this vendor and model: the site's, the vendor's, the model's.
    pub fn for_phone(
        &self,
        vendor: &str,
        model: Option<&str>,
    ) -> impl Iterator<Item = (Layer, &Common)> + use<'_> {
        let holding: Vec<_> = self.groups.iter().filter(|(group, _)| group.holds(vendor, model)).collect();
        holding.into_iter().map(|(group, common)| (group.layer(), common))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_survives_its_names() {
        for (vendor, model, shown) in
            [("", "", "site"), ("snom", "", "snom"), ("yealink", "T46U", "yealink/T46U")]
        {
            let group = Group::of(vendor, model);
            assert_eq!((group.names(), group.to_string().as_str()), ((vendor, model), shown));
        }
    }

    #[test]
    fn a_phone_has_what_its_groups_have() {
        let groups = ["", "yealink", "snom"].map(|vendor| (Group::of(vendor, ""), Common::default()));
        let mut commons = Commons { revision: 1, groups: groups.into() };
        commons.groups.insert(Group::of("yealink", "T46U"), Common::default());
        let layers = |vendor, model| -> Vec<Layer> {
            commons.for_phone(vendor, model).map(|(layer, _)| layer).collect()
        };
        assert_eq!(layers("yealink", Some("t46u")), [Layer::Site, Layer::Vendor, Layer::Model]);
        assert_eq!(layers("yealink", None), [Layer::Site, Layer::Vendor]);
        assert_eq!(layers("fanvil", Some("T46U")), [Layer::Site]);
    }
}
