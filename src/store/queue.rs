//! Questions that are answered together: whoever comes while a transaction is under way goes into the next one. A
//! commit waits for the disk, and ten thousand phones on one switch come at once.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::error::StoreError;

/// A question with the one who waits for its answer.
#[derive(Debug)]
pub(super) struct Waiting<Q, A> {
    pub(super) question: Q,
    reply: oneshot::Sender<Result<A, StoreError>>,
}

/// Who waits.
#[derive(Debug)]
pub(super) struct Queue<Q, A>(Mutex<Line<Q, A>>);

#[derive(Debug)]
struct Line<Q, A> {
    waiting: Vec<Waiting<Q, A>>,
    /// Whether somebody is about to take them.
    served: bool,
}

impl<Q, A> Default for Queue<Q, A> {
    fn default() -> Self {
        Self(Mutex::new(Line { waiting: Vec::new(), served: false }))
    }
}

impl<Q, A> Queue<Q, A> {
    /// Puts a question into the line. The second value says that nobody serves it: the caller has to see to it.
    pub(super) fn push(&self, question: Q) -> (oneshot::Receiver<Result<A, StoreError>>, bool) {
        let (reply, answer) = oneshot::channel();
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.waiting.push(Waiting { question, reply });
        let idle = !line.served;
        line.served = true;
        (answer, idle)
    }

    /// The first of the line, at most so many, without those who have gone. With nobody left, whoever serves the line
    /// is done.
    pub(super) fn take(&self, most: usize) -> Vec<Waiting<Q, A>> {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.waiting.retain(|waiting| !waiting.reply.is_closed());
        let rest = line.waiting.len().min(most);
        let taken: Vec<_> = line.waiting.drain(..rest).collect();
        line.served = !taken.is_empty();
        taken
    }
}

impl<Q, A> Waiting<Q, A> {
    /// Whether somebody still wants the answer.
    pub(super) fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    /// Answers. Nobody waits any more when the question was given up; the phone asks again.
    pub(super) fn answer(self, answer: Result<A, StoreError>) {
        let _ = self.reply.send(answer);
    }
}

/// The failure of all who waited together.
pub(super) fn fail<Q, A>(waiting: Vec<Waiting<Q, A>>, error: StoreError) {
    let error = Arc::new(error);
    for one in waiting {
        one.answer(Err(StoreError::Shared(Arc::clone(&error))));
    }
}
