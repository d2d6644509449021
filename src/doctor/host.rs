//! The host itself: whether an agent runs and with which rights, what the kernel grants, the clock, and whether the
//! service comes back after a boot. Only judges what was read.

use std::time::Duration;

use super::Finding;
use super::ports::{Agent, Protocol, Socket};
use crate::clock::Timestamp;
use crate::config::{Config, PnpReceive};

/// No earlier than this was this program written (2026-01-01): a clock before it was never set.
const WRITTEN: Timestamp = Timestamp(1_767_225_600_000);
/// Clocks that differ by no more are one.
const TOLERANCE: Duration = Duration::from_mins(1);
/// What the services ask of the kernel as their receive buffer.
const BUFFER_BYTES: u64 = 16 * 1024 * 1024;
/// Connections that wait to be taken: with fewer, phones of a large fleet that boot at once try again, seconds later.
const BACKLOG: u64 = 1_024;
/// The capabilities that open every service, by their number (capabilities(7)).
const CAPABILITIES: [(u32, &str, &str); 3] = [
    (10, "CAP_NET_BIND_SERVICE", "port 69 cannot be opened"),
    (13, "CAP_NET_RAW", "no DHCP is heard, and cloned MACs are not noticed"),
    (12, "CAP_NET_ADMIN", "phones are not pinned while passwords leave, and receive buffers stay small"),
];

/// Whether an agent runs on this data.
pub(super) fn agent(agent: &Agent, data: &str) -> Finding {
    let pid = agent.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    match agent.runs {
        Some(true) if agent.observes => {
            let text = format!("the agent runs{pid}, and only observes");
            Finding::warn("agent", text, "start it without --observe, and it serves phones")
        }
        Some(true) => Finding::ok("agent", format!("the agent runs{pid}")),
        Some(false) => Finding::warn(
            "agent",
            format!("no agent runs on {data}: no phone is served"),
            "systemctl start offhook, or offhook run",
        ),
        None => Finding::unknown(
            "agent",
            format!("whether an agent runs on {data} was not checked"),
            "the folder of its socket: run the command as root, or as the user of the service",
        ),
    }
}

/// A process's rights: the number behind `CapEff:` in `/proc/PID/status`.
pub(super) fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// The user behind `Uid:` in `/proc/PID/status`.
pub(super) fn user(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// What is known of rights: the agent's, else those that this command has, which a service's may not be.
#[derive(Debug, Clone, Default)]
pub(super) struct Rights {
    pub(super) agents: Option<u64>,
    pub(super) own: Option<u64>,
    pub(super) program: String,
    /// The lowest port that needs no right.
    pub(super) unprivileged_port: Option<u16>,
}

/// Whether the agent may do all that it is to do.
pub(super) fn capabilities(config: &Config, agent: &Agent, rights: &Rights) -> Finding {
    let (whose, effective) = match (agent.runs, rights.agents, rights.own) {
        (Some(true), Some(agents), _) => ("the agent", agents),
        (Some(true), None, _) | (None, ..) | (_, _, None) => {
            let text = "the rights of the agent were not checked";
            return Finding::unknown("capabilities", text, "run the command as root");
        }
        (_, _, Some(own)) => ("this program, run by this user,", own),
    };
    let tftp = config
        .tftp
        .listen
        .address()
        .is_some_and(|at| at.port() != 0 && at.port() < rights.unprivileged_port.unwrap_or(1024));
    let missing: Vec<&(u32, &str, &str)> = CAPABILITIES
        .iter()
        .filter(|(number, ..)| effective & (1 << number) == 0 && (*number != 10 || tftp))
        .collect();
    if missing.is_empty() {
        return Finding::ok("capabilities", format!("{whose} has every right that it needs"))
            .seen(format!("CapEff {effective:016x}"));
    }
    let names: Vec<&str> = missing.iter().map(|(_, name, _)| *name).collect();
    let costs: Vec<&str> = missing.iter().map(|(.., cost)| *cost).collect();
    let text = format!("{whose} lacks {}: {}", names.join(" and "), costs.join("; "));
    let fix = format!(
        "run: sudo setcap cap_net_bind_service,cap_net_raw,cap_net_admin+ep {}; or use examples/offhook.service",
        rights.program
    );
    let lost = missing.iter().any(|(number, ..)| *number == 10)
        || config.pnp.receive == PnpReceive::Packet && names.contains(&"CAP_NET_RAW");
    let found = if lost && agent.runs == Some(true) {
        Finding::broken("capabilities", text, fix)
    } else {
        Finding::warn("capabilities", text, fix)
    };
    found.seen(format!("CapEff {effective:016x}"))
}

/// What the kernel grants; `None` where it does not say, as in many containers.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits {
    pub(super) rmem_max: Option<u64>,
    pub(super) somaxconn: Option<u64>,
    /// `gc_thresh3` of the neighbour table.
    pub(super) neighbours: Option<u64>,
    /// Whether sockets may go beyond `rmem_max` (`CAP_NET_ADMIN`).
    pub(super) may_force: bool,
}

/// Buffers, queues and the neighbour table against this many phones.
pub(super) fn limits(limits: &Limits, phones: usize) -> Vec<Finding> {
    let phones = u64::try_from(phones).unwrap_or(u64::MAX);
    let unseen = |check, name: &str| {
        Finding::unknown(check, format!("{name} is not shown here"), "look at it in the host's own network")
    };
    let rmem = match limits.rmem_max {
        _ if limits.may_force => {
            Finding::ok("buffers", "receive buffers are as large as the services ask for")
        }
        None => unseen("buffers", "net.core.rmem_max"),
        Some(bytes) if bytes >= BUFFER_BYTES => Finding::ok("buffers", "receive buffers are large enough"),
        Some(bytes) => Finding::warn(
            "buffers",
            "receive buffers are too small for many phones that boot at once: datagrams may be lost",
            format!("sysctl -w net.core.rmem_max={BUFFER_BYTES}, or give CAP_NET_ADMIN"),
        )
        .seen(format!("net.core.rmem_max = {bytes}")),
    };
    let backlog = match limits.somaxconn {
        None => unseen("backlog", "net.core.somaxconn"),
        Some(waiting) if waiting >= BACKLOG.min(phones.max(128)) => {
            Finding::ok("backlog", format!("{waiting} connections may wait to be taken"))
        }
        Some(waiting) => Finding::warn(
            "backlog",
            format!("only {waiting} connections may wait to be taken, of {phones} phones"),
            "sysctl -w net.core.somaxconn=4096, and restart the agent",
        )
        .seen(format!("net.core.somaxconn = {waiting}")),
    };
    vec![rmem, backlog, neighbours(limits.neighbours, phones)]
}

fn neighbours(limit: Option<u64>, phones: u64) -> Finding {
    let wanted = phones.saturating_mul(2);
    let Some(limit) = limit else {
        let text = "how many neighbours the kernel remembers is not shown here";
        return Finding::unknown("neighbours", text, "look at it in the host's own network");
    };
    if limit >= wanted {
        return Finding::ok(
            "neighbours",
            format!("the kernel remembers {limit} neighbours, enough for {phones} phones"),
        );
    }
    let text =
        format!("the kernel remembers at most {limit} neighbours, too few for {phones} phones on its links");
    let fix = format!(
        "sysctl -w net.ipv4.neigh.default.gc_thresh3={wanted} net.ipv4.neigh.default.gc_thresh2={phones}"
    );
    let found = if limit < phones {
        Finding::broken("neighbours", text, fix)
    } else {
        Finding::warn("neighbours", text, fix)
    };
    found.seen(format!("net.ipv4.neigh.default.gc_thresh3 = {limit}"))
}

/// What is known of the time.
#[derive(Debug, Clone, Default)]
pub(super) struct Time {
    pub(super) now: Timestamp,
    /// The latest thing that was written down.
    pub(super) latest: Option<Timestamp>,
    /// Whether the host says that its clock follows others.
    pub(super) synchronised: Option<bool>,
    /// What a time server answered, less our own time, in milliseconds; or why it did not.
    pub(super) server: Option<(String, Result<i64, String>)>,
}

/// Whether the clock is right.
pub(super) fn clock(time: &Time) -> Vec<Finding> {
    const FIX: &str =
        "set it (timedatectl set-time), and let it follow a time server (timedatectl set-ntp true)";
    let Time { now, latest, synchronised, server } = time;
    let mut findings = Vec::new();
    if *now < WRITTEN {
        let text = format!("the clock says {now}, which is before this program was written");
        findings.push(Finding::broken("clock", text, FIX));
    }
    if let Some(latest) = latest.filter(|latest| now.plus(TOLERANCE) < *latest) {
        let text = format!("the clock says {now}, and the database holds what was done at {latest}");
        findings.push(Finding::broken("clock", text, FIX).seen("offhook audit"));
    }
    match server {
        Some((name, Ok(ahead))) if Duration::from_millis(ahead.unsigned_abs()) > TOLERANCE => {
            let text = format!("the clock is {} s away from that of {name}", ahead.unsigned_abs() / 1000);
            findings.push(Finding::broken("clock", text, FIX));
        }
        Some((name, Ok(ahead))) => {
            findings.push(Finding::ok("ntp", format!("{name} gives the time; ours differs by {ahead} ms")));
        }
        Some((name, Err(why))) => findings.push(Finding::broken(
            "ntp",
            format!("{name} does not give the time: {why}; phones get it as their time server"),
            "set site.ntp to a server that phones reach",
        )),
        None => {}
    }
    if findings.iter().any(|one| one.check == "clock") {
        return findings;
    }
    findings.push(match synchronised {
        Some(true) => Finding::ok("clock", format!("the clock says {now}, and follows a time server")),
        Some(false) => {
            let text = format!("the clock says {now}, and follows no time server");
            Finding::warn("clock", text, "timedatectl set-ntp true, or install chrony")
        }
        None => {
            let text =
                format!("the clock says {now}; whether it follows a time server is not known from here");
            Finding::unknown("clock", text, "chronyc tracking, or ntpq -p, says it")
        }
    });
    findings
}

/// Phones ask this host for the time where no other server is named: then one has to run here.
pub(super) fn time_server(config: &Config, sockets: &[Socket]) -> Finding {
    if let Some(server) = &config.site.ntp {
        return Finding::ok("ntp", format!("phones get {server} as their time server (site.ntp)"));
    }
    let served = sockets.iter().any(|socket| {
        socket.protocol == Protocol::Udp && socket.port == 123 && !socket.address.is_loopback()
    });
    if served {
        Finding::ok("ntp", "phones get this host as their time server, and one runs here")
    } else {
        Finding::warn(
            "ntp",
            "phones get this host as their time server, and none runs here: their clocks stay wrong",
            "set site.ntp to a server that phones reach, or run one here (chrony with: allow)",
        )
        .seen("nobody has port 123/udp")
    }
}

/// The unit of systemd.
#[derive(Debug, Clone, Default)]
pub(super) struct Unit {
    pub(super) has_systemd: bool,
    /// Its file, if there is one.
    pub(super) file: Option<String>,
    pub(super) enabled: bool,
}

/// Whether the agent comes back after a boot.
pub(super) fn service(unit: &Unit) -> Finding {
    match (&unit.file, unit.has_systemd) {
        (_, false) => {
            let text = "this host has no systemd; whether the agent starts at boot is not known from here";
            Finding::unknown("service", text, "let whatever starts services here start: offhook run")
        }
        (Some(file), true) if unit.enabled => {
            Finding::ok("service", "the agent starts at boot").seen(file.clone())
        }
        (Some(file), true) => Finding::warn(
            "service",
            "the unit is there, and does not start at boot",
            "systemctl enable offhook",
        )
        .seen(file.clone()),
        (None, true) => Finding::warn(
            "service",
            "there is no unit offhook.service: after a boot nobody starts the agent",
            "install examples/offhook.service, which says how",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use crate::config::Listen;

    const STATUS: &str = "Name:\toffhook\nUid:\t998\t997\t997\t997\nCapEff:\t0000000000003400\nCapBnd:\t0\n";
    const NOW: Timestamp = Timestamp(1_780_000_000_000);

    fn running() -> Agent {
        Agent { runs: Some(true), pid: Some(812), ..Agent::default() }
    }

    #[test]
    fn a_right_that_is_missing_is_named_with_what_it_costs() {
        assert_eq!((effective(STATUS), user(STATUS)), (Some(0x3400), Some(997)));
        assert_eq!((effective("CapEff:\tzz"), user("")), (None, None));
        let rights = |agents| Rights { agents, program: "/usr/bin/offhook".to_owned(), ..Rights::default() };
        let check = |config: &Config, agents, state, words: &str| {
            let found = capabilities(config, &running(), &rights(agents));
            assert!(found.state == state && found.text.contains(words), "{found:?}");
        };
        let config = Config::default();
        check(&config, Some(0x3400), State::Ok, "every right");
        check(&config, Some(0x1400), State::Warn, "the agent lacks CAP_NET_RAW: no DHCP is heard");
        check(&config, Some(0), State::Broken, "CAP_NET_BIND_SERVICE and CAP_NET_RAW and CAP_NET_ADMIN");
        check(&config, None, State::Unknown, "not checked");
        let mut without = Config::default();
        without.tftp.listen = Listen::Off;
        check(&without, Some(0x3000), State::Ok, "every right");
        let stopped = Agent { runs: Some(false), ..Agent::default() };
        let own = Rights { own: Some(0), ..rights(None) };
        let found = capabilities(&config, &stopped, &own);
        assert!(
            found.state == State::Warn
                && found.fix.contains("setcap")
                && found.fix.contains("/usr/bin/offhook")
        );
    }

    #[test]
    fn the_neighbour_table_is_held_against_the_inventory() {
        let limits = |neighbours| Limits {
            rmem_max: Some(212_992),
            somaxconn: Some(128),
            neighbours: Some(neighbours),
            may_force: false,
        };
        let states = |neighbours, phones| -> Vec<State> {
            super::limits(&limits(neighbours), phones).iter().map(|one| one.state).collect()
        };
        assert_eq!(states(1_024, 100), [State::Warn, State::Ok, State::Ok]);
        assert_eq!(states(1_024, 800), [State::Warn, State::Warn, State::Warn]);
        assert_eq!(states(1_024, 10_000), [State::Warn, State::Warn, State::Broken]);
        let found = &super::limits(&limits(1_024), 10_000)[2];
        assert_eq!(
            found.text,
            "the kernel remembers at most 1024 neighbours, too few for 10000 phones on its links"
        );
        assert!(found.fix.contains("gc_thresh3=20000"), "{found:?}");
        let unseen = super::limits(&Limits::default(), 10);
        assert!(unseen.iter().all(|one| one.state == State::Unknown), "{unseen:?}");
    }

    #[test]
    fn a_clock_in_2001_is_noticed() {
        let check = |time: &Time, state, words: &str| {
            let found = clock(time);
            let is = |one: &&Finding| one.state == state && one.text.contains(words);
            assert!(found.iter().any(|one| is(&one)), "{found:#?}");
        };
        let in_2001 = Time { now: Timestamp(1_000_000_000_000), synchronised: Some(true), ..Time::default() };
        check(&in_2001, State::Broken, "the clock says 2001-09-09T01:46:40.000Z, which is before");
        assert_eq!(clock(&in_2001).len(), 1);
        let now = |synchronised| Time { now: NOW, synchronised, ..Time::default() };
        check(&now(Some(true)), State::Ok, "follows a time server");
        check(&now(Some(false)), State::Warn, "follows no time server");
        check(&now(None), State::Unknown, "not known");
        let behind = Time { latest: Some(NOW.plus(Duration::from_secs(90))), ..now(Some(true)) };
        check(&behind, State::Broken, "the database holds what was done at");
        let near = Time { latest: Some(NOW.plus(Duration::from_secs(9))), ..now(Some(true)) };
        check(&near, State::Ok, "follows");
        let of_server = |answer| Time { server: Some(("pool".to_owned(), answer)), ..now(Some(true)) };
        check(&of_server(Ok(-120_000)), State::Broken, "120 s away from that of pool");
        check(&of_server(Ok(40)), State::Ok, "ours differs by 40 ms");
        check(&of_server(Err("no answer".to_owned())), State::Broken, "pool does not give the time");
    }

    #[test]
    fn phones_need_a_time_server_that_is_there() {
        let socket = |address: [u8; 4], port| Socket {
            protocol: Protocol::Udp,
            address: address.into(),
            port,
            uid: 0,
            inode: 1,
            drops: 0,
        };
        let state = |config: &Config, sockets: &[Socket]| time_server(config, sockets).state;
        let mut config = Config::default();
        assert_eq!(state(&config, &[socket([127, 0, 0, 1], 123), socket([0, 0, 0, 0], 69)]), State::Warn);
        assert_eq!(state(&config, &[socket([0, 0, 0, 0], 123)]), State::Ok);
        config.site.ntp = Some("ntp.example.org".to_owned());
        assert_eq!(state(&config, &[]), State::Ok);
    }

    #[test]
    fn a_unit_that_does_not_start_is_told() {
        let unit =
            |file: Option<&str>, enabled| Unit { has_systemd: true, file: file.map(str::to_owned), enabled };
        let file = Some("/etc/systemd/system/offhook.service");
        assert_eq!(service(&unit(file, true)).state, State::Ok);
        assert_eq!(service(&unit(file, false)).fix, "systemctl enable offhook");
        assert_eq!(service(&unit(None, false)).state, State::Warn);
        assert_eq!(service(&Unit::default()).state, State::Unknown);
        assert_eq!(agent(&Agent { runs: Some(false), ..Agent::default() }, "/d").state, State::Warn);
        assert_eq!(agent(&running(), "/d").text, "the agent runs (pid 812)");
    }
}
