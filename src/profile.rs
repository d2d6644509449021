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
mod crypt;
mod dhcp;
mod draw;
mod error;
mod escape;
mod fact;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod hostile;
mod identify;
mod keys;
mod language;
mod layers;
mod menu;
mod model;
mod origin;
mod page;
mod part;
mod path;
mod preamble;
mod proof;
mod range;
mod raw;
mod reach;
mod recogniser;
mod release;
mod rendered;
mod schema;
mod simulate;
mod stranger;
mod subject;
mod template;
mod trial;
mod visit;
mod web;
mod whole;
mod zone;

use std::sync::Arc;

pub use case::Case;
pub use catalog::{Catalog, Requested};
pub use check::{Report, check_all};
pub use dhcp::{
    ClassText, Dhcp, DhcpData, DhcpFinding, DhcpPlace, DhcpSetting, DhcpVerdict, Judgement, MacStart,
    Misformat, class_text, colons, redacted, shown_option,
};
pub use draw::laid_settings;
pub use error::ProfileError;
pub use escape::Unwritable;
pub use fact::{check_fact, is_fact};
pub use identify::{Certainty, Clue, Identified, ReadClue};
pub use keys::{KeyProblem, LaidKey};
pub use language::LanguageFile;
pub use layers::LaidSetting;
pub use menu::{MenuAuth, MenuForm, MenuQuery, draw_html, html_form};
pub use model::Model;
pub use origin::Origin;
pub use page::{PAGES_MAX, Page};
pub use path::{PathError, PathPattern, PathValues};
pub use range::{MacRange, RangeError};
pub use raw::check_raw_name;
pub use reach::{Body, Means, Reach, Told};
pub use release::ReleaseRules;
pub use rendered::{RenderError, Rendered, Slot};
pub use schema::{Format, Retention, Scope, WithoutScheme};
pub use simulate::{AccountNames, KeyNames, Names, OnNotify, ReadFormat, Reading, Simulate};
pub use subject::{NOTHING_SUPPLIED, Site, Subject, Supplied};
pub use trial::{bless, test_all};
pub use visit::{Digesting, Mention, Payload, Phrase, Stage, Visit, VisitStep};
pub use web::{ANSWER_BYTES_MAX, PAGE_BYTES_MAX, WebAnswer};
pub use whole::Whole;
pub use zone::{Zone, ZoneError, ZoneRule};

use escape::Writing;
use model::Models;
use preamble::CommentForm;
use raw::RawForm;
use recogniser::Recogniser;
use regex::Regex;
use release::Release;
use rendered::SecretForm;
use template::Templates;

use crate::device::{Mac, Source, Vendor};
use crate::secret::SecretKind;

/// Everything known of a vendor's phones. Immutable; shared as `Arc<Profile>`.
#[derive(Debug)]
pub struct Profile {
    vendor: Vendor,
    display_name: String,
    retention: Retention,
    release: Release,
    reach: Reach,
    visits: Vec<Visit>,
    pnp: Option<PnpUrl>,
    pnp_content_type: String,
    dhcp: Option<Dhcp>,
    manual: Option<Manual>,
    ranges: Vec<MacRange>,
    recognisers: Vec<Recogniser>,
    /// One for each path.
    pages: Vec<Page>,
    /// User-Agents of its phones that drop an answer without a date.
    dated: Vec<Regex>,
    files: Vec<ProfileFile>,
    models: Models,
    templates: Templates,
    simulate: Option<Simulate>,
    /// How its phones show pages.
    menu: Option<MenuForm>,
    /// How they read a whole directory.
    phonebook: Option<MenuForm>,
    /// What the files of their languages are called.
    languages: Option<language::LanguageToml>,
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
    writing: Arc<Writing>,
    content_type: String,
    secrets: Vec<SecretKind>,
    form: SecretForm,
    /// How a comment stands in it; `None`: there are none.
    comment: Option<CommentForm>,
    /// How a raw parameter stands in it.
    raw: RawForm,
    /// What it must hold whatever leaves with it.
    requires: Vec<Regex>,
    models: Vec<String>,
    families: Vec<String>,
    scope: Scope,
    /// From the profile that this one extends, whose cases make it.
    inherited: bool,
}

impl ProfileFile {
    /// Its name, as a pattern.
    pub fn path(&self) -> &PathPattern {
        &self.path
    }

    /// How it is written.
    pub fn format(&self) -> Format {
        self.writing.format
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

    /// Whether it is as the extended profile has it.
    #[cfg(test)]
    pub(crate) fn is_inherited(&self) -> bool {
        self.inherited
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

    /// What phones of this model do with a setting that their file does not name.
    pub fn retention(&self, model: Option<&str>) -> Retention {
        self.model_or_any(model).retention.unwrap_or(self.retention)
    }

    /// How the vendor wants the phones' passwords released.
    pub fn release(&self) -> &ReleaseRules {
        &self.release.rules
    }

    /// Which kinds of secrets this file may hold, known before it is rendered. A kind that is an alias of another
    /// ([`ReleaseRules::aliases`]) is in no file.
    pub fn secret_kinds(&self, id: FileId) -> &[SecretKind] {
        &self.file(id).secrets
    }

    /// By which ways the phones can be reached.
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// What its phones say in this place, as an example.
    pub fn example_of(&self, source: Source) -> Option<&str> {
        let mut recognisers = self.recognisers.iter().filter(|recogniser| recogniser.source == source);
        Some(recognisers.find_map(|recogniser| recogniser.examples.first())?.text.as_str())
    }

    /// How a running phone of this model is told something, if it can be.
    pub fn means(&self, told: Told, model: Option<&str>) -> Option<&Means> {
        let table = self.model_or_any(model);
        self.reach.means(told, Some(&table.name), table.family.as_deref())
    }

    /// What has to be set so that a phone of this model takes a NOTIFY from here.
    pub fn permit(&self, model: Option<&str>) -> Option<&str> {
        let table = self.model_or_any(model);
        self.reach.permit(Some(&table.name), table.family.as_deref())
    }

    /// The web interfaces by which a phone of this model may be told where its configuration is, the likeliest first.
    pub fn visits(&self, model: Option<&str>) -> impl Iterator<Item = &Visit> {
        let table = self.model_or_any(model);
        self.visits.iter().filter(|visit| visit.is_of(&table.name, table.family.as_deref()))
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
        self.files().filter(move |(id, _)| self.is_for(*id, model))
    }

    /// Whether phones of this model ask for this file.
    pub fn is_for(&self, id: FileId, model: Option<&str>) -> bool {
        let (file, model) = (self.file(id), self.model_or_any(model));
        let family = model.family.as_ref();
        (file.models.is_empty() && file.families.is_empty())
            || file.models.contains(&model.name)
            || family.is_some_and(|family| file.families.contains(family))
    }

    /// The model, or what holds for one that is not described.
    fn model_or_any(&self, model: Option<&str>) -> &Model {
        model.and_then(|name| self.model(name)).unwrap_or(self.models.any())
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

    /// The table that holds for a model of this name: its own, or the one for every model.
    pub fn table(&self, name: &str) -> &Model {
        self.model(name).unwrap_or(self.models.any())
    }

    /// A model's name as the profile spells it, whatever the case it was written in; an alias stays that alias, and an
    /// unknown name stays as it is.
    fn spelling<'n>(&'n self, printed: &'n str) -> &'n str {
        self.models.spelling(printed).unwrap_or(printed)
    }

    /// The model that a person or a phone wrote, as the profile spells it and without the vendor's name before it:
    /// `D785` for `snomD785`. A model that is not known stays as it was written.
    pub fn model_name(&self, written: &str) -> String {
        let bare = recogniser::model_name(written, self.names());
        let known = [Some(written), bare.as_deref()]
            .into_iter()
            .flatten()
            .find_map(|name| self.models.spelling(name));
        known.unwrap_or(written).to_owned()
    }

    /// The name under which the profile describes the model that a person wrote: that of the table for an alias of it.
    pub fn table_name(&self, written: &str) -> String {
        let name = self.model_name(written);
        self.model(&name).map_or(name, |model| model.name.clone())
    }

    /// The vendor's MAC ranges.
    pub fn ranges(&self) -> &[MacRange] {
        &self.ranges
    }

    /// How the simulated phones of this vendor behave.
    pub fn simulate(&self) -> Option<&Simulate> {
        self.simulate.as_ref()
    }

    /// Whether a template reads the setting of this name. A name with a number at its end may be one that a template
    /// puts together.
    pub fn reads_setting(&self, name: &str) -> bool {
        let numbered = || name.ends_with(|c: char| c.is_ascii_digit()) && self.templates.reads("settings");
        self.templates.reads(&format!("settings.{name}")) || numbered()
    }

    /// Whether the template of this file itself reads a setting of this name; for few files, as it is read anew.
    pub fn file_reads_setting(&self, file: FileId, name: &str) -> bool {
        self.templates.template_reads(&self.file(file).template, &format!("settings.{name}"))
    }

    /// The `[map]` tables, those of the profile that this one extends among them.
    fn maps(&self) -> &template::Maps {
        self.parts.maps()
    }

    fn path_values(&self, mac: Option<Mac>, model: Option<&str>) -> PathValues {
        let known = model.and_then(|name| self.model(name));
        PathValues {
            mac,
            model: model.map(|printed| self.spelling(printed).to_owned()),
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
    use std::sync::{Arc, LazyLock};

    use proptest::prelude::*;

    use super::*;
    use crate::secret::Secret;

    static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
        let (catalog, errors) = Catalog::of_folders(&fixture::vendors());
        assert_eq!(errors, []);
        catalog
    });

    fn profile(vendor: &str) -> Arc<Profile> {
        Arc::clone(CATALOG.get(&Vendor::new(vendor)).unwrap())
    }

    fn case(vendor: &str, text: &str) -> Case {
        let head = "model = 'T46U'\nmac = '805ec0aabbcc'\nurl = 'http://192.0.2.1:8480/'\n";
        Case::read(&Vendor::new(vendor), &format!("{head}{text}")).unwrap()
    }

    fn rendered(vendor: &str, case: &Case) -> Rendered {
        let profile = profile(vendor);
        let (id, _) = profile.files().next().unwrap();
        profile.render(id, &case.subject()).unwrap()
    }

    #[test]
    fn a_device_gets_its_lines_and_only_the_secrets_released() {
        let case = case("yealink", "[[line]]\nusername = '200'\nregistrar = 'pbx:5070'\ntransport = 'tls'\n");
        let rendered = rendered("yealink", &case);
        let expected = |password: &str| {
            format!(
                "#!version:1.0.0.1\naccount.1.label = 200\naccount.1.sip_server.1.address = pbx\n\
                 account.1.sip_server.1.transport_type = 2\n{password}phone_setting.contrast = 6\n\
                 phone_setting.volume = 8\n"
            )
        };
        assert_eq!(rendered.plain(), expected(""));
        let only_sip =
            rendered.fill(|slot| (slot.kind == SecretKind::Sip).then(|| Secret::new("s3cret"))).unwrap();
        assert_eq!(only_sip.as_str(), expected("account.1.password = s3cret\n"));
        let kinds: Vec<SecretKind> = rendered.slots().map(|slot| slot.kind).collect();
        assert_eq!(kinds, [SecretKind::Sip, SecretKind::Webui, SecretKind::Menu, SecretKind::Prov]);
        assert!(rendered.masked().contains("account.1.password = ********\n"));
        assert_eq!(rendered.content_type, "text/plain; charset=utf-8");
    }

    #[test]
    fn elements_are_escaped_and_their_slots_indented() {
        let case = case("snom", "[[line]]\nusername = '200'\ndisplay_name = 'A & <B>'\n");
        let rendered = rendered("snom", &case);
        let filled = rendered.fill(|_| Some(Secret::new("p<>"))).unwrap();
        let line = "    <user_realname idx=\"1\">A &amp; &lt;B&gt;</user_realname>\n";
        let slot = "    <user_pass idx=\"1\">p&lt;&gt;</user_pass>\n";
        assert!(filled.contains(&format!("{line}{slot}  </phone")), "{}", filled.as_str());
        assert!(rendered.plain().contains(&format!("{line}  </phone")), "{}", rendered.plain());
        assert_eq!(rendered.notes().len(), 1, "no registrar is worth a note");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_typed_reads_back_as_it_was(
            name in "[^\\p{C}\\u{2028}\\u{2029}]{1,40}", password in "[^\\p{C}\\u{2028}\\u{2029}]{1,40}",
        ) {
            let mut phone = case("snom", "[[line]]\nusername = '200'\n");
            phone.device.lines[0].account.display_name = Some(name.clone());
            let filled = rendered("snom", &phone).fill(|_| Some(Secret::new(password.as_str()))).unwrap();
            let document = roxmltree::Document::parse(&filled).unwrap();
            let text = |tag: &str| document.descendants().find(|node| node.has_tag_name(tag)).and_then(|node| node.text());
            prop_assert_eq!(text("user_realname"), Some(name.as_str()));
            prop_assert_eq!(text("user_pass"), Some(password.as_str()));
            let mut phone = case("yealink", "[[line]]\nusername = '200'\n");
            phone.device.lines[0].label = Some(name.clone());
            let lines = rendered("yealink", &phone).fill(|_| Some(Secret::new(password.as_str()))).unwrap();
            let value = |key: &str| lines.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
            prop_assert_eq!(value("account.1.label"), Some(name.as_str()));
            prop_assert_eq!(value("account.1.password"), Some(password.as_str()));
            prop_assert_eq!(lines.lines().count(), 10);
        }
    }

    #[test]
    fn layers_lie_over_each_other_and_the_device_is_on_top() {
        let check = |text: &str, contrast: &str| {
            let plain = rendered("yealink", &case("yealink", text)).plain();
            assert!(plain.contains(&format!("contrast = {contrast}\n")), "{plain}");
        };
        check("", "6");
        check("[site.settings]\ncontrast = '7'\n", "7");
        check("[settings]\ncontrast = 9\n[site.settings]\ncontrast = '7'\n", "9");
    }

    #[test]
    fn a_value_cannot_become_a_setting() {
        let case = case("yealink", "[[line]]\nusername = '200'\nlabel = \"a\\nadmin = 1\"\n");
        let profile = profile("yealink");
        let error = profile.render(FileId(0), &case.subject()).unwrap_err();
        assert!(
            error.to_string().contains("templates/device.cfg.j2:3: a value holds a control character"),
            "{error}"
        );
    }

    #[test]
    fn shared_files_need_no_device_and_own_files_do() {
        let case = case("yealink", "[site]\ntimezone = 'Europe/Berlin'\n");
        let profile = profile("yealink");
        let common = profile.render(FileId(1), &case.shared_subject()).unwrap();
        assert_eq!(common.plain(), "#!version:1.0.0.1\nlocal_time.time_zone = 60\n");
        let error = profile.render(FileId(0), &case.shared_subject()).unwrap_err();
        assert!(matches!(error, RenderError::NoDevice { .. }), "{error}");
        let nowhere = self::case("yealink", "[site]\ntimezone = 'Mars/Olympus'\n");
        let error = profile.render(FileId(1), &nowhere.shared_subject()).unwrap_err();
        assert!(matches!(error, RenderError::Zone(_)), "{error}");
    }

    #[test]
    fn the_same_subject_gives_the_same_bytes() {
        let profile = profile("yealink");
        let device = profile.sample_device("805ec0aabbcc".parse().unwrap(), Some("T46U"));
        let (site, commons) = (Site::default(), crate::device::Commons::default());
        let subject = Subject {
            device: Some(&device),
            model: None,
            site: &site,
            commons: &commons,
            host: "h",
            base: "http://h/",
            supplied: &NOTHING_SUPPLIED,
        };
        let draw = || profile.render(FileId(0), &subject).unwrap();
        assert_eq!(draw(), draw());
    }

    #[test]
    fn urls_have_the_vendors_shape() {
        let mac: Mac = "000413aabbcc".parse().unwrap();
        let url = |vendor, model| profile(vendor).provisioning_url("http://h:8480/d/t/", mac, model);
        assert_eq!(url("yealink", None).as_deref(), Some("http://h:8480/d/t/"));
        assert_eq!(url("snom", Some("d785")).as_deref(), Some("http://h:8480/d/t/snomD785-000413AABBCC.htm"));
        assert_eq!(url("snom", None), None);
        assert_eq!(url("gigaset", None), None);
        assert_eq!(profile("yealink").manual("http://h:1/").value, "http://h:1/");
        let names: Vec<_> = profile("yealink")
            .files()
            .map(|(id, _)| profile("yealink").file_name(id, Some(mac), Some("T53")))
            .collect();
        assert_eq!(names, [Some("000413aabbcc.cfg".to_owned()), Some("y000000000095.cfg".to_owned())]);
    }

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
