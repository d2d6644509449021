//! Leases between the machine that gives them and the rows that remember them.

use crate::clock::Clock;
use crate::dhcp::lease::{Change, Kept, Lease, Record};
use crate::store::{LeaseRow, LeaseState};

/// What is to be written down, as a row of the interface.
pub(super) fn row(change: Change, interface: &str, clock: &Clock) -> LeaseRow {
    let address = change.address();
    let blank = LeaseRow {
        interface: interface.to_owned(),
        address,
        mac: None,
        client_id: None,
        host_name: None,
        class: None,
        state: LeaseState::Released,
        granted: clock.now(),
        granted_boot: clock.boot(),
        duration: std::time::Duration::ZERO,
    };
    match change {
        Change::Leased(Lease { address: _, mac, client_id, host_name, vendor_class, duration }) => LeaseRow {
            mac: Some(mac),
            client_id,
            host_name,
            class: vendor_class,
            state: LeaseState::Bound,
            duration,
            ..blank
        },
        Change::Released { address: _, mac } => LeaseRow { mac: Some(mac), ..blank },
        Change::Quarantined { address: _, by, duration } => {
            LeaseRow { mac: by, state: LeaseState::Quarantined, duration, ..blank }
        }
    }
}

/// What an interface's rows say, the oldest first.
pub(super) fn records(rows: Vec<LeaseRow>, interface: &str) -> Vec<Record> {
    let mut rows: Vec<LeaseRow> = rows.into_iter().filter(|row| row.interface == interface).collect();
    rows.sort_by_key(|row| row.granted);
    let record = |row: LeaseRow| {
        let kept = match row.state {
            LeaseState::Bound => Kept::Leased,
            LeaseState::Released => Kept::Released,
            LeaseState::Quarantined => Kept::Quarantined,
        };
        let mac = row.mac.filter(|_| kept != Kept::Quarantined);
        Record {
            address: row.address,
            mac,
            kept,
            at: row.granted,
            at_boot: row.granted_boot,
            duration: row.duration,
        }
    };
    rows.into_iter().map(record).collect()
}
