//! Finds out what one host is: by SIP, and by its pages where it may be a phone.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::announce::Announced;
use super::{knock, web};
use crate::clock::Entropy;
use crate::device::{Mac, Source};
use crate::profile::{Catalog, Clue, Identified, PAGES_MAX};
use crate::scan::message::SipAnswer;

/// Whom to visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Host {
    /// Where.
    pub(super) address: Ipv4Addr,
    /// Who, where ARP has told, and nobody else speaks for it.
    pub(super) mac: Option<Mac>,
    /// Somebody has answered for it by ARP.
    pub(super) is_there: bool,
    /// Our address on its link; unspecified behind a router.
    pub(super) ours: Ipv4Addr,
    /// How far the sweep had come when it was found: whoever goes on from there finds it again.
    pub(super) position: u64,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Visited {
    pub(super) host: Host,
    /// `None`: nobody is there.
    pub(super) found: Option<Identified>,
    /// What it said of itself that is shown whether a profile knows it or not.
    pub(super) said: Vec<Clue>,
}

/// Visits a host.
pub(super) async fn visit(
    host: Host,
    catalog: Arc<Catalog>,
    entropy: Entropy,
    announced: Announced,
) -> Visited {
    let mut clues: Vec<Clue> =
        host.mac.map(|mac| Clue::new(Source::Oui, mac.to_string())).into_iter().collect();
    let first_page = web::page(host.address, "/");
    let (sip, page) = if host.mac.is_none() {
        tokio::join!(knock::knock(host.address, host.ours, &entropy), first_page)
    } else {
        let sip = knock::knock(host.address, host.ours, &entropy).await;
        // Nobody else's pages are any business of ours.
        let page =
            if sip.is_some() || is_makers(host, &catalog) { first_page.await } else { web::Page::Nothing };
        (sip, page)
    };
    if !host.is_there && sip.is_none() && page == web::Page::Nothing {
        return Visited { host, found: None, said: Vec::new() };
    }
    clues.extend(sip.iter().flat_map(SipAnswer::clues));
    let asks_pages = host.mac.is_none() || sip.is_some() || is_makers(host, &catalog);
    let web = if asks_pages { Web::of(host.address, page).await } else { Web::default() };
    let mut said: Vec<Clue> = web.name.iter().map(|name| Clue::new(Source::TlsSubject, name)).collect();
    if let Some(answer) = web.page.answer() {
        clues.extend(answer.clues());
        clues.extend(catalog.pages_at("/").flat_map(|page| page.clues(answer.body())));
        clues.extend(identity_pages(host.address, web.is_secure, &catalog, &clues).await);
    }
    if host.is_there {
        said.extend(announced.of(host.address).await);
    }
    clues.extend(said.iter().cloned());
    Visited { host, found: Some(catalog.identify(&clues)), said }
}

fn is_makers(host: Host, catalog: &Catalog) -> bool {
    host.mac.is_some_and(|mac| catalog.range_owner(mac).is_some())
}

/// A host's first page, and by which way there are more.
#[derive(Default)]
struct Web {
    page: web::Page,
    is_secure: bool,
    /// The common name in its certificate.
    name: Option<String>,
}

impl Web {
    /// By TLS where the page in clear says nothing: there is none, or it is only to be had there.
    async fn of(host: Ipv4Addr, page: web::Page) -> Self {
        let in_clear = match &page {
            web::Page::Answer(_) => {
                page.answer().is_some_and(|answer| !(300..400).contains(&answer.status()))
            }
            web::Page::Refused => false,
            // Whoever does not even say that nobody listens is not asked at every port.
            web::Page::Nothing => true,
        };
        if in_clear {
            return Self { page, ..Self::default() };
        }
        match web::secure_page(host, "/").await {
            (secure @ web::Page::Answer(_), name) => Self { page: secure, is_secure: true, name },
            (_, name) => Self { page, is_secure: false, name },
        }
    }
}

/// What the pages say by which phones of that look tell who they are, as long as that is not known.
async fn identity_pages(address: Ipv4Addr, is_secure: bool, catalog: &Catalog, clues: &[Clue]) -> Vec<Clue> {
    let (mut known, mut asked) = (clues.to_vec(), vec!["/".to_owned()]);
    while asked.len() <= PAGES_MAX {
        let found = catalog.identify(&known);
        let next =
            catalog.pages(&found).into_iter().find(|page| !asked.iter().any(|path| path == page.path()));
        let Some(page) = next else { break };
        asked.push(page.path().to_owned());
        let answer = if is_secure {
            web::secure_page(address, page.path()).await.0
        } else {
            web::page(address, page.path()).await
        };
        if let Some(answer) = answer.answer() {
            known.extend(page.clues(answer.body()));
        }
    }
    known.split_off(clues.len())
}
