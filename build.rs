//! The vendor profiles are part of the program: a folder that is new there is a reason to compile it again.

fn main() {
    println!("cargo::rerun-if-changed=vendor-profiles");
}
