//! What tells a network that an address has a new holder: gratuitous ARP (RFC 5227 §3) for IPv4,
//! an unsolicited neighbour advertisement (RFC 4861 §7.2.6) for IPv6.
//!
//! Owns the bytes; sends nothing.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The address of an Ethernet interface.
pub(super) type Hardware = [u8; 6];

/// Every node on the link (RFC 4291 §2.7.1).
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A neighbour advertisement is believed only with this hop limit, which no router leaves
/// untouched (RFC 4861 §7.1.2).
pub(super) const HOP_LIMIT: u8 = 255;

const BROADCAST: Hardware = [0xff; 6];
const NOBODY: Hardware = [0; 6];
const ETHERTYPE_ARP: u16 = 0x0806;
const ARP_REQUEST: u16 = 1;
const ARP_REPLY: u16 = 2;
const ARP_FRAME_BYTES: usize = 42;

const ADVERTISEMENT: u8 = 136;
/// Replace what the cache holds (RFC 4861 §4.4); not a router, not solicited.
const OVERRIDE: u8 = 0x20;
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;
const PROTOCOL_ICMPV6: u8 = 58;
const ADVERTISEMENT_BYTES: usize = 32;

/// The two Ethernet frames that announce an IPv4 address: a request for the own address, as
/// RFC 5227 has it, and a reply that nobody asked for, for switches and hosts that learn from
/// replies only.
pub(super) fn gratuitous_arp(holder: Hardware, address: Ipv4Addr) -> [[u8; ARP_FRAME_BYTES]; 2] {
    // The target of the reply is its sender: Linux replaces a fresh entry only for a reply that
    // is gratuitous in this sense.
    [arp(ARP_REQUEST, holder, NOBODY, address), arp(ARP_REPLY, holder, holder, address)]
}

fn arp(
    operation: u16,
    holder: Hardware,
    target: Hardware,
    address: Ipv4Addr,
) -> [u8; ARP_FRAME_BYTES] {
    let mut frame = [0; ARP_FRAME_BYTES];
    frame[..6].copy_from_slice(&BROADCAST);
    frame[6..12].copy_from_slice(&holder);
    frame[12..14].copy_from_slice(&ETHERTYPE_ARP.to_be_bytes());
    // Ethernet (1) of 6 bytes, IPv4 (0x0800) of 4.
    frame[14..20].copy_from_slice(&[0, 1, 0x08, 0, 6, 4]);
    frame[20..22].copy_from_slice(&operation.to_be_bytes());
    frame[22..28].copy_from_slice(&holder);
    frame[28..32].copy_from_slice(&address.octets());
    frame[32..38].copy_from_slice(&target);
    frame[38..].copy_from_slice(&address.octets());
    frame
}

/// The ICMPv6 message that announces an IPv6 address, sent from it to [`ALL_NODES`].
pub(super) fn advertisement(holder: Hardware, address: Ipv6Addr) -> [u8; ADVERTISEMENT_BYTES] {
    let mut message = [0; ADVERTISEMENT_BYTES];
    message[0] = ADVERTISEMENT;
    message[4] = OVERRIDE;
    message[8..24].copy_from_slice(&address.octets());
    message[24] = TARGET_LINK_LAYER_ADDRESS;
    message[25] = 1; // In units of eight bytes.
    message[26..].copy_from_slice(&holder);
    let checksum = checksum(address, ALL_NODES, &message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// RFC 4443 §2.3: the complement of the sum over the pseudo-header and the message.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8; ADVERTISEMENT_BYTES]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        bytes.chunks_exact(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum()
    };
    let mut sum = words(&source.octets())
        + words(&destination.octets())
        + u32::from(ADVERTISEMENT_BYTES as u8)
        + u32::from(PROTOCOL_ICMPV6)
        + words(message);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLDER: Hardware = [0x02, 0x42, 0x0a, 0x4d, 0x00, 0x0b];

    #[test]
    fn an_announcement_asks_everybody_for_the_own_address() {
        let [request, _] = gratuitous_arp(HOLDER, Ipv4Addr::new(10, 77, 0, 101));
        #[rustfmt::skip]
        let expected = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff,  0x02, 0x42, 0x0a, 0x4d, 0x00, 0x0b,  0x08, 0x06,
            0x00, 0x01,  0x08, 0x00,  6, 4,  0x00, 0x01,
            0x02, 0x42, 0x0a, 0x4d, 0x00, 0x0b,  10, 77, 0, 101,
            0x00, 0x00, 0x00, 0x00, 0x00, 0x00,  10, 77, 0, 101,
        ];
        assert_eq!(request, expected);
    }

    #[test]
    fn the_other_announcement_answers_what_nobody_asked() {
        let [_, reply] = gratuitous_arp(HOLDER, Ipv4Addr::new(10, 77, 0, 101));
        #[rustfmt::skip]
        let expected = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff,  0x02, 0x42, 0x0a, 0x4d, 0x00, 0x0b,  0x08, 0x06,
            0x00, 0x01,  0x08, 0x00,  6, 4,  0x00, 0x02,
            0x02, 0x42, 0x0a, 0x4d, 0x00, 0x0b,  10, 77, 0, 101,
            0x02, 0x42, 0x0a, 0x4d, 0x00, 0x0b,  10, 77, 0, 101,
        ];
        assert_eq!(reply, expected);
    }

    // The checksum by hand, one's complement sum of: source fd00 + 0077 + 0101, destination
    // ff02 + 0001, length 0020, next header 003a, message 8800 + 2000 + (target) fd00 + 0077 +
    // 0101 + 0201 + 0242 + 0a4d + 000b = 3b2e8, folded b2eb; its complement is 4d14.
    #[test]
    fn an_advertisement_overrides_what_neighbours_remember() {
        let message = advertisement(HOLDER, "fd00:77::101".parse().unwrap());
        #[rustfmt::skip]
        let expected = [
            136, 0, 0x4d, 0x14,  0x20, 0, 0, 0,
            0xfd, 0x00, 0x00, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x01,
            2, 1,  0x02, 0x42, 0x0a, 0x4d, 0x00, 0x0b,
        ];
        assert_eq!(message, expected);
    }
}
