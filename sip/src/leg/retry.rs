//! Once more with what was missing: credentials (RFC 3261 §22, RFC 7616) or a longer session
//! interval (RFC 4028 §7.4).

use super::{
    compose,
    line::{Heard, Line},
    session,
};
use crate::{
    auth,
    dialog::push_line,
    transaction::Moment,
    wire::{HeaderName, Method, Request, RequestBuilder, Response, Via},
};

/// What another attempt may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    /// The least session interval that was asked for, seconds.
    pub(super) min_se: u32,
}

/// Sends the request again with this CSeq in a new transaction. Says whether there was something
/// to add to it: credentials that were refused are not tried twice.
pub(super) fn again(
    now: Moment,
    line: &mut Line,
    answer: (&Heard, &Response),
    with: (u32, Retry),
) -> bool {
    let (heard, response) = answer;
    let (cseq, retry) = with;
    let Some(request) = &heard.request else { return false };
    let branch = line.next_branch();
    let via = compose::via(&line.identity, heard.peer.transport, &branch);
    let Ok(via) = Via::parse(via.as_bytes()) else { return false };
    let builder = RequestBuilder::again(request, &via, cseq);
    let changed = if response.status() == 422 {
        longer(builder, request, retry.min_se)
    } else {
        authorized(builder, line, (request, response))
    };
    let Some(builder) = changed else { return false };
    let news = super::line::News { cseq, ..heard.news };
    line.start(now, news, &branch, (heard.peer, builder.build().to_bytes()));
    true
}

fn longer(builder: RequestBuilder, request: &Request, min_se: u32) -> Option<RequestBuilder> {
    let value = request.header_str(HeaderName::SessionExpires)?;
    let longer = session::at_least(value, min_se)?;
    Some(
        builder
            .replace(HeaderName::SessionExpires, longer)
            .replace(HeaderName::MinSe, min_se.to_string()),
    )
}

fn authorized(
    mut builder: RequestBuilder,
    line: &mut Line,
    exchange: (&Request, &Response),
) -> Option<RequestBuilder> {
    let (request, response) = exchange;
    let challenges = auth::challenges(response);
    let refused = |challenge: &auth::Challenge| {
        let header = if challenge.proxy {
            HeaderName::ProxyAuthorization
        } else {
            HeaderName::Authorization
        };
        request.header(header).is_some() && !challenge.stale
    };
    if challenges.is_empty() || challenges.iter().any(refused) {
        return None;
    }
    let credentials = line.credentials.clone()?;
    let cnonce = line.cnonce();
    let (method, uri) = (request.method(), request.uri());
    let mut lines = Vec::new();
    let mut written = Vec::new();
    for challenge in &challenges {
        let (name, value) = {
            let once = auth::Use { cnonce: &cnonce, count: 1 };
            challenge.answer(&credentials, method, &uri, once)
        };
        push_line(&mut lines, name.as_str(), value.as_bytes());
        builder = if written.contains(&name) {
            builder.header(name, value)
        } else {
            builder.replace(name, value)
        };
        written.push(name);
    }
    if *method == Method::Invite {
        line.authorization = lines;
    }
    Some(builder)
}
