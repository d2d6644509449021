//! Multicast plug and play from the phone's side: sends the SUBSCRIBE until somebody answers, waits for the NOTIFY from
//! whatever port, answers it, and goes on answering while the phone lives.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

use super::habits::Habits;
use super::notify::{self, judge_success};
use super::report::{Diary, Failure, StepKind};
use super::sip::{DATAGRAM_BYTES_MAX, Message, Start, respond};
use super::spec::PhoneSpec;
use super::subscribe::{Draws, Subscription};
use super::url::Url;

/// RFC 3261 timer E: the first repetition, doubled up to the second.
const REPEAT_FIRST: Duration = Duration::from_millis(500);
const REPEAT_LAST: Duration = Duration::from_secs(4);

/// The phone's SIP socket with its SUBSCRIBE.
pub(super) struct Discovery {
    socket: UdpSocket,
    subscription: Subscription,
    to: SocketAddr,
    patience: Duration,
    buffer: Vec<u8>,
    accepted: Option<Message>,
}

impl Discovery {
    /// Opens the socket on this address, on the port that these phones use if it is free.
    pub(super) fn open(
        spec: &PhoneSpec,
        habits: &Habits,
        address: Ipv4Addr,
        to: SocketAddr,
    ) -> Result<Self, Failure> {
        let cannot = |error: String| {
            Failure::new(StepKind::Start, format!("cannot open a SIP socket on {address}: {error}"))
        };
        let socket = match open_socket(SocketAddrV4::new(address, habits.sip_port)) {
            Ok(socket) => socket,
            Err(_) => {
                open_socket(SocketAddrV4::new(address, 0)).map_err(|error| cannot(error.to_string()))?
            }
        };
        let local = match socket.local_addr().map_err(|error| cannot(error.to_string()))? {
            SocketAddr::V4(local) => local,
            SocketAddr::V6(local) => return Err(cannot(format!("{local} is not IPv4"))),
        };
        let draw = || spec.entropy.bytes().map(u32::from_be_bytes).map_err(|error| cannot(error.to_string()));
        let draws = Draws { tag: draw()?, call: draw()? };
        let Some(subscription) = Subscription::new(habits, local, draws) else {
            return Err(Failure::new(
                StepKind::Subscribe,
                "these phones do not ask by multicast: give them a URL",
            ));
        };
        let patience = spec.patience.subscribe;
        Ok(Self { socket, subscription, to, patience, buffer: vec![0; DATAGRAM_BYTES_MAX], accepted: None })
    }

    /// The URL of the NOTIFY.
    pub(super) async fn url(&mut self, diary: &mut Diary<'_>) -> Result<String, Failure> {
        let deadline = diary.now() + self.patience;
        let mut repeat = REPEAT_FIRST;
        self.send(diary, "SUBSCRIBE").await?;
        let mut next_send = diary.now() + repeat;
        loop {
            let wake = if self.accepted.is_some() { deadline } else { deadline.min(next_send) };
            let heard = self.receive(diary.now(), wake).await?;
            match heard {
                Some((message, from)) => {
                    if let Some(url) = self.hear(&message, from, diary).await? {
                        return Ok(url);
                    }
                }
                None if diary.now() >= deadline => return Err(self.nobody()),
                None if self.accepted.is_none() && diary.now() >= next_send => {
                    repeat = (repeat * 2).min(REPEAT_LAST);
                    next_send = diary.now() + repeat;
                    self.send(diary, "SUBSCRIBE again").await?;
                }
                None => {}
            }
        }
    }

    /// Answers repeated NOTIFYs (the first answer may have been lost) and OPTIONS, for as long as it is polled.
    pub(super) async fn keep_answering(&mut self) -> Infallible {
        loop {
            let Ok((length, from)) = self.socket.recv_from(&mut self.buffer).await else {
                std::future::pending::<()>().await;
                continue;
            };
            let message = Message::read(self.buffer.get(..length).unwrap_or_default());
            if let Some(message) = message.filter(|message| matches!(message.start, Start::Request { .. })) {
                let _ = self.answer(&message, from).await;
            }
        }
    }

    async fn send(&self, diary: &mut Diary<'_>, what: &str) -> Result<(), Failure> {
        let sent = self.socket.send_to(&self.subscription.bytes, self.to).await;
        sent.map_err(|error| {
            Failure::new(StepKind::Subscribe, format!("cannot send to {}: {error}", self.to))
        })?;
        let local = self.socket.local_addr().map(|local| local.to_string()).unwrap_or_default();
        diary.note(StepKind::Subscribe, format!("{what} from {local} to {}", self.to));
        Ok(())
    }

    /// The next SIP message until `wake`; what is not SIP is skipped.
    async fn receive(
        &mut self,
        now: Instant,
        wake: Instant,
    ) -> Result<Option<(Message, SocketAddr)>, Failure> {
        let wait = wake.saturating_duration_since(now);
        match tokio::time::timeout(wait, self.socket.recv_from(&mut self.buffer)).await {
            Err(_) => Ok(None),
            // An ICMP refusal of an earlier datagram: the server may not be up yet.
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(None),
            Ok(Err(error)) => Err(Failure::new(StepKind::Subscribe, format!("cannot receive: {error}"))),
            Ok(Ok((length, from))) => {
                Ok(Message::read(self.buffer.get(..length).unwrap_or_default())
                    .map(|message| (message, from)))
            }
        }
    }

    async fn hear(
        &mut self,
        message: &Message,
        from: SocketAddr,
        diary: &mut Diary<'_>,
    ) -> Result<Option<String>, Failure> {
        let Start::Request { method, .. } = &message.start else {
            self.hear_answer(message, from, diary);
            return Ok(None);
        };
        let answered = self.answer(message, from).await;
        answered.map_err(|error| Failure::new(StepKind::Notify, format!("cannot answer {from}: {error}")))?;
        if method != "NOTIFY" {
            diary.note(StepKind::Answer, format!("{method} from {from}"));
            return Ok(None);
        }
        let notified = notify::judge(message, &self.subscription, self.accepted.as_ref());
        for remark in notified.remarks {
            diary.remark(remark);
        }
        match notified.url {
            Ok(url) => {
                let shown = Url::read(&url).map_or_else(|_| url.clone(), |read| read.for_people());
                diary.note(StepKind::Notify, format!("{shown} from {from}, answered"));
                diary.report.subscribed = true;
                diary.report.url = Some(url.clone());
                Ok(Some(url))
            }
            Err(reason) => {
                diary.remark(format!("NOTIFY with {reason}"));
                Ok(None)
            }
        }
    }

    fn hear_answer(&mut self, message: &Message, from: SocketAddr, diary: &mut Diary<'_>) {
        let Some(code) = message.responds_to(&self.subscription.call_id, "SUBSCRIBE") else { return };
        diary.note(StepKind::Answer, format!("{code} from {from}"));
        if (200..300).contains(&code) {
            for remark in judge_success(message, &self.subscription) {
                diary.remark(remark);
            }
            diary.report.subscribed = true;
            self.accepted.get_or_insert_with(|| message.clone());
        } else if code >= 300 {
            diary.remark(format!("somebody else answers SUBSCRIBEs here: {code} from {from}"));
        }
    }

    async fn answer(&self, request: &Message, from: SocketAddr) -> std::io::Result<()> {
        let Start::Request { method, .. } = &request.start else { return Ok(()) };
        let status = match method.as_str() {
            "NOTIFY" | "OPTIONS" => "200 OK",
            "ACK" => return Ok(()),
            _ => "405 Method Not Allowed",
        };
        let contact = format!("<{}>", self.subscription.contact);
        let mut more = vec![("Contact", contact.as_str())];
        more.extend(self.subscription.user_agent.as_deref().map(|agent| ("User-Agent", agent)));
        self.socket.send_to(&respond(request, status, "", &more), from).await.map(drop)
    }

    fn nobody(&self) -> Failure {
        let seconds = self.patience.as_secs_f32();
        if self.accepted.is_some() {
            Failure::new(StepKind::Notify, format!("answered, but no NOTIFY with a URL within {seconds} s"))
        } else {
            Failure::new(StepKind::Subscribe, format!("nobody answered within {seconds} s"))
        }
    }
}

/// A socket that sends multicast out of its own address, one hop far, as phones do.
fn open_socket(local: SocketAddrV4) -> std::io::Result<UdpSocket> {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::V4(local).into())?;
    socket.set_multicast_if_v4(local.ip())?;
    socket.set_multicast_ttl_v4(1)?;
    socket.set_multicast_loop_v4(true)?;
    UdpSocket::from_std(socket.into())
}
