//! A toy registrar for demonstrations and tests: UDP, MD5 digest, the passwords it was given. It remembers who registered
//! and routes no call. The agent never runs one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use subtle::ConstantTimeEq;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::digest;
use super::sip::{DATAGRAM_BYTES_MAX, Message, Start, parameter, respond, uri_of};
use crate::clock::Entropy;
use crate::secret::Secret;

/// The realm of its challenges.
const REALM: &str = "offhook-demo";
/// Nonces that are still good; a phone uses its own at once.
const NONCES_MAX: usize = 1000;

/// The registrar, listening until it is dropped.
#[derive(Debug)]
pub struct Registrar {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    task: JoinHandle<()>,
}

impl Registrar {
    /// Listens on this address (port 0: any free one) for these users, by the name in the digest.
    pub async fn start(
        listen: SocketAddr,
        passwords: impl IntoIterator<Item = (String, Secret)>,
        entropy: Entropy,
    ) -> std::io::Result<Self> {
        let socket = UdpSocket::bind(listen).await?;
        let address = socket.local_addr()?;
        let book =
            Arc::new(Mutex::new(Book { passwords: passwords.into_iter().collect(), ..Book::default() }));
        let task = tokio::spawn(serve(socket, Arc::clone(&book), entropy));
        Ok(Self { address, book, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who is registered: the user parts of their addresses.
    pub fn registered(&self) -> Vec<String> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).registered.iter().cloned().collect()
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, book: Arc<Mutex<Book>>, entropy: Entropy) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let Some(request) = Message::read(buffer.get(..length).unwrap_or_default()) else { continue };
        let Ok(nonce) = entropy.text("0123456789abcdef", 32) else { continue };
        let answer = book.lock().unwrap_or_else(PoisonError::into_inner).decide(&request, &nonce);
        if let Some(answer) = answer {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// What the registrar knows.
#[derive(Debug, Default)]
struct Book {
    passwords: BTreeMap<String, Secret>,
    nonces: BTreeSet<String>,
    registered: BTreeSet<String>,
}

impl Book {
    /// The answer to a request; `nonce` is a fresh one, for the case that a challenge is needed.
    fn decide(&mut self, request: &Message, nonce: &str) -> Option<Vec<u8>> {
        let Start::Request { method, .. } = &request.start else { return None };
        match method.as_str() {
            "REGISTER" => {}
            "ACK" => return None,
            "OPTIONS" => return Some(respond(request, "200 OK", nonce, &[])),
            _ => {
                return Some(respond(
                    request,
                    "405 Method Not Allowed",
                    nonce,
                    &[("Allow", "REGISTER, OPTIONS")],
                ));
            }
        }
        let authorization = request.header("authorization").and_then(digest::parameters);
        let Some(parameters) = authorization else {
            return Some(self.challenge(request, nonce));
        };
        if !self.is_right(&parameters) {
            return Some(respond(request, "403 Forbidden", nonce, &[]));
        }
        let user = uri_of(request.header("to").unwrap_or_default()).split('@').next().unwrap_or_default();
        self.registered.insert(user.trim_start_matches("sip:").to_owned());
        let contact = request.header("contact").unwrap_or_default();
        let expires = parameter(contact, "expires").or_else(|| request.header("expires")).unwrap_or("3600");
        let granted = format!("{contact};expires={expires}");
        Some(respond(request, "200 OK", nonce, &[("Contact", &granted), ("Expires", expires)]))
    }

    fn challenge(&mut self, request: &Message, nonce: &str) -> Vec<u8> {
        if self.nonces.len() >= NONCES_MAX {
            self.nonces.clear();
        }
        self.nonces.insert(nonce.to_owned());
        let challenge = format!("Digest realm=\"{REALM}\", nonce=\"{nonce}\", algorithm=MD5, qop=\"auth\"");
        respond(request, "401 Unauthorized", nonce, &[("WWW-Authenticate", &challenge)])
    }

    /// Whether the answer fits the password of the user it names, and a nonce of ours.
    fn is_right(&self, parameters: &[(String, String)]) -> bool {
        let get = |name: &str| {
            parameters.iter().find(|(held, _)| held == name).map_or("", |(_, value)| value.as_str())
        };
        let Some(password) = self.passwords.get(get("username")).filter(|password| !password.is_empty())
        else {
            return false;
        };
        let quality = (get("qop") == "auth").then(|| (get("nc"), get("cnonce")));
        let expected = digest::response(
            get("username"),
            REALM,
            password,
            ("REGISTER", get("uri")),
            get("nonce"),
            quality,
        );
        let same: bool = expected.as_bytes().ct_eq(get("response").as_bytes()).into();
        same && get("realm") == REALM && self.nonces.contains(get("nonce"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> Book {
        let passwords = [("a101".to_owned(), Secret::new("right")), ("a102".to_owned(), Secret::new(""))];
        Book { passwords: passwords.into(), ..Book::default() }
    }

    fn status(book: &mut Book, authorization: &str) -> u16 {
        let text = format!(
            "REGISTER sip:x SIP/2.0\r\nVia: v\r\nFrom: <sip:101@x>;tag=1\r\nTo: <sip:101@x>\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n\
             Contact: <sip:101@1.2.3.4>\r\nExpires: 60\r\n{authorization}\r\n"
        );
        let answer = book.decide(&Message::read(text.as_bytes()).unwrap(), "n1").unwrap();
        Message::read(&answer).unwrap().responds_to("c", "REGISTER").unwrap()
    }

    fn authorization(user: &str, password: &str, nonce: &str) -> String {
        let password = Secret::new(password);
        let response =
            digest::response(user, REALM, &password, ("REGISTER", "sip:x"), nonce, Some(("00000001", "c")));
        format!(
            "Authorization: Digest username=\"{user}\", realm=\"{REALM}\", nonce=\"{nonce}\", uri=\"sip:x\", \
             response=\"{response}\", qop=auth, nc=00000001, cnonce=\"c\"\r\n"
        )
    }

    #[test]
    fn only_the_right_password_registers() {
        let mut book = book();
        assert_eq!(
            status(&mut book, &authorization("a101", "right", "n1")),
            403,
            "a nonce that was never given"
        );
        assert_eq!(status(&mut book, ""), 401);
        assert_eq!(status(&mut book, &authorization("a101", "wrong", "n1")), 403);
        assert_eq!(status(&mut book, &authorization("a102", "", "n1")), 403, "an empty password");
        assert_eq!(status(&mut book, &authorization("a109", "right", "n1")), 403);
        assert!(book.registered.is_empty());
        assert_eq!(status(&mut book, &authorization("a101", "right", "n1")), 200);
        assert_eq!(book.registered.iter().collect::<Vec<_>>(), ["101"]);
    }
}
