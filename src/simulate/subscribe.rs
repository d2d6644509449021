//! The SUBSCRIBE of a phone, in the shape its vendor sends: no Via branch from snom's desk phones, no `rport` from
//! Yealink, the MAC with or without `%3a`. Header order and all values follow real messages, which the tests hold.

use std::net::SocketAddrV4;

use super::habits::Habits;
use super::sip::push_header;
use super::spec::Brand;

/// The numbers that a phone draws for one dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Draws {
    pub(super) tag: u32,
    pub(super) call: u32,
}

/// One SUBSCRIBE, and what its answers are checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) bytes: Vec<u8>,
    pub(super) via: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) call_id: String,
    pub(super) contact: String,
    pub(super) user_agent: Option<String>,
}

impl Subscription {
    /// The SUBSCRIBE of a phone at this address and port.
    pub(super) fn new(brand: Brand, habits: &Habits, local: SocketAddrV4, draws: Draws) -> Self {
        match brand {
            Brand::Snom if habits.dect => snom_base(habits, local, draws),
            Brand::Snom => snom_desk(habits, local, draws),
            Brand::Yealink => yealink(habits, local, draws),
        }
    }

    fn write(mut self, uri: &str, headers: &[(&str, &str)]) -> Self {
        let mut text = format!("SUBSCRIBE {uri} SIP/2.0\r\n");
        for (name, value) in headers {
            push_header(&mut text, name, value);
        }
        text.push_str("\r\n");
        self.bytes = text.into_bytes();
        self
    }
}

fn snom_desk(habits: &Habits, local: SocketAddrV4, draws: Draws) -> Subscription {
    let uri = &habits.subscribe_uri;
    let subscription = Subscription {
        bytes: Vec::new(),
        via: format!("SIP/2.0/UDP {local};rport"),
        from: format!("<{uri}>;tag={}", draws.tag),
        to: format!("<{uri}>"),
        call_id: format!("{}@{}", draws.call, local.ip()),
        contact: format!("sip:{local}"),
        user_agent: habits.sip_user_agent.clone(),
    };
    let contact = format!("<{}>", subscription.contact);
    let copy = subscription.clone();
    let mut headers = vec![
        ("Via", copy.via.as_str()),
        ("From", &copy.from),
        ("To", &copy.to),
        ("Call-ID", &copy.call_id),
        ("CSeq", "1 SUBSCRIBE"),
        ("Event", &habits.event),
        ("Expires", "0"),
        ("Accept", "application/url"),
        ("Contact", &contact),
    ];
    headers.extend(habits.sip_user_agent.as_deref().map(|agent| ("User-Agent", agent)));
    headers.push(("Content-Length", "0"));
    subscription.write(uri, &headers)
}

/// snom's M-series: the MAC only in request-URI and To, an extension in From, no port in Contact when it is 5060.
fn snom_base(habits: &Habits, local: SocketAddrV4, draws: Draws) -> Subscription {
    let uri = &habits.subscribe_uri;
    let here = if local.port() == 5060 { local.ip().to_string() } else { local.to_string() };
    let subscription = Subscription {
        bytes: Vec::new(),
        via: format!("SIP/2.0/UDP {local};branch=z9hG4bK{};rport", draws.call),
        from: format!("<sip:512@{}>;tag={}", local.ip(), draws.tag),
        to: format!("<{uri}>"),
        call_id: format!("{}@{}", draws.call, local.ip()),
        contact: format!("sip:{here}"),
        user_agent: habits.sip_user_agent.clone(),
    };
    let contact = format!("<{}>", subscription.contact);
    let copy = subscription.clone();
    let headers = [
        ("Via", copy.via.as_str()),
        ("Max-Forwards", "70"),
        ("From", &copy.from),
        ("To", &copy.to),
        ("Call-ID", &copy.call_id),
        ("CSeq", "1 SUBSCRIBE"),
        ("Contact", &contact),
        ("Event", &habits.event),
        ("Expires", "0"),
        ("Accept", "application/url"),
        ("User-Agent", habits.sip_user_agent.as_deref().unwrap_or_default()),
        ("Content-Length", "0"),
    ];
    subscription.write(uri, &headers)
}

fn yealink(habits: &Habits, local: SocketAddrV4, draws: Draws) -> Subscription {
    let uri = &habits.subscribe_uri;
    let user = uri.strip_prefix("sip:").and_then(|rest| rest.split('@').next()).unwrap_or_default();
    let subscription = Subscription {
        bytes: Vec::new(),
        via: format!("SIP/2.0/UDP {local};branch=z9hG4bK{}", draws.tag.wrapping_add(2)),
        from: format!("<{uri}>;tag={}", draws.tag),
        to: format!("<{uri}>"),
        call_id: format!("{}@{}", draws.call, local.ip()),
        contact: format!("sip:{user}@{local}"),
        user_agent: habits.sip_user_agent.clone(),
    };
    let contact = format!("<{}>", subscription.contact);
    let copy = subscription.clone();
    let headers = [
        ("Via", copy.via.as_str()),
        ("From", &copy.from),
        ("To", &copy.to),
        ("Call-ID", &copy.call_id),
        ("CSeq", "1 SUBSCRIBE"),
        ("Contact", &contact),
        ("Max-Forwards", "70"),
        ("User-Agent", habits.sip_user_agent.as_deref().unwrap_or_default()),
        ("Expires", "0"),
        ("Event", &habits.event),
        ("Accept", "application/url"),
        ("Content-Length", "0"),
    ];
    subscription.write(uri, &headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::spec::PhoneSpec;

    fn bytes(habits: &Habits, brand: Brand, local: &str, tag: u32, call: u32) -> String {
        let subscription = Subscription::new(brand, habits, local.parse().unwrap(), Draws { tag, call });
        String::from_utf8(subscription.bytes).unwrap()
    }

    fn habits(brand: Brand, model: &str, firmware: &str, mac: &str) -> Habits {
        Habits::of(&PhoneSpec {
            model: model.to_owned(),
            firmware: Some(firmware.to_owned()),
            ..PhoneSpec::new(brand, mac.parse().unwrap())
        })
    }

    /// Captured from a phone on firmware 7.1.19 (snom's own wiki page on plug and play).
    #[test]
    fn an_old_snom_says_what_was_captured() {
        let captured = include_str!("../../tests/captures/snom-oem-7.1.19-subscribe.sip");
        let mut habits = habits(Brand::Snom, "370", "7.1.19", "00135E874B49");
        habits.subscribe_uri = "sip:MAC%3a00135E874B49@intern.snom.de".to_owned();
        habits.event =
            r#"ua-profile;profile-type="device";vendor="OEM";model="OEM";version="7.1.19""#.to_owned();
        assert_eq!(bytes(&habits, Brand::Snom, "192.168.10.67:5060", 658_512_961, 1_930_770_594), captured);
    }

    /// From a server's own test message; it writes the MAC in lower case, which no snom does, and its LAN's domain.
    #[test]
    fn a_recent_snom_says_what_a_server_was_tested_with() {
        let captured = include_str!("../../tests/captures/snomD120-10.1.39.11-subscribe.sip")
            .replace("00041382271b@miko.ru", "00041382271B@224.0.1.75");
        let habits = habits(Brand::Snom, "D120", "10.1.39.11", "00041382271b");
        assert_eq!(bytes(&habits, Brand::Snom, "172.16.32.150:5060", 1_145_111_611, 1_913_994_428), captured);
    }

    /// From a server's own test message; a stray dot behind the port and a bare line end at its end are the server's, and
    /// that phone called itself T21D in its Event.
    #[test]
    fn a_yealink_says_what_a_server_was_tested_with() {
        let captured = include_str!("../../tests/captures/yealink-t21p-34.72.14.6-subscribe.sip")
            .replace(":5062.;", ":5062;")
            .replace("T21D", "T21P")
            .replace("Content-Length: 0\r\n\n", "Content-Length: 0\r\n\r\n");
        let habits = habits(Brand::Yealink, "T21P", "34.72.14.6", "0015657322ff");
        assert_eq!(bytes(&habits, Brand::Yealink, "172.16.156.223:5062", 42_054_258, 42_054_258), captured);
    }

    #[test]
    fn a_base_keeps_its_mac_to_the_uri() {
        let habits = habits(Brand::Snom, "M900", "05.20.0001", "000413b60680");
        let text = bytes(&habits, Brand::Snom, "10.0.0.9:5060", 1, 2);
        assert!(text.starts_with("SUBSCRIBE sip:MAC%3a000413B60680@224.0.1.75 SIP/2.0\r\n"), "{text}");
        assert!(text.contains("From: <sip:512@10.0.0.9>;tag=1\r\n"), "{text}");
        assert!(text.contains("Contact: <sip:10.0.0.9>\r\n"), "{text}");
    }
}
