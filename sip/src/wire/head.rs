//! The index of a message: where each header is in its one buffer (RFC 3261 §7.3).
//!
//! Folded lines are unfolded in place: the CR LF before white space becomes two spaces, so that
//! each value is one slice. What a message cannot be without (Via, From, To, Call-ID, CSeq) is
//! found and checked here once, with the headers whose misreading would send something to a
//! wrong place (Contact, Route, Record-Route).

use memchr::{memchr, memchr2, memmem};

use super::{
    CSeq, Fault, HeaderName, Method, NameAddr, Via,
    name_addr::AddrSpans,
    scan::{Commas, Span, VALUE_BYTES_MAX, is_space, is_token, number, trim, trimmed},
    via::ViaSpans,
};

/// The largest message that is read, in bytes: what a UDP datagram can carry over IPv4, all of
/// which must be read (RFC 3261 §18.1.1). On a stream, what is longer is answered with 513 and
/// the connection closed.
pub const MESSAGE_BYTES_MAX: usize = 65_507;

/// The longest start line and headers together, in bytes; longer ones are answered with 513. An
/// answer repeats most of them and adds a little, and must fit into a datagram, too.
pub const HEAD_BYTES_MAX: usize = 60_000;

/// The most header lines that are read. The longest message of RFC 4475 has 34; more than these
/// are an attack on who walks through them, and answered with 513.
pub const HEADER_LINES_MAX: usize = 256;

/// The most Vias that are read: Max-Forwards allows 70 hops where nobody changed it. More are
/// answered with 513.
pub const VIAS_MAX: usize = 128;

/// The longest essential header, in bytes: half of what a builder takes, so that a tag or the
/// like can be added in an answer. A longer one is answered with 513.
const ESSENTIAL_BYTES_MAX: usize = VALUE_BYTES_MAX / 2;

/// The largest number of a CSeq (RFC 3261 §8.1.1.5).
pub(super) const CSEQ_MAX: u32 = (1 << 31) - 1;

/// A message's headers and body.
#[derive(Clone, Debug)]
pub struct Head {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: Vec<Line>,
    pub(super) body_start: usize,
    pub(super) essentials: Essentials,
}

/// One header line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) name: HeaderName,
    pub(super) name_span: Span,
    pub(super) value: Span,
}

/// What each message has, found and checked.
#[derive(Clone, Debug)]
pub(super) struct Essentials {
    via: (Span, ViaSpans),
    from: (Span, AddrSpans),
    to: (Span, AddrSpans),
    call_id: Span,
    cseq: CSeq,
}

impl Head {
    /// Checks the essentials of an indexed buffer and takes it.
    pub(super) fn new(
        bytes: Vec<u8>,
        lines: Vec<Line>,
        body_start: usize,
    ) -> Result<Self, Rejected> {
        match Essentials::find(&bytes, &lines) {
            Ok(essentials) => Ok(Self { bytes, lines, body_start, essentials }),
            Err(fault) => Err(Rejected { fault, bytes, lines }),
        }
    }

    /// The first value of a header, unfolded, without white space round it. Comma-joined values
    /// are not taken apart: see [`Head::values`].
    pub fn header(&self, name: HeaderName) -> Option<&[u8]> {
        self.lines_of(name).next()
    }

    /// As [`Head::header`]; none, too, when the value is not UTF-8.
    pub fn header_str(&self, name: HeaderName) -> Option<&str> {
        std::str::from_utf8(self.header(name)?).ok()
    }

    /// The first value of a header by its name in any case, also of one that is not in
    /// [`HeaderName`].
    pub fn header_named(&self, name: &str) -> Option<&[u8]> {
        self.headers().find(|(_, its, _)| its.eq_ignore_ascii_case(name)).map(|(_, _, value)| value)
    }

    /// All lines in their order: known name, name as it came, value.
    pub fn headers(&self) -> impl Iterator<Item = (HeaderName, &str, &[u8])> {
        self.lines
            .iter()
            .map(|line| (line.name, line.name_span.text(&self.bytes), line.value.of(&self.bytes)))
    }

    /// The lines of one header, as they came.
    pub fn lines_of(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.lines
            .iter()
            .filter(move |line| line.name == name)
            .map(|line| line.value.of(&self.bytes))
    }

    /// The values of one header: of all its lines, taken apart at commas, empty ones left out.
    pub fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        let parts = |line| Commas::of(line).map(move |range| &line[range]);
        self.lines_of(name).flat_map(parts).filter(|value: &&[u8]| !value.is_empty())
    }

    /// Whether a list of tokens (Supported, Require, Allow …) has this one, in any case.
    pub fn lists(&self, name: HeaderName, token: &str) -> bool {
        self.values(name).any(|value| value.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// The topmost Via.
    pub fn via_top(&self) -> Via {
        let (place, spans) = self.essentials.via;
        Via::from_spans(place.of(&self.bytes), spans)
    }

    /// The topmost Via's branch.
    pub fn branch(&self) -> Option<&str> {
        let (place, spans) = &self.essentials.via;
        spans.branch(place.of(&self.bytes))
    }

    /// All Vias, topmost first, as they came.
    pub fn vias(&self) -> impl Iterator<Item = &[u8]> {
        self.values(HeaderName::Via)
    }

    /// From.
    pub fn from(&self) -> NameAddr {
        let (place, spans) = self.essentials.from;
        NameAddr::from_spans(place.of(&self.bytes), spans)
    }

    /// To.
    pub fn to(&self) -> NameAddr {
        let (place, spans) = self.essentials.to;
        NameAddr::from_spans(place.of(&self.bytes), spans)
    }

    /// From's tag; RFC 2543 peers send none.
    pub fn from_tag(&self) -> Option<&str> {
        let (place, spans) = &self.essentials.from;
        spans.tag(place.of(&self.bytes))
    }

    /// To's tag: there is one within a dialog.
    pub fn to_tag(&self) -> Option<&str> {
        let (place, spans) = &self.essentials.to;
        spans.tag(place.of(&self.bytes))
    }

    /// Call-ID.
    pub fn call_id(&self) -> &str {
        self.essentials.call_id.text(&self.bytes)
    }

    /// CSeq.
    pub fn cseq(&self) -> &CSeq {
        &self.essentials.cseq
    }

    /// The addresses of an address-list header, in their order. `*` is none.
    pub fn addresses(&self, name: HeaderName) -> Vec<NameAddr> {
        self.values(name).filter_map(|value| NameAddr::parse(value).ok()).collect()
    }

    /// The Contacts. `Contact: *` is none: see [`Head::has_star_contact`].
    pub fn contacts(&self) -> Vec<NameAddr> {
        self.addresses(HeaderName::Contact)
    }

    /// The first Contact: the remote target within a dialog.
    pub fn contact(&self) -> Option<NameAddr> {
        self.values(HeaderName::Contact).find_map(|value| NameAddr::parse(value).ok())
    }

    /// Whether a Contact is `*` (RFC 3261 §10.2.2).
    pub fn has_star_contact(&self) -> bool {
        self.values(HeaderName::Contact).any(|value| value == b"*")
    }

    /// Record-Route, topmost first.
    pub fn record_routes(&self) -> Vec<NameAddr> {
        self.addresses(HeaderName::RecordRoute)
    }

    /// Route, topmost first.
    pub fn routes(&self) -> Vec<NameAddr> {
        self.addresses(HeaderName::Route)
    }

    /// Max-Forwards.
    pub fn max_forwards(&self) -> Option<u8> {
        number(self.header(HeaderName::MaxForwards)?, 255).map(|hops| hops as u8)
    }

    /// Expires in seconds; none when it is missing or no number of 32 bits.
    pub fn expires(&self) -> Option<u32> {
        number(self.header(HeaderName::Expires)?, u32::MAX)
    }

    /// The body: as many bytes as Content-Length says.
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.body_start..]
    }

    /// Content-Type, with its parameters.
    pub fn content_type(&self) -> Option<&str> {
        self.header_str(HeaderName::ContentType)
    }

    /// Whether the body is of this type, `application/sdp` say, whatever its parameters.
    pub fn has_content_type(&self, media_type: &str) -> bool {
        let value = self.header(HeaderName::ContentType).unwrap_or_default();
        media_type_is(value, media_type)
    }

    /// The whole message, ready to be sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The whole message, ready to be sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }
}

/// Whether a Content-Type or Accept value names this type. White space round `/` is allowed.
pub(super) fn media_type_is(value: &[u8], media_type: &str) -> bool {
    let end = value.iter().position(|&byte| byte == b';').unwrap_or(value.len());
    let mut parts = value[..end].splitn(2, |&byte| byte == b'/').map(trim);
    let mut wanted = media_type.as_bytes().splitn(2, |&byte| byte == b'/');
    let same = |one: Option<&[u8]>, two: Option<&[u8]>| match (one, two) {
        (Some(one), Some(two)) => one.eq_ignore_ascii_case(two),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    same(parts.next(), wanted.next()) && same(parts.next(), wanted.next())
}

/// A buffer that is no message, with what was found until then.
#[derive(Debug)]
pub(super) struct Rejected {
    pub(super) fault: Fault,
    pub(super) bytes: Vec<u8>,
    pub(super) lines: Vec<Line>,
}

impl Rejected {
    /// A buffer that is refused for something else than its head.
    pub(super) fn of(head: Result<Head, Self>, fault: Fault) -> Self {
        match head {
            Ok(Head { bytes, lines, .. }) => Self { fault, bytes, lines },
            Err(rejected) => Self { fault, ..rejected },
        }
    }
}

/// Indexes the header lines that begin at `start`, unfolding them, and says where the body
/// begins. A bad line is a fault, but those round it are kept: they are needed to answer it.
pub(super) fn index(bytes: &mut [u8], start: usize, lines: &mut Vec<Line>) -> Result<usize, Fault> {
    let (mut at, mut fault) = (start, None);
    while !bytes[at..].starts_with(b"\r\n") {
        let end = match line_end(bytes, at) {
            Ok(end) => end,
            Err(Unended::Never) => return Err(fault.unwrap_or(Fault::Unfinished)),
            Err(Unended::Broken { end }) => {
                fault = Some(Fault::HeaderLine);
                at = end + 2;
                continue;
            }
        };
        if lines.len() == HEADER_LINES_MAX {
            return Err(Fault::TooLarge);
        }
        match line(bytes, at, end) {
            Some(line) => lines.push(line),
            None => fault = Some(Fault::HeaderLine),
        }
        at = end + 2;
    }
    fault.map_or(Ok(at + 2), Err)
}

/// Why a line has no end.
enum Unended {
    /// The buffer ends before it.
    Never,
    /// A lone CR or LF is in it. It ends at `end` all the same.
    Broken { end: usize },
}

/// Where the line that begins at `start` ends, before its CR LF. Folds become spaces.
fn line_end(bytes: &mut [u8], start: usize) -> Result<usize, Unended> {
    let mut at = start;
    loop {
        let end = at + memchr2(b'\r', b'\n', &bytes[at..]).ok_or(Unended::Never)?;
        match bytes[end..] {
            [b'\r', b'\n', next, ..] if is_space(next) => {
                bytes[end] = b' ';
                bytes[end + 1] = b' ';
                at = end + 2;
            }
            [b'\r', b'\n', ..] => return Ok(end),
            _ => {
                let rest = memmem::find(&bytes[end..], b"\r\n").ok_or(Unended::Never)?;
                return Err(Unended::Broken { end: end + rest });
            }
        }
    }
}

/// `name *WSP ":" value` (RFC 3261 §7.3.1).
fn line(bytes: &[u8], start: usize, end: usize) -> Option<Line> {
    let colon = start + memchr(b':', &bytes[start..end])?;
    let name_end = trimmed(bytes, start..colon).end;
    let name = bytes.get(start..name_end).filter(|name| is_token(name))?;
    let value = trimmed(bytes, colon + 1..end);
    Some(Line {
        name: HeaderName::from_bytes(name),
        name_span: Span::new(start, name_end),
        value: Span::new(value.start, value.end),
    })
}

/// Content-Length, when there is one; digits only.
pub(super) fn content_length(bytes: &[u8], lines: &[Line]) -> Result<Option<usize>, Fault> {
    const NAME: HeaderName = HeaderName::ContentLength;
    let mut all = lines.iter().filter(|line| line.name == NAME);
    let Some(first) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(Fault::Repeated(NAME));
    }
    match number(first.value.of(bytes), u32::MAX) {
        Some(length) => Ok(Some(length as usize)),
        None => Err(Fault::Header(NAME)),
    }
}

/// What answers and later requests repeat. Vias have their own limits.
const ESSENTIAL: [HeaderName; 4] =
    [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq];

/// Essentials while they are looked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    via: Option<(Span, ViaSpans)>,
    from: Option<(Span, AddrSpans)>,
    to: Option<(Span, AddrSpans)>,
    call_id: Option<Span>,
    cseq: Option<CSeq>,
    max_forwards: Option<u32>,
    vias: usize,
}

impl Essentials {
    fn find(bytes: &[u8], lines: &[Line]) -> Result<Self, Fault> {
        let mut found = Found::default();
        for line in lines {
            let is_long = line.value.range().len() > ESSENTIAL_BYTES_MAX;
            if is_long && ESSENTIAL.contains(&line.name) {
                return Err(Fault::TooLarge);
            }
            found.take(bytes, *line)?;
        }
        found.finish()
    }
}

impl Found {
    /// All of them, or what is missing.
    pub(super) fn finish(self) -> Result<Essentials, Fault> {
        let missing = |name| move || Fault::Missing(name);
        Ok(Essentials {
            via: self.via.ok_or_else(missing(HeaderName::Via))?,
            from: self.from.ok_or_else(missing(HeaderName::From))?,
            to: self.to.ok_or_else(missing(HeaderName::To))?,
            call_id: self.call_id.ok_or_else(missing(HeaderName::CallId))?,
            cseq: self.cseq.ok_or_else(missing(HeaderName::CSeq))?,
        })
    }

    /// The same when `by` bytes are put before the buffer.
    pub(super) fn move_by(&mut self, by: usize) {
        let places = [
            self.via.as_mut().map(|(place, _)| place),
            self.from.as_mut().map(|(place, _)| place),
            self.to.as_mut().map(|(place, _)| place),
            self.call_id.as_mut(),
        ];
        for place in places.into_iter().flatten() {
            *place = place.moved(by);
        }
    }

    /// Looks at one line more. After a fault nothing is taken of it.
    #[expect(clippy::wildcard_enum_match_arm, reason = "any other header is kept unread")]
    pub(super) fn take(&mut self, bytes: &[u8], line: Line) -> Result<(), Fault> {
        let value = line.value.of(bytes);
        let malformed = || Fault::Header(line.name);
        match line.name {
            HeaderName::Via => self.take_via(bytes, line),
            HeaderName::From => {
                let spans = AddrSpans::parse(value).ok_or_else(malformed)?;
                once(&mut self.from, (line.value, spans), line.name)
            }
            HeaderName::To => {
                let spans = AddrSpans::parse(value).ok_or_else(malformed)?;
                once(&mut self.to, (line.value, spans), line.name)
            }
            HeaderName::CallId => {
                let is_id = !value.is_empty() && value.iter().all(u8::is_ascii_graphic);
                let place = is_id.then_some(line.value).ok_or_else(malformed)?;
                once(&mut self.call_id, place, line.name)
            }
            HeaderName::CSeq => once(&mut self.cseq, cseq(value).ok_or_else(malformed)?, line.name),
            HeaderName::MaxForwards => {
                let hops = number(value, 255).ok_or_else(malformed)?;
                once(&mut self.max_forwards, hops, line.name)
            }
            HeaderName::Contact if value == b"*" => Ok(()),
            HeaderName::Contact | HeaderName::Route | HeaderName::RecordRoute => {
                let is_address = |range| AddrSpans::parse(&value[range]).is_some();
                Commas::of(value).all(is_address).then_some(()).ok_or_else(malformed)
            }
            _ => Ok(()),
        }
    }

    /// Each Via must be one; the first of them is the topmost.
    fn take_via(&mut self, bytes: &[u8], line: Line) -> Result<(), Fault> {
        let (value, mut first) = (line.value.of(bytes), None);
        for range in Commas::of(value) {
            let text = &value[range.clone()];
            let spans = ViaSpans::parse(text).ok_or(Fault::Header(HeaderName::Via))?;
            let place = Span::new(range.start, range.end).moved(line.value.range().start);
            first.get_or_insert((place, spans));
            self.vias += 1;
            if self.vias > VIAS_MAX {
                return Err(Fault::TooLarge);
            }
        }
        self.via = self.via.or(first);
        Ok(())
    }
}

fn once<T>(slot: &mut Option<T>, value: T, name: HeaderName) -> Result<(), Fault> {
    if slot.is_some() {
        return Err(Fault::Repeated(name));
    }
    *slot = Some(value);
    Ok(())
}

/// `number LWS method` (RFC 3261 §20.16).
fn cseq(value: &[u8]) -> Option<CSeq> {
    let space = value.iter().position(|&byte| is_space(byte))?;
    let number = number(&value[..space], CSEQ_MAX)?;
    let method = trim(&value[space..]);
    let token = is_token(method).then(|| std::str::from_utf8(method).ok())??;
    Some(CSeq { number, method: Method::from_token(token) })
}
