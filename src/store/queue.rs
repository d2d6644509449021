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
        self.take_until(|taken, _| taken >= most)
    }

    /// The same until `is_enough` says so of the number of those taken and the question that comes next.
    pub(super) fn take_until(&self, mut is_enough: impl FnMut(usize, &Q) -> bool) -> Vec<Waiting<Q, A>> {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.waiting.retain(|waiting| !waiting.reply.is_closed());
        let mut each = line.waiting.iter().enumerate();
        let end = each.find(|(at, waiting)| is_enough(*at, &waiting.question)).map(|(at, _)| at);
        let end = end.unwrap_or(line.waiting.len());
        let taken: Vec<_> = line.waiting.drain(..end).collect();
        line.served = !taken.is_empty();
        taken
    }
}

/// Held by whoever serves the line. Should its task end before the line is empty, in a panic, the next who comes is
/// told that nobody serves it.
pub(super) struct Serving<'q, Q, A>(&'q Queue<Q, A>, bool);

impl<Q, A> Queue<Q, A> {
    /// Begins to serve the line.
    pub(super) fn serving(&self) -> Serving<'_, Q, A> {
        Serving(self, false)
    }
}

impl<Q, A> Serving<'_, Q, A> {
    /// Nobody is left, as [`Queue::take`] has found.
    pub(super) fn done(mut self) {
        self.1 = true;
    }
}

impl<Q, A> Drop for Serving<'_, Q, A> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.0.lock().unwrap_or_else(PoisonError::into_inner).served = false;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_whose_server_died_is_served_by_the_next_who_comes() {
        let queue = Queue::<u8, u8>::default();
        let (_first, idle) = queue.push(1);
        assert!(idle);
        drop(queue.serving());
        let (_second, idle) = queue.push(2);
        assert!(idle, "nobody serves it any more");
        let serving = queue.serving();
        assert_eq!(queue.take(9).len(), 2);
        assert!(!queue.push(3).1, "it is being served");
        assert_eq!(queue.take(9).len(), 0, "who has gone is not in it");
        serving.done();
        assert!(queue.push(4).1);
    }
}
