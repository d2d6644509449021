//! A request that changes something, done once where it has an Idempotency-Key: the key is committed with what it does,
//! so that neither two requests at once, nor two agents on one database, nor an agent that was killed do it twice.

use super::Shared;
use super::access::Caller;
use super::answer::{Answer, Problem};
use super::ask::Conditions;
use crate::device::Mac;
use crate::operate::Failure;
use crate::store::{Condition, Earlier, Once, Store, StoreError};

/// A deed that is asked for.
pub(super) struct Deed {
    /// Where it is done: under the request's conditions, and with its caller in the audit.
    pub(super) store: Store,
    shared: Shared,
    once: Option<Once>,
    done: bool,
}

/// How a request goes on.
pub(super) enum Begun {
    /// It is to be done, or was done and has no answer yet.
    Deed(Deed),
    /// It was done, and this was the answer.
    Answered(Answer),
}

impl Deed {
    /// Looks whether this was done before. `mac`: the phone that If-Match is about.
    pub(super) async fn begin(
        shared: &Shared,
        caller: &Caller,
        conditions: Conditions,
        mac: Option<Mac>,
    ) -> Result<Begun, Problem> {
        let store = caller.store(shared);
        let Conditions { method, path, body, key, .. } = &conditions;
        let once = key.as_ref().map(|key| Once::new(&caller.token.id, key, &[method, path, body]));
        let earlier = match &once {
            Some(once) => store.done_before(once).await?,
            None => None,
        };
        if let Some(Earlier(Some(answered))) = earlier {
            return Ok(Begun::Answered(Answer::again(answered)));
        }
        let condition = Condition { once: once.clone(), unchanged: mac.zip(conditions.versions) };
        let done = earlier.is_some();
        Ok(Begun::Deed(Self { store: store.on_condition(condition), shared: shared.clone(), once, done }))
    }

    /// Whether it is still to be done.
    pub(super) fn is_due(&self) -> bool {
        !self.done
    }

    /// It is done now; `None`: somebody else did it at the same moment.
    pub(super) fn did<T>(&self, outcome: Result<T, StoreError>) -> Result<Option<T>, Failure> {
        match outcome {
            Ok(done) => {
                self.shared.poke();
                Ok(Some(done))
            }
            Err(StoreError::Repeated) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps the answer for whoever asks again.
    pub(super) async fn answered(self, answer: Answer) -> Result<Answer, Problem> {
        if let Some(once) = &self.once
            && let Err(error) = self.store.remember(once, &answer.kept()).await
        {
            // It is done; asked for again, it gets an answer of that moment.
            tracing::debug!("Cannot remember the answer to a request: {error}");
        }
        Ok(answer)
    }
}
