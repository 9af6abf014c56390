//! Who may ask. Pages listen on the loopback address, but every page that this machine's browser
//! shows can send requests there, and a name of somebody else's can be made to point there. So a
//! request must name us as its host, and where it says from which page it comes, that must be ours.

/// What of a request is looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked<'a> {
    /// Header `Host`.
    pub(crate) host: Option<&'a str>,
    /// Header `Origin`.
    pub(crate) origin: Option<&'a str>,
    /// Header `Sec-Fetch-Site`.
    pub(crate) site: Option<&'a str>,
    /// Whether it would change something.
    pub(crate) changes: bool,
}

/// Why a request is refused; `None` where it may be answered.
pub(crate) fn refusal(asked: Asked<'_>, port: u16) -> Option<&'static str> {
    let ours = |authority: &str| {
        ["127.0.0.1", "localhost", "[::1]"].iter().any(|host| {
            authority
                .strip_prefix(host)
                .is_some_and(|rest| rest == format!(":{port}") || (rest.is_empty() && port == 80))
        })
    };
    if !asked.host.is_some_and(ours) {
        return Some("this host is not served here");
    }
    match asked.origin {
        Some(origin) if !origin.strip_prefix("http://").is_some_and(ours) => return Some("another page's requests are not answered"),
        None if asked.changes => return Some("a change needs the page it comes from"),
        Some(_) | None => {}
    }
    match asked.site {
        Some("same-origin" | "none") | None => None,
        Some(_) => Some("another page's requests are not answered"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Asked, refusal};

    const OURS: Asked<'static> = Asked {
        host: Some("127.0.0.1:4000"),
        origin: None,
        site: None,
        changes: false,
    };

    #[test]
    fn our_own_page_is_answered() {
        for host in ["127.0.0.1:4000", "localhost:4000", "[::1]:4000"] {
            let asked = Asked { host: Some(host), ..OURS };
            assert_eq!(refusal(asked, 4000), None, "{host}");
        }
        let change = Asked {
            origin: Some("http://localhost:4000"),
            site: Some("same-origin"),
            changes: true,
            ..OURS
        };
        assert_eq!(refusal(change, 4000), None);
    }

    #[test]
    fn other_hosts_origins_and_sites_are_refused() {
        let cases = [
            Asked { host: None, ..OURS },
            Asked {
                host: Some("evil.example:4000"),
                ..OURS
            },
            Asked {
                host: Some("127.0.0.1:4001"),
                ..OURS
            },
            Asked {
                host: Some("127.0.0.1.evil.example:4000"),
                ..OURS
            },
            Asked {
                host: Some("localhost"),
                ..OURS
            },
            Asked {
                origin: Some("http://evil.example"),
                ..OURS
            },
            Asked {
                origin: Some("https://127.0.0.1:4000"),
                ..OURS
            },
            Asked {
                origin: Some("http://127.0.0.1:40000"),
                ..OURS
            },
            Asked {
                origin: Some("null"),
                ..OURS
            },
            Asked {
                site: Some("cross-site"),
                ..OURS
            },
            Asked {
                site: Some("same-site"),
                ..OURS
            },
            Asked { changes: true, ..OURS },
        ];
        for asked in cases {
            assert!(refusal(asked, 4000).is_some(), "{asked:?}");
        }
    }
}
