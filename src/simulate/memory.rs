//! What a phone knows while it is off: its settings, passwords among them, in memory or in a file that only its owner
//! can read. One process at a time has a phone's file.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::settings::Settings;
use super::spec::PhoneSpec;
use crate::device::{Mac, Vendor};
use crate::secret::Secret;

/// The form of the file.
const VERSION: u32 = 2;
/// More than any phone's settings; a file beyond it is not one of ours.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What a phone knows. A default one is out of the box.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    pub(super) settings: Settings,
    pub(super) lives: u32,
}

impl Memory {
    /// How many lives it has lived.
    pub fn lives(&self) -> u32 {
        self.lives
    }
}

/// Why a phone's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// It cannot be opened, read or written.
    #[error("cannot {action} {}: {error}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Another process lives this phone's life.
    #[error("another process lives the life of the phone in {}", path.display())]
    Busy {
        /// Which file.
        path: PathBuf,
    },
    /// It is something else.
    #[error("{} is not what a phone remembers: {reason}", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// Why not; nothing of its content.
        reason: String,
    },
}

/// A phone's file, held until it is dropped.
#[derive(Debug)]
pub struct Keep {
    file: File,
    path: PathBuf,
    kept: Option<Kept>,
}

/// What a file says of whose memory it is, and the memory.
#[derive(Debug)]
struct Kept {
    vendor: Vendor,
    model: String,
    mac: Mac,
    memory: Memory,
}

/// As it stands in the file; values are wiped when it is dropped.
#[derive(Deserialize)]
struct Written {
    version: u32,
    vendor: Vendor,
    model: String,
    mac: Mac,
    lives: u32,
    settings: Vec<(String, Secret)>,
}

#[derive(Serialize)]
struct Writing<'a> {
    version: u32,
    vendor: &'a Vendor,
    model: &'a str,
    mac: Mac,
    lives: u32,
    settings: Vec<(&'a str, &'a str)>,
}

impl Keep {
    /// Opens a phone's file, and makes it where there is none; its folder too, for its owner alone.
    pub fn open(path: &Path) -> Result<Self, KeepError> {
        let failed = |action| move |error| KeepError::File { action, path: path.to_owned(), error };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(failed("make the folder of"))?;
        }
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path).map_err(failed("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(KeepError::Busy { path: path.to_owned() }),
            Err(std::fs::TryLockError::Error(error)) => return Err(failed("lock")(error)),
        }
        let foreign = |reason: &str| KeepError::Foreign { path: path.to_owned(), reason: reason.to_owned() };
        let bytes = file.metadata().map_err(failed("read"))?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(foreign("it is too large"));
        }
        let mut text = Zeroizing::new(String::with_capacity(usize::try_from(bytes).unwrap_or_default()));
        file.read_to_string(&mut text).map_err(failed("read"))?;
        let kept =
            if text.is_empty() { None } else { Some(Kept::read(&text).map_err(|reason| foreign(&reason))?) };
        // A file that was there may be anybody's to read, once it is known to be ours.
        file.set_permissions(Permissions::from_mode(0o600)).map_err(failed("protect"))?;
        Ok(Self { file, path: path.to_owned(), kept })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose memory is in it.
    pub fn phone(&self) -> Option<(&Vendor, &str, Mac)> {
        self.kept.as_ref().map(|kept| (&kept.vendor, kept.model.as_str(), kept.mac))
    }

    /// What this phone remembers; another phone's memory is not its own.
    pub fn memory(&self, spec: &PhoneSpec) -> Memory {
        let own = self.kept.as_ref().filter(|kept| kept.is_of(spec));
        own.map(|kept| kept.memory.clone()).unwrap_or_default()
    }

    /// Keeps what this phone knows now.
    pub fn write(&mut self, spec: &PhoneSpec, memory: &Memory) -> Result<(), KeepError> {
        let settings = memory.settings.values();
        let writing = Writing {
            version: VERSION,
            vendor: spec.vendor(),
            model: &spec.model,
            mac: spec.mac,
            lives: memory.lives,
            settings: settings.map(|(name, value)| (name, value.expose())).collect(),
        };
        let text = serde_json::to_string(&writing).map(Zeroizing::new).map_err(io::Error::other);
        let written = text.and_then(|text| {
            self.file.rewind()?;
            self.file.set_len(0)?;
            self.file.write_all(text.as_bytes())?;
            self.file.sync_data()
        });
        written.map_err(|error| KeepError::File { action: "write", path: self.path.clone(), error })
    }
}

impl Kept {
    /// The reader's own messages quote the text around an error, which may be a password: only the place is told.
    fn read(text: &str) -> Result<Self, String> {
        let written: Written = serde_json::from_str(text)
            .map_err(|error| format!("line {}, column {}", error.line(), error.column()))?;
        if written.version != VERSION {
            return Err(format!("its version is {}, and this program reads {VERSION}", written.version));
        }
        let memory = Memory { settings: Settings::remembered(written.settings), lives: written.lives };
        Ok(Self { vendor: written.vendor, model: written.model, mac: written.mac, memory })
    }

    fn is_of(&self, spec: &PhoneSpec) -> bool {
        (&self.vendor, self.mac) == (spec.vendor(), spec.mac) && self.model.eq_ignore_ascii_case(&spec.model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::scripted::phone;

    fn spec() -> PhoneSpec {
        phone("snom", "00041396d9b4")
    }

    fn memory() -> Memory {
        let mut memory = Memory { lives: 3, ..Memory::default() };
        memory.settings.set("user_pass1", "hunter2\"\u{e9}");
        memory
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_phone_remembers_across_processes_and_nobody_else_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/snom.json");
        let mut keep = Keep::open(&path).unwrap();
        assert!(keep.phone().is_none() && keep.memory(&spec()).lives() == 0);
        keep.write(&spec(), &memory()).unwrap();
        // Shorter than before: nothing of the longer text may stay.
        let short = Memory { lives: 4, ..Memory::default() };
        keep.write(&spec(), &short).unwrap();
        keep.write(&spec(), &memory()).unwrap();
        assert!(matches!(Keep::open(&path), Err(KeepError::Busy { .. })));
        drop(keep);
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let keep = Keep::open(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(keep.phone(), Some((spec().vendor(), "D785", spec().mac)));
        let remembered = keep.memory(&spec());
        assert_eq!(remembered.lives(), 3);
        assert_eq!(remembered.settings.secret("user_pass1").unwrap().expose(), "hunter2\"\u{e9}");
        assert!(!format!("{keep:?}").contains("hunter2"));
        let other = PhoneSpec { model: "D865".to_owned(), ..spec() };
        assert_eq!(keep.memory(&other).lives(), 0);
    }

    #[test]
    fn what_is_not_a_memory_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        for text in
            ["hunter2", "{}", "[\"hunter2\"]", r#"{"version":2,"vendor":"snom","settings":["hunter2"]}"#]
        {
            std::fs::write(&path, text).unwrap();
            let error = Keep::open(&path).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        let later = r#"{"version":3,"vendor":"snom","model":"D785","mac":"00:04:13:96:d9:b4","lives":1,"settings":[]}"#;
        std::fs::write(&path, later).unwrap();
        assert!(Keep::open(&path).unwrap_err().to_string().contains("its version is 3"));
    }
}
