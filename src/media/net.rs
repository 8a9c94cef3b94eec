//! Which addresses may be asked for a file. A name is resolved once, its addresses are judged, and the connection goes to one of those.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Where a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// The internet without anything private.
    Public,
    /// The internet and the networks around this machine.
    Any,
    /// This machine only.
    Loopback,
}

/// A demo build dials this machine only (see the invariants in lib.rs).
const DEMO: bool = cfg!(feature = "demo");

impl Ground {
    /// Whether an address lies on it; the error says why not.
    pub(super) fn admits(self, ip: IpAddr) -> Result<(), &'static str> {
        match self {
            Self::Public if !is_public(ip) => Err("it is a private or reserved address"),
            Self::Loopback if !ip.to_canonical().is_loopback() => Err("only this machine may be reached here"),
            Self::Public | Self::Any if DEMO && !ip.to_canonical().is_loopback() => {
                Err("a demo build dials this machine only")
            }
            _ => Ok(()),
        }
    }

    /// The ground of the next request after a redirect from `peer`: a public server never leads into a private network.
    pub(super) fn after(self, peer: Option<SocketAddr>) -> Self {
        match self {
            Self::Any if peer.is_none_or(|peer| is_public(peer.ip())) => Self::Public,
            ground => ground,
        }
    }
}

/// An address that anybody on the internet means the same by.
pub(super) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127, ..)                       // this network, private, loopback
            | (100, 64..=127, _)                 // carrier NAT
            | (169, 254, _)                      // link-local, cloud metadata
            | (172, 16..=31, _) | (192, 168, _)  // private
            | (192, 0, 0 | 2) | (192, 88, 99)    // protocol assignments, documentation, 6to4 relays
            | (198, 18 | 19, _)                  // benchmarks
            | (198, 51, 100) | (203, 0, 113)     // documentation
            | (224..=255, ..) // multicast, reserved, broadcast
    )
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let s = ip.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        // Mapped and NAT64 addresses are the IPv4 address in them.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        // 6to4 carries one as well.
        [0x2002, high, low, ..] => embedded(high, low),
        // Teredo, benchmarks, ORCHID, documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        // Global unicast; everything else is local, reserved or multicast.
        [first, ..] => (0x2000..=0x3fff).contains(&first),
    }
}

/// Resolves names by the system and keeps the addresses that lie on the ground.
pub(super) struct Resolver(pub(super) Ground);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let ground = self.0;
        Box::pin(async move {
            let mut kept: Vec<SocketAddr> = Vec::new();
            let mut refused = None;
            for addr in tokio::net::lookup_host((name.as_str(), 0)).await? {
                match ground.admits(addr.ip()) {
                    Ok(()) => kept.push(addr),
                    Err(why) => refused = Some(why),
                }
            }
            if let (true, Some(why)) = (kept.is_empty(), refused) {
                return Err(format!("{} cannot be used: {why}", name.as_str()).into());
            }
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn private_addresses_in_every_dress() {
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::192.168.0.1",
            "2002:c0a8:0101::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "::127.0.0.1",
            "4000::1",
            "3fff::1",
        ] {
            assert!(!is_public(ip(private)), "{private}");
            assert!(Ground::Public.admits(ip(private)).is_err(), "{private}");
        }
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.1.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:0808:0808::1",
            "2606:4700:4700::1111",
            "2a00:1450::1",
            "2001:4860:4860::8888",
        ] {
            assert!(is_public(ip(public)), "{public}");
        }
    }

    #[test]
    fn a_demo_build_stays_on_this_machine_and_other_builds_do_not_need_to() {
        assert_eq!(Ground::Any.admits(ip("192.168.1.9")).is_ok(), !DEMO);
        assert_eq!(Ground::Public.admits(ip("1.1.1.1")).is_ok(), !DEMO);
        assert!(Ground::Any.admits(ip("127.0.0.1")).is_ok());
        assert!(Ground::Loopback.admits(ip("::1")).is_ok());
        assert!(Ground::Loopback.admits(ip("::ffff:127.0.0.1")).is_ok());
        assert!(Ground::Loopback.admits(ip("10.0.0.1")).is_err());
    }

    #[test]
    fn a_public_server_never_redirects_into_a_private_network() {
        let peer = |text: &str| Some(SocketAddr::new(ip(text), 80));
        assert_eq!(Ground::Any.after(peer("1.1.1.1")), Ground::Public);
        assert_eq!(Ground::Any.after(peer("192.168.1.4")), Ground::Any);
        assert_eq!(Ground::Any.after(None), Ground::Public);
        assert_eq!(Ground::Public.after(peer("1.1.1.1")), Ground::Public);
        assert_eq!(Ground::Loopback.after(peer("127.0.0.1")), Ground::Loopback);
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_refused_on_public_ground() {
        let resolve = |ground| Resolver(ground).resolve("localhost".parse().expect("a name"));
        let refused = resolve(Ground::Public).await.err().expect("refused").to_string();
        assert!(refused.contains("localhost cannot be used"), "{refused}");
        assert!(resolve(Ground::Loopback).await.expect("resolved").all(|a| a.ip().is_loopback()));
    }
}
