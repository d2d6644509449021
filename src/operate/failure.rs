//! Why something was not done, for whoever asked: the command line makes an exit code of it, REST a status.

use crate::store::StoreError;

/// Why something was not done.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Whose fault it is.
    pub(crate) exit: Exit,
    /// A stable word for programs (`not_found`).
    pub(crate) code: &'static str,
    /// What happened, naming the thing.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) remedy: String,
}

/// Exit codes, besides 0 for done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 1: the answer is no; a check failed.
    No,
    /// 2: wrong use.
    Usage,
    /// 3: the work failed.
    Failed,
}

impl Failure {
    pub(crate) fn no(code: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { exit: Exit::No, code, message: message.into(), remedy: remedy.into() }
    }

    /// The answer is no, and the command has already printed it: nothing more is said.
    pub(crate) fn told() -> Self {
        Self::no("no", "", "")
    }

    pub(crate) fn usage(code: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, code, message: message.into(), remedy: remedy.into() }
    }

    pub(crate) fn failed(code: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, code, message: message.into(), remedy: remedy.into() }
    }
}

/// Why a link could not be asked, and what to do about a missing right (`CAP_NET_RAW`).
pub(crate) fn link(message: String, error: &std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::PermissionDenied {
        let program =
            std::env::current_exe().map_or_else(|_| "offhook".to_owned(), |path| path.display().to_string());
        let remedy = format!("run it as root, or once: sudo setcap cap_net_raw+ep {program}");
        return Failure::failed("not_permitted", message, remedy);
    }
    Failure::failed("network", message, "ip link shows whether the interface is up; a firewall may forbid it")
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let (code, message, remedy) = (error.code(), error.to_string(), error.remedy());
        if error.is_refusal() { Self::no(code, message, remedy) } else { Self::failed(code, message, remedy) }
    }
}
