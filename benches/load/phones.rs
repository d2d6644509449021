//! The phones: number n has the n-th address and a MAC of its own, none next to another's. What a Yealink T46U says of itself.

use std::net::Ipv4Addr;

use crate::PhonesArgs;

/// A range of phones.
#[derive(Clone, Copy)]
pub(crate) struct Phones {
    first: u32,
    /// How many there are.
    pub(crate) count: u32,
}

impl Phones {
    pub(crate) fn new(args: &PhonesArgs) -> Self {
        Self { first: args.first.into(), count: args.phones }
    }

    pub(crate) fn address(self, phone: u32) -> Ipv4Addr {
        (self.first + phone).into()
    }

    /// The phone that has this address.
    pub(crate) fn at(self, address: Ipv4Addr) -> Option<u32> {
        u32::from(address).checked_sub(self.first).filter(|phone| *phone < self.count)
    }

    /// Twelve digits; the maker's prefix is a real one.
    pub(crate) fn mac(phone: u32) -> String {
        let mac = Self::octets(phone).into_iter().fold(0, |mac: u64, octet| mac << 8 | u64::from(octet));
        format!("{mac:012x}")
    }

    /// The same as octets. Phones of one site were not made one after the other, and servers that choose an address by a
    /// hash of the MAC (dnsmasq) offer MACs in a row each other's.
    pub(crate) fn octets(phone: u32) -> [u8; 6] {
        // An odd factor: no two numbers of 24 bits become one.
        let [_, a, b, c] = phone.wrapping_mul(0x9e37_79b1).to_be_bytes();
        [0x80, 0x5e, 0xc0, a, b, c]
    }

    pub(crate) fn user_agent(phone: u32) -> String {
        let mac = Self::mac(phone);
        let octets: Vec<&str> = (0..6).map(|octet| &mac[octet * 2..octet * 2 + 2]).collect();
        format!("Yealink SIP-T46U 108.86.0.90 {}", octets.join(":"))
    }

    pub(crate) fn subscribe(self, phone: u32) -> Vec<u8> {
        let (mac, address, agent) = (Self::mac(phone), self.address(phone), Self::user_agent(phone));
        format!(
            "SUBSCRIBE sip:MAC%3a{mac}@224.0.1.75 SIP/2.0\r\n\
             Via: SIP/2.0/UDP {address}:5060;branch=z9hG4bK{mac};rport\r\n\
             From: <sip:MAC%3a{mac}@224.0.1.75>;tag={phone:08x}\r\n\
             To: <sip:MAC%3a{mac}@224.0.1.75>\r\n\
             Call-ID: {phone:08x}@{address}\r\n\
             CSeq: 1 SUBSCRIBE\r\n\
             Contact: <sip:MAC%3a{mac}@{address}:5060>\r\n\
             Max-Forwards: 70\r\n\
             User-Agent: {agent}\r\n\
             Event: ua-profile;profile-type=\"device\";vendor=\"Yealink\";model=\"T46U\";version=\"108.86.0.90\"\r\n\
             Expires: 0\r\n\
             Accept: application/url\r\n\
             Content-Length: 0\r\n\r\n"
        )
        .into_bytes()
    }

    pub(crate) fn list(self) {
        for phone in 0..self.count {
            println!("{} {}", Self::mac(phone), self.address(phone));
        }
    }
}
