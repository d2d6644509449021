//! The load generator: thousands of phones as one process. It holds no code of the servers it measures, keeps every
//! phone's own address (the client's namespace owns a whole network), and prints one JSON object per run.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a measuring tool stops at the first surprise, and measures real time"
)]

mod dhcp;
mod floor;
mod http;
#[expect(dead_code, reason = "the tests' fleet, whose file this is, says more than phones in a storm")]
#[path = "../../tests/it/dhcp_fleet/message.rs"]
mod message;
mod phones;
mod pnp;
mod storm;
mod tftp;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;

use crate::phones::Phones;

#[derive(Parser)]
#[command(name = "load", about = "Phones, by the thousand, for measuring servers")]
enum Load {
    /// Leases through a relay: closed loop, or open with --rate
    Dhcp(DhcpArgs),
    /// A DHCP server that decides nothing, until it is killed: what no server can save
    Floor(FloorArgs),
    /// PnP exchanges (SUBSCRIBE, 200, NOTIFY, 200): closed loop, or all phones at once with --burst
    Sip(SipArgs),
    /// Files by TFTP: `--clients` at a time until `--count` are done
    Tftp(TftpArgs),
    /// Files by HTTP over kept connections, each phone from its own address
    Http(HttpArgs),
    /// A boot storm: DHCP where there is a server, PnP, then GETs on new connections, all phones at the same instant
    Storm(StormArgs),
    /// Prints the phones (MAC, address), one a line, for the servers' inventories
    Phones(PhonesArgs),
}

#[derive(clap::Args)]
struct PhonesArgs {
    /// How many phones there are
    #[arg(long, default_value_t = 1000)]
    phones: u32,
    /// First phone's address; the others follow
    #[arg(long, default_value = "10.65.0.1")]
    first: Ipv4Addr,
}

#[derive(clap::Args)]
struct DhcpArgs {
    #[command(flatten)]
    phones: PhonesArgs,
    /// The server
    #[arg(long)]
    server: SocketAddrV4,
    /// The relay that the phones are behind: an address of this host
    #[arg(long)]
    relay: Ipv4Addr,
    /// Exchanges at once
    #[arg(long, default_value_t = 50)]
    inflight: u32,
    /// So many phones begin each second, whatever comes back; nobody repeats a question
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// A phone that has no lease by then is lost
    #[arg(long, default_value_t = 60.0)]
    patience: f64,
}

#[derive(clap::Args)]
struct FloorArgs {
    /// Its address and port
    #[arg(long)]
    listen: SocketAddrV4,
    /// The first phone's address; the others follow
    #[arg(long)]
    first: Ipv4Addr,
    /// Each lease is written here and durable before its ACK leaves, with all that came together
    #[arg(long)]
    journal: Option<PathBuf>,
}

#[derive(clap::Args)]
struct SipArgs {
    #[command(flatten)]
    phones: PhonesArgs,
    /// Where SUBSCRIBEs go: the group, or a server's own address
    #[arg(long)]
    server: SocketAddrV4,
    /// Index of the sending interface; a group needs it
    #[arg(long, default_value_t = 0)]
    interface: u32,
    /// Exchanges at once
    #[arg(long, default_value_t = 50)]
    inflight: u32,
    /// All phones at the same instant
    #[arg(long)]
    burst: bool,
    /// A phone that has not been answered by then is lost
    #[arg(long, default_value_t = 40.0)]
    patience: f64,
}

#[derive(clap::Args)]
struct TftpArgs {
    #[command(flatten)]
    phones: PhonesArgs,
    /// The server
    #[arg(long)]
    server: SocketAddrV4,
    /// The file's name as asked
    #[arg(long)]
    file: String,
    /// The same file here: what arrives is compared with it
    #[arg(long)]
    compare: PathBuf,
    /// RFC 2348
    #[arg(long, default_value_t = 1428)]
    blksize: usize,
    /// RFC 7440; 1 asks for none
    #[arg(long, default_value_t = 1)]
    window: u16,
    /// Transfers at once
    #[arg(long, default_value_t = 1)]
    clients: u32,
    /// Transfers in all
    #[arg(long, default_value_t = 1)]
    count: u32,
    /// Seconds after which a phone repeats its last packet
    #[arg(long, default_value_t = 1.0)]
    timer: f64,
    /// A run that is not done by then has lost phones
    #[arg(long, default_value_t = 60.0)]
    patience: f64,
}

#[derive(clap::Args)]
struct HttpArgs {
    #[command(flatten)]
    phones: PhonesArgs,
    /// The server
    #[arg(long)]
    server: SocketAddrV4,
    /// File with one path a line: line n is phone n's
    #[arg(long)]
    paths: PathBuf,
    /// Connections at once
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// GETs on one connection before the next phone takes its place
    #[arg(long, default_value_t = 100)]
    repeat: u32,
    /// GETs in all
    #[arg(long, default_value_t = 100_000)]
    count: u32,
}

#[derive(clap::Args)]
struct StormArgs {
    #[command(flatten)]
    phones: PhonesArgs,
    /// Where SUBSCRIBEs go
    #[arg(long)]
    server: SocketAddrV4,
    /// Index of the sending interface; a group needs it
    #[arg(long, default_value_t = 0)]
    interface: u32,
    /// The DHCP server; without one the phones have their addresses
    #[arg(long, requires = "relay")]
    dhcp: Option<SocketAddrV4>,
    /// The relay that the phones are behind: an address of this host
    #[arg(long)]
    relay: Option<Ipv4Addr>,
    /// What each phone fetches: `{url}`, `{base}` (scheme and host of it) and `{mac}` are filled in
    #[arg(long, value_delimiter = ',', default_value = "{url}{mac}.cfg")]
    get: Vec<String>,
    /// A phone that is not done by then is lost
    #[arg(long, default_value_t = 60.0)]
    patience: f64,
}

fn main() {
    // cargo bench adds `--bench` to what it starts.
    let arguments = std::env::args().filter(|argument| argument != "--bench");
    let load = Load::parse_from(arguments);
    allow_many_files();
    let before = cpu_time();
    let begun = Instant::now();
    let mut result = match load {
        Load::Dhcp(args) => dhcp::run(&args),
        Load::Floor(args) => floor::run(&args),
        Load::Sip(args) => pnp::run(&args),
        Load::Tftp(args) => tftp::run(&args),
        Load::Http(args) => http::run(&args),
        Load::Storm(args) => storm::run(&args),
        Load::Phones(args) => return Phones::new(&args).list(),
    };
    let wall = begun.elapsed().as_secs_f64();
    result["wall_s"] = wall.into();
    result["client_cpu_s"] = (cpu_time() - before).into();
    println!("{result}");
}

/// One descriptor per phone, as far as this machine lets us.
fn allow_many_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Seconds of processor this process has used.
fn cpu_time() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// Waits until the socket can be read, at most this long.
fn wait(socket: &socket2::Socket, most: Duration) {
    use std::os::fd::AsFd;
    let mut set = [nix::poll::PollFd::new(socket.as_fd(), nix::poll::PollFlags::POLLIN)];
    let most = u16::try_from(most.as_millis()).unwrap_or(u16::MAX);
    let _ = nix::poll::poll(&mut set, most);
}

/// Latencies of a run, in milliseconds.
fn quantiles(mut times: Vec<Duration>) -> serde_json::Value {
    times.sort_unstable();
    let at = |share: f64| -> f64 {
        if times.is_empty() {
            return f64::NAN;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index below the length"
        )]
        let index = ((times.len() - 1) as f64 * share).round() as usize;
        times[index].as_secs_f64() * 1000.0
    };
    serde_json::json!({ "p50": at(0.5), "p99": at(0.99), "max": at(1.0) })
}
