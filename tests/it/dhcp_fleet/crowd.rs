//! Who is in an office: what each kind of host says of itself by DHCP, as real ones do.

use super::message::{DISCOVER, Question};

/// What Windows says in option 60.
const MSFT: &str = "MSFT 5.0";

/// A kind of host: its maker's prefix, its option 60 and 55, whether it asks by INFORM as well.
struct Kind {
    oui: [u8; 3],
    class: &'static str,
    asks: &'static [u8],
    informs: bool,
}

const PCS: &[Kind] = &[
    Kind {
        oui: [0x00, 0x1b, 0x21],
        class: MSFT,
        asks: &[1, 3, 6, 15, 31, 33, 43, 44, 46, 47, 119, 121, 249, 252],
        informs: true,
    },
    // dhclient
    Kind {
        oui: [0x52, 0x54, 0x00],
        class: "",
        asks: &[1, 28, 2, 3, 15, 6, 119, 12, 44, 47, 26, 121, 42],
        informs: true,
    },
    // macOS
    Kind {
        oui: [0x3c, 0x07, 0x54],
        class: "",
        asks: &[1, 121, 3, 6, 15, 108, 114, 119, 252, 95, 44, 46],
        informs: true,
    },
    Kind {
        oui: [0x00, 0x25, 0x90],
        class: "dhcpcd-9.4.1:Linux-6.1.0:x86_64:GenuineIntel",
        asks: &[1, 3, 6, 66, 150],
        informs: true,
    },
    // Boots from the network, and asks for what phones ask for.
    Kind {
        oui: [0x00, 0x21, 0xb7],
        class: "PXEClient:Arch:00007:UNDI:003016",
        asks: &[1, 3, 43, 54, 60, 66, 67, 97],
        informs: false,
    },
    Kind { oui: [0x00, 0x17, 0xc8], class: "", asks: &[], informs: false },
    // A softphone's stick and a thin client: a phone's maker, and Windows all the same.
    Kind { oui: [0x00, 0x15, 0x65], class: MSFT, asks: &[1, 3, 6, 15, 43, 66], informs: true },
    Kind { oui: [0x00, 0x04, 0x13], class: "MSFT 98", asks: &[1, 3, 6, 15, 43, 66, 150], informs: true },
];

const PHONES: &[Kind] = &[
    Kind {
        oui: [0x80, 0x5e, 0xc0],
        class: "yealink",
        asks: &[1, 3, 6, 12, 15, 42, 43, 66, 150, 160],
        informs: true,
    },
    Kind {
        oui: [0x00, 0x04, 0x13],
        class: "snomD785",
        asks: &[1, 3, 6, 15, 42, 43, 66, 67, 120, 125, 132],
        informs: true,
    },
];

/// One simulated client.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) mac: [u8; 6],
    /// Option 60; empty: none.
    pub(crate) class: &'static str,
    /// Option 55; empty: none.
    asks: &'static [u8],
    pub(crate) informs: bool,
}

impl Client {
    fn of(kind: &Kind, number: u32) -> Self {
        let mut mac = [0; 6];
        mac[..3].copy_from_slice(&kind.oui);
        mac[3..].copy_from_slice(&number.to_be_bytes()[1..]);
        Self { mac, class: kind.class, asks: kind.asks, informs: kind.informs }
    }

    /// What a server may know: a phone's maker, and what phones of that maker say.
    pub(crate) fn is_phone(&self) -> bool {
        PHONES.iter().any(|kind| self.mac.starts_with(&kind.oui) && self.class == kind.class)
    }

    /// The question with what the client says of itself in every one.
    pub(super) fn options(&self, mut question: Question) -> Question {
        for (code, value) in [(60, self.class.as_bytes()), (55, self.asks)] {
            if !value.is_empty() {
                question = question.with(code, value);
            }
        }
        question.with(61, &[&[1][..], &self.mac].concat())
    }
}

/// So many hosts that are no phones, of every kind.
pub(crate) fn office(count: usize) -> Vec<Client> {
    // Numbers that no phone of the same maker has.
    (0x0010_0000..)
        .zip(PCS.iter().cycle())
        .map(|(number, kind)| Client::of(kind, number))
        .take(count)
        .collect()
}

/// So many phones, of two vendors.
pub(crate) fn phones(count: u32) -> Vec<Client> {
    (0..count).zip(PHONES.iter().cycle()).map(|(number, kind)| Client::of(kind, number)).collect()
}

/// The inventory that these phones are in.
pub(crate) fn sheet(phones: &[Client]) -> String {
    let row = |(number, phone): (usize, &Client)| {
        let (vendor, model) = if phone.class == "yealink" { ("yealink", "T46U") } else { ("snom", "D785") };
        format!("{},{vendor},{model},{},kFleet-secret\n", text(phone.mac), 1_000 + number)
    };
    let rows: String = phones.iter().enumerate().map(row).collect();
    format!("mac,vendor,model,username,password\n{rows}")
}

/// A MAC as people write it.
pub(crate) fn text(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

/// What a phone of this number says first; any number is a phone that nobody has.
pub(super) fn stranger(number: u32, xid: u32) -> ([u8; 6], Question) {
    let client = Client::of(&PHONES[number as usize % PHONES.len()], 0x0080_0000 | number);
    (client.mac, client.options(Question::new(DISCOVER, client.mac, xid)))
}
