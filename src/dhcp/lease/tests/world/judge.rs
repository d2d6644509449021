//! What the reference says about whatever leaves, and what a client makes of it.

use super::super::*;
use super::{PATIENCE_MS, World};

impl World {
    /// What leaves, by the reference.
    pub(super) fn judge(&mut self, reply: &Reply) {
        let draft = &reply.draft;
        let (mac, address) = (draft.mac, draft.yiaddr);
        let client = self.clients.iter().find(|client| client.mac == mac);
        let who = client.map_or(PC, |client| client.who);
        let is_renewal = matches!(reply.because, Because::Renewing | Because::Rebinding);
        let all = self.setting.serve_all && !self.setting.shared && (is_renewal || !self.foreign_seen);
        let told = || format!("{mac} got {} for {address}", draft.kind);
        self.must(all || who.is_phone(), "P2", || format!("{}, and is no phone", told()));
        self.must(!self.off, "P3", || format!("{}, switched off", told()));
        let is_quiet = !self.yielding || is_renewal && draft.kind == Kind::Ack;
        self.must(is_quiet, "P3", || format!("{}, beside another server", told()));
        let durable = self.records.get(&address).map(|(_, record)| record.clone());
        let own = durable.filter(|record| record.mac == Some(mac) && record.kept == Kept::Leased);
        match draft.kind {
            Kind::Offer => {
                let is_clean =
                    self.clean.get(&address).is_some_and(|(who, until)| *who == mac && *until > self.ms);
                let has_it = own.is_some_and(|record| record.left(&self.moment()) + REST > Duration::ZERO);
                self.must(is_clean || has_it, "P5", || format!("{}, which nobody probed", told()));
                if is_clean {
                    self.clean.insert(address, (mac, self.ms + PATIENCE_MS));
                }
            }
            Kind::Ack if !address.is_unspecified() => {
                let seconds = Duration::from_secs(seconds(reply, code::LEASE_TIME).into());
                let is_durable = own.is_some_and(|record| record.duration == seconds);
                self.must(is_durable, "P6", || format!("{}, which is not written down", told()));
                let in_pool = self.server.pool.covers(address);
                self.must(in_pool, "P7", || format!("{}, which is not of the pool", told()));
            }
            Kind::Ack => {
                let codes: Vec<u8> = draft.options.iter().map(|(code, _)| code).collect();
                let is_lean = codes.iter().all(|code| *code == 54 || decide::is_for_provisioning(*code));
                self.must(is_lean && reply.because == Because::Inform, "P8", || {
                    format!("{}: {codes:?}", told())
                });
            }
            Kind::Nak => {
                let asked_us =
                    reply.because == Because::Selecting && self.selected.get(&mac) == Some(&self.ms);
                let has_record = self.records.values().any(|(_, record)| record.mac == Some(mac));
                let is_ours = asked_us || has_record || self.reservations.contains_key(&mac);
                self.must(is_ours, "P4", || format!("{}, which is not ours to say", told()));
            }
            _ => self.must(false, "P8", || format!("{}, which no server says", told())),
        }
    }

    /// What the client makes of it.
    pub(super) fn deliver(&mut self, reply: &Reply) {
        let draft = &reply.draft;
        let Some(at) = self.clients.iter().position(|client| client.mac == draft.mac) else { return };
        let client = &mut self.clients[at];
        if draft.xid != client.xid {
            return;
        }
        let waits = client.asked.filter(|asked| self.ms - asked <= PATIENCE_MS);
        match (draft.kind, waits) {
            (Kind::Offer, None) => client.offer = Some(draft.yiaddr),
            (Kind::Nak, Some(_)) => {
                (client.lease, client.asked, client.last, client.offer) = (None, None, None, None);
            }
            (Kind::Ack, Some(asked)) if !draft.yiaddr.is_unspecified() => {
                let until = asked + i64::from(seconds(reply, code::LEASE_TIME)) * 1_000;
                (client.lease, client.last) = (Some((draft.yiaddr, until)), Some(draft.yiaddr));
                (client.asked, client.offer) = (None, None);
                self.holds_alone(at);
            }
            _ => {}
        }
    }

    pub(super) fn holds_alone(&mut self, at: usize) {
        let Some((address, until)) = self.clients[at].lease.filter(|(_, until)| *until > self.ms) else {
            return;
        };
        let others = self.clients.iter().enumerate().filter(|(other, _)| *other != at);
        let also = others
            .filter_map(|(_, client)| client.lease.map(|(address, until)| (client.mac, address, until)));
        let also: Vec<_> = also.filter(|(_, other, until)| *other == address && *until > self.ms).collect();
        let mac = self.clients[at].mac;
        self.tell(|| format!("    {mac} has {address} until {until}"));
        self.must(also.is_empty(), "P1", || format!("{mac} has {address}, and so have {also:?}"));
    }
}
