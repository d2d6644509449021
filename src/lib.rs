//! # The map of offhook
//!
//! offhook sits on a LAN and gives every SIP desk phone its configuration. A **message** comes in, a **decision** is
//! made, **commands** go out. Only servers wait; only the store remembers; only the clock knows the time.
//!
//! ## Rooms
//!
//! | module | what it is |
//! |---|---|
//! | [`device`] | the nouns: [`device::Mac`], [`device::Identity`], [`device::Device`], accounts, lines, keys, sightings, what phones have in common |
//! | [`secret`] | [`secret::Secret`]: redacted, wiped, neither printable nor serialisable |
//! | [`alarm`] | what an administrator should look at, raised without waiting |
//! | [`timeline`] | what happened to one phone, in order, in stable words and in sentences |
//! | [`clock`] | the only readers of wall clock, monotonic clock and randomness |
//! | `hex` | octets in hexadecimal digits |
//! | [`config`] | the file as written, environment variables over it; where things lie |
//! | [`net`] | interfaces, who is behind an address ([`net::neighbours`]), UDP with its arrival, packet sockets, limits, the form of SIP messages |
//! | [`tls`] | our own certificate authority, the certificates that are shown, and what a phone's certificate proves |
//! | [`profile`] | vendor profiles: schema, recognisers, identity pages and what a web server shows, path patterns, strict templates with secret slots, what phones read from DHCP and make of it, catalog |
//! | [`firmware`] | firmware releases, versions, and which one a phone gets next |
//! | [`menu`] | the user menu and company directory on a phone's display, in no vendor's words |
//! | [`release`] | the one-time release of passwords: the state machine |
//! | [`provision`] | the desk: which phone is this, where should it go, what may it have |
//! | [`pnp`] | SIP multicast plug and play |
//! | [`dhcp`] | the companion of the LAN's DHCP server: hears what was asked and given ([`dhcp::hear`], [`dhcp::tell`]), asks ([`dhcp::probe`]), and answers INFORM or gives leases where it is told to |
//! | [`scan`] | finds the phones that did not ask: ARP on a link, SIP and HTTP behind a router |
//! | [`http`], [`tftp`] | the phones' files |
//! | [`push`] | tells running phones to fetch again, to start anew, or where their files are, by SIP NOTIFY and by their web interfaces |
//! | [`register`] | overhears whether phones register, where the PBX is on this host |
//! | [`store`] | the only SQL, one text for SQLite and PostgreSQL; the sealed secrets, their keys and backups; the inventory in memory; the chained audit |
//! | [`accounts`] | where accounts and contacts come from: CSV, vCard |
//! | [`simulate`] | phones for people and tests, with clients and web pages of their own and no code of the servers |
//! | [`operate`] | what people do with phones and are shown of them, in the words that command line and REST share |
//! | `doctor` | this host and this LAN, looked at for what keeps phones from coming up: one file of judgements per subject, one that gathers |
//! | [`admin`] | the people's listener: REST with tokens, a table of routes, its description |
//! | [`agent`] | binds every socket, starts and stops every service, says what is off and why |
//! | [`cli`] | one file per command |
//!
//! A room that speaks a protocol has the same doors: `message` reads and writes bytes, `decide` decides (often together
//! with a struct that remembers: `Notifier`, `Transfer`), `server` is the shell that waits, receives and sends.
//! Vendors are not in the code: they are data under `vendor-profiles/`.
//!
//! ## A packet from socket to reply
//!
//! **A phone says SUBSCRIBE.** [`pnp::server`] drains the group's socket into a queue. Its worker parses
//! ([`pnp::message`]), looks whether the neighbour behind the datagram is the phone that it says to be
//! ([`net::neighbours::Neighbours::check`]), lets the profiles vote on who that is ([`profile::Catalog::identify`]), asks
//! the inventory in memory ([`store::Inventory::device`]) and the policy ([`provision::admission`]); a stranger is left to
//! a rival that was heard (`pnp::rival`). [`pnp::decide`] gives commands:
//! record it; and only for a phone that is served, answer 200 and notify it of its own URL. [`pnp::notifier`] repeats the
//! NOTIFY until the phone answers. Everything leaves from the unicast socket, through the interface the question came
//! in by.
//!
//! **A phone asks for an address, and a DHCP server answers.** [`dhcp::server`] hears both by a packet socket
//! ([`net::wire`]) and takes no port. Its worker reads the messages ([`dhcp::message`]); of who is no phone it keeps nothing.
//! [`dhcp::hear`] holds an exchange together until its answer was heard, or was not; [`dhcp::tell`] makes a word and a
//! sentence of it, with what that vendor's phones make of what they were given ([`profile::Profile::judge`]). That is a
//! sighting, and with every other sighting a line of the phone's timeline ([`store::Store::timeline`]).
//!
//! **A phone wants a lease, or asks by INFORM.** [`dhcp::server`] hears it by a packet socket and hands it to
//! [`dhcp::server::answer`], which knows who it is from memory. [`dhcp::decide`] and [`dhcp::lease`] say what shall happen:
//! an address is probed by ARP ([`net::neighbours::Neighbours::probe`]), the lease is written
//! ([`store::Store::commit_leases`]: into a journal, together with everybody's of that moment; the database follows), and
//! only then the ACK leaves. Whatever is
//! not answered has a [`dhcp::silence::Why`].
//!
//! **A phone asks for its file.** [`http::server`] or [`tftp::server`] makes a [`provision::FileRequest`] of it.
//! [`provision::Desk::answer`] takes the path apart (a name never becomes a path on disk), finds the file in the
//! profiles and the device by token, name or neighbour entry, renders it with empty slots (or takes it from the cache),
//! and says how well this peer is proven to be the device. A file without slots, or of a phone that has its passwords
//! already, needs no more: everything was in memory. Whoever may not have a file gets the same 404, or ERROR 1,
//! whatever the reason.
//!
//! **Somebody opens the menu on a phone.** [`http::server`] hands path, query and credential to
//! [`provision::Desk::menu`]. Who it is says the neighbour table or a certificate, and where the profile wants it the menu
//! credential, too; whoever is nobody's neighbour is asked for it, whichever phone the path names. [`menu::page`] says what
//! stands on the page, and the profile's template draws it with as many entries as the phone reads.
//! Whoever asks there for the phone's settings is heard by a chore of the agent, which tells the phone as `device resync` does.
//!
//! **It comes by TLS.** The connection's own task shakes hands ([`http::server`], [`tls::Tls::acceptor`]); a [`tls::Witness`]
//! of that connection says whose certificate the phone has proved to hold, if it is one that proves anything. At the desk that
//! MAC is worth more than the neighbour table: the phone's own files from anywhere, and another phone's from nowhere.
//!
//! **What a phone has comes from layers.** `profile/draw.rs` lays the site's, the vendor's and the model's settings and
//! keys ([`device::Commons`]) and the phone's own over the profile's, leaves out and tells what the model cannot do, and puts
//! raw parameters in their place, never under a name that holds a password. What was fetched is written down masked
//! ([`store::Store::keep_fetched`]), for `offhook plan` to compare.
//!
//! **Its passwords leave, once.** `provision/handout.rs` asks [`release::Grants::authorise`] what would leave, in memory;
//! the phone proves its address once more and its neighbour entry is pinned ([`net::neighbours::Neighbours::prove`]);
//! [`store::Store::release`] decides again inside a transaction, together with everybody who asks in that moment, and
//! returns when the decision is durable. Only then the vault opens those passwords, and they are put into their slots.
//! A database that does not answer is a 503, never a file without passwords.
//!
//! **A file with passwords is on its way.** By TFTP the first datagram's sender may be forged, so the desk first only
//! promises ([`provision::Desk::offer`]) and opens at the first acknowledgement ([`provision::Desk::open`]). The
//! [`provision::Receipt`] stays with the transfer until the last byte is acknowledged; when the device is locked, or two
//! minutes are over, the transfer is aborted. A connection that ends earlier, in whatever way, is reset, so that the
//! kernel sends nothing on its own.
//!
//! **Somebody scans.** [`scan::plan`] says which addresses are asked, and how: by ARP on our links, else through a router.
//! [`scan::sweep::Sweep`] gives the questions at their rate, whoever was silent once more, and tells who answered.
//! [`scan::server`] sends them ([`net::arp::ArpWire`]), visits each who is there (SIP OPTIONS, pages, what it announces by multicast DNS), lets the profiles vote,
//! and writes each second whom it found and how far it has come, from where the next one goes on.
//!
//! **Somebody points a phone here.** `operate/point.rs` says who may be: approved, or adopted when it comes, and not
//! another server's. Each means of the profile is tried, the gentlest first: a NOTIFY with the phone's URL
//! ([`push::server`]), then its web interface. [`push::visit::Visitor`] gives the requests that the profile names
//! ([`profile::Visit`]) and takes in the answers; before each ARP proves who is there ([`push::server::web`]), and a row
//! says how far it has come ([`store::PointRow`]), from where the next run goes on.
//!
//! **A command writes.** It opens the same store, writes rows, and pokes the agent's socket; the agent reads what has
//! changed since the generation that it knows. Without a poke it notices within 200 ms.
//!
//! **A program asks by REST.** [`admin::server`] hands the request to a table of routes. It is asked by a name of this
//! host, no other site's page made it, its token is for it: then `operate` chooses what the command line would choose, and
//! the store does it under the request's conditions, inside the transaction ([`store::Condition`]): once per key, and only
//! while the phone is as it was seen.
//!
//! **A phone does not come up.** `operate::why` reads what is written of it (timeline, device, grants, alarms), judges each
//! step of its life, and names the first that broke.
//!
//! **Something is wrong.** Whoever notices it raises an [`alarm::Alarm`] and goes on. Every second the agent's chore makes
//! rows of what was raised (the same within an hour is counted), says what is new in the log, and hands it to the webhook
//! and the command.
//!
//! ## What holds everywhere
//!
//! 1. Imports point downwards; no room imports another. What two rooms share stands in `provision`, `profile`, `device`
//!    or `net`.
//! 2. Only `*/server.rs` and what lies under it, `provision/{desk,handout,menu,shelf}.rs`, `store`, `agent`, `admin`,
//!    `operate`, `doctor/{gather,ask}.rs`, `net`, `tls/{files,keeper}.rs`, `simulate` and `cli` wait or do I/O. The desk's walk is the one thing that
//!    two rooms' servers share, so it waits
//!    in `provision`.
//! 3. Decisions never call the store: load, decide, commit, send.
//! 4. Time and randomness are arguments.
//! 5. A malformed packet is not our error: it is counted, logged at DEBUG and dropped. Nothing from the network panics.
//! 6. Every limit is a named constant with its reason.
//! 7. What was done is written down in the transaction that does it, as a row that follows from the row before.
//! 8. A file with passwords goes to who proves by a certificate to be the device, to an on-link peer whose neighbour
//!    entry is the device's MAC, or from elsewhere to who holds a token of the device's URL; within its window, to one of
//!    them, and to nobody else.
//! 9. No byte of a password leaves before the decision about it is on the disk.
//!
//! `tests/tidy.rs` holds what of this a program can check.
//!
//! ## Where a library was not enough
//!
//! * **rsip** parses and builds what it can; before it stands our normaliser ([`pnp::message`]), because rsip refuses
//!   folded headers, bare LF, compact names, Latin-1 bytes and a missing last blank line, which real phones send.
//! * **async-tftp** is the reference peer of tests and benches; [`tftp`] says what it does on the wire and names the test
//!   that shows it. The transfer here is [`tftp::decide::Transfer`].
//! * **pnet** gives the packet views; the receiving side is an `AF_PACKET` socket with a filter ([`net::packet`]), because
//!   pnet's channel has neither a filter nor async. A sweep's frames are built with pnet and leave together (sendmmsg).

pub mod alarm;
pub mod clock;
pub mod config;
pub mod device;
pub mod firmware;
mod hex;
pub mod net;
mod rule;
pub mod secret;
pub mod timeline;
pub mod tls;

pub mod register;
pub mod release;

pub mod menu;
pub mod profile;
pub mod provision;

pub mod dhcp;
pub mod http;
pub mod pnp;
pub mod push;
pub mod scan;
pub mod tftp;

pub mod accounts;
pub mod store;

pub mod simulate;

mod doctor;
pub mod operate;

pub mod admin;
pub mod agent;
pub mod cli;
