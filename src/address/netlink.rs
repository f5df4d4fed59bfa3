//! The few messages of route netlink that add, delete and list addresses (rtnetlink(7)).
//!
//! Owns the bytes, in the machine's byte order as the kernel wants them. Opens no socket, and
//! reads nothing but what the kernel wrote, which it trusts no further than its lengths.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const GETADDR: u16 = 22;
const ERROR: u16 = 2;
const DONE: u16 = 3;

const REQUEST: u16 = 0x001;
const ACKNOWLEDGE: u16 = 0x004;
const REPLACE: u16 = 0x100;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;
/// The list changed while it was read.
const DUMP_INTERRUPTED: u16 = 0x010;

const FAMILY_ANY: u8 = 0;
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 10;

const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const CACHEINFO: u16 = 6;
const FLAGS: u16 = 8;

/// No duplicate address detection: it would keep the address unusable for a second, and the
/// holder that is asked may be frozen with its kernel still answering.
const NO_DAD: u32 = 0x02;
/// No route for the prefix: an address that moves has no network of its own.
const NO_PREFIX_ROUTE: u32 = 0x200;

/// A lifetime without end.
const FOREVER: u32 = u32::MAX;

const HEADER_BYTES: usize = 16;
const ADDRESS_HEADER_BYTES: usize = 8;
const ATTRIBUTE_HEADER_BYTES: usize = 4;

/// An address of an interface, as the kernel tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// The address.
    pub address: IpAddr,
    /// Bits of its network; an address that moves has all of them.
    pub prefix: u8,
    /// The interface's number.
    pub interface: u32,
    /// How long the kernel will keep it; none: until somebody deletes it.
    pub left: Option<Duration>,
    /// When it was added, in hundredths of a second since the machine started. A renewal keeps
    /// it, so that a change tells an address that was withdrawn meanwhile.
    pub(super) added: u32,
}

/// What one datagram of the kernel says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Part of a list.
    Listed(Present),
    /// The list is complete.
    Done {
        /// It changed while it was read.
        is_interrupted: bool,
    },
    /// The request was carried out, or not: an error number of the system.
    Answered(i32),
}

/// The bits of an address that has no network of its own.
pub(super) fn host_prefix(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// Adds the address or renews its lifetime, which the kernel counts in whole seconds: a begun
/// second is a whole one.
pub(super) fn put(
    sequence: u32,
    interface: u32,
    address: IpAddr,
    lifetime: Option<Duration>,
) -> Vec<u8> {
    let valid = lifetime.map_or(FOREVER, |lifetime| {
        let seconds = lifetime.as_millis().div_ceil(1_000);
        u32::try_from(seconds).unwrap_or(FOREVER).max(1)
    });
    let flags = REQUEST | ACKNOWLEDGE | CREATE | REPLACE;
    let mut message = about(NEWADDR, flags, sequence, interface, address);
    // An IPv6 address whose preferred time is over is valid, but no connection chooses it as its
    // source (RFC 4862 §5.5.4). Else the node's own connections would move with the address.
    let preferred = if address.is_ipv4() { valid } else { 0 };
    let mut cacheinfo = [0; 16];
    cacheinfo[..4].copy_from_slice(&preferred.to_ne_bytes());
    cacheinfo[4..8].copy_from_slice(&valid.to_ne_bytes());
    attribute(&mut message, CACHEINFO, &cacheinfo);
    if address.is_ipv6() {
        attribute(&mut message, FLAGS, &(NO_DAD | NO_PREFIX_ROUTE).to_ne_bytes());
    }
    finished(message)
}

/// Deletes the address, if it is there with the prefix that [`put`] gives it.
pub(super) fn delete(sequence: u32, interface: u32, address: IpAddr) -> Vec<u8> {
    finished(about(DELADDR, REQUEST | ACKNOWLEDGE, sequence, interface, address))
}

/// Lists the addresses of all interfaces.
pub(super) fn list(sequence: u32) -> Vec<u8> {
    let mut message = header(GETADDR, REQUEST | DUMP, sequence);
    message.extend_from_slice(&[FAMILY_ANY, 0, 0, 0, 0, 0, 0, 0]);
    finished(message)
}

fn about(kind: u16, flags: u16, sequence: u32, interface: u32, address: IpAddr) -> Vec<u8> {
    let family = if address.is_ipv4() { FAMILY_V4 } else { FAMILY_V6 };
    let mut message = header(kind, flags, sequence);
    message.extend_from_slice(&[family, host_prefix(address), 0, 0]);
    message.extend_from_slice(&interface.to_ne_bytes());
    match address {
        IpAddr::V4(address) => {
            attribute(&mut message, LOCAL, &address.octets());
            attribute(&mut message, ADDRESS, &address.octets());
        }
        IpAddr::V6(address) => {
            attribute(&mut message, LOCAL, &address.octets());
            attribute(&mut message, ADDRESS, &address.octets());
        }
    }
    message
}

fn header(kind: u16, flags: u16, sequence: u32) -> Vec<u8> {
    let mut message = Vec::with_capacity(96);
    message.extend_from_slice(&0_u32.to_ne_bytes()); // The length, once it is known.
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    message.extend_from_slice(&sequence.to_ne_bytes());
    message.extend_from_slice(&0_u32.to_ne_bytes());
    message
}

/// Appends an attribute whose length is a multiple of four, as all of ours are.
fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(ATTRIBUTE_HEADER_BYTES + value.len()).expect("at most 20 bytes");
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(value);
}

fn finished(mut message: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("less than a hundred bytes");
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message
}

/// What the kernel says about the request of this number; messages about others are passed
/// over, and so is the rest of a datagram whose lengths do not fit.
pub(super) fn read(mut datagram: &[u8], sequence: u32) -> Vec<Said> {
    let mut said = Vec::new();
    while let Some(length) = number(datagram, 0) {
        let length = length as usize;
        let Some(message) = datagram.get(..length).filter(|_| length >= HEADER_BYTES) else {
            break;
        };
        if number(message, 8) == Some(sequence) {
            said.extend(read_message(message));
        }
        datagram = datagram.get(aligned(length)..).unwrap_or_default();
    }
    said
}

fn read_message(message: &[u8]) -> Option<Said> {
    let body = message.get(HEADER_BYTES..)?;
    match half(message, 4)? {
        NEWADDR => read_address(body).map(Said::Listed),
        ERROR => Some(Said::Answered(i32::from_ne_bytes(*body.first_chunk()?).saturating_neg())),
        DONE => {
            let is_interrupted = half(message, 6)? & DUMP_INTERRUPTED != 0;
            Some(Said::Done { is_interrupted })
        }
        _ => None,
    }
}

fn read_address(body: &[u8]) -> Option<Present> {
    let (prefix, interface) = (*body.get(1)?, number(body, 4)?);
    let mut attributes = body.get(ADDRESS_HEADER_BYTES..)?;
    let (mut address, mut local, mut left, mut added) = (None, None, None, 0);
    while let (Some(length), Some(kind)) = (half(attributes, 0), half(attributes, 2)) {
        let Some(value) = attributes.get(ATTRIBUTE_HEADER_BYTES..length.into()) else { break };
        match kind {
            ADDRESS => address = ip(value),
            LOCAL => local = ip(value),
            CACHEINFO => {
                let seconds = number(value, 4).filter(|seconds| *seconds != FOREVER);
                left = seconds.map(|seconds| Duration::from_secs(seconds.into()));
                added = number(value, 8).unwrap_or(0);
            }
            _ => (),
        }
        attributes = attributes.get(aligned(length.into())..).unwrap_or_default();
    }
    // On a link between two points ADDRESS is the far end's; an IPv6 address comes without LOCAL
    // elsewhere.
    Some(Present { address: local.or(address)?, prefix, interface, left, added })
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => value.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).into()),
        16 => value.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets).into()),
        _ => None,
    }
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_ne_bytes(*four))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|two| u16::from_ne_bytes(*two))
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 101));

    #[test]
    fn an_ipv4_address_is_put_with_its_lifetime_as_the_kernel_reads_it() {
        let message = put(7, 3, V4, Some(Duration::from_secs(2)));
        #[rustfmt::skip]
        let expected = [
            60, 0, 0, 0,  20, 0,  0x05, 0x05,  7, 0, 0, 0,  0, 0, 0, 0, // request, ack, replace, create
            2, 32, 0, 0,  3, 0, 0, 0,                                   // IPv4, /32, interface 3
            8, 0, 2, 0,  10, 77, 0, 101,                                // local
            8, 0, 1, 0,  10, 77, 0, 101,                                // address
            20, 0, 6, 0,  2, 0, 0, 0,  2, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0, 0, // preferred 2, valid 2
        ];
        assert_eq!(message, expected);
    }

    #[test]
    fn an_ipv6_address_is_valid_at_once_and_preferred_by_nobody() {
        let address: Ipv6Addr = "fd00:77::101".parse().unwrap();
        let message = put(8, 3, address.into(), Some(Duration::from_millis(1_001)));
        assert_eq!(message.len(), 16 + 8 + 20 + 20 + 20 + 8);
        assert_eq!(message[16..18], [10, 128]);
        assert_eq!(message[64..76], [20, 0, 6, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(message[84..], [8, 0, 8, 0, 0x02, 0x02, 0, 0]);
    }

    #[test]
    fn without_a_lifetime_the_address_stays() {
        let message = put(7, 3, V4, None);
        assert_eq!(message[44..52], [0xff; 8]);
    }

    #[test]
    fn deleting_names_interface_prefix_and_address() {
        #[rustfmt::skip]
        let expected = [
            40, 0, 0, 0,  21, 0,  0x05, 0,  9, 0, 0, 0,  0, 0, 0, 0,
            2, 32, 0, 0,  3, 0, 0, 0,
            8, 0, 2, 0,  10, 77, 0, 101,
            8, 0, 1, 0,  10, 77, 0, 101,
        ];
        assert_eq!(delete(9, 3, V4), expected);
    }

    #[test]
    fn a_list_is_read_to_its_end() {
        let mut datagram = put(5, 3, V4, Some(Duration::from_secs(2)));
        let mut done = header(DONE, DUMP_INTERRUPTED, 5);
        done.extend_from_slice(&[0; 4]);
        datagram.extend(finished(done));
        let present = Present {
            address: V4,
            prefix: 32,
            interface: 3,
            left: Some(Duration::from_secs(2)),
            added: 0,
        };
        assert_eq!(
            read(&datagram, 5),
            [Said::Listed(present), Said::Done { is_interrupted: true }]
        );
        assert_eq!(read(&datagram, 6), [], "an answer to somebody else");
    }

    #[test]
    fn a_refusal_carries_the_error_number() {
        let mut refusal = header(ERROR, 0, 4);
        refusal.extend_from_slice(&(-1_i32).to_ne_bytes());
        assert_eq!(read(&finished(refusal), 4), [Said::Answered(1)]);
    }

    #[test]
    fn a_datagram_cut_or_changed_anywhere_is_read_without_a_panic() {
        let whole = put(5, 3, V4, Some(Duration::from_secs(2)));
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length], 5), [], "cut at {length}");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 3, 5, 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                assert!(read(&changed, 5).len() <= 1, "byte {at} became {value}");
            }
        }
    }
}
