//! How a phone configures itself: which files, in which order, and which further ones they name.

use super::fetch::Fetcher;
use super::habits::Habits;
use super::read::Contents;
use super::report::{Diary, StepKind};
use super::settings::Settings;
use super::url::Url;
use crate::profile::Reading;

/// Files that point to files that point to files: a phone follows one step, two are generous.
const DEPTH_MAX: usize = 3;

/// Reads a whole configuration; returns how many files held settings.
///
/// A URL that is a folder is asked for the phone's usual names, one that is a file for that file, and, by some phones,
/// for one with the MAC in its name beside it.
pub(super) async fn configure(
    fetcher: &mut Fetcher<'_>,
    habits: &Habits,
    url: &Url,
    settings: &mut Settings,
    diary: &mut Diary<'_>,
) -> usize {
    let Some(reading) = &habits.sheet.read else {
        diary.remark("its profile does not say how its files are read");
        return 0;
    };
    let mut read = 0;
    for (file, ends) in wanted(habits, url) {
        let Some(found) = read_file(fetcher, &file, reading, settings, diary).await else { continue };
        read += found;
        if ends {
            break;
        }
    }
    read
}

/// What is asked for at a URL, and whether it ends the search when it is there.
fn wanted(habits: &Habits, url: &Url) -> Vec<(Url, bool)> {
    let name = url.name();
    // A phone that appends nothing but its MAC takes every name for a file's.
    let is_file =
        !url.is_folder() && (name.contains('.') || url.path.contains('?') || habits.beside.is_some());
    if is_file {
        return std::iter::once(url.clone()).chain(beside(habits, url)).map(|url| (url, false)).collect();
    }
    let slash = if url.is_folder() { "" } else { "/" };
    let folder = Url { path: format!("{}{slash}", url.path), ..url.clone() };
    let files = habits.fetch.iter().filter_map(|(name, ends)| Some((folder.join(name).ok()?, *ends)));
    files.collect()
}

/// `config.xml` -> `config-000413AABBCC.xml`, unless the name has the MAC already.
fn beside(habits: &Habits, url: &Url) -> Option<Url> {
    let name = url.name();
    if habits.names_me(&url.path) || name.is_empty() || url.path.contains('?') {
        return None;
    }
    let (stem, ending) =
        name.rsplit_once('.').map_or((name, String::new()), |(stem, ending)| (stem, format!(".{ending}")));
    url.join(&habits.beside.as_ref()?.replace("{stem}", stem).replace("{ending}", &ending)).ok()
}

/// Fetches a file and those that it names, and takes them in. `None`: it is not there, or is none of the phone's.
async fn read_file(
    fetcher: &mut Fetcher<'_>,
    url: &Url,
    reading: &Reading,
    settings: &mut Settings,
    diary: &mut Diary<'_>,
) -> Option<usize> {
    let mut pending = vec![(url.clone(), 1)];
    let mut seen = Vec::new();
    let mut read = None;
    while let Some((file, depth)) = pending.pop() {
        seen.push(file.clone());
        let Some(body) = fetcher.get(&file, diary).await else { continue };
        let contents = match Contents::read(&body, reading) {
            Ok(contents) => contents,
            Err(reason) => {
                diary.remark(format!("{}: {reason}", file.name()));
                continue;
            }
        };
        for remark in &contents.remarks {
            diary.remark(format!("{}: {remark}", file.name()));
        }
        if contents.reset {
            diary.note(StepKind::Settings, format!("{} resets what it does not name", file.name()));
            settings.clear_all();
        }
        contents.apply(reading, settings);
        read = Some(read.unwrap_or_default() + usize::from(contents.has_settings(reading)));
        if depth < DEPTH_MAX {
            for link in contents.files.iter().rev() {
                match fetcher.beside(&file, link) {
                    // A file that names itself, so that it is found again, is not fetched again.
                    Ok(url) if seen.contains(&url) => {}
                    Ok(url) => pending.push((url, depth + 1)),
                    Err(reason) => diary.remark(format!("{}: {reason}", file.name())),
                }
            }
        }
    }
    read
}
