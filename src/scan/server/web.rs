//! Asks one host's web server for a page: one connection, one question, no redirect, no credential.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::profile::{ANSWER_BYTES_MAX, WebAnswer};
use crate::scan::message::get;

/// Where phones' pages are.
const PORT: u16 = 80;
/// How long a page may take, from the first SYN on; a phone's slow web server takes one second.
const WITHIN: Duration = Duration::from_secs(3);

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Page {
    /// These octets, perhaps not all of the answer.
    Answer(Vec<u8>),
    /// The host is there, and has no web server.
    Refused,
    /// Nothing came.
    Nothing,
}

impl Page {
    /// The answer, if it is one.
    pub(super) fn answer(&self) -> Option<WebAnswer<'_>> {
        match self {
            Self::Answer(octets) => WebAnswer::read(octets),
            Self::Refused | Self::Nothing => None,
        }
    }
}

/// Asks for a page.
pub(super) async fn page(host: Ipv4Addr, path: &str) -> Page {
    page_at(SocketAddrV4::new(host, PORT), path).await
}

async fn page_at(host: SocketAddrV4, path: &str) -> Page {
    let mut answer = Vec::new();
    let asked = timeout(WITHIN, ask(host, path, &mut answer)).await;
    match asked {
        // What came before it was too late, or broke off, says who answers just as well.
        Ok(_) | Err(_) if !answer.is_empty() => Page::Answer(answer),
        Ok(Err(error)) if is_refusal(&error) => Page::Refused,
        Ok(_) | Err(_) => Page::Nothing,
    }
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
}

async fn ask(host: SocketAddrV4, path: &str, answer: &mut Vec<u8>) -> io::Result<()> {
    let mut stream = TcpStream::connect(host).await?;
    stream.write_all(&get(*host.ip(), path)).await?;
    loop {
        let room = ANSWER_BYTES_MAX.saturating_sub(answer.len());
        let read = (&mut stream).take(u64::try_from(room).unwrap_or_default()).read_buf(answer).await?;
        if read == 0 || WebAnswer::read(answer).is_some_and(|answer| answer.is_whole()) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::net::TcpListener;

    use super::*;

    /// A server that sends this, and hangs up or not.
    async fn server(says: Vec<u8>, hangs_up: bool) -> SocketAddrV4 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!("bound to IPv4") };
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 1_000]).await;
                let _ = stream.write_all(&says).await;
                if !hangs_up {
                    kept.push(stream);
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn a_page_is_read_as_far_as_it_goes() {
        let whole =
            b"HTTP/1.1 401 No\r\nContent-Length: 2\r\nWWW-Authenticate: Basic realm=\"a phone\"\r\n\r\nok";
        let host = server(whole.to_vec(), false).await;
        let page = timeout(Duration::from_secs(1), page_at(host, "/")).await.unwrap();
        assert_eq!(page, Page::Answer(whole.to_vec()));
        let endless = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 300_000]].concat();
        let Page::Answer(octets) = page_at(server(endless, true).await, "/").await else {
            panic!("an answer")
        };
        assert_eq!(octets.len(), ANSWER_BYTES_MAX);
        assert_eq!(page_at(server(Vec::new(), true).await, "/").await, Page::Nothing);
    }

    #[tokio::test]
    async fn a_host_without_a_web_server_is_there() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!("bound to IPv4") };
        drop(listener);
        assert_eq!(page_at(address, "/").await, Page::Refused);
    }
}
