//! A phone's own readers of its files, by what the profile says of their form. They share nothing with the templates
//! and escapes that wrote them, so that a file which is not what it should be fails the phone.

mod elements;
mod lines;

use super::settings::Settings;
use crate::profile::{ReadFormat, Reading};
use crate::secret::Secret;

/// A file as the phone understands it.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// The settings in it, in order.
    values: Vec<(String, Secret)>,
    /// Further files that it names, in order.
    pub(super) files: Vec<String>,
    /// Whether the phone forgets what it knew.
    pub(super) reset: bool,
    /// What is not as it should be.
    pub(super) remarks: Vec<String>,
}

impl Contents {
    /// Reads a file; says in words why the phone ignores it, without any of its text.
    pub(super) fn read(body: &[u8], reading: &Reading) -> Result<Self, String> {
        let mut contents = match reading.format {
            ReadFormat::Line => lines::read(body, reading),
            ReadFormat::Xml => elements::read(body, reading),
        }?;
        contents.find_files(reading);
        Ok(contents)
    }

    /// Whether there are settings in it, and not only the names of files.
    pub(super) fn has_settings(&self, reading: &Reading) -> bool {
        self.values.iter().any(|(name, _)| reading.files.iter().all(|file| file != name))
    }

    /// Takes the settings in.
    pub(super) fn apply(&self, reading: &Reading, settings: &mut Settings) {
        for (name, value) in &self.values {
            if reading.clear.iter().any(|clear| clear == value.expose()) {
                settings.clear(name);
            } else {
                settings.set(name, value.expose());
            }
        }
    }

    /// One setting; an empty password would lock its user out.
    fn push(&mut self, name: String, value: &str) {
        let lower = name.to_ascii_lowercase();
        if value.is_empty() && lower.contains("pass") && !lower.contains('@') {
            self.remarks.push(format!("{name} empties a password"));
        }
        self.values.push((name, Secret::new(value)));
    }

    /// The phone follows settings that name files.
    fn find_files(&mut self, reading: &Reading) {
        for pattern in reading.files.iter() {
            let named = self.values.iter().filter(|(name, _)| name == pattern);
            let files = named.flat_map(|(_, value)| value.expose().split(',').map(str::trim));
            self.files.extend(files.filter(|file| !file.is_empty()).map(str::to_owned));
        }
    }
}

/// The value out of its quotes. One that does not begin with them is taken as it is; one that does must end with them,
/// and hold no other.
fn unquoted<'v>(value: &'v str, reading: &Reading) -> Option<&'v str> {
    let Some(quote) = reading.quote.as_deref() else { return Some(value) };
    if !value.starts_with(quote) {
        return Some(value);
    }
    let inner = value.strip_prefix(quote)?.strip_suffix(quote)?;
    (!inner.contains(quote)).then_some(inner)
}
