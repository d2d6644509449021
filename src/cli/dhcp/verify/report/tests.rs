//! What is said about answers: two vendors of the built-in profiles, servers, the agent's own answers, silence.

use std::sync::Arc;
use std::time::Duration;

use super::super::interview::Heard;
use super::*;
use crate::profile::Catalog;

const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 35);
const URL: &str = "http://192.0.2.35:8480/";

fn chosen() -> Vec<Chosen> {
    let catalog = Catalog::builtin().unwrap();
    let named = ["snom", "yealink"].map(|name| Arc::clone(catalog.get(&Vendor::new(name)).unwrap()));
    named.into_iter().map(|profile| Chosen { profile, phones: Vec::new() }).collect()
}

fn heard(vendor: usize, server: [u8; 4], way: Way, options: &[(u8, &str)]) -> Heard {
    let (id, own) = (Ipv4Addr::from(server), Ipv4Addr::from(server) == OURS);
    Heard {
        vendor,
        class: Some(b"yealink".to_vec()),
        mac: "00:15:65:01:02:03".parse().unwrap(),
        way,
        by: Responder { id, from: id, mac: None, is_own_hosts: own },
        options: options.iter().map(|(code, text)| (*code, text.as_bytes().to_vec())).collect(),
    }
}

/// Verdict by verdict, and whether all is well.
fn told(mode: Option<crate::config::DhcpMode>, heard: &Outcome) -> (Vec<String>, bool) {
    let network = Network::fixed(OURS, mode);
    let rows = rows(&network, &network.place, &chosen(), heard, &BTreeMap::new());
    let yealink = || rows.iter().filter(|row| row.vendor == Vendor::new("yealink"));
    let said = yealink().map(|row| {
        let server = row.server.map_or_else(|| "-".to_owned(), |server| server.to_string());
        format!("{server} {}", row.verdict)
    });
    (said.collect(), yealink().all(Row::is_well))
}

fn check(answers: Vec<Heard>, expected: &[&str], is_well: bool) {
    let (said, well) = told(None, &Outcome { answers, discover: None });
    assert_eq!((said, well), (expected.iter().map(|row| (*row).to_owned()).collect(), is_well));
}

#[test]
fn servers_are_judged_one_by_one_and_together() {
    let right = |server| heard(1, server, Way::Phone, &[(66, URL)]);
    check(vec![right([192, 0, 2, 1])], &["192.0.2.1 right"], true);
    check(vec![right([192, 0, 2, 1]), right([192, 0, 2, 2])], &["192.0.2.1 right", "192.0.2.2 right"], true);
    let silent = heard(1, [192, 0, 2, 2], Way::Phone, &[(1, "mask")]);
    check(
        vec![right([192, 0, 2, 1]), silent],
        &["192.0.2.1 right", "192.0.2.2 missing", "- servers_disagree"],
        false,
    );
    check(vec![heard(0, [192, 0, 2, 1], Way::Phone, &[(66, URL)])], &["- no_answer"], false);
    check(Vec::new(), &["- no_answer"], false);
}

/// These phones ask by INFORM, too: what the agent answers is enough, if the LAN's server says nothing else.
#[test]
fn the_agents_own_answer_is_known_and_counts() {
    let ours = || heard(1, [192, 0, 2, 35], Way::Phone, &[(66, URL)]);
    let lan = |options: &[(u8, &str)]| heard(1, [192, 0, 2, 1], Way::Phone, options);
    let check = |answers: Vec<Heard>, expected: &[&str], is_well: bool| {
        let mode = Some(crate::config::DhcpMode::Inform);
        let (said, well) = told(mode, &Outcome { answers, discover: None });
        assert_eq!((said, well), (expected.iter().map(|row| (*row).to_owned()).collect(), is_well));
    };
    check(vec![ours()], &["192.0.2.35 right"], true);
    check(vec![ours(), lan(&[(1, "mask")])], &["192.0.2.35 right", "192.0.2.1 missing"], true);
    check(
        vec![ours(), lan(&[(66, "http://192.0.2.9/")])],
        &["192.0.2.35 right", "192.0.2.1 wrong_host"],
        false,
    );
}

#[test]
fn answers_of_one_kind_are_one_row_and_their_way_is_noted() {
    let network = Network::fixed(OURS, None);
    let mut second = heard(1, [192, 0, 2, 1], Way::OwnMac, &[(66, URL)]);
    second.class = Some(b"other".to_vec());
    let answers = vec![heard(1, [192, 0, 2, 1], Way::OwnMac, &[(66, URL)]), second];
    let rows =
        rows(&network, &network.place, &chosen(), &Outcome { answers, discover: None }, &BTreeMap::new());
    let row = rows.iter().find(|row| row.vendor == Vendor::new("yealink")).unwrap();
    assert_eq!(row.classes, ["yealink", "other"]);
    assert!(row.note.as_deref().unwrap().contains("own MAC address"), "{:?}", row.note);
    let text = explanation(row);
    assert!(text.contains("yealink, other") && text.contains("192.0.2.1"), "{text}");
}

#[test]
fn silence_says_what_was_tried_and_what_may_be() {
    let network = Network::fixed(OURS, None);
    let remedy = |discover| {
        let outcome = Outcome { answers: Vec::new(), discover };
        let rows = rows(&network, &network.place, &chosen(), &outcome, &BTreeMap::new());
        format!("{}; {}", rows[0].sentence, rows[0].remedy)
    };
    assert!(remedy(None).contains("--discover asks those"));
    assert!(remedy(Some(Turn::In(Duration::from_secs(61)))).contains("in 2 min"));
    assert!(remedy(Some(Turn::Ours)).contains("INFORM or DISCOVER"));
}
