//! Hashes of files.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::Result;
use sha2::{Digest, Sha256};

use crate::exit::refuse;

/// Bytes hashed at once.
const CHUNK: usize = 1 << 20;

/// SHA-256 of a file, in hexadecimal digits.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let unreadable = |e: std::io::Error| refuse(path, format!("it cannot be read: {e}"), "check the disk");
    let mut file = BufReader::with_capacity(CHUNK, File::open(path).map_err(unreadable)?);
    let mut hash = Sha256::new();
    let mut chunk = vec![0u8; CHUNK];
    loop {
        let n = file.read(&mut chunk).map_err(unreadable)?;
        if n == 0 {
            break;
        }
        hash.update(&chunk[..n]);
    }
    Ok(hex(&hash.finalize()))
}

/// Bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
