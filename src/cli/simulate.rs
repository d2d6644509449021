//! `offhook simulate VENDOR`: a phone's whole life on the wire, against this or any other server, step by step as it
//! happens. Called again, the same phone lives on with what it knows.

mod kept;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::{Context, Failure, Outcome, output};
use crate::clock::{Clock, Entropy};
use crate::device::{Mac, Vendor};
use crate::profile::{Catalog, Profile};
use crate::secret::Secret;
use crate::simulate::{
    Keep, Memory, Notified, Patience, Phone, PhoneSpec, RegisterAt, Report, Stay, Step, Target, Transfer,
    Web, asks_by_multicast, interfaces, random_mac, usual_model,
};

/// More phones than one process has sockets for, by default.
const COUNT_MAX: u32 = 300;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Whose phone, as `offhook profile list` names them
    vendor: String,
    /// Model, as the vendor prints it (default: a usual one of the vendor's)
    #[arg(long)]
    model: Option<String>,
    /// Its MAC address (default: that of the phone of this model that was simulated last, else random, in the vendor's
    /// block)
    #[arg(long)]
    mac: Option<Mac>,
    /// The firmware it claims to run (default: the profile's for its model)
    #[arg(long, value_name = "VERSION")]
    firmware: Option<String>,
    /// The IPv4 address of this host to send from
    #[arg(long, value_name = "IP")]
    address: Option<Ipv4Addr>,
    /// Ask this server (ADDR or ADDR:PORT) instead of the multicast group, or start from this http or tftp URL
    #[arg(long, value_name = "ADDR|URL")]
    against: Option<String>,
    /// Start from this URL, as if it was typed into the phone or came by DHCP
    #[arg(long, conflicts_with = "against")]
    url: Option<String>,
    /// Fetch by TFTP from the URL's host, whatever the URL says
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true, default_missing_value = "69")]
    tftp: Option<u16>,
    /// Register here instead of at the registrar of the configuration
    #[arg(long, value_name = "HOST[:PORT]")]
    registrar: Option<String>,
    /// Do not register
    #[arg(long, conflicts_with = "registrar")]
    no_register: bool,
    /// Keep what the phone knows, passwords included, in this file, and live on with it (default: a private file for
    /// each phone in the data folder of the user who runs this)
    #[arg(long, value_name = "FILE", conflicts_with = "forget")]
    keep: Option<PathBuf>,
    /// A phone out of the box, which keeps nothing
    #[arg(long, conflicts_with = "factory_reset")]
    forget: bool,
    /// Reset the phone first: the same phone, and it knows nothing
    #[arg(long)]
    factory_reset: bool,
    /// How many phones at once, each with a MAC of its own; several keep nothing
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(COUNT_MAX)))]
    count: u32,
    /// Look at the configuration once more at the end, as after a resync
    #[arg(long)]
    again: bool,
    /// Stay up afterwards, until Ctrl-C: answer SIP OPTIONS and NOTIFY, and look at the configuration again when a
    /// NOTIFY says so
    #[arg(long, conflicts_with_all = ["count", "again"])]
    stay: bool,
    /// Ask nobody for a URL: a phone that knows none waits until somebody comes (stays up, as with --stay)
    #[arg(long, conflicts_with_all = ["count", "again", "against", "url"])]
    wait: bool,
    /// What a phone that stays up does on a NOTIFY: as its vendor sells it, whatever it is told, ask for an account's
    /// password, hear nobody but its registrar, say 403, or say nothing
    #[arg(long, value_name = "HOW", value_enum, default_value = "as-sold")]
    notify: Notified,
    /// Show the phone's web interface while it stays up: its vendor's, or the one of this name
    #[arg(long, value_name = "INTERFACE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    web: Option<String>,
    /// The port of the web interface
    #[arg(long, value_name = "PORT", default_value_t = 80, requires = "web")]
    web_port: u16,
    /// The password of the web interface, where it is not the factory's and no configuration gives another
    #[arg(long, value_name = "PASSWORD", requires = "web")]
    web_password: Option<String>,
    /// Somebody at the phone has allowed remote control
    #[arg(long, requires = "web")]
    remote_control: bool,
    /// The port that a phone that stays up answers SIP on
    #[arg(long, value_name = "PORT", default_value_t = 5060)]
    sip_port: u16,
    /// Seconds until a phone that hears nothing gives up
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    patience: u64,
}

impl Args {
    /// How the phone stays up, if it does.
    fn stays(&self) -> Result<Option<Stay>, Failure> {
        let named = self.web.as_ref().filter(|name| !name.is_empty());
        if let Some(name) = named.filter(|name| interfaces().all(|known| known != name.as_str())) {
            let all: Vec<&str> = interfaces().collect();
            let message = format!("no web interface is called '{name}'");
            return Err(Failure::usage("web", message, format!("name one of {}", all.join(", "))));
        }
        let web = self.web.as_ref().map(|_| Web {
            port: self.web_port,
            interface: named.cloned(),
            password: self.web_password.as_deref().map(Secret::new),
            remote_control: self.remote_control,
        });
        if web.is_some() && !self.stay && !self.wait {
            let remedy = "add --stay, or --wait for one that asks nobody";
            return Err(Failure::usage("web", "a phone shows its web page while it stays up", remedy));
        }
        Ok((self.stay || self.wait).then_some(Stay { sip_port: self.sip_port, notify: self.notify, web }))
    }
}

pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    if args.count > 1 && args.mac.is_some() {
        return Err(Failure::usage(
            "mac",
            "several phones cannot have one MAC",
            "leave out --mac or --count",
        ));
    }
    if args.count > 1 && (args.keep.is_some() || args.factory_reset) {
        let remedy = "leave out --count, --keep and --factory-reset as it fits";
        return Err(Failure::usage("keep", "several phones at once keep nothing", remedy));
    }
    let stays = args.stays()?;
    let (catalog, _) = Catalog::load(context.config.profiles.dir.as_deref());
    let profile = profile(&args.vendor, &catalog)?;
    let mut keep = kept::find(&args, &profile)?;
    let known = keep.as_ref().and_then(Keep::phone);
    let specs = specs(&args, &profile, known, &Entropy::System)?;
    let lives = match specs.as_slice() {
        [spec] if args.count == 1 && (!args.forget || stays.is_some()) => {
            if keep.is_none() && !args.forget {
                keep = kept::make(spec);
            }
            vec![live_on(spec, keep, args.factory_reset, stays.as_ref(), context.json).await?]
        }
        _ => {
            let lives = specs.into_iter().map(|spec| live(spec, args.count > 1, context.json));
            futures_util::future::join_all(lives).await
        }
    };
    if context.json {
        match lives.as_slice() {
            [life] if args.count == 1 => output::value(life),
            lives => output::value(&lives),
        }
    }
    // One that stayed up was switched off by the person who watched it.
    if stays.is_some() { Ok(()) } else { verdict(&lives, context.json) }
}

/// A report with the steps that led to it.
#[derive(Debug, serde::Serialize)]
pub(super) struct Life {
    #[serde(flatten)]
    pub(super) report: Report,
    steps: Vec<Step>,
    /// The file in which the phone keeps what it knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_in: Option<PathBuf>,
}

/// The next life of a phone that keeps what it knows, in `keep` where that could be had.
async fn live_on(
    spec: &PhoneSpec,
    keep: Option<Keep>,
    factory_reset: bool,
    stays: Option<&Stay>,
    quiet: bool,
) -> Result<Life, Failure> {
    let remembered = keep.as_ref().filter(|_| !factory_reset).map(|keep| keep.memory(spec));
    let mut memory = remembered.unwrap_or_default();
    let tell = |step: &Step| {
        if !quiet {
            tell(None, step);
        }
    };
    let mut life = match stays {
        Some(stay) => stay_told(spec.clone(), stay, &mut memory, tell).await?,
        None => live_on_told(spec.clone(), &mut memory, tell).await,
    };
    if let Some(mut keep) = keep {
        keep.write(spec, &memory)?;
        if !quiet {
            let file = keep.path().display();
            output::print(&format!(
                "{:>10}what it knows is kept in {file}; called again, it lives on with it\n",
                ""
            ));
        }
        life.kept_in = Some(keep.path().to_owned());
    }
    Ok(life)
}

/// One phone's life; told step by step too, unless it is to be JSON at the end.
async fn live(spec: PhoneSpec, one_of_many: bool, quiet: bool) -> Life {
    let name = one_of_many.then(|| spec.mac.to_string());
    live_told(spec, |step| {
        if !quiet {
            tell(name.as_deref(), step);
        }
    })
    .await
}

/// One phone's life out of the box, told by `tell`.
pub(super) async fn live_told(spec: PhoneSpec, tell: impl FnMut(&Step) + Send) -> Life {
    live_on_told(spec, &mut Memory::default(), tell).await
}

/// One life of a phone with this memory, told by `tell`.
pub(super) async fn live_on_told(
    spec: PhoneSpec,
    memory: &mut Memory,
    mut tell: impl FnMut(&Step) + Send,
) -> Life {
    let mut steps = Vec::new();
    let on_step = |step: Step| {
        tell(&step);
        steps.push(step);
    };
    let report = Phone::new(spec).live_on(memory, on_step).await;
    Life { report, steps, kept_in: None }
}

/// A life that goes on until Ctrl-C, told by `tell`.
async fn stay_told(
    spec: PhoneSpec,
    stay: &Stay,
    memory: &mut Memory,
    mut tell: impl FnMut(&Step) + Send,
) -> Result<Life, Failure> {
    let mut steps = Vec::new();
    let on_step = |step: Step| {
        tell(&step);
        steps.push(step);
    };
    let signals = |error: std::io::Error| {
        Failure::failed("signals", format!("cannot hear Ctrl-C: {error}"), "run it where signals are allowed")
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
    let until = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let stayed = Phone::new(spec).stay(stay, memory, on_step, until).await;
    let report = stayed.map_err(|failure| {
        let remedy = "give the phone an address of this host, and ports that are free: --address, --sip-port, --web-port";
        Failure::failed("stay", failure.reason, remedy)
    })?;
    Ok(Life { report, steps, kept_in: None })
}

/// One line for a step, with the phone before it where there are several.
pub(super) fn tell(phone: Option<&str>, step: &Step) {
    let who = phone.map(|phone| format!("{phone}  ")).unwrap_or_default();
    let at = step.at.as_secs_f64();
    output::print(&format!("{at:8.3}  {who}{:<9}  {}\n", step.kind.as_str(), step.text));
}

/// Fails when a phone did not come up. Its steps have told why; as JSON, the report is the answer.
pub(super) fn verdict(lives: &[Life], json: bool) -> Outcome {
    let down: Vec<&Report> = lives.iter().map(|life| &life.report).filter(|report| !report.is_up()).collect();
    let Some(failure) = down.first().and_then(|report| report.failure.as_ref()) else { return Ok(()) };
    let message = match lives {
        _ if json => String::new(),
        [_] => format!("the phone did not come up: {}", failure.reason),
        _ => {
            let (down, all) = (down.len(), lives.len());
            format!("{down} of {all} phones did not come up; the first: {}", failure.reason)
        }
    };
    Err(Failure::no("not_up", message, "the steps above end where it went wrong"))
}

/// The profile of the vendor that is asked for, if its phones can be played.
fn profile(name: &str, catalog: &Catalog) -> Result<Arc<Profile>, Failure> {
    let played = |profile: &&Arc<Profile>| profile.simulate().is_some_and(|sheet| sheet.read.is_some());
    let found = catalog.get(&Vendor::new(name));
    if let Some(profile) = found.filter(played) {
        return Ok(Arc::clone(profile));
    }
    let names: Vec<&str> =
        catalog.profiles().filter(played).map(|profile| profile.vendor().as_str()).collect();
    let (message, remedy) = match found {
        Some(_) => (
            format!("the profile of {name} does not say how its phones behave"),
            "give it a [simulate] with fetch and read, as vendor-profiles/README.md has it".to_owned(),
        ),
        None => (format!("no profile is called '{name}'"), format!("name one of {}", names.join(", "))),
    };
    Err(Failure::usage("vendor", message, remedy))
}

/// The phones that are asked for; `known` is the one whose memory there is.
fn specs(
    args: &Args,
    profile: &Arc<Profile>,
    known: Option<(&Vendor, &str, Mac)>,
    entropy: &Entropy,
) -> Result<Vec<PhoneSpec>, Failure> {
    let against = if args.wait { Target::Nobody } else { target(args)? };
    let register = match &args.registrar {
        _ if args.no_register => RegisterAt::Nowhere,
        Some(registrar) => RegisterAt::Instead(registrar.clone()),
        None => RegisterAt::Configured,
    };
    let macs = macs(args, profile, known.map(|(.., mac)| mac), entropy)?;
    let model = args.model.as_deref().map(|model| profile.model_name(model));
    let model = model.or(known.map(|(_, model, _)| model.to_owned())).unwrap_or_else(|| usual_model(profile));
    if matches!(against, Target::Multicast { .. } | Target::Server(_)) && !asks_by_multicast(profile, &model)
    {
        let message = format!("{} {model} does not ask the LAN for its URL", profile.display_name());
        let manual = profile.manual("http://192.168.1.5:8480/").value;
        let remedy = format!("give it one, as DHCP or a person would: --url {manual}; or let it --wait");
        return Err(Failure::usage("url", message, remedy));
    }
    Ok(macs
        .into_iter()
        .map(|mac| PhoneSpec {
            model: model.clone(),
            firmware: args.firmware.clone(),
            address: args.address,
            against: against.clone(),
            transfer: args.tftp.map_or(Transfer::AsTold, |port| Transfer::Tftp { port }),
            register: register.clone(),
            again: args.again,
            patience: Patience { subscribe: Duration::from_secs(args.patience), ..Patience::default() },
            clock: Clock::System,
            entropy: entropy.clone(),
            ..PhoneSpec::new(Arc::clone(profile), mac)
        })
        .collect())
}

fn macs(
    args: &Args,
    profile: &Profile,
    known: Option<Mac>,
    entropy: &Entropy,
) -> Result<BTreeSet<Mac>, Failure> {
    let mut macs: BTreeSet<Mac> = args.mac.or(known).into_iter().collect();
    while macs.len() < usize::try_from(args.count).unwrap_or(usize::MAX) {
        let mac = random_mac(profile, entropy).map_err(|error| {
            Failure::failed("entropy", error.to_string(), "check that getrandom works in this environment")
        })?;
        let Some(mac) = mac else {
            let message = format!("no block of addresses of {} is known", profile.display_name());
            return Err(Failure::usage("mac", message, "give the phone an address with --mac"));
        };
        macs.insert(mac);
    }
    Ok(macs)
}

fn target(args: &Args) -> Result<Target, Failure> {
    let Some(text) = args.url.as_ref().or(args.against.as_ref()) else { return Ok(Target::default()) };
    if text.contains("://") {
        return Ok(Target::Url(text.clone()));
    }
    let wrong = || {
        let message = format!("'{text}' is neither an IPv4 address, with a port or not, nor a URL");
        Failure::usage("against", message, "write 192.168.1.5, 192.168.1.5:5060 or http://192.168.1.5/")
    };
    if args.url.is_some() {
        return Err(wrong());
    }
    let server =
        text.parse::<SocketAddr>().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 5060)));
    match server {
        Ok(server) if server.is_ipv4() => Ok(Target::Server(server)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn of(words: &[&str]) -> Result<Vec<PhoneSpec>, Failure> {
        let line = Line::try_parse_from(std::iter::once(&"simulate").chain(words)).unwrap();
        let catalog = Catalog::builtin().unwrap();
        specs(&line.args, &profile(&line.args.vendor, &catalog)?, None, &Entropy::seeded(1))
    }

    fn check_target(words: &[&str], expected: &Target) {
        let specs = of(&[&["snom"], words].concat()).unwrap();
        assert_eq!(&specs[0].against, expected, "{words:?}");
    }

    #[test]
    fn a_server_is_an_address_or_a_url() {
        check_target(&[], &Target::Multicast { group: Ipv4Addr::new(224, 0, 1, 75), port: 5060 });
        check_target(&["--against", "10.0.0.1"], &Target::Server(([10, 0, 0, 1], 5060).into()));
        check_target(&["--against", "10.0.0.1:5070"], &Target::Server(([10, 0, 0, 1], 5070).into()));
        check_target(&["--against", "tftp://10.0.0.1/"], &Target::Url("tftp://10.0.0.1/".to_owned()));
        check_target(&["--url", "http://10.0.0.1/"], &Target::Url("http://10.0.0.1/".to_owned()));
        for wrong in ["pbx", "10.0.0.1:x", "::1"] {
            assert!(of(&["snom", "--against", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_page_is_shown_by_a_phone_that_stays() {
        let stays = |words: &[&str]| {
            let words = [&["simulate", "snom"], words].concat();
            Line::try_parse_from(words).unwrap().args.stays()
        };
        assert!(stays(&[]).unwrap().is_none());
        assert!(stays(&["--stay"]).unwrap().unwrap().web.is_none());
        let web = stays(&["--wait", "--web", "--web-password", "x"]).unwrap().unwrap().web.unwrap();
        assert_eq!((web.port, web.interface, web.remote_control), (80, None, false));
        let named = stays(&["--stay", "--web=snom-m9", "--web-port", "8080", "--remote-control"]);
        let web = named.unwrap().unwrap().web.unwrap();
        assert_eq!((web.port, web.interface.as_deref(), web.remote_control), (8080, Some("snom-m9"), true));
        assert!(stays(&["--web"]).is_err(), "a phone that is gone shows no page");
        assert!(stays(&["--stay", "--web=none"]).is_err());
    }

    #[test]
    fn a_vendor_without_phones_is_told_from_those_with() {
        let told = of(&["nobody"]).unwrap_err();
        assert!(format!("{told:?}").contains("snom, "), "{told:?}");
    }

    #[test]
    fn several_phones_have_several_addresses() {
        let specs = of(&["yealink", "--count", "50", "--tftp"]).unwrap();
        let macs: BTreeSet<Mac> = specs.iter().map(|spec| spec.mac).collect();
        assert_eq!(macs.len(), 50);
        assert!(macs.iter().all(|mac| mac.bare().starts_with("805ec0")));
        assert_eq!(specs[0].transfer, Transfer::Tftp { port: 69 });
        let tftp = of(&["yealink", "--tftp=6969", "--no-register"]).unwrap();
        assert_eq!(
            (tftp[0].transfer, &tftp[0].register),
            (Transfer::Tftp { port: 6969 }, &RegisterAt::Nowhere)
        );
    }
}
