//! The SUBSCRIBE of a phone, in the shape its vendor sends: with a Via branch or without, with the MAC in From or without,
//! headers in any order. Shapes and values are the profile's; the tests hold them against real messages.

use std::net::SocketAddrV4;

use super::habits::Habits;
use super::sip::{push_header, uri_of};

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
    pub(super) cseq: u32,
}

impl Subscription {
    /// The SUBSCRIBE of a phone at this address and port; `None`: these phones send none.
    pub(super) fn new(habits: &Habits, local: SocketAddrV4, draws: Draws) -> Option<Self> {
        let uri = habits.subscribe_uri.as_ref()?;
        let user = uri.strip_prefix("sip:").and_then(|rest| rest.split('@').next()).unwrap_or_default();
        let contact = if local.port() == 5060 { local.ip().to_string() } else { local.to_string() };
        let words = [
            ("{uri}", uri.clone()),
            ("{user}", user.to_owned()),
            ("{event}", habits.event.clone()),
            ("{user_agent}", habits.sip_user_agent.clone().unwrap_or_default()),
            ("{local}", local.to_string()),
            ("{ip}", local.ip().to_string()),
            ("{contact}", contact),
            ("{tag}", draws.tag.to_string()),
            ("{call}", draws.call.to_string()),
            ("{branch}", draws.tag.wrapping_add(2).to_string()),
        ];
        let fill = |line: &String| {
            let line = words.iter().fold(line.clone(), |line, (word, value)| line.replace(word, value));
            line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        // A header without a value is one that this phone leaves out.
        let headers: Vec<(String, String)> = habits.subscribe.iter().filter_map(fill).collect();
        let headers = headers.into_iter().filter(|(_, value)| !value.is_empty());
        let headers: Vec<(String, String)> = headers.collect();
        let get = |name: &str| {
            let found = headers.iter().find(|(held, _)| held.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        let cseq = get("CSeq").and_then(|cseq| cseq.split(' ').next()?.parse().ok()).unwrap_or(1);
        let mut text = format!("SUBSCRIBE {uri} SIP/2.0\r\n");
        for (name, value) in &headers {
            push_header(&mut text, name, value);
        }
        text.push_str("\r\n");
        Some(Self {
            bytes: text.into_bytes(),
            via: get("Via").unwrap_or_default(),
            from: get("From").unwrap_or_default(),
            to: get("To").unwrap_or_default(),
            call_id: get("Call-ID").unwrap_or_default(),
            contact: uri_of(&get("Contact").unwrap_or_default()).to_owned(),
            user_agent: habits.sip_user_agent.clone(),
            cseq,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::scripted::phone;
    use crate::simulate::spec::PhoneSpec;

    fn bytes(habits: &Habits, local: &str, tag: u32, call: u32) -> String {
        let subscription = Subscription::new(habits, local.parse().unwrap(), Draws { tag, call });
        String::from_utf8(subscription.unwrap().bytes).unwrap()
    }

    fn habits(vendor: &str, model: &str, firmware: &str, mac: &str) -> Habits {
        let firmware = Some(firmware.to_owned());
        Habits::of(&PhoneSpec { model: model.to_owned(), firmware, ..phone(vendor, mac) })
    }

    /// Captured from a phone on firmware 7.1.19 (snom's own wiki page on plug and play).
    #[test]
    fn an_old_snom_says_what_was_captured() {
        let captured = include_str!("../../tests/captures/snom-oem-7.1.19-subscribe.sip");
        let mut habits = habits("snom", "370", "7.1.19", "00135E874B49");
        habits.subscribe_uri = Some("sip:MAC%3a00135E874B49@intern.snom.de".to_owned());
        habits.event =
            r#"ua-profile;profile-type="device";vendor="OEM";model="OEM";version="7.1.19""#.to_owned();
        assert_eq!(bytes(&habits, "192.168.10.67:5060", 658_512_961, 1_930_770_594), captured);
    }

    /// From a server's own test message; it writes the MAC in lower case, which no snom does, and its LAN's domain.
    #[test]
    fn a_recent_snom_says_what_a_server_was_tested_with() {
        let captured = include_str!("../../tests/captures/snomD120-10.1.39.11-subscribe.sip")
            .replace("00041382271b@miko.ru", "00041382271B@224.0.1.75");
        let habits = habits("snom", "D120", "10.1.39.11", "00041382271b");
        assert_eq!(bytes(&habits, "172.16.32.150:5060", 1_145_111_611, 1_913_994_428), captured);
    }

    /// From a server's own test message; a stray dot behind the port and a bare line end at its end are the server's, and
    /// that phone called itself T21D in its Event.
    #[test]
    fn a_yealink_says_what_a_server_was_tested_with() {
        let captured = include_str!("../../tests/captures/yealink-t21p-34.72.14.6-subscribe.sip")
            .replace(":5062.;", ":5062;")
            .replace("T21D", "T21P")
            .replace("Content-Length: 0\r\n\n", "Content-Length: 0\r\n\r\n");
        let habits = habits("yealink", "T21P", "34.72.14.6", "0015657322ff");
        assert_eq!(bytes(&habits, "172.16.156.223:5062", 42_054_258, 42_054_258), captured);
    }

    #[test]
    fn a_base_keeps_its_mac_to_the_uri() {
        let habits = habits("snom", "M900", "05.20.0001", "000413b60680");
        let text = bytes(&habits, "10.0.0.9:5060", 1, 2);
        assert!(text.starts_with("SUBSCRIBE sip:MAC%3a000413B60680@224.0.1.75 SIP/2.0\r\n"), "{text}");
        assert!(text.contains("From: <sip:512@10.0.0.9>;tag=1\r\n"), "{text}");
        assert!(text.contains("Contact: <sip:10.0.0.9>\r\n"), "{text}");
    }
}
