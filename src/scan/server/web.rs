//! Asks one host's web server for a page, in clear or by TLS: one connection, one question, no redirect, no credential.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;

use super::secure::connector;
use crate::profile::{ANSWER_BYTES_MAX, WebAnswer, Whole};
use crate::scan::message::get;
use crate::tls::common_name;

/// Where phones' pages are, in clear and by TLS.
const PORT: u16 = 80;
const TLS_PORT: u16 = 443;
/// How long a page may take, from the first SYN on; a phone's slow web server takes one second.
const WITHIN: Duration = Duration::from_secs(3);

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Page {
    /// These octets, perhaps not all of the answer.
    Answer(Vec<u8>),
    /// The host is there, and has no web server.
    Refused,
    /// Nothing came.
    #[default]
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
    page_of(asked, answer)
}

/// The same by TLS; the second value is the common name of the certificate that was shown.
pub(super) async fn secure_page(host: Ipv4Addr, path: &str) -> (Page, Option<String>) {
    secure_page_at(SocketAddrV4::new(host, TLS_PORT), path).await
}

async fn secure_page_at(host: SocketAddrV4, path: &str) -> (Page, Option<String>) {
    let (mut answer, mut name) = (Vec::new(), None);
    let asked = timeout(WITHIN, ask_securely(host, path, &mut answer, &mut name)).await;
    (page_of(asked, answer), name)
}

fn page_of(asked: Result<io::Result<()>, tokio::time::error::Elapsed>, answer: Vec<u8>) -> Page {
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
    exchange(TcpStream::connect(host).await?, host, path, answer).await
}

async fn ask_securely(
    host: SocketAddrV4,
    path: &str,
    answer: &mut Vec<u8>,
    name: &mut Option<String>,
) -> io::Result<()> {
    let stream = TcpStream::connect(host).await?;
    let connector = connector().map_err(io::Error::other)?;
    // An address is named to nobody (RFC 6066, 3).
    let stream = connector.connect(ServerName::from(std::net::IpAddr::V4(*host.ip())), stream).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    *name = shown.and_then(|certificate| common_name(certificate));
    exchange(stream, host, path, answer).await
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    host: SocketAddrV4,
    path: &str,
    answer: &mut Vec<u8>,
) -> io::Result<()> {
    stream.write_all(&get(*host.ip(), path)).await?;
    let mut whole = Whole::default();
    loop {
        let room = ANSWER_BYTES_MAX.saturating_sub(answer.len());
        let read = (&mut stream).take(u64::try_from(room).unwrap_or_default()).read_buf(answer).await?;
        if read == 0 || whole.is_here(answer) {
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
    async fn a_page_by_tls_is_read_with_the_name_in_its_certificate() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut made = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        made.distinguished_name.push(rcgen::DnType::CommonName, "Acme X1 001565000001");
        let certificate = made.self_signed(&key).unwrap();
        let key = tokio_rustls::rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = std::sync::Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!("bound to IPv4") };
        let says = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.read(&mut [0; 1_000]).await;
                    let _ = stream.write_all(says).await;
                }
            }
        });
        let (page, name) = secure_page_at(address, "/").await;
        assert_eq!((page, name.as_deref()), (Page::Answer(says.to_vec()), Some("Acme X1 001565000001")));
        // A server that knows no TLS says nothing by it.
        let clear = server(b"HTTP/1.1 400 Bad\r\n\r\n".to_vec(), true).await;
        assert_eq!(secure_page_at(clear, "/").await, (Page::Nothing, None));
    }

    #[tokio::test]
    async fn a_host_without_a_web_server_is_there() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!("bound to IPv4") };
        drop(listener);
        assert_eq!(page_at(address, "/").await, Page::Refused);
    }
}
