//! Fetches files as the phone does, by HTTP or TFTP, and writes down what came.

use std::net::Ipv4Addr;

use sha2::{Digest, Sha256};

use super::habits::Habits;
use super::report::{Diary, FileReport, StepKind};
use super::spec::{PhoneSpec, Transfer};
use super::url::{Scheme, Url};
use super::{http, tftp};
use crate::hex::hex;

/// More files than any phone asks for in one go; a list that goes on is not followed.
const FILES_MAX: usize = 32;
/// A configuration is a few hundred kB at most; firmware is not fetched.
pub(super) const FILE_BYTES_MAX: usize = 8 << 20;

/// What came back.
#[derive(Debug)]
pub(super) struct Fetched {
    /// As [`FileReport::status`].
    pub(super) status: u16,
    pub(super) detail: String,
    pub(super) body: Vec<u8>,
}

/// One look at the configuration.
pub(super) struct Fetcher<'a> {
    spec: &'a PhoneSpec,
    habits: &'a Habits,
    address: Ipv4Addr,
    asked: usize,
}

impl<'a> Fetcher<'a> {
    pub(super) fn new(spec: &'a PhoneSpec, habits: &'a Habits, address: Ipv4Addr) -> Self {
        Self { spec, habits, address, asked: 0 }
    }

    /// The URL that a link in this file means, its macros filled in.
    pub(super) fn beside(&self, file: &Url, link: &str) -> Result<Url, String> {
        file.join(&self.habits.expand(link))
    }

    /// Asks for a file. Whatever comes is written down; only a file's content is returned.
    pub(super) async fn get(&mut self, url: &Url, diary: &mut Diary<'_>) -> Option<Vec<u8>> {
        self.asked += 1;
        if self.asked > FILES_MAX {
            diary.remark(format!("more than {FILES_MAX} files; the rest is not fetched"));
            return None;
        }
        let url = match self.spec.transfer {
            Transfer::AsTold => url.clone(),
            Transfer::Tftp { port } => Url { scheme: Scheme::Tftp, port, ..url.clone() },
        };
        let patience = self.spec.patience.file;
        let transfer = async {
            match url.scheme {
                Scheme::Http => http::get(&url, self.address, &self.habits.user_agent).await,
                Scheme::Tftp => tftp::get(&url, self.address).await,
            }
        };
        let outcome = match tokio::time::timeout(patience, transfer).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {} s", patience.as_secs_f32())),
        };
        let fetched = outcome.unwrap_or_else(|detail| Fetched { status: 0, detail, body: Vec::new() });
        write_down(&url, &fetched, diary);
        (fetched.status == 200).then_some(fetched.body)
    }
}

fn write_down(url: &Url, fetched: &Fetched, diary: &mut Diary<'_>) {
    let channel = match url.scheme {
        Scheme::Http => "http",
        Scheme::Tftp => "tftp",
    };
    let outcome = match fetched.status {
        200 => format!("200, {} bytes", fetched.body.len()),
        0 => fetched.detail.clone(),
        status => format!("{status} {}", fetched.detail).trim_end().to_owned(),
    };
    diary.note(StepKind::Fetch, format!("{}: {outcome}", url.for_people()));
    diary.report.files.push(FileReport {
        name: url.name().to_owned(),
        channel,
        status: fetched.status,
        detail: fetched.detail.clone(),
        bytes: fetched.body.len(),
        sha256: (fetched.status == 200).then(|| hex(&Sha256::digest(&fetched.body))),
    });
}
