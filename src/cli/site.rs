//! `offhook site`: what all phones have in common, or those of a vendor or of a model: over what the profile says, and
//! below what is a phone's own.

use super::{Context, Failure, Outcome, open, output};
use crate::device::Group;
use crate::operate::fleet::Fleet;
use crate::operate::setting::{CommonShown, Setting, assigned, removed};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// What holds for phones that have nothing of their own, and where each value comes from
    Show {
        #[command(flatten)]
        of: Of,
    },
    /// Set, or with NAME= remove, settings of all phones
    Set {
        #[command(flatten)]
        of: Of,
        /// Facts of the site (timezone, language, vlan, …), settings of profiles, or raw:NAME, a parameter of the vendor's
        /// own
        #[arg(required = true, value_name = "NAME=VALUE")]
        settings: Vec<String>,
    },
    /// Remove settings: what lies below shows again
    Unset {
        #[command(flatten)]
        of: Of,
        /// As site show has them
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// Which phones; all where nothing is said.
#[derive(Debug, clap::Args)]
pub(crate) struct Of {
    /// Only those of this vendor
    #[arg(long, value_name = "VENDOR", conflicts_with = "model")]
    vendor: Option<String>,
    /// Only those of this model
    #[arg(long, value_name = "VENDOR/MODEL")]
    model: Option<String>,
}

impl Of {
    pub(super) fn group(&self, fleet: &Fleet<'_>) -> Result<Group, Failure> {
        match &self.model {
            Some(model) => fleet.model_group(model),
            None => fleet.group(self.vendor.as_deref(), None),
        }
    }

    pub(super) fn is_said(&self) -> bool {
        self.vendor.is_some() || self.model.is_some()
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let store = open::store(context).await?;
    let (catalog, site, files) = (open::catalog(context), open::site(context), context.places.files());
    let fleet = Fleet { store: &store, catalog: &catalog, site: &site, files: &files };
    match args {
        Args::Show { of } => {
            show(context, &CommonShown::new(&fleet, &of.group(&fleet)?, Vec::new()));
            Ok(())
        }
        Args::Set { of, settings } => {
            let settings = settings.iter().map(|text| assigned(text)).collect::<Result<Vec<_>, _>>()?;
            set(context, &fleet, &of.group(&fleet)?, &settings).await
        }
        Args::Unset { of, names } => {
            let settings: Vec<_> = names.iter().map(|name| removed(name)).collect();
            set(context, &fleet, &of.group(&fleet)?, &settings).await
        }
    }
}

async fn set(context: &Context, fleet: &Fleet<'_>, group: &Group, settings: &[Setting]) -> Outcome {
    let notes = fleet.check_group(group, settings)?;
    fleet.store.set_common(group, settings).await?;
    open::poke(context);
    for note in &notes {
        eprintln!("note: {note}");
    }
    if context.json {
        output::value(&CommonShown::new(fleet, group, notes));
    } else {
        output::print(&format!("phones of {group} have these settings at their next fetch\n"));
    }
    Ok(())
}

fn show(context: &Context, shown: &CommonShown) {
    if context.json {
        output::value(shown);
    } else {
        output::print(&shown.text());
    }
}
