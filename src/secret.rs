//! The session's secret and everything that is drawn from it.
//!
//! Why: frozen noise and target identities must be the same in every frame of a session, must repeat
//! bit for bit when a user gives a seed, and must tell nothing across sessions. All draws are streams
//! of SHA-256 in counter mode under a 32-byte secret, named by purpose, track and index, so that no
//! draw depends on how many came before it. Normal deviates use only `+ − × ÷ √`, which IEEE 754
//! fixes, and no system `ln` or `cos`: the bits are the same on any machine.
//!
//! Limits: a `u64` seed gives 64 bits of secrecy at most; a random secret gives 256. Not an encryption scheme;
//! [`SessionSecret::seal`] tells own texts from others to who knows the secret, and to nobody else.

use sha2::{Digest, Sha256};

const NAME: &[u8] = b"nullface stream 1";
const SEAL: &[u8] = b"nullface seal 1";

/// 32 secret bytes. Never printed, never written to a report.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionSecret([u8; 32]);

impl std::fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionSecret(..)")
    }
}

impl SessionSecret {
    /// From the operating system's randomness.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// From a number that a user gave to repeat a run.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"nullface seed 1");
        hash.update(seed.to_le_bytes());
        Self(hash.finalize().into())
    }

    /// The seed's secret, or a random one.
    #[must_use]
    pub fn from_option(seed: Option<u64>) -> Self {
        seed.map_or_else(Self::random, Self::from_seed)
    }

    /// Says that these bytes were written by who knew the secret. What is hashed with it has one length, so that no
    /// seal can be lengthened into that of other bytes.
    #[must_use]
    pub fn seal(&self, bytes: &[u8]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(SEAL);
        hash.update(self.0);
        hash.update(Sha256::digest(bytes));
        hash.finalize().into()
    }

    /// The stream of one purpose, subject (track or person) and index (step or attempt).
    #[must_use]
    pub fn stream(&self, purpose: Purpose, subject: u64, index: u32) -> Stream {
        let mut hash = Sha256::new();
        hash.update(NAME);
        hash.update(self.0);
        hash.update([purpose as u8]);
        hash.update(subject.to_le_bytes());
        hash.update(index.to_le_bytes());
        Stream {
            key: hash.finalize().into(),
            counter: 0,
            block: [0; 32],
            used: 32,
            spare: None,
        }
    }
}

/// What a stream is for; two purposes never share bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Frozen noise of a track, one stream a step.
    Noise = 0,
    /// Target identity of a person, one stream an attempt.
    Target = 1,
    /// Weights of a k-same mixture, one stream an attempt.
    Mixture = 2,
    /// Anything tests and tools want.
    Other = 255,
}

/// An endless stream of bits.
#[derive(Debug, Clone)]
pub struct Stream {
    key: [u8; 32],
    counter: u64,
    block: [u8; 32],
    used: usize,
    spare: Option<f64>,
}

impl Stream {
    /// 32 bits.
    pub fn bits(&mut self) -> u32 {
        if self.used + 4 > self.block.len() {
            let mut hash = Sha256::new();
            hash.update(self.key);
            hash.update(self.counter.to_le_bytes());
            self.block = hash.finalize().into();
            self.counter += 1;
            self.used = 0;
        }
        let mut word = [0_u8; 4];
        word.copy_from_slice(&self.block[self.used..self.used + 4]);
        self.used += 4;
        u32::from_le_bytes(word)
    }

    /// Uniform in the open interval (0, 1).
    pub fn uniform(&mut self) -> f64 {
        (f64::from(self.bits()) + 0.5) / 4_294_967_296.0
    }

    /// Standard normal (Marsaglia's polar method: one logarithm, one root, no sine).
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (u, v) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                let f = (-2.0 * portable_ln(s) / s).sqrt();
                self.spare = Some(v * f);
                return u * f;
            }
        }
    }

    /// Fills with standard normal values.
    pub fn fill_normal(&mut self, out: &mut [f32]) {
        for v in out {
            *v = self.normal() as f32;
        }
    }
}

/// Natural logarithm of a positive normal number by IEEE-exact operations only: `x = m 2^k`,
/// `ln m = 2 artanh((m−1)/(m+1))` as a series with |argument| ≤ .1716, 12 terms (error below 1e-17).
fn portable_ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut k = ((bits >> 52) & 0x7ff) as i64 - 1023;
    let mut m = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        k += 1;
    }
    let z = (m - 1.0) / (m + 1.0);
    let z2 = z * z;
    let mut series = 0.0;
    for n in (0..12).rev() {
        series = series * z2 + 1.0 / f64::from(2 * n + 1);
    }
    k as f64 * std::f64::consts::LN_2 + 2.0 * z * series
}

#[cfg(test)]
mod tests {
    use super::{Purpose, SessionSecret, portable_ln};

    #[test]
    fn the_portable_logarithm_is_the_logarithm() {
        for i in 1..4000 {
            let x = f64::from(i) * 3.1e-4;
            assert!((portable_ln(x) - x.ln()).abs() <= 4e-16 * x.ln().abs().max(1.0), "ln {x}");
        }
    }

    #[test]
    fn normal_values_have_the_moments_of_the_normal_law() {
        let mut stream = SessionSecret::from_seed(5).stream(Purpose::Other, 0, 0);
        let n = 200_000;
        let (mut m1, mut m2, mut m4) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            let v = stream.normal();
            m1 += v;
            m2 += v * v;
            m4 += v * v * v * v;
        }
        let n = f64::from(n);
        // Five standard errors each: 1/√n, √(2/n), √(96/n).
        assert!((m1 / n).abs() < 0.0112, "mean {}", m1 / n);
        assert!((m2 / n - 1.0).abs() < 0.0158, "variance {}", m2 / n);
        assert!((m4 / n - 3.0).abs() < 0.11, "fourth moment {}", m4 / n);
    }

    #[test]
    fn streams_repeat_and_differ_by_every_part_of_their_name() {
        let first = |seed: u64, purpose, subject, index| SessionSecret::from_seed(seed).stream(purpose, subject, index).bits();
        let base = first(1, Purpose::Noise, 7, 0);
        assert_eq!(base, first(1, Purpose::Noise, 7, 0));
        for other in [
            first(2, Purpose::Noise, 7, 0),
            first(1, Purpose::Target, 7, 0),
            first(1, Purpose::Noise, 8, 0),
            first(1, Purpose::Noise, 7, 1),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn a_seal_is_of_one_text_and_one_secret() {
        let seal = |seed, text: &[u8]| SessionSecret::from_seed(seed).seal(text);
        assert_eq!(seal(1, b"a text"), seal(1, b"a text"));
        assert_ne!(seal(1, b"a text"), seal(1, b"a tent"));
        assert_ne!(seal(1, b"a text"), seal(2, b"a text"));
    }

    #[test]
    fn a_secret_does_not_print_itself() {
        assert_eq!(format!("{:?}", SessionSecret::from_seed(1)), "SessionSecret(..)");
    }
}
