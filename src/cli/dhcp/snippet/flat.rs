//! For servers that tell every client the same: the options of all vendors together, as far as they do not disturb each
//! other. What each vendor's phones make of the result is judged as `offhook dhcp verify` judges it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::plan::{Group, Plan, listed};
use crate::profile::DhcpSetting;

/// What all clients are told, and whom that does not help.
pub(super) struct Flat<'p> {
    pub(super) options: Options<'p>,
    pub(super) left_out: Vec<&'p Group>,
}

type Options<'p> = BTreeMap<u8, &'p DhcpSetting>;

impl<'p> Flat<'p> {
    /// 1. What no two vendors want differently.
    /// 2. Of what they do, one value each, the code that most want first: the value that helps most vendors, or none where
    ///    that helps as many.
    /// 3. Without those values that other vendors' phones take for theirs, where that helps more.
    pub(super) fn of(plan: &'p Plan) -> Self {
        let mut wanted: BTreeMap<u8, Vec<&DhcpSetting>> = BTreeMap::new();
        for (code, setting) in plan.groups.iter().flat_map(|group| &group.options) {
            wanted.entry(*code).or_default().push(setting);
        }
        let (agreed, mut disputed): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(_, values)| {
            values.windows(2).all(|pair| matches!(pair, [one, other] if one.data == other.data))
        });
        let mut options: Options<'_> =
            agreed.iter().filter_map(|(code, values)| Some((*code, *values.first()?))).collect();
        disputed.sort_by_key(|(code, values)| (Reverse(values.len()), *code));
        for (code, values) in disputed {
            let mut helped = right(plan, &options).count();
            for value in values {
                let candidate: Options<'_> =
                    options.iter().map(|(code, value)| (*code, *value)).chain([(code, value)]).collect();
                let now = right(plan, &candidate).count();
                if now > helped {
                    (options, helped) = (candidate, now);
                }
            }
        }
        for code in options.keys().copied().collect::<Vec<_>>() {
            let mut without = options.clone();
            without.remove(&code);
            if right(plan, &without).count() > right(plan, &options).count() {
                options = without;
            }
        }
        let helped: Vec<&str> = right(plan, &options).map(|group| group.tag.as_str()).collect();
        let left_out = plan.groups.iter().filter(|group| !helped.contains(&group.tag.as_str())).collect();
        Self { options, left_out }
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

/// The vendors whose phones understand of these options what they would of their own.
fn right<'p>(plan: &'p Plan, options: &Options<'_>) -> impl Iterator<Item = &'p Group> {
    let answer: BTreeMap<u8, Vec<u8>> =
        options.iter().map(|(code, setting)| (*code, setting.data.octets())).collect();
    plan.groups.iter().filter(move |group| {
        let own = group.options.iter().map(|(code, setting)| (*code, setting.data.octets())).collect();
        let (told, wanted) =
            (group.profile.judge(&answer, &plan.place), group.profile.judge(&own, &plan.place));
        told.is_right() && told.url == wanted.url
    })
}
