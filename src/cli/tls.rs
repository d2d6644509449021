//! `offhook tls`: the certificates that this host shows and believes, and our own authority for phones and people to
//! trust. Never shows a key.

use super::{Context, Failure, Outcome, output};
use crate::tls::{Listed, Role, listing};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// The certificates: our own authority, this host's, and the authorities of phones
    List,
    /// Our own certificate authority (PEM), to put into phones and browsers
    Ca,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let listed = listing(&context.places.tls(), &context.config.https);
    match args {
        Args::List => list(&listed, context.json),
        Args::Ca => ca(&listed, context.json),
    }
}

fn list(listed: &[Listed], json: bool) -> Outcome {
    output::listing(json, listed, &["ROLE", "SUBJECT", "UNTIL", "SHA-256", "FILE"], |one| {
        let role = match one.role {
            Role::Authority => "our CA",
            Role::Own => "this host",
            Role::Phones => "phones' CA",
        };
        let subject =
            one.subject.clone().or_else(|| one.trouble.as_ref().map(|why| format!("USELESS: {why}")));
        let until = one.until.map(|until| until.to_string().chars().take(10).collect());
        vec![
            role.to_owned(),
            subject.unwrap_or_default(),
            until.unwrap_or_default(),
            one.sha256.clone().unwrap_or_default(),
            one.file.display().to_string(),
        ]
    });
    if listed.iter().any(|one| one.trouble.is_some()) { Err(Failure::told()) } else { Ok(()) }
}

fn ca(listed: &[Listed], json: bool) -> Outcome {
    let Some(ours) = listed.iter().find(|one| one.role == Role::Authority && one.trouble.is_none()) else {
        let message = "this host has no certificate authority yet";
        return Err(Failure::no("no_ca", message, "offhook run makes one, unless https.listen is off"));
    };
    if json {
        output::value(ours);
        return Ok(());
    }
    let pem = std::fs::read_to_string(&ours.file).map_err(|error| {
        let message = format!("cannot read {}: {error}", ours.file.display());
        Failure::failed("ca", message, "run the command as root, or as the user of the service")
    })?;
    output::print(&pem);
    Ok(())
}
