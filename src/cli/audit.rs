//! `offhook audit`: who did what and when, for a person, for a program, and as an export that others can verify.

use std::fmt::Write as _;

use super::{Context, Failure, Outcome, open, output};
use crate::clock::{Clock, Timestamp};
use crate::device::Mac;
use crate::store::{AuditFilter, AuditRow, MarkFile, Store, Verified};

/// Rows of an export that are read at once.
const PAGE_ROWS: i64 = 4_000;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    deed: Option<Deed>,
    /// Only what was done to this phone
    mac: Option<Mac>,
    /// Only this event (armed, revealed, …)
    #[arg(long)]
    event: Option<String>,
    /// Only rows after the one of this number, the next ones first
    #[arg(long, value_name = "SEQ")]
    after: Option<i64>,
    /// Only rows since then: 2026-11-23T10:00:00Z, or 24h ago
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Since>,
    /// At most so many rows: the last ones, or with --after the next ones
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..))]
    limit: i64,
    /// Write all rows as they are hashed, one JSON object per line, without a limit
    #[arg(long, conflicts_with = "limit")]
    jsonl: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Deed {
    /// Check that every row is as it was written: exit code 1, and the first one that is not
    Verify,
}

/// A moment, or how long ago it was.
#[derive(Debug, Clone, Copy)]
enum Since {
    At(Timestamp),
    Ago(std::time::Duration),
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let store = open::store(context).await?;
    if let Some(Deed::Verify) = args.deed {
        return verify(context, &store).await;
    }
    let since = args.since.map(|since| match since {
        Since::At(moment) => moment,
        Since::Ago(span) => Clock::System.now().minus(span),
    });
    let filter = AuditFilter { mac: args.mac, event: args.event, after: args.after, before: None, since };
    if args.jsonl {
        return export(&store, filter).await;
    }
    let rows = store.audit_listing(&filter, args.limit).await?;
    let heads = ["SEQ", "WHEN", "WHO", "EVENT", "PHONE", "DETAIL"];
    output::listing(context.json, &rows, &heads, cells);
    if rows.is_empty() && !context.json {
        eprintln!("nothing of that was done");
    }
    Ok(())
}

fn cells(row: &AuditRow) -> Vec<String> {
    let who = match &row.agent {
        Some(agent) => format!("{} {agent}", row.actor),
        None => row.actor.clone(),
    };
    let mut detail: Vec<String> = Vec::new();
    detail.extend(row.epoch.map(|epoch| format!("epoch={epoch}")));
    detail.extend(row.release_id.as_ref().map(|id| format!("release={id}")));
    if let Some(fields) = row.detail.as_object() {
        detail.extend(fields.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| {
            format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        }));
    }
    vec![
        row.seq.to_string(),
        row.at.to_string(),
        who,
        row.event.clone(),
        row.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        detail.join(" "),
    ]
}

/// Page by page, so that an export of years needs no memory. A closed pipe ends it.
async fn export(store: &Store, mut filter: AuditFilter) -> Outcome {
    use std::io::Write as _;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut write = |line: String| writeln!(out, "{line}").and_then(|()| out.flush());
    loop {
        let page = store.audit_records(&filter, PAGE_ROWS).await?;
        let Some(last) = page.last() else { return Ok(()) };
        filter.after = Some(last.seq);
        let lines: Vec<String> =
            page.iter().map(serde_json::to_string).collect::<Result<_, _>>().map_err(|error| {
                Failure::failed("json", format!("cannot write a row as JSON: {error}"), "")
            })?;
        match write(lines.join("\n")) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => {
                return Err(Failure::failed(
                    "output",
                    format!("cannot write the export: {error}"),
                    "check the free space of where it goes",
                ));
            }
        }
    }
}

async fn verify(context: &Context, store: &Store) -> Outcome {
    let database = store.mark().await?.database;
    let file = MarkFile::at(&context.places.mark_file());
    let mark = file.read(&database).unwrap_or_else(|error| {
        eprintln!(
            "offhook: cannot read {}: {error}; the end is compared with nothing",
            file.path().display()
        );
        None
    });
    let verified = store.verify_audit(mark.as_ref()).await?;
    if context.json {
        let mut shown = serde_json::to_value(&verified).unwrap_or_default();
        if let Some(shown) = shown.as_object_mut() {
            shown.insert("ok".to_owned(), verified.broken.is_none().into());
        }
        output::value(&shown);
    } else {
        output::print(&sentence(&verified));
    }
    match (&verified.broken, context.json) {
        (None, _) => Ok(()),
        (Some(_), true) => Err(Failure::told()),
        (Some(broken), false) => Err(Failure::no(
            "audit_broken",
            format!("the audit was tampered with, or is damaged: {}", broken.message),
            "compare it with an export or a backup from before; everything after that row proves nothing",
        )),
    }
}

fn sentence(verified: &Verified) -> String {
    let Verified { rows, unchained, after, last, hash, marked, broken } = verified;
    let mut text = format!("{rows} rows follow from each other");
    if *rows > 0 {
        let _ = write!(text, ", {} to {last}; the last one's hash is {hash}", last - rows + 1);
    }
    if *unchained > 0 {
        let _ =
            write!(text, "\n{unchained} older rows were written before rows had hashes: they prove nothing");
    } else if *after > 0 {
        let _ = write!(text, "\nrows up to {after} were removed after their time, or had no hashes");
    }
    if broken.is_none() {
        text.push_str(if *marked {
            "\nthe end is the one that the agent wrote down in its mark, or came after it"
        } else {
            "\nno agent has written a mark of this database here: that the end was not cut off is not proved"
        });
    }
    text.push('\n');
    text
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Ok(Since::At(Timestamp(moment.as_millisecond())));
    }
    let span: crate::config::Span = text.parse().map_err(|_| {
        format!(
            "'{text}' is neither a moment (2026-11-23T10:00:00Z) nor a length of time (90s, 10m, 24h, 7d)"
        )
    })?;
    Ok(Since::Ago(span.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_moment_or_a_while_ago() {
        assert!(matches!(since("2026-11-23T10:00:00Z"), Ok(Since::At(Timestamp(1_795_428_000_000)))));
        assert!(matches!(since("24h"), Ok(Since::Ago(span)) if span.as_secs() == 86_400));
        assert!(since("yesterday").unwrap_err().contains("neither"));
    }

    #[test]
    fn a_row_is_one_line() {
        let row = AuditRow {
            seq: 3,
            at: Timestamp(0),
            boot: None,
            boot_ms: None,
            agent: Some("host".to_owned()),
            actor: "agent".to_owned(),
            event: "armed".to_owned(),
            mac: None,
            epoch: Some(2),
            release_id: None,
            detail: serde_json::json!({ "why": "moved", "line": null, "count": 1 }),
            hash: None,
        };
        let cells = cells(&row);
        assert_eq!(cells[2], "agent host");
        assert_eq!(cells[5], "epoch=2 count=1 why=moved");
    }
}
