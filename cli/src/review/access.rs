//! Who may see the page. The address that is printed holds a ticket that serves once: it is changed for a cookie that
//! only this page gets back, and the page holds a token that every change must bring. Whoever finds the address later
//! – in a history, in a list of processes – finds nothing.

use std::sync::{Mutex, PoisonError};

use crate::hash::hex;

/// Secrets of one review.
#[derive(Debug)]
pub(super) struct Access {
    ticket: Mutex<String>,
    session: String,
    token: String,
}

impl Access {
    /// New secrets, from the operating system's randomness.
    pub(super) fn new() -> Self {
        Self {
            ticket: Mutex::new(secret()),
            session: secret(),
            token: secret(),
        }
    }

    /// What stands behind the address.
    pub(super) fn query(&self) -> String {
        format!("?key={}", self.ticket.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a ticket: the cookie to set for it. It serves once; the next one is in [`Self::query`].
    pub(super) fn enter(&self, query: &str) -> Option<String> {
        let mut ticket = self.ticket.lock().unwrap_or_else(PoisonError::into_inner);
        if !same(query.strip_prefix("key=")?, &ticket) {
            return None;
        }
        *ticket = secret();
        Some(format!("{}={}; Path=/; HttpOnly; SameSite=Strict", self.name(), self.session))
    }

    /// Whether the header `Cookie` holds this review's.
    pub(super) fn knows(&self, cookies: Option<&str>) -> bool {
        let mut pairs = cookies.unwrap_or_default().split(';').filter_map(|c| c.trim().split_once('='));
        pairs.any(|(name, value)| name == self.name() && same(value, &self.session))
    }

    /// What the page brings with every change.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Whether a change brings it.
    pub(super) fn may_change(&self, token: Option<&str>) -> bool {
        token.is_some_and(|t| same(t, &self.token))
    }

    /// Cookies are told apart by host alone, not by port: two reviews at once need two names.
    fn name(&self) -> String {
        format!("nullface-{}", self.token.get(..8).unwrap_or_default())
    }
}

/// 256 bits in hexadecimal digits.
fn secret() -> String {
    hex(&rand::random::<[u8; 32]>())
}

/// Compares in a time that does not depend on where they differ.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |all, (x, y)| all | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::Access;

    #[test]
    fn a_ticket_serves_once_and_gives_the_cookie_that_is_known_from_then_on() {
        let access = Access::new();
        let first = access.query();
        let query = first.trim_start_matches('?');
        assert!(access.enter("").is_none() && access.enter("key=").is_none() && access.enter(&format!("{query}0")).is_none());
        let cookie = access.enter(query).expect("a cookie");
        assert!(access.enter(query).is_none());
        assert_ne!(access.query(), first);
        let pair = cookie.split(';').next().expect("a pair");
        assert!(access.knows(Some(pair)) && access.knows(Some(&format!("a=b; {pair}"))));
        let other = Access::new();
        assert!(!access.knows(None) && !access.knows(Some("")) && !other.knows(Some(pair)));
        assert!(!access.knows(Some(&pair.replace('=', "=0"))));
    }

    #[test]
    fn a_change_needs_the_token_and_neither_ticket_nor_cookie_is_one() {
        let access = Access::new();
        assert!(access.may_change(Some(access.token())));
        let cookie = access.enter(access.query().trim_start_matches('?')).expect("a cookie");
        for wrong in [None, Some(""), Some(cookie.as_str()), access.token().get(1..)] {
            assert!(!access.may_change(wrong), "{wrong:?}");
        }
    }
}
