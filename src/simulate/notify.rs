//! What a phone makes of a NOTIFY: the URL in it, and everything about it that is not as it should be. A phone tolerates
//! nearly all of it (and real servers rely on that), so it is remarked, not refused. Sends nothing.

use super::sip::{Message, Start, parameter, uri_of};
use super::subscribe::Subscription;
use super::url::shorten;

/// A NOTIFY, judged.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Notified {
    /// The URL in its body; otherwise why there is none, in words.
    pub(super) url: Result<String, String>,
    /// What the server should mend.
    pub(super) remarks: Vec<String>,
}

/// Judges a NOTIFY by the SUBSCRIBE it belongs to and by the success that came before it, if one did.
pub(super) fn judge(notify: &Message, subscription: &Subscription, accepted: Option<&Message>) -> Notified {
    let mut remarks: Vec<String> = notify.flaws.iter().map(|flaw| format!("NOTIFY with {flaw}")).collect();
    judge_dialog(notify, subscription, accepted, &mut remarks);
    judge_headers(notify, subscription, &mut remarks);
    let url = body_url(notify, &mut remarks);
    Notified { url, remarks }
}

/// What an answer to the SUBSCRIBE should have been.
pub(super) fn judge_success(answer: &Message, subscription: &Subscription) -> Vec<String> {
    let mut remarks: Vec<String> = answer.flaws.iter().map(|flaw| format!("200 with {flaw}")).collect();
    let mut expect = |fine: bool, remark: &str| {
        if !fine {
            remarks.push(format!("200 {remark}"));
        }
    };
    let via = answer.header("via").unwrap_or_default();
    let kept =
        |parameter_name: &str| parameter(via, parameter_name) == parameter(&subscription.via, parameter_name);
    expect(kept("branch"), "without our Via");
    let same_hop = via.split(';').next().map(str::trim) == subscription.via.split(';').next();
    expect(same_hop, "with another Via than ours");
    expect(answer.all("via").count() == 1, "with more than one Via");
    expect(answer.header("from") == Some(&subscription.from), "with another From than ours");
    let to = answer.header("to").unwrap_or_default();
    expect(uri_of(to) == uri_of(&subscription.to), "with another To than ours");
    expect(parameter(to, "tag").is_some_and(|tag| !tag.is_empty()), "without a tag in To");
    expect(answer.cseq() == Some((subscription.cseq, "SUBSCRIBE")), "with another CSeq than ours");
    expect(answer.header("expires").is_some_and(|expires| expires.trim() == "0"), "without Expires: 0");
    expect(
        answer.header("contact").is_some_and(|contact| uri_of(contact).starts_with("sip:")),
        "without a Contact",
    );
    expect(answer.header("content-length").is_none_or(|length| length == "0"), "with a body");
    remarks
}

fn judge_dialog(
    notify: &Message,
    subscription: &Subscription,
    accepted: Option<&Message>,
    remarks: &mut Vec<String>,
) {
    let mut expect = |fine: bool, remark: &str| {
        if !fine {
            remarks.push(format!("NOTIFY {remark}"));
        }
    };
    expect(accepted.is_some(), "before any 200");
    if let Start::Request { uri, .. } = &notify.start {
        expect(same_uri(uri, &subscription.contact), "to another URI than our Contact");
    }
    expect(notify.header("call-id") == Some(&subscription.call_id), "with another Call-ID than ours");
    let from = notify.header("from").unwrap_or_default();
    let to = notify.header("to").unwrap_or_default();
    let our_tag = parameter(&subscription.from, "tag");
    expect(parameter(to, "tag") == our_tag, "whose To has not our tag");
    expect(uri_of(to) == uri_of(&subscription.from), "whose To is not our From");
    expect(uri_of(from) == uri_of(&subscription.to), "whose From is not our To");
    let their_tag = parameter(from, "tag");
    expect(
        their_tag.is_some_and(|tag| !tag.is_empty()) && their_tag != our_tag,
        "whose From has no tag of its own",
    );
    if let Some(told) =
        accepted.and_then(|accepted| accepted.header("to")).and_then(|to| parameter(to, "tag"))
    {
        expect(their_tag == Some(told), "whose From has another tag than the 200's To");
    }
    expect(notify.cseq().is_some_and(|(_, method)| method == "NOTIFY"), "with a wrong CSeq");
}

fn judge_headers(notify: &Message, subscription: &Subscription, remarks: &mut Vec<String>) {
    let mut expect = |fine: bool, remark: &str| {
        if !fine {
            remarks.push(format!("NOTIFY {remark}"));
        }
    };
    let via = notify.header("via").unwrap_or_default();
    expect(via != subscription.via, "with our own Via");
    expect(via.starts_with("SIP/2.0/UDP "), "without a Via over UDP");
    expect(
        parameter(via, "branch").is_some_and(|b| b.starts_with("z9hG4bK")),
        "without a branch of RFC 3261 in its Via",
    );
    let forwards = notify.header("max-forwards").and_then(|number| number.parse::<u8>().ok());
    expect(forwards.is_some_and(|number| number > 0), "without Max-Forwards");
    expect(
        notify.header("contact").is_some_and(|contact| uri_of(contact).starts_with("sip:")),
        "without a Contact",
    );
    let event = notify.header("event").unwrap_or_default();
    expect(event.split(';').next().map(str::trim) == Some("ua-profile"), "whose Event is not ua-profile");
    let state = notify.header("subscription-state").unwrap_or_default();
    expect(
        state.split(';').next().map(str::trim) == Some("terminated"),
        "whose Subscription-State is not terminated",
    );
    let length = notify.header("content-length").and_then(|length| length.parse::<usize>().ok());
    expect(length == Some(notify.body.len()), "whose Content-Length is not its body's");
}

/// The body must be of type application/url: phones acknowledge another one, and do not fetch.
pub(super) fn body_url(notify: &Message, remarks: &mut Vec<String>) -> Result<String, String> {
    let kind = notify.header("content-type").unwrap_or_default();
    if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/url")) {
        return Err(format!("a body of type '{}', not application/url", shorten(kind)));
    }
    let body = str::from_utf8(&notify.body).map_err(|_| "a body that is not text".to_owned())?;
    let url = body.trim_end_matches(['\r', '\n', '\0']);
    if url.len() != body.len() {
        remarks.push("NOTIFY whose body goes on behind the URL".to_owned());
    }
    let shape =
        url.len() <= 1024 && url.contains("://") && !url.chars().any(|c| c.is_whitespace() || c.is_control());
    if shape { Ok(url.to_owned()) } else { Err(format!("a body that is not one URL: '{}'", shorten(url))) }
}

/// Whether two SIP URIs name the same place; a missing port is 5060 (RFC 3261 19.1.4 says otherwise, phones do not).
fn same_uri(one: &str, other: &str) -> bool {
    let read = |text: &str| {
        let uri = rsip::Uri::try_from(text).ok()?;
        let port = uri.port().map_or(5060, |port| *port.value());
        Some((uri.user().map(str::to_owned), uri.host().to_string(), port))
    };
    one == other || read(one).is_some_and(|one| Some(one) == read(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::habits::Habits;
    use crate::simulate::scripted::phone;
    use crate::simulate::subscribe::Draws;

    fn subscription() -> Subscription {
        let habits = Habits::of(&phone("yealink", "805ec0aabbcc"));
        let local = "10.0.0.7:5059".parse().unwrap();
        Subscription::new(&habits, local, Draws { tag: 42, call: 77 }).unwrap()
    }

    const SUCCESS: &str = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.7:5059;branch=z9hG4bK44\r\n\
        From: <sip:MAC805ec0aabbcc@224.0.1.75>;tag=42\r\nTo: <sip:MAC805ec0aabbcc@224.0.1.75>;tag=s1\r\n\
        Call-ID: 77@10.0.0.7\r\nCSeq: 1 SUBSCRIBE\r\nContact: <sip:10.0.0.1:5065>\r\nExpires: 0\r\nContent-Length: 0\r\n\r\n";
    const NOTIFY: &str = "NOTIFY sip:MAC805ec0aabbcc@10.0.0.7:5059 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5065;branch=z9hG4bKn1\r\n\
        From: <sip:MAC805ec0aabbcc@224.0.1.75>;tag=s1\r\nTo: <sip:MAC805ec0aabbcc@224.0.1.75>;tag=42\r\n\
        Call-ID: 77@10.0.0.7\r\nCSeq: 2 NOTIFY\r\nContact: <sip:10.0.0.1:5065>\r\nMax-Forwards: 70\r\n\
        Event: ua-profile\r\nSubscription-State: terminated;reason=timeout\r\nContent-Type: application/url\r\n\
        Content-Length: 16\r\n\r\nhttp://10.0.0.1/";

    fn check(text: &str, url: Result<&str, &str>, remarks: &[&str]) {
        let success = Message::read(SUCCESS.as_bytes()).unwrap();
        let notified = judge(&Message::read(text.as_bytes()).unwrap(), &subscription(), Some(&success));
        assert_eq!(notified.url.as_deref().map_err(String::as_str), url, "{text}");
        assert_eq!(notified.remarks, remarks, "{text}");
    }

    #[test]
    fn a_correct_answer_gets_no_remark() {
        assert_eq!(
            judge_success(&Message::read(SUCCESS.as_bytes()).unwrap(), &subscription()),
            Vec::<String>::new()
        );
        check(NOTIFY, Ok("http://10.0.0.1/"), &[]);
    }

    #[test]
    fn every_deviation_is_remarked() {
        let url = Ok("http://10.0.0.1/");
        check(
            &NOTIFY.replace("10.0.0.7:5059 SIP", "10.0.0.8:5059 SIP"),
            url,
            &["NOTIFY to another URI than our Contact"],
        );
        check(&NOTIFY.replace("77@", "78@"), url, &["NOTIFY with another Call-ID than ours"]);
        check(&NOTIFY.replace("tag=42", "tag=43"), url, &["NOTIFY whose To has not our tag"]);
        check(
            &NOTIFY.replace("tag=s1", "tag=s2"),
            url,
            &["NOTIFY whose From has another tag than the 200's To"],
        );
        check(
            &NOTIFY.replace("Event: ua-profile", "Event: check-sync"),
            url,
            &["NOTIFY whose Event is not ua-profile"],
        );
        check(
            &NOTIFY.replace("Length: 16", "Length: 18"),
            url,
            &["NOTIFY whose Content-Length is not its body's"],
        );
        check(&NOTIFY.replace("z9hG4bKn1", "x"), url, &["NOTIFY without a branch of RFC 3261 in its Via"]);
        check(
            &NOTIFY.replace("terminated;", "active;"),
            url,
            &["NOTIFY whose Subscription-State is not terminated"],
        );
        check(
            &NOTIFY.replace("Length: 16", "Length: 18").replace("10.0.0.1/", "10.0.0.1/\r\n"),
            url,
            &["NOTIFY whose body goes on behind the URL"],
        );
    }

    #[test]
    fn a_body_that_a_phone_cannot_use_gives_no_url() {
        check(
            &NOTIFY.replace("application/url", "application/x-gs-ucm-url"),
            Err("a body of type 'application/x-gs-ucm-url', not application/url"),
            &[],
        );
        check(
            &NOTIFY.replace("http://10.0.0.1/", "two http://wor"),
            Err("a body that is not one URL: 'two http://wor'"),
            &["NOTIFY whose Content-Length is not its body's"],
        );
    }

    /// A NOTIFY that snomPnPd's author shows, to a snom 720: it copies the SUBSCRIBE's headers unswapped.
    #[test]
    fn an_old_server_is_understood_and_remarked() {
        let habits = Habits::of(&phone("snom", "00135E874B49"));
        let subscription = Subscription::new(
            &habits,
            "172.16.18.90:5060".parse().unwrap(),
            Draws { tag: 658_512_961, call: 1 },
        )
        .unwrap();
        let bytes = include_bytes!("../../tests/captures/snom720-snompnpd-notify.sip");
        let notified = judge(&Message::read(bytes).unwrap(), &subscription, None);
        assert_eq!(notified.url.as_deref(), Ok("http://172.16.18.5"));
        for remark in
            ["NOTIFY before any 200", "NOTIFY with our own Via", "NOTIFY whose From has no tag of its own"]
        {
            assert!(notified.remarks.iter().any(|said| said == remark), "{remark} in {:?}", notified.remarks);
        }
    }
}
