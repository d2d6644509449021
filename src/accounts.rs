//! Where accounts come from: every source is read into the store's [`Sheet`], and nothing is written before all of it was
//! read.

mod contacts;
mod csv;

pub use contacts::{Contacts, read_contacts};
pub use csv::{is_host, read as read_csv};

use std::io::Read as _;
use std::path::Path;

use zeroize::Zeroizing;

use crate::store::Sheet;

/// Reads a file of accounts or function keys into the sheet; `-` is standard input. The file's text is wiped from memory
/// afterwards (what the CSV reader kept in its own buffer is freed, and not wiped).
pub fn read_csv_file(file: &Path, sheet: &mut Sheet) -> std::io::Result<()> {
    let mut bytes = Zeroizing::new(Vec::new());
    if file == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes)?;
        read_csv("standard input", &bytes, sheet);
        return Ok(());
    }
    let mut open = std::fs::File::open(file)?;
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let size = open.metadata().map_or(0, |metadata| usize::try_from(metadata.len()).unwrap_or(0));
    bytes.reserve_exact(size.saturating_add(1).min(csv::FILE_BYTES_MAX));
    open.read_to_end(&mut bytes)?;
    read_csv(&file.display().to_string(), &bytes, sheet);
    Ok(())
}
