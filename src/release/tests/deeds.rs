//! What people and timers do in the small world: each deed is one transaction, told to the reference when it is through.

use super::disk::Disk;
use super::model::Approval;
use super::steps::{Step, Storage};
use super::world::{IDS, World, index_of};
use super::*;

/// What people and timers do.
impl World {
    pub(super) fn deed(&mut self, step: Step) {
        let chosen_in = |chosen: u8| move |id: GrantId| chosen & (1 << index_of(id)) != 0;
        let picked = |chosen: u8| move |at: usize| chosen & (1 << at) != 0;
        match step {
            Step::Arm { agent, device, chosen, mode, window } => {
                let (now, place) = (self.now(agent), self.place(agent));
                let length = window.map(|seconds| Window::Of(Duration::from_secs(seconds)));
                let mut grants = self.load(agent, device);
                if self.model.approval(device) == Approval::Blocked {
                    return;
                }
                grants.arm(chosen_in(chosen), mode, length, &self.policies, &self.names[agent], &now);
                if self.write(agent, device, grants) {
                    let window = window.map(|seconds| i64::try_from(seconds).unwrap() * 1000);
                    self.model.armed(device, picked(chosen), mode, window, place);
                }
            }
            Step::Lock { agent, device, chosen } => {
                let mut grants = self.load(agent, device);
                grants.lock(chosen_in(chosen), &self.now(agent));
                if self.write(agent, device, grants) {
                    self.model.locked(device, picked(chosen));
                    self.abort(device);
                }
            }
            Step::Confirm { agent, device, chosen } => {
                let mut grants = self.load(agent, device);
                grants.confirm(chosen_in(chosen));
                if self.write(agent, device, grants) {
                    self.model.confirmed(device, picked(chosen));
                }
            }
            Step::Expire { agent } => {
                for device in 0..2 {
                    let mut grants = self.load(agent, device);
                    if !grants.expire(&self.now(agent)).is_empty() {
                        self.write(agent, device, grants);
                    }
                }
            }
            Step::Change { agent, device, password } => self.change(agent, device, password),
            Step::Move { agent, account } => self.move_account(agent, account),
            Step::Block { agent, device } => {
                self.settle(agent, device, Approval::Blocked);
                self.abort(device);
            }
            Step::Approve { agent, device } => self.settle(agent, device, Approval::Approved),
            other => unreachable!("{other:?} is no deed"),
        }
    }

    fn write(&mut self, agent: usize, device: usize, grants: Grants) -> bool {
        let now = self.now(agent);
        self.disk.commit(&now, |tables| tables.grants[device] = Disk::strip(grants))
    }

    /// A device is written with this approval: its grants follow, in the same transaction.
    pub(super) fn settle(&mut self, agent: usize, device: usize, approval: Approval) {
        let (now, place) = (self.now(agent), self.place(agent));
        let standing = standing(approval);
        let done = self.disk.commit(&now, |tables| {
            tables.standing[device] = standing;
            let held = tables.held(device);
            tables.grants[device].reconcile(&held, standing, &now);
        });
        if done {
            self.model.settled(device, approval, place);
        }
    }

    fn change(&mut self, agent: usize, device: usize, password: usize) {
        let held = self.disk.tables().held(device);
        if self.disk.storage == Storage::Failing || !held.iter().any(|(id, _)| *id == IDS[password]) {
            return;
        }
        let now = self.now(agent);
        self.disk.commit(&now, |tables| tables.versions[device][password] += 1);
        self.model.changed(device, password);
        self.settle(agent, device, self.model.approval(device));
    }

    fn move_account(&mut self, agent: usize, account: usize) {
        if self.disk.storage == Storage::Failing {
            return;
        }
        let (now, from) = (self.now(agent), self.disk.tables().owner[account]);
        let to = 1 - from;
        let version = self.disk.tables().versions[from][account];
        self.disk.commit(&now, |tables| {
            tables.owner[account] = to;
            tables.versions[to][account] = version;
        });
        self.model.holds(from, account, false, version);
        self.model.holds(to, account, true, version);
        for device in [from, to] {
            self.settle(agent, device, self.model.approval(device));
        }
        self.abort(from);
    }

    /// Running transfers of this device end.
    fn abort(&mut self, device: usize) {
        for agent in &mut self.agents {
            agent.flights.retain(|flight| flight.device != device || flight.release.is_none());
        }
    }
}

fn standing(approval: Approval) -> Standing {
    match approval {
        Approval::Pending => Standing::Pending,
        Approval::Approved => APPROVED,
        Approval::Blocked => Standing::Blocked,
    }
}
