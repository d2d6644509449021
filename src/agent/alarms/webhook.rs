//! Posts one alarm as JSON: one connection, one request, five seconds, no redirects.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::config::WebhookUrl;

/// How long it may take, from looking up the name to the answer's head.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// Where alarms are posted.
pub(super) struct Webhook {
    url: WebhookUrl,
    /// Of an https URL: how to prove the other side; or why that is not possible here.
    tls: Option<Result<TlsConnector, String>>,
    answered_within: Duration,
}

impl Webhook {
    /// The host's certificate authorities are trusted.
    pub(super) fn new(url: WebhookUrl) -> Self {
        let tls = url.is_tls().then(|| trusting(host_authorities()));
        Self { url, tls, answered_within: ANSWERED_WITHIN }
    }

    pub(super) fn url(&self) -> &WebhookUrl {
        &self.url
    }

    pub(super) async fn send(&self, json: &str) -> Result<(), String> {
        match tokio::time::timeout(self.answered_within, self.post(json)).await {
            Ok(Ok(status)) if status.is_success() => Ok(()),
            Ok(Ok(status)) => Err(format!("it answered {status}")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(format!("it did not answer within {:?}", self.answered_within)),
        }
    }

    async fn post(&self, json: &str) -> Result<StatusCode, String> {
        let failed = |error: std::io::Error| format!("cannot connect: {error}");
        let stream = TcpStream::connect((self.url.host(), self.url.port())).await.map_err(failed)?;
        match &self.tls {
            None => self.request(stream, json).await,
            Some(Err(error)) => Err(error.clone()),
            Some(Ok(connector)) => {
                let name = ServerName::try_from(self.url.host().to_owned())
                    .map_err(|_| format!("{} is no name for TLS", self.url.host()))?;
                self.request(connector.connect(name, stream).await.map_err(failed)?, json).await
            }
        }
    }

    async fn request(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        json: &str,
    ) -> Result<StatusCode, String> {
        let request = Request::post(self.url.target())
            .header(header::HOST, self.url.authority())
            .header(header::USER_AGENT, concat!("offhook/", env!("CARGO_PKG_VERSION")))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .body(Full::new(Bytes::copy_from_slice(json.as_bytes())))
            .map_err(|error| format!("cannot make the request: {error}"))?;
        let failed = |error: hyper::Error| format!("cannot post: {error}");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        // The connection moves only while the answer is awaited, and ends with it.
        let answer = sender.send_request(request);
        tokio::pin!(answer, connection);
        tokio::select! {
            biased;
            answer = &mut answer => return answer.map(|answer| answer.status()).map_err(failed),
            ended = &mut connection => ended.map_err(failed)?,
        }
        answer.await.map(|answer| answer.status()).map_err(failed)
    }
}

fn host_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn trusting(roots: RootCertStore) -> Result<TlsConnector, String> {
    if roots.is_empty() {
        return Err("this host has no certificate authorities; install ca-certificates".to_owned());
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot set up TLS: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::SocketAddr;

    use http_body_util::BodyExt as _;
    use hyper::Response;
    use hyper::service::service_fn;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    /// A web server that answers everything with `status`; what it was sent.
    async fn server(status: u16) -> (SocketAddr, mpsc::Receiver<(String, Option<String>, String)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, got) = mpsc::channel(9);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let heard = heard.clone();
                let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let heard = heard.clone();
                    async move {
                        let line = format!("{} {}", request.method(), request.uri());
                        let kind = request.headers().get(header::CONTENT_TYPE).cloned();
                        let kind = kind.and_then(|kind| kind.to_str().map(str::to_owned).ok());
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        let body = String::from_utf8(body.to_vec()).unwrap();
                        heard.send((line, kind, body)).await.unwrap();
                        let answer =
                            Response::builder().status(status).header(header::LOCATION, "/elsewhere");
                        Ok::<_, Infallible>(answer.body(Full::new(Bytes::from_static(b"thanks"))).unwrap())
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), answer));
            }
        });
        (address, got)
    }

    fn webhook(url: &str) -> Webhook {
        Webhook::new(url.parse().unwrap())
    }

    #[tokio::test]
    async fn an_alarm_is_posted() {
        let (address, mut got) = server(204).await;
        webhook(&format!("http://{address}/hook?x=1")).send("{\"id\":7}").await.unwrap();
        let json = Some("application/json".to_owned());
        assert_eq!(got.recv().await.unwrap(), ("POST /hook?x=1".to_owned(), json, "{\"id\":7}".to_owned()));
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed_and_an_error_is_told() {
        for status in [302, 404, 500] {
            let (address, mut got) = server(status).await;
            let error = webhook(&format!("http://{address}/")).send("{}").await.unwrap_err();
            assert!(error.contains(&status.to_string()), "{error}");
            got.recv().await.unwrap();
            assert!(got.try_recv().is_err(), "asked once");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_or_speaks_something_else_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = webhook(&format!("http://{address}/")).send("{}").await.unwrap_err();
        assert!(error.starts_with("cannot connect: "), "{error}");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 mail ESMTP\r\n").await;
            }
        });
        for scheme in ["http", "https"] {
            assert!(webhook(&format!("{scheme}://{address}/")).send("{}").await.is_err());
        }
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let silent = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            std::future::pending::<()>().await;
            drop(stream);
        });
        let mut webhook = webhook(&format!("http://{address}/"));
        webhook.answered_within = Duration::from_millis(200);
        assert_eq!(webhook.send("{}").await.unwrap_err(), "it did not answer within 200ms");
        silent.abort();
    }
}
