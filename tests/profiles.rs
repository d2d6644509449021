//! Walks `vendor-profiles/**` with the checks of `offhook profile check` and `offhook profile test`.

use std::path::PathBuf;

use offhook::profile::{Origin, Report, check_all, test_all};

fn source_tree() -> Origin {
    Origin::Folder(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vendor-profiles"))
}

fn all_well(report: &Report) {
    let told: Vec<String> = report.errors.iter().map(ToString::to_string).collect();
    assert!(told.is_empty(), "{} findings:\n{}", told.len(), told.join("\n"));
}

#[test]
fn every_pattern_keeps_its_promises_and_every_file_renders_for_every_model() {
    all_well(&check_all(&source_tree()));
}

#[test]
fn every_case_comes_out_byte_for_byte() {
    all_well(&test_all(&source_tree()));
}

#[test]
fn the_program_carries_the_profiles_of_the_source_tree() {
    let (embedded, on_disk) = (test_all(&Origin::BuiltIn), test_all(&source_tree()));
    assert_eq!((embedded.profiles, embedded.cases), (on_disk.profiles, on_disk.cases));
}

/// The vendors that other tests make up.
#[test]
fn profiles_for_tests_are_profiles() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/dhcp-profiles");
    all_well(&check_all(&Origin::Folder(folder)));
}
