//! Decides at the desk: which phone is this, is it served, what did it ask for. Never waits, never reads a clock;
//! [`Desk`] walks these decisions for a request that arrived.

mod cache;
mod credential;
mod desk;
mod evidence;
mod firmware;
mod handout;
mod menu;
mod notice;
mod pinned;
mod place;
mod running;
mod shelf;
mod suspects;
mod terms;
mod votes;

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

pub use desk::{Desk, DeskParts};
pub use evidence::{Deed, Fetched};
pub(crate) use firmware::URLS;
pub use firmware::{Course, FIRMWARE, HARDWARE, course, taught, tells, told};
pub use menu::{MenuAnswer, MenuRequest, ProvisionAgain};
pub use notice::raise_changes;
pub use shelf::Shelf;
pub use terms::{DEVICE_SETTINGS, RELEASE_SETTINGS, device_window, policies};
pub(crate) use votes::Votes;

use cache::Kept;
use desk::Loading;
use handout::{Due, HandedOut};

use crate::config::{AdoptConfig, AdoptPolicy};
use crate::device::{Approval, Channel, Device, Identity, Mac, Sighting};
use crate::net::interfaces::{Interface, Table};
use crate::profile::{Catalog, Profile};
use crate::release::{Asker, Level};
use crate::secret::Secret;
use crate::tls::PhoneCertificate;

/// A phone asks for a file.
#[derive(Debug, Clone)]
pub struct FileRequest {
    /// As it was asked, percent-decoded, without a query; may begin with `/`, hold folders and a token.
    pub path: String,
    /// The User-Agent header, where there is one.
    pub user_agent: Option<String>,
    /// Who asks.
    pub peer: IpAddr,
    /// Which of our addresses was asked: the one the phone can reach.
    pub local: IpAddr,
    /// The interface it arrived on, where the service knows.
    pub interface: Option<u32>,
    /// By which service.
    pub channel: Channel,
    /// What it has proved by a certificate.
    pub certificate: Option<PhoneCertificate>,
    /// How much of it is wanted, and in which form.
    pub want: Want,
    /// The tags of the bodies that the phone has (If-None-Match), as it wrote them.
    pub known: Option<String>,
}

/// How much of a file is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// The file.
    Whole,
    /// The file, beginning with [`PREAMBLE_BYTES`] octets that hold no password: a TFTP client that asked for no options
    /// gets them before its address is proven.
    WithPreamble,
    /// Only what is said about it: nothing is released.
    Head,
}

/// One block of TFTP without options (RFC 1350).
pub const PREAMBLE_BYTES: usize = 512;

/// A file with passwords is out and acknowledged within this of its release, or aborted: what was asked for inside a
/// window may end after it, but not at any time, and the phone's neighbour entry is pinned for as long.
pub const SENDING_MAX: Duration = Duration::from_mins(2);

/// Whether the phone names this very body among those that it has (If-None-Match as it wrote it, which may be a list;
/// RFC 9110, 13.1.2: weak comparison). `*` names no body, so it never is one that the phone has.
pub(crate) fn knows(known: &str, etag: &str) -> bool {
    let ours = opaque(etag);
    !ours.is_empty() && known.split(',').any(|tag| opaque(tag) == ours)
}

/// A tag without what says that it is a weak one.
fn opaque(tag: &str) -> &str {
    let tag = tag.trim();
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// What would be sent, before anything of it is released.
#[derive(Debug)]
pub enum Offer {
    /// The answer, which releases nothing.
    Now(Answer),
    /// A file with passwords: [`Desk::open`] releases them, once the phone's address is proven.
    Due(Promise),
}

/// What a phone gets. Everybody who may not have a file gets the same `NotFound`, whatever the reason.
#[derive(Debug)]
pub enum Answer {
    /// These bytes.
    File(FileBody),
    /// 304: the phone has this very body already; nothing is released.
    Known(FileHead),
    /// 200 to a HEAD of a phone's own file: nothing is released, and its length is not told.
    Head(FileHead),
    /// 404, ERROR 1: there is no such file for this peer.
    NotFound,
    /// 403, ERROR 2: it is the phone itself, and nothing may be handed out to it now.
    Forbidden,
    /// 503, ERROR 0: it may have the file, and we cannot make it now.
    Unavailable,
    /// ERROR 0 with a remedy, only to [`Want::WithPreamble`]: this format cannot begin with octets that hold no password.
    NeedsOptions,
    /// Nothing at all: this address has asked for too many phones' files.
    Silence,
}

/// What is said about a phone's own file without its bytes.
#[derive(Debug, Clone)]
pub struct FileHead {
    /// The Content-Type.
    pub content_type: String,
    /// The entity tag, quoted; none where telling it would need a release.
    pub etag: Option<String>,
}

/// A file's bytes and what is said about them.
#[derive(Debug)]
pub struct FileBody {
    /// The whole file.
    pub bytes: Bytes,
    /// The Content-Type.
    pub content_type: String,
    /// The entity tag, quoted.
    pub etag: String,
    /// Whether parts may be asked for: static files only, so that a phone's file is always whole.
    pub ranges: bool,
    /// For whom it is, where that is to be recorded: [`Desk::handed`] and [`Desk::delivered`] take it back. To be kept
    /// until the last byte is acknowledged or the transfer is aborted; while it lives, the phone's neighbour entry is
    /// pinned.
    pub receipt: Option<Receipt>,
}

/// Which phone asked for which file, and what was released with it.
#[derive(Debug)]
pub struct Receipt {
    pub(crate) identity: Identity,
    pub(crate) name: String,
    /// Cancelled when an operator locks the device: the transfer is to be aborted at once (RST, ERROR).
    pub(crate) revoked: CancellationToken,
    /// Whether there are passwords in it.
    pub(crate) secret: bool,
    /// What was released with it.
    pub(crate) handed_out: Option<Box<HandedOut>>,
    /// The phone, and the file as it was rendered; `None` for a static file.
    fetched: Option<(Mac, Arc<Kept>)>,
    /// The firmware that the phone takes with it.
    loading: Option<Box<Loading>>,
}

impl Receipt {
    /// Cancelled when an operator locks the device: the transfer is to be aborted at once (TCP reset, TFTP ERROR).
    pub fn revoked(&self) -> &CancellationToken {
        &self.revoked
    }

    /// Only this part of the file leaves.
    pub(crate) fn is_of_part(&mut self, part: Range<usize>) {
        if let Some(loading) = &mut self.loading {
            loading.span = part.start as u64..part.end as u64;
        }
    }

    /// Whether there are passwords in it: then no byte of it may stay queued for an address once this is gone.
    pub fn is_secret(&self) -> bool {
        self.secret
    }
}

/// A file whose passwords are due, not released yet.
#[derive(Debug)]
pub struct Promise {
    pub(crate) size: usize,
    pub(crate) head: Bytes,
    pub(crate) due: Box<Due>,
}

impl Promise {
    /// How long the file will be (RFC 2349, tsize).
    pub fn size(&self) -> usize {
        self.size
    }

    /// The file's first [`PREAMBLE_BYTES`] octets, which hold no password; empty unless [`Want::WithPreamble`].
    pub fn head(&self) -> &Bytes {
        &self.head
    }
}

/// What became of a file that the desk gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handed {
    /// It is being sent.
    Sent,
    /// Only its head was asked for.
    Head,
    /// The phone broke off, or fell silent; asking by TFTP only for the size ends like this, too.
    Part,
}

/// A path taken apart. A name from the network is compared with names we know; it never becomes a path on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// `/firmware/VENDOR/NAME`, `/lang/VENDOR/VERSION/NAME`; the name with its version.
    Static { area: Area, vendor: String, name: String },
    /// `/d/TOKEN/…/NAME`, or `/…/NAME` without a token.
    File { token: Option<String>, name: String },
}

/// The kinds of static files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Area {
    Firmware,
    Lang,
}

impl Area {
    fn of(folder: &str) -> Option<Self> {
        match folder.to_ascii_lowercase().as_str() {
            "firmware" => Some(Self::Firmware),
            "lang" => Some(Self::Lang),
            _ => None,
        }
    }
}

/// Longer names are nobody's.
const PATH_BYTES_MAX: usize = 512;

impl Asked {
    /// Takes a path apart; `None` for what no phone of ours asks: traversal, control characters, an empty name.
    ///
    /// Folders before a file's name are allowed and ignored, because people type them into phones and phones keep
    /// them (`/provisioning/snomD785-….htm`).
    pub(crate) fn parse(path: &str) -> Option<Self> {
        if path.len() > PATH_BYTES_MAX || path.chars().any(char::is_control) || path.contains('\\') {
            return None;
        }
        let segments: Vec<&str> =
            path.split('/').filter(|segment| !segment.is_empty() && *segment != ".").collect();
        if segments.contains(&"..") {
            return None;
        }
        match segments.as_slice() {
            [area, vendor, name @ ..] if matches!(name.len(), 1 | 2) && Area::of(area).is_some() => {
                Some(Self::named(Area::of(area)?, vendor, &name.join("/")))
            }
            // The folder of a phone alone: its token is no file's name, and must not be written down as one.
            [d, token] if d.eq_ignore_ascii_case("d") && is_token(token) => None,
            [d, token, .., name] if d.eq_ignore_ascii_case("d") => {
                Some(Self::File { token: Some(token.to_ascii_lowercase()), name: (*name).to_owned() })
            }
            [.., name] => Some(Self::File { token: None, name: (*name).to_owned() }),
            [] => None,
        }
    }

    fn named(area: Area, vendor: &str, name: &str) -> Self {
        Self::Static { area, vendor: vendor.to_ascii_lowercase(), name: name.to_owned() }
    }
}

fn is_token(text: &str) -> bool {
    text.len() == 32 && text.chars().all(|c| c.is_ascii_hexdigit())
}

/// What becomes of a phone that was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is one of ours.
    Serve,
    /// It is listed for a person to decide; until then it gets nothing.
    Pending,
    /// It may take the next free account of the pool.
    Adopt,
    /// It gets nothing, and this is why.
    Ignore(&'static str),
}

/// Whether a profile knows what to give to this phone: then it may be adopted without a person.
pub fn is_known(identity: &Identity, catalog: &Catalog) -> bool {
    identity.model.is_some() && identity.vendor.as_ref().is_some_and(|vendor| catalog.get(vendor).is_some())
}

/// Decides whether a phone is served.
///
/// 1. A device of the inventory is served when approved, waits while pending, and is ignored when blocked.
/// 2. A stranger without a MAC, on the deny list, or missing from a non-empty allow list is ignored.
/// 3. Any other stranger follows the policy; `auto` adopts only a model that a profile knows.
pub fn admission(
    identity: &Identity,
    device: Option<&Device>,
    adopt: &AdoptConfig,
    known_model: bool,
) -> Admission {
    match device.map(|device| device.approval) {
        Some(Approval::Approved) => return Admission::Serve,
        Some(Approval::Blocked) => return Admission::Ignore("blocked"),
        Some(Approval::Pending) | None => {}
    }
    let Some(mac) = identity.mac else { return Admission::Ignore("no MAC address in it") };
    if adopt.deny.iter().any(|prefix| prefix.covers(mac)) {
        return Admission::Ignore("on adopt.deny");
    }
    if !adopt.allow.is_empty() && !adopt.allow.iter().any(|prefix| prefix.covers(mac)) {
        return Admission::Ignore("not on adopt.allow");
    }
    match adopt.policy {
        AdoptPolicy::Known => Admission::Ignore("not in the inventory"),
        AdoptPolicy::Auto if known_model => Admission::Adopt,
        AdoptPolicy::Auto | AdoptPolicy::Approve => Admission::Pending,
    }
}

/// A sighting on its way to the store, and whether it makes the phone wait for approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Who, where, when, and what became of it.
    pub sighting: Sighting,
    /// Whether it is to be listed as pending.
    pub pending: bool,
}

/// Where the services for files listen; `None` for what is off. Which of them a phone reaches depends on the address of
/// ours that it sees: a service bound to one address answers at no other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Roots {
    /// The phones' HTTP listener.
    pub http: Option<SocketAddr>,
    /// The phones' TLS listener.
    pub https: Option<SocketAddr>,
    /// TFTP.
    pub tftp: Option<SocketAddr>,
}

impl Roots {
    /// The services that answer at our address `ours`, the one for most phones first. TLS comes last: a phone that
    /// looks at certificates would have to trust our authority first.
    fn all_at(self, ours: IpAddr) -> impl Iterator<Item = Root> {
        let here = move |bound: &SocketAddr| listens(*bound, ours);
        let http = self.http.filter(here).map(|bound| Root::Http(bound.port()));
        let tftp = self.tftp.filter(here).map(|bound| Root::Tftp(bound.port()));
        let https = self.https.filter(here).map(|bound| Root::Https(bound.port()));
        http.into_iter().chain(tftp).chain(https)
    }

    /// The service that answers at our address `ours`.
    pub fn at(self, ours: IpAddr) -> Option<Root> {
        self.all_at(ours).next()
    }

    /// The same for a phone of this profile: TFTP is nothing to a phone that does not speak it.
    pub fn for_phone(self, ours: IpAddr, profile: &Profile) -> Option<Root> {
        self.all_at(ours).find(|root| !matches!(root, Root::Tftp(_)) || profile.reach().tftp)
    }

    /// The same for who asks at `ours` by this service: whoever came by TLS goes on by TLS.
    pub(crate) fn for_request(self, ours: IpAddr, channel: Channel) -> Option<Root> {
        let is_fit = |root: &Root| channel != Channel::Https || matches!(root, Root::Https(_));
        self.all_at(ours).find(is_fit).or_else(|| self.at(ours))
    }

    /// Whether there is no service at all.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// Whether a socket bound to `bound` hears what is sent to `ours`. `[::]` is bound for both families.
fn listens(bound: SocketAddr, ours: IpAddr) -> bool {
    match bound.ip().to_canonical() {
        IpAddr::V4(any) if any.is_unspecified() => ours.to_canonical().is_ipv4(),
        IpAddr::V6(any) if any.is_unspecified() => true,
        one => one == ours.to_canonical(),
    }
}

/// Where a phone reaches our files: the scheme and port that go into its URLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Root {
    /// The phones' HTTP listener.
    Http(u16),
    /// The phones' TLS listener.
    Https(u16),
    /// TFTP alone.
    Tftp(u16),
}

impl Root {
    /// The shared root, `http://HOST:8480/`, as a phone reaches it.
    pub fn url(self, host: IpAddr) -> String {
        match self {
            Self::Http(port) => format!("http://{}/", SocketAddr::new(host, port)),
            Self::Https(port) => format!("https://{}/", SocketAddr::new(host, port)),
            Self::Tftp(69) => {
                format!("tftp://{}/", SocketAddr::new(host, 69).to_string().trim_end_matches(":69"))
            }
            Self::Tftp(port) => format!("tftp://{}/", SocketAddr::new(host, port)),
        }
    }

    /// The root of one phone's own URL, `http://HOST:8480/d/TOKEN/`; as secret as the token in it.
    pub fn own_url(self, host: IpAddr, token: &Secret) -> String {
        format!("{}d/{}/", self.url(host), token.expose())
    }
}

/// What is known of who asks for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// On our link, and the neighbour table names this MAC.
    Neighbour(Mac),
    /// On our link, and nobody answers there.
    Silent,
    /// Behind a router: the address proves nothing.
    OffLink,
}

/// The interface on whose link the peer is: the one the request arrived on, or the one that has the address that was
/// asked; `None` behind a router.
pub(crate) fn basis(request: &FileRequest, table: &Table) -> Option<u32> {
    let (IpAddr::V4(peer), IpAddr::V4(local)) = (request.peer, request.local) else {
        // Of IPv6 only a link-local peer is known to be on the link.
        let linked = matches!(request.peer, IpAddr::V6(peer) if peer.is_unicast_link_local());
        return request.interface.filter(|_| linked);
    };
    let ours = |interface: &&Interface| interface.addresses.iter().any(|(address, _)| *address == local);
    let arrived = request.interface.or_else(|| table.interfaces().iter().find(ours).map(|found| found.index));
    let (interface, _) = table.on_link(peer, arrived)?;
    (!table.is_ours(peer)).then_some(interface.index)
}

/// Who asks for a file of the device `mac`, as far as it is proven; or, in words, who else it is.
///
/// 1. With the device's certificate, from anywhere: I4.
/// 2. With another phone's: that one, whatever else it has or is.
/// 3. On-link with the device's MAC: I2.
/// 4. On-link with another MAC: somebody else, token or not.
/// 5. Behind a router with a token of the device's URL: I3.
/// 6. On-link, and nobody answers there: with a token it may have files without passwords, because it is no more than
///    an address.
/// 7. Everybody else is a stranger.
pub(crate) fn asker(
    mac: Mac,
    certified: Option<Mac>,
    proof: Proof,
    has_token: bool,
) -> Result<Asker, String> {
    match certified {
        Some(own) if own == mac => {
            return Ok(Asker { level: Level::I4, key: format!("certificate {mac}") });
        }
        Some(other) => return Err(format!("{other} asked, by its certificate")),
        None => {}
    }
    match (proof, has_token) {
        (Proof::Neighbour(neighbour), _) if neighbour == mac => {
            Ok(Asker { level: Level::I2, key: format!("mac {mac}") })
        }
        (Proof::Neighbour(other), _) => Err(format!("{other} asked")),
        (Proof::OffLink, true) => Ok(Asker { level: Level::I3, key: "token".to_owned() }),
        (Proof::Silent, true) => Ok(Asker { level: Level::I1, key: "token".to_owned() }),
        (Proof::Silent, false) => Err("nobody answers ARP there".to_owned()),
        (Proof::OffLink, false) => Err("asked from another subnet".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(token: Option<&str>, name: &str) -> Asked {
        Asked::File { token: token.map(str::to_owned), name: name.to_owned() }
    }

    #[test]
    fn a_path_is_taken_apart_and_never_followed() {
        let token = "0123456789abcdef0123456789abcdef";
        assert_eq!(Asked::parse("/805ec0aabbcc.cfg"), Some(file(None, "805ec0aabbcc.cfg")));
        assert_eq!(Asked::parse("//provisioning/./snomD785.htm"), Some(file(None, "snomD785.htm")));
        assert_eq!(
            Asked::parse(&format!("/d/{}/x.cfg", token.to_uppercase())),
            Some(file(Some(token), "x.cfg"))
        );
        assert_eq!(Asked::parse(&format!("D/{token}/a/x.cfg")), Some(file(Some(token), "x.cfg")));
        let firmware =
            Asked::Static { area: Area::Firmware, vendor: "snom".to_owned(), name: "a.bin".to_owned() };
        assert_eq!(Asked::parse("/firmware/Snom/a.bin"), Some(firmware));
        for bad in [
            "",
            "/",
            "/d/0123456789abcdef0123456789abcdef/",
            "/../etc/passwd",
            "/d/../x",
            "a\\..\\b",
            "/x\0.cfg",
            "/a\r\nb",
            &"x/".repeat(300),
        ] {
            assert_eq!(Asked::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_phone_knows_only_what_it_names() {
        for known in ["\"abc\"", "W/\"abc\"", "\"x\", \"abc\"", " \"x\",W/\"abc\" ", "*, \"abc\""] {
            assert!(knows(known, "\"abc\"") && knows(known, "W/\"abc\""), "{known}");
        }
        for unknown in ["", "*", "W/*", "\"*\"", "abc", "\"abd\"", "\"ab\", \"c\"", ",,"] {
            assert!(!knows(unknown, "\"abc\""), "{unknown}");
        }
        assert!(!knows("", "") && !knows("\"\"", ""), "without a tag, nothing is known");
    }

    #[test]
    fn a_url_names_the_host_as_the_phone_reaches_it() {
        let host = IpAddr::from([192, 168, 1, 35]);
        assert_eq!(Root::Http(8480).url(host), "http://192.168.1.35:8480/");
        assert_eq!(Root::Tftp(69).url(host), "tftp://192.168.1.35/");
        assert_eq!(Root::Tftp(1069).own_url(host, &Secret::new("ab")), "tftp://192.168.1.35:1069/d/ab/");
        assert_eq!(Root::Http(80).url("fe80::1".parse().unwrap()), "http://[fe80::1]:80/");
    }

    #[test]
    fn a_service_is_named_only_where_it_listens() {
        let check = |http: &str, tftp: &str, ours: &str, expected| {
            let roots = Roots { http: http.parse().ok(), https: None, tftp: tftp.parse().ok() };
            assert_eq!(roots.at(ours.parse().unwrap()), expected, "{http} {tftp} {ours}");
        };
        let (http, tftp) = (Some(Root::Http(8480)), Some(Root::Tftp(69)));
        check("0.0.0.0:8480", "0.0.0.0:69", "192.168.1.35", http);
        check("127.0.0.1:8480", "0.0.0.0:69", "192.168.1.35", tftp);
        check("127.0.0.1:8480", "0.0.0.0:69", "127.0.0.1", http);
        check("127.0.0.1:8480", "off", "192.168.1.35", None);
        check("10.0.0.1:8480", "192.168.1.36:69", "192.168.1.35", None);
        check("192.168.1.35:8480", "off", "192.168.1.35", http);
        check("192.168.1.35:8480", "off", "::ffff:192.168.1.35", http);
        check("0.0.0.0:8480", "off", "fe80::1", None);
        check("[::]:8480", "off", "fe80::1", http);
        check("[::]:8480", "off", "192.168.1.35", http);
        check("off", "off", "192.168.1.35", None);
    }

    #[test]
    fn a_phone_that_cannot_do_tftp_gets_no_tftp_url() {
        let catalog = Catalog::builtin().unwrap();
        let ours = IpAddr::from([192, 168, 1, 35]);
        let here = |text: &str| text.parse().ok();
        let roots = Roots { http: here("127.0.0.1:8480"), https: None, tftp: here("0.0.0.0:69") };
        for profile in catalog.profiles() {
            let expected = profile.reach().tftp.then_some(Root::Tftp(69));
            assert_eq!(roots.for_phone(ours, profile), expected, "{}", profile.vendor());
            let everywhere = Roots { http: "0.0.0.0:8480".parse().ok(), ..roots };
            assert_eq!(everywhere.for_phone(ours, profile), Some(Root::Http(8480)));
            let secure = Roots { https: here("0.0.0.0:8481"), ..roots };
            let expected = if profile.reach().tftp { Root::Tftp(69) } else { Root::Https(8481) };
            assert_eq!(secure.for_phone(ours, profile), Some(expected), "{}", profile.vendor());
        }
    }

    #[test]
    fn who_comes_by_tls_stays_with_it() {
        let ours = IpAddr::from([192, 168, 1, 35]);
        let here = |text: &str| text.parse().ok();
        let all = Roots { http: here("0.0.0.0:8480"), https: here("0.0.0.0:8481"), tftp: here("0.0.0.0:69") };
        assert_eq!(all.for_request(ours, Channel::Https), Some(Root::Https(8481)));
        for channel in [Channel::Http, Channel::Tftp] {
            assert_eq!(all.for_request(ours, channel), Some(Root::Http(8480)));
        }
        assert_eq!(Root::Https(8481).url(ours), "https://192.168.1.35:8481/");
        let only = Roots { http: None, tftp: None, ..all };
        assert_eq!(only.at(ours), Some(Root::Https(8481)));
    }

    #[test]
    fn strangers_follow_the_policy() {
        let stranger = Identity { mac: "00:15:65:01:02:03".parse().ok(), ..Identity::default() };
        let check = |policy, deny: &str, allow: &str, known, expected| {
            let list = |text: &str| serde_json::from_str(text).unwrap();
            let adopt = AdoptConfig { policy, deny: list(deny), allow: list(allow) };
            assert_eq!(admission(&stranger, None, &adopt, known), expected);
        };
        check(AdoptPolicy::Known, "[]", "[]", true, Admission::Ignore("not in the inventory"));
        check(AdoptPolicy::Approve, "[]", "[]", true, Admission::Pending);
        check(AdoptPolicy::Auto, "[]", "[]", true, Admission::Adopt);
        check(AdoptPolicy::Auto, "[]", "[]", false, Admission::Pending);
        check(AdoptPolicy::Auto, "[\"00:15:65\"]", "[]", true, Admission::Ignore("on adopt.deny"));
        check(AdoptPolicy::Auto, "[]", "[\"000413\"]", true, Admission::Ignore("not on adopt.allow"));
        check(AdoptPolicy::Auto, "[]", "[\"001565\"]", true, Admission::Adopt);
    }

    #[test]
    fn a_peer_is_as_well_proven_as_its_evidence() {
        let mac: Mac = "00:15:65:01:02:03".parse().unwrap();
        let other: Mac = "00:15:65:01:02:04".parse().unwrap();
        for (proof, token, expected) in [
            (Proof::Neighbour(mac), false, Some(Level::I2)),
            (Proof::Neighbour(mac), true, Some(Level::I2)),
            (Proof::Neighbour(other), false, None),
            (Proof::Neighbour(other), true, None),
            (Proof::OffLink, true, Some(Level::I3)),
            (Proof::OffLink, false, None),
            (Proof::Silent, true, Some(Level::I1)),
            (Proof::Silent, false, None),
        ] {
            let level = |certified| asker(mac, certified, proof, token).ok().map(|asker| asker.level);
            assert_eq!(level(None), expected, "{proof:?} {token}");
            assert_eq!(level(Some(mac)), Some(Level::I4), "case 38: {proof:?} {token}");
            assert_eq!(level(Some(other)), None, "case 39: {proof:?} {token}");
        }
    }
}
