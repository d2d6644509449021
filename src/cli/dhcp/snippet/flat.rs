//! For servers that tell every client the same: the options of all vendors together, as far as they do not disturb each
//! other. What each vendor's phones make of the result is judged as `offhook dhcp verify` judges it.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::{Group, Plan, listed};
use crate::profile::DhcpSetting;

/// What all clients are told, and whom that does not help.
pub(super) struct Flat<'p> {
    pub(super) options: BTreeMap<u8, &'p DhcpSetting>,
    pub(super) left_out: Vec<&'p Group>,
}

impl<'p> Flat<'p> {
    /// Only what no two vendors want differently. Then, while a vendor's phones take another vendor's value for theirs,
    /// without that value.
    pub(super) fn of(plan: &'p Plan) -> Self {
        let mut options: BTreeMap<u8, &DhcpSetting> = BTreeMap::new();
        let mut disputed = BTreeSet::new();
        for (code, setting) in plan.groups.iter().flat_map(|group| &group.options) {
            if *options.entry(*code).or_insert(setting) != setting {
                disputed.insert(*code);
            }
        }
        options.retain(|code, _| !disputed.contains(code));
        loop {
            let answer = options.iter().map(|(code, setting)| (*code, setting.data.octets())).collect();
            let verdicts = plan.groups.iter().map(|group| (group, group.profile.judge(&answer, &plan.place)));
            let wrong: Vec<_> = verdicts.filter(|(_, verdict)| !verdict.is_right()).collect();
            let foreign = wrong.iter().find_map(|(group, verdict)| {
                let read = verdict.findings.iter().map(|finding| finding.option);
                read.filter(|code| options.contains_key(code)).find(|code| !group.options.contains_key(code))
            });
            match foreign {
                Some(code) => options.remove(&code),
                None => {
                    return Self { options, left_out: wrong.into_iter().map(|(group, _)| group).collect() };
                }
            };
        }
    }

    /// Sentences about those that need a network of their own.
    pub(super) fn regrets(&self, server: &str) -> Vec<String> {
        if self.left_out.is_empty() {
            return Vec::new();
        }
        let names: Vec<&str> = self.left_out.iter().map(|group| group.name.as_str()).collect();
        vec![
            format!(
                "Not helped by this: {}. They want something else in an option that all clients share.",
                listed(&names)
            ),
            format!("Give them a network (VLAN) of their own: offhook dhcp snippet {server} --vendor VENDOR"),
        ]
    }
}
