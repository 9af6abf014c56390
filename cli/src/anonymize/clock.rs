//! The unit in which MPEG-4 tracks write times. The muxer's own choice follows the stated frame
//! rate, which rounds the frames of a film whose rate varies; this one is fine enough for both.

/// Unit of MPEG's own clocks: whole for 24, 25, 30, 50, 60 and 29.97 frames a second.
const MPEG_CLOCK_HZ: u32 = 90_000;
/// Finest unit used: beyond it 32-bit durations of long films would overflow in old players.
const FINEST_HZ: u32 = 360_000;

/// Units per second in which both any MPEG time and every frame of `rate` are whole.
pub(super) fn track_timescale(rate: gst::Fraction) -> u32 {
    let Ok(numerator) = u32::try_from(rate.numer()) else {
        return MPEG_CLOCK_HZ;
    };
    if numerator == 0 {
        return MPEG_CLOCK_HZ;
    }
    let common = u64::from(MPEG_CLOCK_HZ) / u64::from(gcd(MPEG_CLOCK_HZ, numerator)) * u64::from(numerator);
    u32::try_from(common).ok().filter(|c| *c <= FINEST_HZ).unwrap_or(MPEG_CLOCK_HZ)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::{FINEST_HZ, track_timescale};

    #[test]
    fn every_frame_of_the_usual_rates_is_a_whole_number_of_units() {
        for (n, d) in [
            (24, 1),
            (25, 1),
            (30, 1),
            (50, 1),
            (60, 1),
            (24_000, 1001),
            (30_000, 1001),
            (60_000, 1001),
        ] {
            let unit = u64::from(track_timescale(gst::Fraction::new(n, d)));
            assert_eq!(unit * d as u64 % n as u64, 0, "{n}/{d} in {unit}");
            assert!(unit <= u64::from(FINEST_HZ));
        }
    }

    #[test]
    fn an_unknown_or_odd_rate_gets_the_mpeg_clock() {
        assert_eq!(track_timescale(gst::Fraction::new(0, 1)), 90_000);
        assert_eq!(track_timescale(gst::Fraction::new(1_234_567, 50_000)), 90_000);
    }
}
