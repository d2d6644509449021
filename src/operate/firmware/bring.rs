//! Brings a release: looks at what is said of it, copies its files to their place, and takes it into the catalog. A file is
//! in its place as a whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{FOLDER, ReleaseShown, place};
use crate::device::{Group, Vendor};
use crate::firmware::{Release, ReleaseFile, Version, fits};
use crate::hex::hex;
use crate::operate::Failure;
use crate::operate::fleet::Fleet;
use crate::profile::Profile;
use crate::provision::URLS;
use crate::store::{Store, give_to_owner};

/// Octets that are read at a time.
const BLOCK_BYTES: usize = 256 * 1024;
/// Characters of a version, a model, a file's name.
const TEXT_CHARS_MAX: usize = 120;

/// A release as somebody brings it.
#[derive(Debug)]
pub(crate) struct NewRelease {
    /// The first one is the one that phones are told of.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) vendor: String,
    pub(crate) models: Vec<String>,
    pub(crate) version: String,
    pub(crate) hardware: Option<String>,
    pub(crate) minimum: Option<String>,
    /// What the first one's digest is said to be, in hexadecimal digits.
    pub(crate) sha256: Option<String>,
}

/// Takes the release into the catalog; says what a person should know of it.
pub(crate) async fn brought(
    fleet: &Fleet<'_>,
    store: &Store,
    new: &NewRelease,
) -> Result<(ReleaseShown, Vec<String>), Failure> {
    let Group::Vendor(vendor) = fleet.group(Some(&new.vendor), None)? else {
        return Err(refuse("a release is one vendor's"));
    };
    let mut release = checked(new, &vendor)?;
    let notes = fleet.catalog.get(&vendor).map(|profile| notes(profile, &release)).unwrap_or_default();
    let stock = store.inventory().stock();
    for file in &release.files {
        let path = format!("{}/{}", release.folder(), file.name);
        if let Some((other, _)) = stock.file(vendor.as_str(), &path) {
            let remedy =
                format!("offhook firmware remove {} first, or give the file another name", other.name());
            return Err(Failure::no(
                "conflict",
                format!("{} has a file {path} already", other.name()),
                remedy,
            ));
        }
    }
    let (sources, folder) = (new.files.clone(), fleet.files.to_owned());
    let copied =
        tokio::task::spawn_blocking(move || copy_all(&sources, &folder, &mut release).map(|()| release));
    let release = copied.await.map_err(|error| Failure::failed("copy", error.to_string(), "try again"))??;
    let main = release.main().map(|file| file.sha256.as_str()).unwrap_or_default();
    if new.sha256.as_ref().is_some_and(|said| !said.eq_ignore_ascii_case(main)) {
        let message = format!("the file that came has SHA-256 {main}");
        let _ = discard(fleet.files, &release);
        return Err(Failure::usage("sha256", message, "send it again"));
    }
    if let Err(error) = store.add_release(&release).await {
        // The database does not answer, or somebody else was faster, whose files these may be now.
        let _ = store.refresh().await;
        let stock = store.inventory().stock();
        let path = |file: &ReleaseFile| format!("{}/{}", release.folder(), file.name);
        let is_nobodys = |file: &&ReleaseFile| stock.file(vendor.as_str(), &path(file)).is_none();
        let files = release.files.iter().filter(is_nobodys).cloned().collect();
        let _ = discard(fleet.files, &Release { files, ..release.clone() });
        return Err(error.into());
    }
    Ok((ReleaseShown::new(&release), notes))
}

/// Takes a release out of the catalog, and its files from the disk.
pub(crate) async fn remove(
    files: &Path,
    store: &Store,
    name: &str,
) -> Result<(ReleaseShown, Vec<String>), Failure> {
    let release = store.remove_release(name).await?;
    let left = discard(files, &release);
    Ok((ReleaseShown::new(&release), left))
}

/// SHA-256 of a file as it is, in hexadecimal digits.
pub(crate) async fn digest_of(path: PathBuf) -> io::Result<String> {
    let read = move || copy(&path, &mut io::sink()).map(|(_, digest)| digest);
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}

fn refuse(message: impl Into<String>) -> Failure {
    Failure::usage("release", message, "offhook firmware add --help shows what a release is")
}

/// The release, as far as it is known without reading its files.
fn checked(new: &NewRelease, vendor: &Vendor) -> Result<Release, Failure> {
    let plain = |text: &str| {
        !text.is_empty()
            && text.chars().count() <= TEXT_CHARS_MAX
            && !text.contains(|c: char| c.is_control() || c == ' ')
    };
    let version = |text: &str| {
        let right = plain(text) && text.contains(|c: char| c.is_ascii_digit());
        if right { Ok(Version::new(text)) } else { Err(refuse(format!("'{text}' is no version"))) }
    };
    let release = Release {
        vendor: vendor.clone(),
        version: version(&new.version)?,
        models: new.models.clone(),
        hardware: new.hardware.clone(),
        minimum: new.minimum.as_deref().map(version).transpose()?,
        files: new.files.iter().map(|path| named(path)).collect::<Result<_, _>>()?,
    };
    let lasting = |text: &String| !text.trim().is_empty() && text.chars().count() <= TEXT_CHARS_MAX;
    if release.models.is_empty() || !release.models.iter().chain(&release.hardware).all(lasting) {
        return Err(refuse("a model, or a hardware revision, has 1 to 120 characters"));
    }
    if release.models.iter().any(|model| model.contains(char::is_control)) {
        return Err(refuse("a model has no control characters"));
    }
    if release.minimum.as_ref().is_some_and(|minimum| *minimum >= release.version) {
        return Err(refuse("the version to come from is not before the one to go to"));
    }
    let mut names: Vec<String> = release.files.iter().map(|file| file.name.to_ascii_lowercase()).collect();
    names.sort();
    names.dedup();
    if names.len() != release.files.len() || names.is_empty() {
        return Err(refuse("two of the files have one name"));
    }
    Ok(release)
}

fn named(path: &Path) -> Result<ReleaseFile, Failure> {
    Ok(ReleaseFile { name: file_name(path)?.to_owned(), size: 0, sha256: String::new() })
}

/// A name that is the same in a URL, in a phone's file and on the disk.
pub(crate) fn file_name(path: &Path) -> Result<&str, Failure> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+~()".contains(c);
    if name.is_empty() || name.starts_with('.') || name.len() > TEXT_CHARS_MAX || !name.chars().all(plain) {
        let message = format!("{} has a name that does not go into a URL", path.display());
        return Err(Failure::usage("name", message, "rename it: letters, digits, and . _ - + ~ ( )"));
    }
    Ok(name)
}

fn notes(profile: &Profile, release: &Release) -> Vec<String> {
    let mut notes = Vec::new();
    if !URLS.iter().any(|name| profile.reads_setting(name)) {
        notes.push(format!(
            "the files of {} name no firmware: its phones are not told of it",
            profile.vendor()
        ));
    }
    let described = |pattern: &&String| {
        let is_of = |name: &String| fits(pattern, name);
        profile.models().any(|model| is_of(&model.name) || model.aliases.iter().any(is_of))
    };
    let strange = release.models.iter().filter(|pattern| !described(pattern));
    notes.extend(strange.map(|pattern| format!("no model that the profile describes is called {pattern}")));
    notes
}

/// Copies every file to its place, and says in the release how long it is and what its digest is.
fn copy_all(sources: &[PathBuf], files: &Path, release: &mut Release) -> Result<(), Failure> {
    let folder = files.join(FOLDER).join(release.vendor.as_str()).join(release.folder());
    make_folders(files, &folder).map_err(|error| refused_by_disk(&folder, &error))?;
    for place in 0..sources.len() {
        let Some((source, file)) = sources.get(place).zip(release.files.get_mut(place)) else { continue };
        if let Err(failure) = put(source, &folder, file) {
            let _ = discard(
                files,
                &Release { files: release.files.iter().take(place).cloned().collect(), ..release.clone() },
            );
            return Err(failure);
        }
    }
    Ok(())
}

/// Copies a file beside its place, and moves it there when it is whole.
fn put(source: &Path, folder: &Path, file: &mut ReleaseFile) -> Result<(), Failure> {
    let metadata = fs::metadata(source).map_err(|error| unread(source, &error))?;
    if !metadata.is_file() {
        return Err(unread(source, &io::Error::other("it is no file")));
    }
    let (draft, place) = (folder.join(format!(".{}.part", file.name)), folder.join(&file.name));
    let _ = fs::remove_file(&draft);
    let written = || -> Result<(u64, String), Failure> {
        let mut options = File::options();
        let open = options.write(true).create_new(true).mode(0o644).open(&draft);
        let mut open = open.map_err(|error| refused_by_disk(&draft, &error))?;
        let copied = copy(source, &mut open).map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => refused_by_disk(&draft, &error),
            _ => unread(source, &error),
        })?;
        let settled = open.sync_all().and_then(|()| give_to_owner(&draft, folder));
        settled.and_then(|()| fs::rename(&draft, &place)).map_err(|error| refused_by_disk(&place, &error))?;
        Ok(copied)
    };
    match written() {
        Ok((0, _)) => {
            let _ = fs::remove_file(&place);
            Err(unread(source, &io::Error::other("it is empty")))
        }
        Ok(copied) => {
            (file.size, file.sha256) = copied;
            Ok(())
        }
        Err(failure) => {
            let _ = fs::remove_file(&draft);
            Err(failure)
        }
    }
}

/// Copies a file, however long, and says how long it is, and its digest.
fn copy(source: &Path, into: &mut impl io::Write) -> io::Result<(u64, String)> {
    let mut from = File::open(source)?;
    let (mut digest, mut size, mut block) = (Sha256::new(), 0, vec![0; BLOCK_BYTES]);
    loop {
        let octets = from.read(&mut block)?;
        let Some(read) = block.get(..octets).filter(|read| !read.is_empty()) else { break };
        digest.update(read);
        into.write_all(read)?;
        size += octets as u64;
    }
    Ok((size, hex(&digest.finalize())))
}

/// Makes the folder and those above it, each belonging to whom the data belongs.
fn make_folders(files: &Path, folder: &Path) -> io::Result<()> {
    let data = files.parent().unwrap_or(files);
    let missing: Vec<&Path> =
        folder.ancestors().take_while(|above| *above != data && !above.exists()).collect();
    for above in missing.into_iter().rev() {
        match fs::create_dir(above) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => give_to_owner(above, above.parent().unwrap_or(data))?,
        }
    }
    Ok(())
}

/// Removes the files of a release, and its folder if nothing else lies there; says which could not be.
fn discard(files: &Path, release: &Release) -> Vec<String> {
    let mut left = Vec::new();
    for file in &release.files {
        let path = place(files, release, &file.name);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            left.push(format!("cannot remove {}: {error}", path.display()));
        }
    }
    // Fails where something else lies in it.
    let _ = fs::remove_dir(place(files, release, ""));
    left
}

fn unread(source: &Path, error: &io::Error) -> Failure {
    let message = if error.kind() == io::ErrorKind::NotFound {
        format!("there is no file {}", source.display())
    } else {
        format!("cannot read {}: {error}", source.display())
    };
    Failure::failed("file", message, "name a firmware file that this user may read")
}

pub(crate) fn refused_by_disk(place: &Path, error: &io::Error) -> Failure {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let folder = place.parent().unwrap_or(place).display();
    if full {
        let message = format!("the disk of {folder} is full; nothing of it was kept");
        return Failure::failed(
            "disk_full",
            message,
            "make room there, or set agent.data_dir to a larger disk",
        );
    }
    let message = format!("cannot write {}: {error}", place.display());
    Failure::failed("file", message, "run the command as the user of the service, or as root")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(files: &[&Path]) -> NewRelease {
        NewRelease {
            files: files.iter().map(|path| (*path).to_owned()).collect(),
            vendor: "yealink".to_owned(),
            models: vec!["T46U".to_owned()],
            version: "108.86.0.90".to_owned(),
            hardware: None,
            minimum: None,
            sha256: None,
        }
    }

    #[test]
    fn files_are_copied_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("a.rom"), folder.path().join("b.rom"));
        fs::write(&one, b"abc").unwrap();
        let files = folder.path().join("data/files");
        fs::create_dir(folder.path().join("data")).unwrap();
        let wanted = new(&[&one, &two]);
        let mut release = checked(&wanted, &Vendor::new("yealink")).unwrap();
        let failure = copy_all(&wanted.files, &files, &mut release).unwrap_err();
        assert!(failure.message.starts_with("there is no file"), "{}", failure.message);
        assert!(!place(&files, &release, "a.rom").exists(), "nothing is left");
        fs::write(&two, b"").unwrap();
        assert!(copy_all(&wanted.files, &files, &mut release).unwrap_err().message.contains("it is empty"));
        fs::write(&two, b"defg").unwrap();
        copy_all(&wanted.files, &files, &mut release).unwrap();
        let facts: Vec<(u64, &str)> =
            release.files.iter().map(|file| (file.size, &file.sha256[..8])).collect();
        assert_eq!(facts, [(3, "ba7816bf"), (4, "4c8a4398")]);
        assert_eq!(fs::read(place(&files, &release, "b.rom")).unwrap(), b"defg");
        assert!(discard(&files, &release).is_empty());
        assert!(!place(&files, &release, "").exists());
    }

    #[test]
    fn a_full_disk_is_called_one() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let failure = refused_by_disk(Path::new("/data/files/x.rom"), &full);
        assert_eq!(
            (failure.code, &*failure.message),
            ("disk_full", "the disk of /data/files is full; nothing of it was kept")
        );
        let mut out: &mut [u8] = &mut [];
        let source = std::env::current_exe().unwrap();
        assert!(copy(&source, &mut out).is_err(), "what does not fit is an error");
    }

    #[test]
    fn what_no_release_can_be_is_refused() {
        let path = Path::new("a.rom");
        let check = |new: NewRelease| checked(&new, &Vendor::new("yealink")).unwrap_err();
        check(NewRelease { version: "latest".to_owned(), ..new(&[path]) });
        check(NewRelease { version: "1 2".to_owned(), ..new(&[path]) });
        check(NewRelease { models: Vec::new(), ..new(&[path]) });
        check(NewRelease { models: vec!["a\nb".to_owned()], ..new(&[path]) });
        check(NewRelease { minimum: Some("108.86.0.90".to_owned()), ..new(&[path]) });
        check(new(&[path, Path::new("x/A.ROM")]));
        for name in ["a b.rom", ".a", "ä.rom", "a\u{1}.rom", "..", "%2e"] {
            check(new(&[Path::new(name)]));
        }
    }
}
