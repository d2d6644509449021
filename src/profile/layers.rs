//! Settings in layers: what the profile says of a model, what was set for vendor, model and site, and what is a phone's
//! own, each over the one before. A raw parameter is a setting whose name begins with `raw:`.

use std::collections::BTreeMap;

use super::subject::{Site, Subject};
use crate::device::Layer;

/// What the name of a raw parameter begins with among the settings.
pub(super) const RAW: &str = "raw:";

/// Settings by name.
type Settings = BTreeMap<String, String>;

/// A setting as it holds for a phone, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LaidSetting {
    /// Its neutral name, or `raw:` and the vendor's name.
    pub name: String,
    /// `null`: there is none.
    pub value: Option<String>,
    /// The layer that it comes from.
    pub layer: Layer,
}

/// The layers that hold for a subject, the lowest first.
#[derive(Debug)]
pub(super) struct Stack<'a>(Vec<(Layer, &'a Settings)>);

impl<'a> Stack<'a> {
    /// `profile`: what the profile says of the model, whose name it is as the profile writes it.
    pub(super) fn new(
        subject: &Subject<'a>,
        vendor: &str,
        model: Option<&str>,
        profile: Option<&'a Settings>,
    ) -> Self {
        let mut layers: Vec<(Layer, &'a Settings)> = Vec::with_capacity(7);
        layers.push((Layer::Agent, subject.supplied));
        layers.extend(profile.map(|settings| (Layer::Profile, settings)));
        layers.push((Layer::Configuration, &subject.site.settings));
        let common = subject.commons.for_phone(vendor, model);
        layers.extend(common.map(|(layer, common)| (layer, &common.settings)));
        layers.extend(subject.device.map(|device| (Layer::Device, &device.settings)));
        layers.sort_by_key(|(layer, _)| *layer);
        Self(layers)
    }

    /// Each setting as it holds, raw parameters among them.
    pub(super) fn settled(&self) -> BTreeMap<&'a str, (Layer, &'a str)> {
        let mut settled = BTreeMap::new();
        for (layer, settings) in &self.0 {
            settled.extend(settings.iter().map(|(name, value)| (name.as_str(), (*layer, value.as_str()))));
        }
        settled
    }

    /// What was set that may be a fact of the site: of what the configuration has written itself only what lies over it.
    pub(super) fn facts(&self, site: &Site) -> impl Iterator<Item = (Layer, &'a str, &'a str)> {
        let above = |name: &str, layer| layer > Layer::Configuration || !site.is_written(name);
        let set = self
            .0
            .iter()
            .filter(|(layer, _)| !matches!(layer, Layer::Agent | Layer::Profile | Layer::Configuration));
        let named = set.flat_map(|(layer, settings)| {
            settings.iter().map(|(name, value)| (*layer, name.as_str(), value.as_str()))
        });
        let facts: Vec<_> = named.filter(|(layer, name, _)| above(name, *layer)).collect();
        facts.into_iter()
    }

    /// The raw parameters, by the vendor's names.
    pub(super) fn raw(&self) -> Vec<(&'a str, &'a str)> {
        let settled = self.settled();
        settled.into_iter().filter_map(|(name, (_, value))| Some((name.strip_prefix(RAW)?, value))).collect()
    }
}
