//! Where profiles are read from: the folder embedded in the program, or one on disk. The only file of this room that
//! reads or writes files, and only when profiles are loaded, checked or blessed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::error::ProfileError;

/// Bytes of one file of a profile; a template is a few kilobytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Files of one vendor; the largest real profile has a few dozen.
const FILES_MAX: usize = 2000;
/// How deep folders may nest: `tests/NAME/FILE` is three.
const DEPTH_MAX: usize = 4;

#[derive(rust_embed::RustEmbed)]
#[folder = "vendor-profiles/"]
struct Embedded;

/// A place with vendor folders in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The profiles that came with the program.
    BuiltIn,
    /// A folder on disk: of vendor folders, or one vendor's own.
    Folder(PathBuf),
}

/// One vendor's files by their name relative to its folder.
#[derive(Debug, Clone, Default)]
pub(super) struct VendorFiles {
    pub(super) vendor: String,
    pub(super) files: BTreeMap<String, Vec<u8>>,
}

impl VendorFiles {
    /// A file's text.
    pub(super) fn text(&self, name: &str) -> Result<&str, ProfileError> {
        let at = format!("{}/{name}", self.vendor);
        let bytes = self
            .files
            .get(name)
            .ok_or_else(|| ProfileError::new(&at, "is missing", "every profile has this file; write it"))?;
        std::str::from_utf8(bytes)
            .map_err(|_| ProfileError::new(&at, "is not UTF-8", "save the file in UTF-8"))
    }

    /// The files under a folder, by their name relative to it.
    pub(super) fn under<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.files
            .iter()
            .filter_map(move |(name, bytes)| Some((name.strip_prefix(folder)?, bytes.as_slice())))
    }
}

impl Origin {
    /// Every vendor's files; what cannot be read is an error and does not disturb the others.
    pub(super) fn read(&self) -> (Vec<VendorFiles>, Vec<ProfileError>) {
        match self {
            Self::BuiltIn => (embedded(), Vec::new()),
            Self::Folder(folder) => read_folder(folder),
        }
    }

    /// The folder of one vendor on disk; `None` for built-in profiles, which cannot be written.
    pub(super) fn vendor_folder(&self, vendor: &str) -> Option<PathBuf> {
        match self {
            Self::BuiltIn => None,
            Self::Folder(folder) if is_vendor(folder) => Some(folder.clone()),
            Self::Folder(folder) => Some(folder.join(vendor)),
        }
    }
}

fn embedded() -> Vec<VendorFiles> {
    let mut vendors: BTreeMap<String, VendorFiles> = BTreeMap::new();
    for path in Embedded::iter() {
        let Some((vendor, name)) = path.split_once('/') else { continue };
        let Some(file) = Embedded::get(&path) else { continue };
        let files = vendors.entry(vendor.to_owned()).or_default();
        vendor.clone_into(&mut files.vendor);
        files.files.insert(name.to_owned(), file.data.into_owned());
    }
    vendors.into_values().collect()
}

fn read_folder(folder: &Path) -> (Vec<VendorFiles>, Vec<ProfileError>) {
    let mut errors = Vec::new();
    let entries: BTreeSet<PathBuf> = if is_vendor(folder) {
        BTreeSet::from([fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned())])
    } else {
        match fs::read_dir(folder) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect(),
            Err(error) => {
                errors.push(unreadable(&folder.display().to_string(), &error));
                BTreeSet::new()
            }
        }
    };
    let mut vendors = Vec::new();
    for path in entries {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with('.') {
            continue;
        }
        match read_vendor(&name, &path) {
            Ok(files) => vendors.push(files),
            Err(error) => errors.push(error),
        }
    }
    (vendors, errors)
}

fn is_vendor(folder: &Path) -> bool {
    folder.join("profile.toml").is_file()
}

fn read_vendor(name: &str, folder: &Path) -> Result<VendorFiles, ProfileError> {
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
        return Err(ProfileError::new(
            name,
            "is no name of a vendor",
            "name the folder in lower case, with digits and '-' only",
        ));
    }
    let mut files = VendorFiles { vendor: name.to_owned(), files: BTreeMap::new() };
    collect(folder, "", 1, &mut files)?;
    Ok(files)
}

fn collect(folder: &Path, prefix: &str, depth: usize, into: &mut VendorFiles) -> Result<(), ProfileError> {
    let at = |name: &str| format!("{}/{name}", into.vendor);
    let entries = fs::read_dir(folder).map_err(|error| unreadable(&at(prefix), &error))?;
    for entry in entries.flatten() {
        let file_name = entry.file_name().to_string_lossy().into_owned();
        if file_name.starts_with('.') || file_name.ends_with('~') {
            continue;
        }
        let name = format!("{prefix}{file_name}");
        let at = format!("{}/{name}", into.vendor);
        // Follows links: an administrator may keep profiles elsewhere.
        let metadata = fs::metadata(entry.path()).map_err(|error| unreadable(&at, &error))?;
        if metadata.is_dir() {
            if depth < DEPTH_MAX {
                collect(&entry.path(), &format!("{name}/"), depth + 1, into)?;
            }
            continue;
        }
        if metadata.len() > FILE_BYTES_MAX || into.files.len() >= FILES_MAX {
            return Err(ProfileError::new(
                &at,
                "is too much",
                "a profile has up to 2000 files of up to 1 MiB",
            ));
        }
        let bytes = fs::read(entry.path()).map_err(|error| unreadable(&at, &error))?;
        into.files.insert(name, bytes);
    }
    Ok(())
}

/// Replaces the expected files of a case.
pub(super) fn write_case(
    folder: &Path,
    case: &str,
    files: &BTreeMap<String, Vec<u8>>,
) -> std::io::Result<()> {
    let target = folder.join("tests").join(case);
    if target.is_dir() {
        for entry in fs::read_dir(&target)? {
            fs::remove_file(entry?.path())?;
        }
    }
    fs::create_dir_all(&target)?;
    files.iter().try_for_each(|(name, bytes)| fs::write(target.join(name), bytes))
}

fn unreadable(at: &str, error: &std::io::Error) -> ProfileError {
    ProfileError::new(at, format!("cannot be read: {error}"), "check that it exists and may be read")
}
