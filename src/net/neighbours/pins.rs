//! Pinned entries of the kernel's neighbour table: while a phone gets its passwords, nothing that is said on the link
//! changes where they go.
//!
//! One thread does it, because the kernel's lock over network settings may be held for long by others. It counts who
//! needs a pin, and lists the pins in a file before they are made: TCP goes on sending what a process that died has
//! left to it, so the pins of a dead agent stay, until the next one lets go of them some time after its start. A file
//! system that loses the list loses it together with the kernel's table, when the host goes down.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{info, warn};

use super::Place;
use super::netlink::Netlink;
use crate::clock::{BootId, Clock};
use crate::device::Mac;

/// Pins at a time: every connection and transfer that the services admit, and a kernel's entry of some 400 bytes each.
/// The kernel counts permanent entries towards no `gc_thresh`.
const PINS_MAX: usize = 16_384;
/// Orders taken together, so that in a storm of phones what ends is written down for many at once.
const BATCH: usize = 256;
/// Lines of the list beyond those that count; then it is written anew.
const STALE_LINES_MAX: usize = 4_096;

/// Where orders go; the thread ends when nobody can give any.
#[derive(Debug, Clone)]
pub(super) struct Pins {
    orders: Sender<Order>,
    made: Made,
}

/// The permanent entries that are ours; any other is an administrator's.
type Made = Arc<Mutex<HashSet<Place>>>;

/// One reason to keep an entry pinned; it ends with this value.
#[derive(Debug)]
pub(super) struct Hold {
    orders: Sender<Order>,
    place: Place,
}

/// Why a place could not be pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPin {
    /// The table says that somebody else is there, for good.
    Other(Mac),
    /// There are too many, or the kernel refuses.
    Refused,
}

#[derive(Debug)]
enum Order {
    /// The hold that is given for it sends its end through these `orders`.
    Pin {
        place: Place,
        mac: Mac,
        orders: Sender<Order>,
        done: oneshot::Sender<Result<Hold, NoPin>>,
    },
    Unpin(Place),
    /// Let go of everything that nobody holds, and say so.
    Settle(oneshot::Sender<()>),
}

/// Where the list lies and how long the pins of a dead agent stay.
#[derive(Debug, Clone)]
pub(super) struct Inheritance {
    pub(super) list: PathBuf,
    pub(super) kept: Duration,
}

impl Pins {
    /// Starts the thread, with the pins that a dead agent left.
    pub(super) fn start(inheritance: &Inheritance, clock: &Clock) -> io::Result<Self> {
        let (orders, taken) = mpsc::channel();
        let made = Made::default();
        let keeper = Keeper::new(Netlink::open()?, inheritance, clock, Arc::clone(&made));
        let (kept, clock) = (inheritance.kept, clock.clone());
        let thread = move || keeper.run(&taken, kept, &clock);
        std::thread::Builder::new().name("neighbour-pins".to_owned()).spawn(thread)?;
        Ok(Self { orders, made })
    }

    /// Whether the permanent entry at this place is ours.
    pub(super) fn made(&self, place: Place) -> bool {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).contains(&place)
    }

    /// Pins `mac` to this place until the hold is dropped.
    pub(super) async fn pin(&self, place: Place, mac: Mac) -> Result<Hold, NoPin> {
        let (done, pinned) = oneshot::channel();
        let order = Order::Pin { place, mac, orders: self.orders.clone(), done };
        self.orders.send(order).map_err(|_| NoPin::Refused)?;
        pinned.await.unwrap_or(Err(NoPin::Refused))
    }

    /// Waits until everything that nobody holds is let go of.
    pub(super) async fn settle(&self) {
        let (done, settled) = oneshot::channel();
        if self.orders.send(Order::Settle(done)).is_ok() {
            let _ = settled.await;
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Unpin(self.place));
    }
}

/// What is pinned at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pinned {
    mac: Mac,
    holders: usize,
    /// Made by us, so ours to let go of; an entry that was permanent before is somebody else's.
    is_ours: bool,
    /// Left by an agent that died, and kept until its connections must have ended.
    is_inherited: bool,
}

/// The thread's own.
struct Keeper {
    netlink: Netlink,
    list: List,
    pinned: HashMap<Place, Pinned>,
    made: Made,
}

impl Keeper {
    fn new(mut netlink: Netlink, inheritance: &Inheritance, clock: &Clock, made: Made) -> Self {
        let (list, left) = List::open(&inheritance.list, &clock.boot().boot);
        let mut pinned = HashMap::new();
        for (place, mac) in left {
            let entry = netlink.entry(place);
            if entry.is_some_and(|entry| entry.is_permanent && entry.mac == mac) {
                let left = Pinned { mac, holders: 0, is_ours: true, is_inherited: true };
                pinned.insert(place, left);
            }
        }
        if !pinned.is_empty() {
            let (count, kept) = (pinned.len(), inheritance.kept.as_secs());
            info!("Keeping {count} pinned neighbour entries of an agent that died for {kept} s");
        }
        made.lock().unwrap_or_else(PoisonError::into_inner).extend(pinned.keys());
        Self { netlink, list, pinned, made }
    }

    fn run(mut self, orders: &Receiver<Order>, kept: Duration, clock: &Clock) {
        let begun = clock.instant();
        let mut inherits = !self.pinned.is_empty();
        loop {
            let first = if inherits {
                let left = kept.saturating_sub(clock.instant().saturating_duration_since(begun));
                orders.recv_timeout(left)
            } else {
                orders.recv().map_err(RecvTimeoutError::from)
            };
            match first {
                Ok(first) => {
                    let batch = std::iter::once(first).chain(orders.try_iter().take(BATCH - 1)).collect();
                    self.carry_out(batch);
                }
                Err(RecvTimeoutError::Timeout) => {
                    inherits = false;
                    self.disinherit();
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn carry_out(&mut self, batch: Vec<Order>) {
        for order in batch {
            match order {
                Order::Pin { place, mac, orders, done } => {
                    let held = self.pin(place, mac).map(|()| Hold { orders, place });
                    // Who has stopped waiting gets no hold; then it ends here, and the pin with it.
                    drop(done.send(held));
                }
                Order::Unpin(place) => self.unpin(place),
                Order::Settle(done) => {
                    let _ = done.send(());
                }
            }
        }
        self.list.tidy(&self.pinned);
    }

    fn pin(&mut self, place: Place, mac: Mac) -> Result<(), NoPin> {
        if let Some(pinned) = self.pinned.get_mut(&place) {
            if pinned.mac != mac {
                return Err(NoPin::Other(pinned.mac));
            }
            // The kernel forgets its pins when an interface goes down.
            if self.netlink.entry(place).is_some_and(|entry| entry.is_permanent && entry.mac == mac) {
                pinned.holders += 1;
                return Ok(());
            }
        } else if self.pinned.len() >= PINS_MAX {
            warn!("Cannot pin another neighbour entry: {PINS_MAX} are pinned already");
            return Err(NoPin::Refused);
        }
        let before = self.netlink.entry(place);
        let is_ours = match before.filter(|entry| entry.is_permanent) {
            Some(entry) if entry.mac != mac => return Err(NoPin::Other(entry.mac)),
            Some(_) => false,
            None => {
                self.make(place, mac)?;
                true
            }
        };
        // Between question and answer somebody may have pinned another host there.
        match self.netlink.entry(place) {
            Some(entry) if entry.is_permanent && entry.mac == mac => {
                let fresh = Pinned { mac, holders: 0, is_ours, is_inherited: false };
                let pinned = self.pinned.entry(place).or_insert(fresh);
                pinned.holders += 1;
                pinned.is_ours = is_ours;
                Ok(())
            }
            now => {
                self.made().remove(&place);
                self.list.remove(place);
                Err(now.map_or(NoPin::Refused, |entry| NoPin::Other(entry.mac)))
            }
        }
    }

    /// Makes the entry, after it is listed and known as ours.
    fn make(&mut self, place: Place, mac: Mac) -> Result<(), NoPin> {
        self.list.add(place, mac);
        self.made().insert(place);
        self.netlink.set(place, mac, true).map_err(|error| {
            warn!("Cannot pin the neighbour entry of {}: {error}", place.address);
            self.made().remove(&place);
            self.list.remove(place);
            NoPin::Refused
        })
    }

    fn made(&self) -> MutexGuard<'_, HashSet<Place>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unpin(&mut self, place: Place) {
        let Some(pinned) = self.pinned.get_mut(&place) else { return };
        pinned.holders = pinned.holders.saturating_sub(1);
        if pinned.holders == 0 && !pinned.is_inherited {
            self.let_go(place);
        }
    }

    /// Gives the entry back to the kernel, with the MAC that it has, if it is still as we made it.
    fn let_go(&mut self, place: Place) {
        let Some(pinned) = self.pinned.remove(&place) else { return };
        let now = self.netlink.entry(place);
        let untouched = now.is_some_and(|entry| entry.is_permanent && entry.mac == pinned.mac);
        if pinned.is_ours
            && untouched
            && let Err(error) = self.netlink.set(place, pinned.mac, false)
        {
            warn!("Cannot let go of the neighbour entry of {}: {error}", place.address);
        }
        self.made().remove(&place);
        self.list.remove(place);
    }

    fn disinherit(&mut self) {
        let mut left = Vec::new();
        for (place, pinned) in self.pinned.iter_mut().filter(|(_, pinned)| pinned.is_inherited) {
            pinned.is_inherited = false;
            if pinned.holders == 0 {
                left.push(*place);
            }
        }
        info!("Let go of {} neighbour entries of an agent that died", left.len());
        for place in left {
            self.let_go(place);
        }
        self.list.tidy(&self.pinned);
    }
}

/// The file that lists what is pinned: first which boot it is of, then one line for each pin that was made (`+`) or
/// let go of (`-`). Not synchronised to the disk: it has to outlive the process, not the host.
struct List {
    path: PathBuf,
    boot: BootId,
    file: Option<File>,
    /// What shall be written with the next pin, or at the end of the batch.
    lines: String,
    written: usize,
}

impl List {
    /// Opens the list, and gives what a dead agent left in it, in this same boot.
    fn open(path: &Path, boot: &BootId) -> (Self, Vec<(Place, Mac)>) {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let left = read(&text, boot);
        let mut list =
            Self { path: path.to_owned(), boot: boot.clone(), file: None, lines: String::new(), written: 0 };
        list.rewrite(left.iter().map(|(place, mac)| (*place, *mac)));
        (list, left)
    }

    /// Lists a pin that is about to be made.
    fn add(&mut self, place: Place, mac: Mac) {
        self.lines.push_str(&line('+', place, Some(mac)));
        self.flush();
    }

    fn remove(&mut self, place: Place) {
        self.lines.push_str(&line('-', place, None));
    }

    /// Writes what is left to write, or the whole list anew when most of its lines are old.
    fn tidy(&mut self, pinned: &HashMap<Place, Pinned>) {
        if pinned.is_empty() && self.written > 0 || self.written > pinned.len() + STALE_LINES_MAX {
            self.lines.clear();
            let ours = pinned.iter().filter(|(_, pinned)| pinned.is_ours);
            self.rewrite(ours.map(|(place, pinned)| (*place, pinned.mac)));
        } else {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if let Some(file) = self.file.as_mut().filter(|_| !self.lines.is_empty()) {
            self.written += self.lines.lines().count();
            if let Err(error) = file.write_all(self.lines.as_bytes()) {
                warn!("Cannot write {}: {error}; should this agent die, its pins stay", self.path.display());
            }
        }
        self.lines.clear();
    }

    /// Writes a new list beside the old one, and puts it in its place.
    fn rewrite(&mut self, pins: impl Iterator<Item = (Place, Mac)>) {
        let mut text = format!("boot {}\n", self.boot.0);
        let lines: Vec<String> = pins.map(|(place, mac)| line('+', place, Some(mac))).collect();
        text.extend(lines.iter().map(String::as_str));
        let beside = self.path.with_extension("new");
        let made = self.path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let written = made.and_then(|()| {
            let mut file = File::create(&beside)?;
            file.write_all(text.as_bytes())?;
            std::fs::rename(&beside, &self.path)?;
            Ok(file)
        });
        match written {
            Ok(file) => (self.file, self.written) = (Some(file), lines.len()),
            Err(error) => {
                warn!("Cannot write {}: {error}; should this agent die, its pins stay", self.path.display());
            }
        }
    }
}

fn line(sign: char, place: Place, mac: Option<Mac>) -> String {
    let mac = mac.map(|mac| mac.to_string()).unwrap_or_default();
    format!("{sign} {} {} {mac}\n", place.interface, place.address)
}

/// What is pinned according to the list; nothing, when it is of another boot.
fn read(text: &str, boot: &BootId) -> Vec<(Place, Mac)> {
    let mut lines = text.lines();
    if lines.next() != Some(format!("boot {}", boot.0).as_str()) {
        return Vec::new();
    }
    let mut pinned = HashMap::new();
    for line in lines {
        let mut words = line.split(' ');
        let sign = words.next();
        let place = words
            .next()
            .and_then(|word| word.parse().ok())
            .zip(words.next())
            .and_then(|(interface, address)| Some(Place { address: address.parse().ok()?, interface }));
        let mac = words.next().and_then(|word| word.parse().ok());
        match (sign, place, mac) {
            (Some("+"), Some(place), Some(mac)) => drop(pinned.insert(place, mac)),
            (Some("-"), Some(place), _) => drop(pinned.remove(&place)),
            _ => {}
        }
    }
    pinned.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(last: u8) -> Place {
        Place { address: [192, 0, 2, last].into(), interface: 2 }
    }

    fn mac(last: u8) -> Mac {
        Mac::new([0, 0x15, 0x65, 0, 0, last]).unwrap()
    }

    fn boot(name: &str) -> BootId {
        BootId(name.into())
    }

    #[test]
    fn the_list_says_what_was_pinned_when_the_agent_died_and_nothing_of_another_boot() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/pins");
        let (mut list, left) = List::open(&path, &boot("a"));
        assert_eq!(left, []);
        list.add(place(1), mac(1));
        list.add(place(2), mac(2));
        list.remove(place(1));
        list.add(place(3), mac(3));
        let mut left = List::open(&path, &boot("a")).1;
        left.sort_unstable();
        assert_eq!(left, [(place(2), mac(2)), (place(3), mac(3))]);
        assert_eq!(List::open(&path, &boot("b")).1, []);
    }

    #[test]
    fn a_list_does_not_grow_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pins");
        let (mut list, _) = List::open(&path, &boot("a"));
        let kept = Pinned { mac: mac(1), holders: 1, is_ours: true, is_inherited: false };
        let pinned = HashMap::from([(place(1), kept)]);
        list.add(place(1), mac(1));
        for _ in 0..3 * STALE_LINES_MAX {
            list.add(place(2), mac(2));
            list.remove(place(2));
            list.tidy(&pinned);
        }
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines < STALE_LINES_MAX + 10, "{lines}");
        list.tidy(&HashMap::new());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "boot a\n");
    }

    #[test]
    fn a_damaged_list_is_read_as_far_as_it_goes() {
        let text = "boot a\n+ 2 192.0.2.1 00:15:65:00:00:01\n+ 2 192.0\n- x\n\n+ 2 192.0.2.2 00:15:65:0";
        assert_eq!(read(text, &boot("a")), [(place(1), mac(1))]);
        assert_eq!(read("", &boot("a")), []);
    }
}
