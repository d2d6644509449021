//! Requests for the user menu: the one thing here with a query and a credential. The desk decides.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Request, Response};

use super::super::decide::{Verb, reply, unauthorized};
use super::{Connection, Silence};
use crate::provision::{Answer, FileRequest, MenuAnswer, MenuRequest};

impl Connection {
    /// The answer to a request for a page.
    pub(super) async fn menu(
        &self,
        verb: Verb,
        file: &FileRequest,
        request: &Request<Incoming>,
    ) -> Result<Response<Bytes>, Silence> {
        let uri = request.uri();
        let asked = MenuRequest {
            file,
            query: uri.query().unwrap_or_default(),
            method: request.method().as_str(),
            target: uri.path_and_query().map_or_else(|| uri.path(), |both| both.as_str()),
            authorization: request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()),
        };
        match self.shared.desk.menu(&asked).await {
            MenuAnswer::Given(Answer::Silence) => Err(Silence),
            MenuAnswer::Given(answer) => Ok(reply(verb, request.headers(), answer)),
            MenuAnswer::Unauthorized(challenges) => Ok(unauthorized(verb, &challenges)),
        }
    }
}
