//! The models of a vendor: their facts and their layer of settings, found by whatever name a phone prints.

use std::collections::BTreeMap;

use minijinja::Value;
use minijinja::value::Serde;

use super::schema::{ModelToml, Retention, Text};

/// The table that holds for every model, also for unknown ones.
pub(super) const ANY: &str = "*";

/// A model of a vendor.
#[derive(Debug, Clone)]
pub struct Model {
    /// As the vendor prints it, without the vendor.
    pub name: String,
    /// SIP accounts it can hold.
    pub lines: Option<u16>,
    /// Programmable keys on the phone itself.
    pub line_keys: Option<u16>,
    /// Keys of all the expansion modules that it takes.
    pub expansion_keys: Option<u16>,
    /// The name of the file that all phones of the model ask for.
    pub common: Option<String>,
    /// The first number of its firmware versions.
    pub firmware: Option<String>,
    /// The family whose files it shares.
    pub family: Option<String>,
    /// What it does with a setting that its file does not name, where it differs from the vendor's others.
    pub retention: Option<Retention>,
    /// Other names it prints.
    pub aliases: Vec<String>,
    /// Languages its display knows.
    pub screen_languages: Vec<String>,
    facts: Value,
    settings: BTreeMap<String, String>,
}

impl Model {
    /// A further fact that is a number, such as `module_keys`.
    pub(super) fn number(&self, fact: &str) -> Option<u16> {
        u16::try_from(self.facts.get_attr(fact).ok()?).ok()
    }

    /// A further fact of its table, as a text.
    pub fn fact(&self, name: &str) -> Option<String> {
        let value = self.facts.get_attr(name).ok()?;
        (!value.is_undefined()).then(|| value.to_string())
    }

    /// Its table as templates see it.
    pub(super) fn facts(&self) -> &Value {
        &self.facts
    }

    /// Its settings over the vendor's.
    pub(super) fn settings(&self) -> &BTreeMap<String, String> {
        &self.settings
    }
}

/// All models of a vendor.
#[derive(Debug)]
pub(super) struct Models {
    all: Vec<Model>,
    /// From a printed name in lower case to its spelling and its model's place.
    names: BTreeMap<String, (String, usize)>,
    any: Model,
}

impl Models {
    /// Lays out the tables; `Err` names two models that print the same name.
    pub(super) fn new(
        tables: &BTreeMap<String, ModelToml>,
        defaults: &BTreeMap<String, Text>,
    ) -> Result<Self, (String, String)> {
        let common = tables.get(ANY).cloned().unwrap_or_default();
        let mut all = Vec::new();
        let mut names = BTreeMap::new();
        for (name, table) in tables.iter().filter(|(name, _)| *name != ANY) {
            for printed in std::iter::once(name).chain(&table.aliases) {
                if names.insert(printed.to_ascii_lowercase(), (printed.clone(), all.len())).is_some() {
                    return Err((name.clone(), printed.clone()));
                }
            }
            all.push(model(name, table, &common, defaults));
        }
        let any = model("", &ModelToml::default(), &common, defaults);
        Ok(Self { all, names, any })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Model> {
        self.all.iter()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Model> {
        let (_, place) = self.names.get(&name.trim().to_ascii_lowercase())?;
        self.all.get(*place)
    }

    /// The name, or the alias, as the profile spells it.
    pub(super) fn spelling(&self, name: &str) -> Option<&str> {
        self.names.get(&name.trim().to_ascii_lowercase()).map(|(spelling, _)| spelling.as_str())
    }

    /// What holds for a model that the profile does not describe.
    pub(super) fn any(&self) -> &Model {
        &self.any
    }

    /// The models whose common file has this name.
    pub(super) fn with_common(&self, name: &str) -> impl Iterator<Item = &Model> {
        self.iter().filter(move |model| {
            model.common.as_deref().is_some_and(|common| common.eq_ignore_ascii_case(name))
        })
    }
}

fn model(name: &str, own: &ModelToml, any: &ModelToml, defaults: &BTreeMap<String, Text>) -> Model {
    let list = |own: &Vec<String>, any: &Vec<String>| if own.is_empty() { any.clone() } else { own.clone() };
    let mut settings = BTreeMap::new();
    for layer in [defaults, &any.settings, &own.settings] {
        settings.extend(layer.iter().map(|(name, value)| (name.clone(), value.0.clone())));
    }
    let mut model = Model {
        name: name.to_owned(),
        lines: own.lines.or(any.lines),
        line_keys: own.line_keys.or(any.line_keys),
        expansion_keys: own.expansion_keys.or(any.expansion_keys),
        common: own.common.clone().or_else(|| any.common.clone()),
        firmware: own.firmware.clone().or_else(|| any.firmware.clone()),
        family: own.family.clone().or_else(|| any.family.clone()),
        retention: own.retention.or(any.retention),
        aliases: own.aliases.clone(),
        screen_languages: list(&own.screen_languages, &any.screen_languages),
        facts: Value::UNDEFINED,
        settings,
    };
    let further = any.facts.iter().chain(&own.facts).map(|(name, value)| (name.clone(), value.clone()));
    model.facts = facts(&model, further.collect());
    model
}

/// The table for templates: a fact that is not given is not defined.
fn facts(model: &Model, further: BTreeMap<String, toml::Value>) -> Value {
    let number = |value: Option<u16>| value.map(Value::from);
    let text = |value: &Option<String>| value.as_deref().map(Value::from);
    let named = [
        ("lines", number(model.lines)),
        ("line_keys", number(model.line_keys)),
        ("expansion_keys", number(model.expansion_keys)),
        ("common", text(&model.common)),
        ("firmware", text(&model.firmware)),
        ("family", text(&model.family)),
        ("screen_languages", Some(Value::from(model.screen_languages.clone()))),
        ("aliases", Some(Value::from(model.aliases.clone()))),
    ];
    let named = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let further = further.into_iter().map(|(name, value)| (name, Value::from(Serde(value))));
    Value::from_pairs(further.chain(named))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(text: &str) -> BTreeMap<String, ModelToml> {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_model_is_found_by_any_of_its_names() {
        let text = "[T21P]\nlines = 2\naliases = [\"T21D\"]\n['*']\nlines = 1\nline_keys = 3\n";
        let models = Models::new(&tables(text), &BTreeMap::new()).unwrap();
        let found = models.get("t21d").unwrap();
        assert_eq!((found.name.as_str(), found.lines, found.line_keys), ("T21P", Some(2), Some(3)));
        assert_eq!(models.spelling("t21d"), Some("T21D"));
        assert!(models.get("*").is_none() && models.get("T99").is_none());
        assert_eq!(models.any().lines, Some(1));
        assert_eq!(models.iter().count(), 1);
    }

    #[test]
    fn settings_lie_over_each_other() {
        let text = "[X.settings]\nb = 2\n['*'.settings]\na = 1\nb = 1\n";
        let defaults =
            BTreeMap::from([("a".to_owned(), Text("0".to_owned())), ("c".to_owned(), Text("0".to_owned()))]);
        let models = Models::new(&tables(text), &defaults).unwrap();
        let values: Vec<&str> = models.get("X").unwrap().settings().values().map(String::as_str).collect();
        assert_eq!(values, ["1", "2", "0"]);
    }

    #[test]
    fn two_models_cannot_print_one_name() {
        let text = "[A]\naliases = [\"b\"]\n[B]\n";
        assert_eq!(
            Models::new(&tables(text), &BTreeMap::new()).unwrap_err(),
            ("B".to_owned(), "B".to_owned())
        );
    }
}
