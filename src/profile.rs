//! Vendor profiles: how a vendor's phones are recognised, which files they ask for, and what stands in them. Data, not
//! code: a folder with `profile.toml`, templates and cases. Never waits; reads files only when a catalog is loaded
//! (`origin.rs`), and never the network, the store or the clock.
//!
//! A request walks through here like this: [`Catalog::identify`] votes on what a phone says of itself,
//! [`Catalog::requested`] names the profile's file behind a file name, [`Profile::render`] draws it, and
//! [`Rendered::fill`] puts in the secrets that the desk releases.

mod build;
mod case;
mod catalog;
mod check;
mod error;
mod escape;
mod identify;
mod model;
mod origin;
mod path;
mod range;
mod recogniser;
mod rendered;
mod schema;
mod subject;
mod template;
mod trial;
mod zone;

pub use case::Case;
pub use catalog::{Catalog, Requested};
pub use check::{Report, check_all};
pub use error::ProfileError;
pub use escape::ControlCharacter;
pub use identify::{Clue, Identified, ReadClue};
pub use model::Model;
pub use origin::Origin;
pub use path::{PathError, PathPattern, PathValues};
pub use range::{MacRange, RangeError};
pub use rendered::{RenderError, Rendered, Slot};
pub use schema::{Dhcp, Format, Reach, Retention, Scope};
pub use subject::{Site, Subject};
pub use trial::{bless, test_all};
pub use zone::{Zone, ZoneError, ZoneRule};

use model::Models;
use recogniser::Recogniser;
use rendered::{SecretForm, SlotRules};
use template::{TemplateError, Templates};

use crate::device::{Mac, Vendor};
use crate::secret::SecretKind;

/// Everything known of a vendor's phones. Immutable; shared as `Arc<Profile>`.
#[derive(Debug)]
pub struct Profile {
    vendor: Vendor,
    display_name: String,
    retention: Retention,
    reach: Reach,
    pnp: Option<PnpUrl>,
    pnp_content_type: String,
    dhcp: Option<Dhcp>,
    manual: Option<Manual>,
    ranges: Vec<MacRange>,
    recognisers: Vec<Recogniser>,
    files: Vec<ProfileFile>,
    models: Models,
    templates: Templates,
    /// What a profile that extends this one builds upon.
    parts: build::Parts,
}

/// Which file of a profile; only meaningful together with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(u16);

/// A file that a vendor's phones ask for.
#[derive(Debug, Clone)]
pub struct ProfileFile {
    path: PathPattern,
    template: String,
    format: Format,
    content_type: String,
    secrets: Vec<SecretKind>,
    form: SecretForm,
    models: Vec<String>,
    families: Vec<String>,
    scope: Scope,
}

impl ProfileFile {
    /// Its name, as a pattern.
    pub fn path(&self) -> &PathPattern {
        &self.path
    }

    /// How it is written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The media type to send it as.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The kinds of secrets that may stand in it; a file without any never sees one.
    pub fn secrets(&self) -> &[SecretKind] {
        &self.secrets
    }

    /// For whom it is the same.
    pub fn scope(&self) -> Scope {
        self.scope
    }
}

/// Where a person types the URL into the phone, and what.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Manual {
    /// The menu (`Settings > Auto Provision > Server URL`); empty where the profile names none.
    pub place: String,
    /// The text to type.
    pub value: String,
}

/// The shape of the URL that a NOTIFY carries.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PnpUrl {
    /// The phone appends its own file names.
    Directory,
    /// The phone fetches exactly this.
    File(PathPattern),
}

impl Profile {
    /// The folder's name.
    pub fn vendor(&self) -> &Vendor {
        &self.vendor
    }

    /// The name for people.
    pub fn display_name(&self) -> &str {
        &self.display_name
    }

    /// What the phones do with a setting that their file does not name.
    pub fn retention(&self) -> Retention {
        self.retention
    }

    /// By which ways the phones can be reached.
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// What the phones read from DHCP.
    pub fn dhcp(&self) -> Option<&Dhcp> {
        self.dhcp.as_ref()
    }

    /// The media type of a NOTIFY's body.
    pub fn pnp_content_type(&self) -> &str {
        &self.pnp_content_type
    }

    /// The URL to hand a phone, in the vendor's shape: a directory, or one file's URL. `None`: the phones follow no
    /// URL, or the model is needed for it and unknown.
    pub fn provisioning_url(&self, base: &str, mac: Mac, model: Option<&str>) -> Option<String> {
        let slash = if base.ends_with('/') { "" } else { "/" };
        match self.pnp.as_ref()? {
            PnpUrl::Directory => Some(format!("{base}{slash}")),
            PnpUrl::File(pattern) => {
                let name = pattern.render(&self.path_values(Some(mac), model))?;
                Some(format!("{base}{slash}{name}"))
            }
        }
    }

    /// Where a person types the URL, and what.
    pub fn manual(&self, base: &str) -> Manual {
        match &self.manual {
            Some(manual) => Manual { place: manual.place.clone(), value: with_base(&manual.value, base) },
            None => Manual { place: String::new(), value: base.to_owned() },
        }
    }

    /// What DHCP has to say to these phones (option 66 or the vendor's own).
    pub fn dhcp_value(&self, base: &str) -> String {
        let value = self.dhcp.as_ref().and_then(|dhcp| dhcp.value.as_deref());
        value.map_or_else(|| base.to_owned(), |value| with_base(value, base))
    }

    /// The file of this number.
    ///
    /// # Panics
    /// Never for a number that this profile gave out.
    #[expect(
        clippy::indexing_slicing,
        reason = "a FileId is made from this profile's own list, which never changes"
    )]
    pub fn file(&self, id: FileId) -> &ProfileFile {
        &self.files[usize::from(id.0)]
    }

    /// Every file that the phones may ask for.
    pub fn files(&self) -> impl Iterator<Item = (FileId, &ProfileFile)> {
        (0u16..).map(FileId).zip(&self.files)
    }

    /// The files that phones of this model ask for.
    pub fn files_for(&self, model: Option<&str>) -> impl Iterator<Item = (FileId, &ProfileFile)> {
        let known = model.and_then(|name| self.model(name));
        self.files().filter(move |(_, file)| {
            let named = file.models.is_empty() && file.families.is_empty();
            named
                || known.is_some_and(|model| {
                    let family = model.family.as_ref();
                    file.models.contains(&model.name)
                        || family.is_some_and(|family| file.families.contains(family))
                })
        })
    }

    /// The name under which a phone asks for this file; `None` when it depends on what is not known.
    pub fn file_name(&self, id: FileId, mac: Option<Mac>, model: Option<&str>) -> Option<String> {
        self.file(id).path.render(&self.path_values(mac, model))
    }

    /// The models that the profile describes.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        self.models.iter()
    }

    /// The model of this name as the phone prints it, in any case, or by an alias.
    pub fn model(&self, name: &str) -> Option<&Model> {
        self.models.get(name)
    }

    /// The vendor's MAC ranges.
    pub fn ranges(&self) -> &[MacRange] {
        &self.ranges
    }

    /// Draws a file for a subject; the same subject gives the same bytes.
    pub fn render(&self, id: FileId, subject: &Subject<'_>) -> Result<Rendered, RenderError> {
        let file = self.file(id);
        let name = file.path.to_string();
        if file.scope == Scope::Device && subject.device.is_none() {
            return Err(RenderError::NoDevice { file: name });
        }
        let asked = subject.model();
        let known = asked.and_then(|name| self.model(name));
        let model = known.unwrap_or(self.models.any());
        let ground = subject::Ground {
            vendor: self.vendor.as_str(),
            model: known.map(|model| model.name.as_str()).or(asked),
            facts: model.facts(),
            settings: model.settings(),
        };
        let context = subject::context(subject, &ground)?;
        let mut drawing =
            self.templates.draw(&file.template, file.format, context).map_err(|error| self.failed(error))?;
        drawing.trace.notes.extend(subject::notes(subject));
        let rules = SlotRules {
            file: &name,
            format: file.format,
            content_type: &file.content_type,
            kinds: &file.secrets,
            form: &file.form,
        };
        Rendered::cut(drawing, &rules)
    }

    fn failed(&self, error: TemplateError) -> RenderError {
        let TemplateError { template, line, message } = error;
        RenderError::Template { vendor: self.vendor.to_string(), template, line, message }
    }

    fn path_values(&self, mac: Option<Mac>, model: Option<&str>) -> PathValues {
        let known = model.and_then(|name| self.model(name));
        PathValues {
            mac,
            model: known.map(|model| model.name.clone()).or_else(|| model.map(str::to_owned)),
            common: known.and_then(|model| model.common.clone()),
        }
    }

    /// The words by which the vendor calls itself in front of a model.
    fn names(&self) -> [&str; 2] {
        [&self.display_name, self.vendor.as_str()]
    }
}

/// Puts the agent's URL into a text for people or DHCP: `{base}`, `{host}` and `{port}`; other braces are the phone's.
fn with_base(text: &str, base: &str) -> String {
    let authority =
        base.split_once("://").map_or(base, |(_, rest)| rest).split('/').next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => (host, port),
        _ => (authority, if base.starts_with("https:") { "443" } else { "80" }),
    };
    text.replace("{base}", base).replace("{host}", host).replace("{port}", port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_url_is_put_into_texts_for_people() {
        let check = |text: &str, base: &str, expected: &str| assert_eq!(with_base(text, base), expected);
        check("{base}", "http://192.0.2.1:8480/", "http://192.0.2.1:8480/");
        check(
            "http://{host}:{port}/{mac}.htm",
            "http://192.0.2.1:8480/d/x/",
            "http://192.0.2.1:8480/{mac}.htm",
        );
        check("{host} {port}", "https://pbx/", "pbx 443");
        check("{host} {port}", "http://[2001:db8::1]:80/", "[2001:db8::1] 80");
    }
}
