//! A phone's HTTP client: HTTP/1.1, GET only, one connection per file, redirects followed. Written for the simulator,
//! and used for nothing else.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

use super::fetch::{FILE_BYTES_MAX, Fetched};
use super::url::{Scheme, Url, shorten};

/// Redirects that a phone follows before it gives up.
const REDIRECTS_MAX: usize = 5;
/// One line of a response's head.
const LINE_BYTES_MAX: u64 = 8192;
/// Lines of a response's head.
const LINES_MAX: usize = 100;

/// Asks for a file from this address. An answer of any status is an answer; the error says in words why there is none.
pub(super) async fn get(url: &Url, from: Ipv4Addr, user_agent: &str) -> Result<Fetched, String> {
    let mut url = url.clone();
    for _ in 0..=REDIRECTS_MAX {
        let mut stream = connect(&url, from).await?;
        let request = request(&url, user_agent);
        stream
            .get_mut()
            .write_all(request.as_bytes())
            .await
            .map_err(|error| format!("cannot send: {error}"))?;
        let head = read_head(&mut stream).await?;
        let redirect = matches!(head.status, 301 | 302 | 303 | 307 | 308);
        let Some(location) = head.location.as_deref().filter(|_| redirect) else {
            let body = read_body(&mut stream, &head).await?;
            let detail = if head.status == 200 { String::new() } else { head.reason };
            return Ok(Fetched { status: head.status, detail, body });
        };
        url = url.join(location)?;
        if url.scheme != Scheme::Http {
            return Err("redirected to a URL that is not HTTP".to_owned());
        }
    }
    Err(format!("more than {REDIRECTS_MAX} redirects"))
}

/// What phones send (the order of curl, which many of them are).
fn request(url: &Url, user_agent: &str) -> String {
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {user_agent}\r\nAccept: */*\r\n\r\n",
        url.path,
        url.authority()
    )
}

async fn connect(url: &Url, from: Ipv4Addr) -> Result<BufReader<TcpStream>, String> {
    let to = url.resolve().await?;
    let cannot = |error: std::io::Error| format!("cannot connect to {to}: {error}");
    let socket = TcpSocket::new_v4().map_err(cannot)?;
    socket.bind(SocketAddr::from((from, 0))).map_err(cannot)?;
    let stream = socket.connect(to.into()).await.map_err(cannot)?;
    Ok(BufReader::new(stream))
}

/// The part of a response's head that matters here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    status: u16,
    reason: String,
    location: Option<String>,
    length: Option<usize>,
    chunked: bool,
}

impl Head {
    /// Reads status line and header lines, without their ends.
    pub(super) fn read(lines: &[String]) -> Result<Self, String> {
        let (first, rest) = lines.split_first().ok_or("an empty answer")?;
        let mut parts = first.splitn(3, ' ');
        let version = parts.next().unwrap_or_default();
        let status =
            parts.next().and_then(|status| status.parse().ok()).filter(|status| (100..600).contains(status));
        let Some(status) = status.filter(|_| version.starts_with("HTTP/1.")) else {
            return Err(format!("an answer that is not HTTP: '{}'", shorten(first)));
        };
        let mut head = Self { status, reason: shorten(parts.next().unwrap_or_default()), ..Self::default() };
        for line in rest {
            let Some((name, value)) = line.split_once(':') else {
                return Err("a header line without a colon".to_owned());
            };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "location" => head.location = Some(value.to_owned()),
                "content-length" => {
                    let length =
                        value.parse().map_err(|_| "a Content-Length that is no number".to_owned())?;
                    if head.length.replace(length).is_some_and(|before| before != length) {
                        return Err("two different Content-Lengths".to_owned());
                    }
                }
                "transfer-encoding" => head.chunked = value.eq_ignore_ascii_case("chunked"),
                _ => {}
            }
        }
        Ok(head)
    }
}

async fn read_head(stream: &mut BufReader<TcpStream>) -> Result<Head, String> {
    loop {
        let mut lines = Vec::new();
        loop {
            let line = read_line(stream).await?;
            if line.is_empty() {
                break;
            }
            if lines.len() == LINES_MAX {
                return Err("a head without an end".to_owned());
            }
            lines.push(line);
        }
        let head = Head::read(&lines)?;
        // 100 Continue and the like come before the answer.
        if head.status >= 200 {
            return Ok(head);
        }
    }
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> Result<String, String> {
    let mut line = Vec::new();
    let read = stream.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await;
    read.map_err(|error| format!("cannot read the answer: {error}"))?;
    let Some(line) = line.strip_suffix(b"\n") else {
        return Err("the connection ended within the head".to_owned());
    };
    Ok(String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned())
}

async fn read_body(stream: &mut BufReader<TcpStream>, head: &Head) -> Result<Vec<u8>, String> {
    if matches!(head.status, 204 | 304) {
        return Ok(Vec::new());
    }
    if head.chunked {
        return read_chunks(stream).await;
    }
    let length = head.length.unwrap_or(FILE_BYTES_MAX + 1);
    if head.length.is_some() && length > FILE_BYTES_MAX {
        return Err(format!("a file of {length} bytes; {FILE_BYTES_MAX} is the most a phone takes"));
    }
    let mut body = Vec::new();
    let limit = u64::try_from(length).unwrap_or(u64::MAX);
    let read = stream.take(limit).read_to_end(&mut body).await;
    read.map_err(|error| format!("cannot read the file: {error}"))?;
    match head.length {
        Some(length) if body.len() < length => {
            Err(format!("{} of {length} bytes, then the connection ended", body.len()))
        }
        None if body.len() > FILE_BYTES_MAX => Err("a file without an end".to_owned()),
        _ => Ok(body),
    }
}

async fn read_chunks(stream: &mut BufReader<TcpStream>) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        let line = read_line(stream).await?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let length = usize::from_str_radix(digits, 16).map_err(|_| "a chunk without a length".to_owned())?;
        if length == 0 {
            while !read_line(stream).await?.is_empty() {}
            return Ok(body);
        }
        if length > FILE_BYTES_MAX.saturating_sub(body.len()) {
            return Err("a file without an end".to_owned());
        }
        let limit = u64::try_from(length).unwrap_or(u64::MAX);
        let before = body.len();
        let read = stream.take(limit).read_to_end(&mut body).await;
        read.map_err(|error| format!("cannot read the file: {error}"))?;
        if body.len() - before < length || !read_line(stream).await?.is_empty() {
            return Err("a chunk that is not as long as it says".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// Answers each connection with the next of these texts, and returns what was asked.
    async fn fetch(answers: &'static [&'static str], path: &str) -> (Result<Fetched, String>, Vec<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = Url::read(&format!("http://{}{path}", listener.local_addr().unwrap())).unwrap();
        let server = async {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 2048];
                let length = stream.read(&mut request).await.unwrap();
                asked.push(String::from_utf8_lossy(&request[..length]).into_owned());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        };
        tokio::join!(get(&url, Ipv4Addr::new(127, 0, 0, 9), "Phone 1"), server)
    }

    #[tokio::test]
    async fn a_request_looks_like_a_phones() {
        let (fetched, asked) =
            fetch(&["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef"], "/d/x.cfg?a=b").await;
        let fetched = fetched.unwrap();
        assert_eq!((fetched.status, fetched.body.as_slice()), (200, b"abc".as_slice()));
        let [request] = asked.as_slice() else { panic!("{asked:?}") };
        assert!(request.starts_with("GET /d/x.cfg?a=b HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
        assert!(request.ends_with("\r\nUser-Agent: Phone 1\r\nAccept: */*\r\n\r\n"), "{request}");
    }

    #[tokio::test]
    async fn every_way_to_end_a_body_is_understood() {
        for answer in [
            &["HTTP/1.0 200 OK\r\n\r\nhello"],
            &[
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nTrailer: z\r\n\r\n",
            ],
            &["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\nContent-Length: 5\n\nhello"],
        ] {
            assert_eq!(fetch(answer, "/").await.0.unwrap().body, b"hello", "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_followed() {
        let (fetched, _) = fetch(&["HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"], "/x").await;
        assert_eq!((fetched.as_ref().unwrap().status, fetched.unwrap().detail.as_str()), (404, "Not Found"));
        let (fetched, asked) = fetch(
            &[
                "HTTP/1.1 302 Found\r\nLocation: y.cfg\r\nContent-Length: 0\r\n\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\ny",
            ],
            "/a/x.cfg",
        )
        .await;
        assert_eq!(fetched.unwrap().body, b"y");
        assert!(asked[1].starts_with("GET /a/y.cfg "), "{asked:?}");
    }

    #[tokio::test]
    async fn a_broken_answer_is_told_from_a_file() {
        for (answer, reason) in [
            (&["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"], "3 of 9 bytes, then the connection ended"),
            (&["SIP/2.0 200 OK\r\n\r\n"], "an answer that is not HTTP: 'SIP/2.0 200 OK'"),
            (
                &["HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"],
                "a file of 99999999 bytes; 8388608 is the most a phone takes",
            ),
            (&["HTTP/1.1 200"], "the connection ended within the head"),
            (
                &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"],
                "a chunk that is not as long as it says",
            ),
            (
                &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"],
                "a file without an end",
            ),
        ] {
            assert_eq!(fetch(answer, "/").await.0.unwrap_err(), reason);
        }
    }
}
