//! Real texts of real phones, and whether the profiles read vendor, model, firmware and MAC from them.
//!
//! `recognition/*.tsv`: clue, text, vendor, model, firmware, mac, source.
#![expect(clippy::expect_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use offhook::device::{Identity, Mac, Source, Vendor};
use offhook::pnp::message::Subscribe;
use offhook::profile::{Catalog, Certainty, Clue, WebAnswer};

/// In nobody's range, so that a vendor class has to speak for itself.
const NEUTRAL: &str = "02:00:00:00:00:01";

struct Row {
    clue: String,
    text: String,
    vendor: String,
    model: String,
    firmware: String,
    mac: String,
    place: String,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn rows(name: &str) -> Vec<Row> {
    let file = folder().join("recognition").join(name);
    let table = std::fs::read_to_string(&file).expect("a table");
    let told = table.lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
    told.map(|(at, line)| {
        let place = format!("{name}:{}", at + 1);
        let Ok([clue, text, vendor, model, firmware, mac, source]) =
            <[&str; 7]>::try_from(line.split('\t').collect::<Vec<_>>())
        else {
            panic!("{place}: not seven columns");
        };
        assert!(!source.is_empty(), "{place}: a text without its source");
        let [clue, text, vendor, model, firmware, mac] =
            [clue, text, vendor, model, firmware, mac].map(str::to_owned);
        Row { clue, text, vendor, model, firmware, mac, place }
    })
    .collect()
}

/// `\x14` stands for that octet.
fn octets(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut octets = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (number, rest) = part.split_at(2);
        octets.push(u8::from_str_radix(number, 16).expect("two hexadecimal digits"));
        octets.extend(rest.bytes());
    }
    octets
}

fn identify(catalog: &Catalog, row: &Row) -> Identity {
    if row.clue == "dhcp.vendor-class" {
        let neutral: Mac = NEUTRAL.parse().expect("a MAC");
        let mut identity = catalog.identify_client(Some(&octets(&row.text)), neutral).identity;
        identity.mac = identity.mac.filter(|mac| *mac != neutral);
        return identity;
    }
    catalog.identify(&clues(catalog, row)).identity
}

/// What a row's text is to who heard it or asked for it.
fn clues(catalog: &Catalog, row: &Row) -> Vec<Clue> {
    let octets = octets(&row.text);
    let text = String::from_utf8_lossy(&octets).into_owned();
    let one = |source| vec![Clue::new(source, text.clone())];
    match row.clue.as_str() {
        "http.user-agent" => one(Source::HttpUserAgent),
        "sip.user-agent" => one(Source::SipUserAgent),
        "sip.event" => one(Source::SipEvent),
        "http.request" => {
            let (path, agent) = text.split_once(' ').expect("a path and a User-Agent");
            vec![Clue::new(Source::HttpPath, path), Clue::new(Source::HttpUserAgent, agent)]
        }
        "sip.subscribe" => subscribe(&folder().join("captures").join(&text)),
        "http.title" => one(Source::HttpTitle),
        "http.realm" => one(Source::HttpRealm),
        "http.server" => one(Source::HttpServer),
        "http.answer" => WebAnswer::read(&octets).expect("an answer").clues(),
        "http.page" => {
            let (path, body) = text.split_once(' ').expect("a path and a body");
            catalog.pages_at(path).flat_map(|page| page.clues(body.as_bytes())).collect()
        }
        "dhcp.vendor-class" => one(Source::DhcpVendorClass),
        other => panic!("{}: no clue is called {other}", row.place),
    }
}

fn subscribe(file: &Path) -> Vec<Clue> {
    let bytes = std::fs::read(file).expect("a capture");
    Subscribe::parse(&bytes).expect("a SUBSCRIBE").clues()
}

/// How often what was asked was read.
#[derive(Default)]
struct Share {
    asked: usize,
    right: usize,
}

impl Share {
    fn add(&mut self, right: bool) {
        self.asked += 1;
        self.right += usize::from(right);
    }

    fn per_mille(&self) -> usize {
        self.right * 1000 / self.asked.max(1)
    }
}

#[derive(Default)]
struct Told {
    shares: BTreeMap<&'static str, Share>,
    unknown: BTreeMap<String, usize>,
    wrong: String,
    texts: BTreeSet<(String, String)>,
}

impl Told {
    fn read(&mut self, catalog: &Catalog, row: &Row) {
        assert!(
            self.texts.insert((row.clue.clone(), row.text.clone())),
            "{}: the text is there twice",
            row.place
        );
        let Some(profile) = catalog.get(&Vendor::new(&row.vendor)) else {
            *self.unknown.entry(row.vendor.clone()).or_default() += 1;
            return;
        };
        let Identity { vendor, model, firmware, mac, .. } = identify(catalog, row);
        let vendor = vendor.map(|vendor| vendor.to_string()).unwrap_or_default();
        let (model, firmware) = (model.unwrap_or_default(), firmware.unwrap_or_default());
        let mac = mac.map(offhook::device::Mac::bare).unwrap_or_default();
        let named = |printed: &str| {
            let spelled = profile.model(printed).map_or(printed, |model| model.name.as_str());
            spelled.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
        };
        let right = [
            ("vendor", true, vendor == row.vendor),
            ("model", !row.model.is_empty(), named(&model) == named(&row.model)),
            ("firmware", !row.firmware.is_empty(), firmware == row.firmware),
            ("mac", !row.mac.is_empty(), mac == row.mac),
            ("no mac", row.mac.is_empty(), mac.is_empty()),
        ];
        let mut all = true;
        for (what, _, right) in right.into_iter().filter(|(_, asked, _)| *asked) {
            self.shares.entry(what).or_default().add(right);
            all &= right;
        }
        self.shares.entry("all of it").or_default().add(all);
        if !all {
            let Row { clue, text, place, .. } = row;
            writeln!(
                self.wrong,
                "{place}: {clue} {text:?}: {vendor:?} {model:?} {firmware:?} {mac:?}, not {:?} {:?} {:?} {:?}",
                row.vendor, row.model, row.firmware, row.mac
            )
            .expect("a string takes it");
        }
    }
}

#[test]
fn what_phones_say_of_themselves_is_read() {
    all_is_read(&["collected.tsv", "further.tsv"]);
}

#[test]
fn what_phones_show_without_a_password_is_read() {
    all_is_read(&["shown.tsv"]);
}

fn all_is_read(tables: &[&str]) {
    let catalog = Catalog::builtin().expect("the built-in profiles");
    let mut told = Told::default();
    for row in tables.iter().flat_map(|table| rows(table)) {
        told.read(&catalog, &row);
    }
    for (what, share) in &told.shares {
        println!("{what}: {} of {} ({} per mille)", share.right, share.asked, share.per_mille());
    }
    println!("no profile yet: {:?}", told.unknown);
    println!("{}", told.wrong);
    for (what, share) in &told.shares {
        assert!(share.per_mille() >= 990, "{what}: {} of {}:\n{}", share.right, share.asked, told.wrong);
    }
}

#[test]
fn what_is_no_phone_of_ours_is_not_taken_for_one() {
    let catalog = Catalog::builtin().expect("the built-in profiles");
    let mut share = BTreeMap::<String, Share>::new();
    let mut taken = String::new();
    for row in rows("strangers.tsv") {
        let vendor = identify(&catalog, &row).vendor;
        share.entry(row.clue.clone()).or_default().add(vendor.is_none());
        if let Some(vendor) = vendor {
            writeln!(taken, "{}: {} is taken for {vendor}", row.place, row.text).expect("a string takes it");
        }
    }
    for (clue, Share { asked, right }) in &share {
        println!("{clue}: {right} of {asked} strangers are left alone");
    }
    assert_eq!(taken, "");
}

/// A maker's switch, camera or exchange has the maker's address, too.
#[test]
fn a_stranger_in_a_vendors_range_is_a_hint_and_no_identity() {
    let catalog = Catalog::builtin().expect("the built-in profiles");
    let addresses: Vec<String> = catalog
        .profiles()
        .filter_map(|profile| profile.ranges().first()?.address(1))
        .map(|mac| mac.to_string())
        .collect();
    assert!(addresses.len() >= 25, "{addresses:?}");
    for row in rows("strangers.tsv").iter().filter(|row| row.clue != "dhcp.vendor-class") {
        let shown = clues(&catalog, row);
        for address in &addresses {
            let range = Clue::new(Source::Oui, address.clone());
            let found = catalog.identify(&shown.iter().cloned().chain([range]).collect::<Vec<_>>());
            let Row { text, place, .. } = row;
            assert_eq!(found.certainty(), Certainty::Hint, "{place}: {text} at {address}");
        }
    }
}
