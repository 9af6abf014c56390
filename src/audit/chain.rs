//! The hash chain over lines.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// What the first line follows.
const START: &str = "nullface-audit";
/// `,"chain":"` and 64 digits and `"}`.
const TAIL_LEN: usize = 10 + 64 + 2;
/// Longest line taken, bytes.
const MAX_LINE: usize = 1 << 20;

/// A chain being written.
#[derive(Debug, Clone)]
pub struct Chain {
    last: String,
}

impl Default for Chain {
    fn default() -> Self {
        Self { last: hash(START, "") }
    }
}

impl Chain {
    /// The line of a record, with its end of line.
    #[must_use]
    pub fn line(&mut self, record: &Map<String, Value>) -> String {
        let mut body = Value::Object(record.clone()).to_string();
        self.last = hash(&self.last, &body);
        body.pop();
        body.push_str(&tail(&self.last));
        body.push('\n');
        body
    }

    /// Hash of the last line: what a signature is made of.
    #[must_use]
    pub fn last(&self) -> &str {
        &self.last
    }
}

fn tail(chain: &str) -> String {
    format!(",\"chain\":\"{chain}\"}}")
}

fn hash(before: &str, body: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(before.as_bytes());
    hash.update([b'\n']);
    hash.update(body.as_bytes());
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// Why a trail is not whole. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Not a record at all.
    #[error("line {line}: {why}")]
    NotARecord {
        /// Which.
        line: usize,
        /// What is the matter.
        why: String,
    },
    /// A record that does not follow from those before it.
    #[error("line {line} ({what}) does not follow from the lines before it: it was changed, or a line before it was added or removed")]
    Broken {
        /// Which.
        line: usize,
        /// The record, in words.
        what: String,
    },
    /// The beginning or the end is missing.
    #[error("{0}")]
    Incomplete(&'static str),
}

/// A trail whose chain holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// Records with a chain.
    pub records: usize,
    /// Hash of the last of them.
    pub last: String,
    /// The header.
    pub header: Value,
    /// The footer.
    pub footer: Value,
    /// The signature's record, where there is one. It is not checked here.
    pub signature: Option<Value>,
}

/// Checks a trail's chain from its first line to its footer.
///
/// # Errors
/// [`ChainError`] names the first line that does not fit.
pub fn check<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Checked, ChainError> {
    let mut chain = hash(START, "");
    let (mut records, mut header, mut footer, mut signature) = (0, Value::Null, Value::Null, None);
    for (index, line) in lines.enumerate() {
        let number = index + 1;
        let not = |why: &str| ChainError::NotARecord {
            line: number,
            why: why.to_owned(),
        };
        if line.len() > MAX_LINE {
            return Err(not("longer than a record can be"));
        }
        if signature.is_some() {
            return Err(not("stands after the signature"));
        }
        let record: Value = serde_json::from_str(line).map_err(|e| not(&format!("no record: {e}")))?;
        let kind = record["record"].as_str().unwrap_or_default();
        if !footer.is_null() {
            if kind != "signature" {
                return Err(not("stands after the footer"));
            }
            signature = Some(record);
            continue;
        }
        let broken = || ChainError::Broken {
            line: number,
            what: words(&record),
        };
        let cut = line
            .len()
            .checked_sub(TAIL_LEN)
            .filter(|at| line.is_char_boundary(*at))
            .ok_or_else(broken)?;
        let (body, end) = line.split_at(cut);
        chain = hash(&chain, &format!("{body}}}"));
        if end != tail(&chain) {
            return Err(broken());
        }
        match (kind, number) {
            ("header", 1) => header = record,
            ("header", _) | (_, 1) => return Err(not("the header must be the first line and only that")),
            ("footer", _) => footer = record,
            _ => {}
        }
        records += 1;
    }
    if header.is_null() {
        return Err(ChainError::Incomplete(
            "there is no header: not an audit trail, or its beginning is missing",
        ));
    }
    if footer.is_null() {
        return Err(ChainError::Incomplete(
            "there is no footer: the run did not end, or the end was cut off",
        ));
    }
    Ok(Checked {
        records,
        last: chain,
        header,
        footer,
        signature,
    })
}

/// A record in words, so that one finds it.
fn words(record: &Value) -> String {
    let kind = record["record"].as_str().unwrap_or("unknown record");
    let mut words = kind.to_owned();
    if let Some(track) = record["track"].as_u64() {
        words += &format!(" of track {track}");
    }
    if let (Some(from), Some(to)) = (record["from_s"].as_f64(), record["to_s"].as_f64()) {
        words += &format!(", {from:.2} to {to:.2} s");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn trail() -> Vec<String> {
        let mut chain = Chain::default();
        let records = [
            json!({"record": "header", "nullface": "0.1.0"}),
            json!({"record": "interval", "track": 1, "from_s": 0.0, "to_s": 1.5, "rung": "blur"}),
            json!({"record": "interval", "track": 2, "from_s": 0.5, "to_s": 2.0, "rung": "solid"}),
            json!({"record": "footer", "frames": 50}),
        ];
        records
            .iter()
            .map(|r| chain.line(r.as_object().expect("object")).trim_end().to_owned())
            .collect()
    }

    fn checked(lines: &[String]) -> Result<Checked, ChainError> {
        check(lines.iter().map(String::as_str))
    }

    #[test]
    fn a_trail_as_written_holds() {
        let got = checked(&trail()).expect("whole");
        assert_eq!((got.records, got.footer["frames"].as_u64()), (4, Some(50)));
        assert_eq!(got.signature, None);
    }

    #[test]
    fn a_changed_line_is_named() {
        let mut lines = trail();
        lines[2] = lines[2].replace("solid", "blur");
        let error = checked(&lines).expect_err("changed").to_string();
        assert!(error.starts_with("line 3 (interval of track 2, 0.50 to 2.00 s)"), "{error}");
    }

    #[test]
    fn a_line_removed_added_moved_or_written_anew_is_noticed() {
        let good = trail();
        let mut removed = good.clone();
        removed.remove(1);
        assert!(matches!(checked(&removed), Err(ChainError::Broken { line: 2, .. })));
        let mut twice = good.clone();
        twice.insert(2, good[1].clone());
        assert!(matches!(checked(&twice), Err(ChainError::Broken { line: 3, .. })));
        let mut swapped = good.clone();
        swapped.swap(1, 2);
        assert!(matches!(checked(&swapped), Err(ChainError::Broken { line: 2, .. })));
        // Spaces that mean nothing in JSON are a change as well.
        let mut spaced = good.clone();
        spaced[1] = spaced[1].replace(":1.5", ": 1.5");
        assert!(matches!(checked(&spaced), Err(ChainError::Broken { line: 2, .. })));
        let mut bare = good.clone();
        bare[1] = r#"{"record":"interval","track":9}"#.to_owned();
        assert!(matches!(checked(&bare), Err(ChainError::Broken { line: 2, .. })));
    }

    #[test]
    fn a_trail_without_beginning_or_end_is_incomplete() {
        let good = trail();
        assert!(matches!(checked(&good[..3]), Err(ChainError::Incomplete(_))));
        assert!(checked(&good[1..]).is_err());
        assert!(matches!(checked(&[]), Err(ChainError::Incomplete(_))));
        let mut more = good.clone();
        more.push(good[1].clone());
        assert!(matches!(checked(&more), Err(ChainError::NotARecord { line: 5, .. })));
        assert!(matches!(
            checked(&["not JSON".to_owned()]),
            Err(ChainError::NotARecord { line: 1, .. })
        ));
    }
}
