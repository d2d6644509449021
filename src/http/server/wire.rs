//! The connection's stream as hyper sees it; every octet that passes sets the connection's pace.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Connection;

/// The stream of a connection, shared with it, because the connection outlives hyper's use of it: the last
/// acknowledgement comes after the last octet.
pub(super) struct Wire(pub(super) Arc<Connection>);

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let connection = &self.0;
        loop {
            ready!(connection.stream.poll_read_ready(context))?;
            match connection.stream.try_read_buf(buffer) {
                Ok(octets) => {
                    if octets > 0 {
                        connection.progress().pace.received(connection.now());
                    }
                    connection.heard();
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let connection = &self.0;
        loop {
            ready!(connection.stream.poll_write_ready(context))?;
            match connection.stream.try_write_vectored(slices) {
                Ok(octets) => {
                    connection.progress().pace.wrote(octets, connection.now());
                    return Poll::Ready(Ok(octets));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Hyper flushes when it has nothing left to write; the kernel has it all by then.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut progress = self.0.progress();
        if progress.body_taken {
            progress.pace.finished(self.0.now());
            if let Some(delivery) = &mut progress.delivery {
                delivery.is_out = true;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&self.0.stream).shutdown(std::net::Shutdown::Write))
    }
}
