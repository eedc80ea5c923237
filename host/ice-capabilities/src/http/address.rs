//! Which addresses an outgoing request may reach. Pure: a table of ranges. Resolving and dialling are elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not one of the public internet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// One of the public internet.
    Public,
    /// `0.0.0.0/8` and `::`: "this host".
    Unspecified,
    /// This machine.
    Loopback,
    /// A network that is not routed on the internet.
    Private,
    /// The cable at hand only.
    LinkLocal,
    /// Where a cloud keeps the credentials of its machines.
    Metadata,
    /// Addresses between a provider and its customers (RFC 6598).
    SharedCarrier,
    /// To many.
    Multicast,
    /// Kept for benchmarks, documentation, the future or a protocol; nobody answers there who should.
    Reserved,
}

impl Kind {
    /// In words.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Metadata => "cloud metadata",
            Self::SharedCarrier => "carrier-grade NAT",
            Self::Multicast => "multicast",
            Self::Reserved => "reserved",
        }
    }
}

/// Says what `address` is. An IPv6 address that carries an IPv4 address is what that one is.
pub(super) fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(address) => kind_v4(address),
        IpAddr::V6(address) => kind_v6(address),
    }
}

/// IANA "IPv4 Special-Purpose Address Registry" and the metadata addresses that clouds document.
/// The first range that holds the address decides: address, prefix length, kind.
const V4: &[([u8; 4], u32, Kind)] = &[
    ([169, 254, 169, 254], 32, Kind::Metadata),
    ([169, 254, 170, 2], 32, Kind::Metadata),
    ([100, 100, 100, 200], 32, Kind::Metadata),
    ([192, 0, 0, 192], 32, Kind::Metadata),
    ([168, 63, 129, 16], 32, Kind::Metadata),
    ([0, 0, 0, 0], 8, Kind::Unspecified),
    ([10, 0, 0, 0], 8, Kind::Private),
    ([100, 64, 0, 0], 10, Kind::SharedCarrier),
    ([127, 0, 0, 0], 8, Kind::Loopback),
    ([169, 254, 0, 0], 16, Kind::LinkLocal),
    ([172, 16, 0, 0], 12, Kind::Private),
    ([192, 0, 0, 0], 24, Kind::Reserved),
    ([192, 0, 2, 0], 24, Kind::Reserved),
    ([192, 88, 99, 0], 24, Kind::Reserved),
    ([192, 168, 0, 0], 16, Kind::Private),
    ([198, 18, 0, 0], 15, Kind::Reserved),
    ([198, 51, 100, 0], 24, Kind::Reserved),
    ([203, 0, 113, 0], 24, Kind::Reserved),
    ([224, 0, 0, 0], 4, Kind::Multicast),
    ([240, 0, 0, 0], 4, Kind::Reserved),
];

fn kind_v4(address: Ipv4Addr) -> Kind {
    let bits = address.to_bits();
    let holds = |(network, length, _): &&([u8; 4], u32, Kind)| {
        let mask = u32::MAX << (32 - length);
        bits & mask == u32::from_be_bytes(*network) & mask
    };
    V4.iter().find(holds).map_or(Kind::Public, |(.., kind)| *kind)
}

/// Where an IPv6 range keeps an IPv4 address, as a shift of the 128 bits; `flipped` when its bits are inverted.
enum Carried {
    Nothing(Kind),
    V4 { shift: u32, flipped: bool },
}

/// IANA "IPv6 Special-Purpose Address Registry" and the translation prefixes of RFC 4291, 6052, 8215, 3056, 4380, 5214.
const V6: &[(Ipv6Addr, u32, Carried)] = &[
    (Ipv6Addr::UNSPECIFIED, 128, Carried::Nothing(Kind::Unspecified)),
    (Ipv6Addr::LOCALHOST, 128, Carried::Nothing(Kind::Loopback)),
    (v6(0xfd00, 0xec2, 0, 0x254), 128, Carried::Nothing(Kind::Metadata)),
    (v6(0xfd20, 0xce, 0, 0x254), 128, Carried::Nothing(Kind::Metadata)),
    // ::ffff:a.b.c.d mapped, ::ffff:0:a.b.c.d translated, ::a.b.c.d compatible.
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, Carried::V4 { shift: 0, flipped: false }),
    (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96, Carried::V4 { shift: 0, flipped: false }),
    (Ipv6Addr::UNSPECIFIED, 96, Carried::V4 { shift: 0, flipped: false }),
    // NAT64: the well-known prefix carries an address, the local-use prefix means whatever the site says.
    (v6(0x64, 0xff9b, 0, 0), 96, Carried::V4 { shift: 0, flipped: false }),
    (v6(0x64, 0xff9b, 1, 0), 48, Carried::Nothing(Kind::Private)),
    (v6(0x100, 0, 0, 0), 64, Carried::Nothing(Kind::Reserved)),
    // Teredo carries the client's address inverted.
    (v6(0x2001, 0, 0, 0), 32, Carried::V4 { shift: 0, flipped: true }),
    (v6(0x2001, 0, 0, 0), 23, Carried::Nothing(Kind::Reserved)),
    (v6(0x2001, 0xdb8, 0, 0), 32, Carried::Nothing(Kind::Reserved)),
    (v6(0x2002, 0, 0, 0), 16, Carried::V4 { shift: 80, flipped: false }),
    (v6(0x3fff, 0, 0, 0), 20, Carried::Nothing(Kind::Reserved)),
    (v6(0x5f00, 0, 0, 0), 16, Carried::Nothing(Kind::Reserved)),
    (v6(0xfc00, 0, 0, 0), 7, Carried::Nothing(Kind::Private)),
    (v6(0xfe80, 0, 0, 0), 10, Carried::Nothing(Kind::LinkLocal)),
    (v6(0xfec0, 0, 0, 0), 10, Carried::Nothing(Kind::Private)),
    (v6(0xff00, 0, 0, 0), 8, Carried::Nothing(Kind::Multicast)),
];

const fn v6(a: u16, b: u16, c: u16, last: u16) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, 0, 0, 0, 0, last)
}

fn kind_v6(address: Ipv6Addr) -> Kind {
    let bits = address.to_bits();
    let holds = |(network, length, _): &&(Ipv6Addr, u32, Carried)| {
        let mask = u128::MAX << (128 - length);
        bits & mask == network.to_bits() & mask
    };
    match V6.iter().find(holds) {
        Some((.., Carried::Nothing(kind))) => *kind,
        Some((.., Carried::V4 { shift, flipped })) => {
            let low = u32::try_from(bits >> shift & u128::from(u32::MAX)).expect("masked to 32 bits");
            kind_v4(Ipv4Addr::from_bits(if *flipped { !low } else { low }))
        }
        // ISATAP puts the address of the tunnel's end into the interface id of any prefix.
        None if (bits >> 32 & 0xffff_ffff) & 0xfcff_ffff == 0x5efe => {
            kind_v4(Ipv4Addr::from_bits(u32::try_from(bits & u128::from(u32::MAX)).expect("masked to 32 bits")))
        }
        // Only 2000::/3 is global unicast; the rest of the space is not assigned.
        None if bits >> 125 == 1 => Kind::Public,
        None => Kind::Reserved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_every_address_is() {
        let table = [
            ("1.1.1.1", Kind::Public),
            ("93.184.216.34", Kind::Public),
            ("172.15.255.255", Kind::Public),
            ("172.32.0.0", Kind::Public),
            ("100.63.255.255", Kind::Public),
            ("100.128.0.0", Kind::Public),
            ("198.17.255.255", Kind::Public),
            ("198.20.0.0", Kind::Public),
            ("192.0.1.1", Kind::Public),
            ("223.255.255.255", Kind::Public),
            ("0.0.0.0", Kind::Unspecified),
            ("0.1.2.3", Kind::Unspecified),
            ("10.0.0.1", Kind::Private),
            ("172.16.0.1", Kind::Private),
            ("172.31.255.255", Kind::Private),
            ("192.168.1.1", Kind::Private),
            ("100.64.0.1", Kind::SharedCarrier),
            ("100.100.100.200", Kind::Metadata),
            ("127.0.0.1", Kind::Loopback),
            ("127.255.255.254", Kind::Loopback),
            ("169.254.1.1", Kind::LinkLocal),
            ("169.254.169.254", Kind::Metadata),
            ("168.63.129.16", Kind::Metadata),
            ("192.0.0.8", Kind::Reserved),
            ("192.0.2.7", Kind::Reserved),
            ("198.18.0.1", Kind::Reserved),
            ("198.19.255.255", Kind::Reserved),
            ("203.0.113.9", Kind::Reserved),
            ("224.0.0.1", Kind::Multicast),
            ("239.255.255.255", Kind::Multicast),
            ("240.0.0.1", Kind::Reserved),
            ("255.255.255.255", Kind::Reserved),
            ("2606:4700:4700::1111", Kind::Public),
            ("2a00:1450:4001:81b::200e", Kind::Public),
            ("::", Kind::Unspecified),
            ("::1", Kind::Loopback),
            ("::ffff:127.0.0.1", Kind::Loopback),
            ("::ffff:1.1.1.1", Kind::Public),
            ("::ffff:169.254.169.254", Kind::Metadata),
            ("::ffff:0:10.0.0.1", Kind::Private),
            ("::127.0.0.1", Kind::Loopback),
            ("64:ff9b::10.0.0.1", Kind::Private),
            ("64:ff9b::8.8.8.8", Kind::Public),
            ("64:ff9b:1::8.8.8.8", Kind::Private),
            ("2002:7f00:1::", Kind::Loopback),
            ("2002:a9fe:a9fe::1", Kind::Metadata),
            ("2002:808:808::1", Kind::Public),
            // Teredo for 127.0.0.1: every bit inverted.
            ("2001:0:1:2:3:4:80ff:fffe", Kind::Loopback),
            ("2001:db8::1", Kind::Reserved),
            ("2001:2::1", Kind::Reserved),
            ("2a00:1450::5efe:10.0.0.1", Kind::Private),
            ("2a00:1450::200:5efe:192.168.0.1", Kind::Private),
            ("fc00::1", Kind::Private),
            ("fd00:ec2::254", Kind::Metadata),
            ("fdff::1", Kind::Private),
            ("fe80::1", Kind::LinkLocal),
            ("fec0::1", Kind::Private),
            ("ff02::1", Kind::Multicast),
            ("100::1", Kind::Reserved),
            ("4000::1", Kind::Reserved),
        ];
        for (text, expected) in table {
            assert_eq!(kind(text.parse().unwrap()), expected, "{text}");
        }
    }
}
