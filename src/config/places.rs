//! Where things lie: data, configuration and runtime folders, for root and for a user.

use std::path::{Path, PathBuf};

/// The folders of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Database, firmware and language files.
    pub data: PathBuf,
    /// Configuration file and key file; deliberately not beside the database.
    pub config: PathBuf,
    /// The running agent's socket.
    pub runtime: PathBuf,
}

impl Places {
    /// The usual folders: the system's for root, the XDG base directories for a user.
    ///
    /// `variable` reads the environment, so that a test can give its own.
    pub fn usual(root: bool, variable: impl Fn(&str) -> Option<String>) -> Self {
        if root {
            return Self {
                data: "/var/lib/offhook".into(),
                config: "/etc/offhook".into(),
                runtime: "/run/offhook".into(),
            };
        }
        let home = variable("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
        // The XDG specification: a relative path in one of these variables is to be ignored.
        let base = |name: &str, otherwise: &str| {
            variable(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
                .unwrap_or_else(|| home.join(otherwise))
                .join("offhook")
        };
        Self {
            data: base("XDG_DATA_HOME", ".local/share"),
            config: base("XDG_CONFIG_HOME", ".config"),
            runtime: base("XDG_RUNTIME_DIR", ".cache"),
        }
    }

    /// The same with the data directory that was configured: an agent on other data is another agent, with a socket
    /// of its own beside that data.
    #[must_use]
    pub fn with_data(self, data: Option<&Path>) -> Self {
        match data {
            None => self,
            Some(data) if data == self.data => self,
            Some(data) => Self { data: data.to_owned(), runtime: data.join("run"), ..self },
        }
    }

    /// Where a file of firmware or language of any vendor lies.
    pub fn files(&self) -> PathBuf {
        self.data.join("files")
    }

    /// The file whose key seals every password in the store.
    pub fn key_file(&self) -> PathBuf {
        self.config.join("offhook.key")
    }

    /// The file that tells how far the audit has come; not beside the database either.
    pub fn mark_file(&self) -> PathBuf {
        self.config.join("offhook.mark")
    }

    /// The file of the leases that are on their way into the database.
    pub fn lease_journal(&self) -> PathBuf {
        self.data.join("leases.journal")
    }

    /// The folder of our own certificate authority and of the certificates that it has issued to us.
    pub fn tls(&self) -> PathBuf {
        self.config.join("tls")
    }

    /// The socket that a command pokes when it has written something.
    pub fn socket(&self) -> PathBuf {
        self.runtime.join("agent.sock")
    }

    /// The folder in which hooks of DHCP servers leave their reports.
    pub fn reports(&self) -> PathBuf {
        self.runtime.join("reports")
    }

    /// The file that is locked while a scan runs.
    pub fn scan_lock(&self) -> PathBuf {
        self.runtime.join("scan.lock")
    }

    /// The list of neighbour entries that are pinned while passwords leave.
    pub fn pin_list(&self) -> PathBuf {
        self.runtime.join("pins")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_users_have_their_own_folders() {
        assert_eq!(Places::usual(true, |_| None).key_file(), PathBuf::from("/etc/offhook/offhook.key"));
        let user = Places::usual(false, |name| match name {
            "HOME" => Some("/home/ada".to_owned()),
            "XDG_DATA_HOME" => Some("/data".to_owned()),
            "XDG_CONFIG_HOME" => Some("relative".to_owned()),
            _ => None,
        });
        assert_eq!(user.data, PathBuf::from("/data/offhook"));
        assert_eq!(user.config, PathBuf::from("/home/ada/.config/offhook"));
        let moved = user.with_data(Some(Path::new("/srv/phones")));
        assert_eq!(moved.socket(), PathBuf::from("/srv/phones/run/agent.sock"));
    }
}
