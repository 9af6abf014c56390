//! Run-time choice of the vector unit for inner loops.
//!
//! The crate is built for the oldest x86-64, whose vectors are 16 bytes and cannot multiply 32-bit
//! integers. Loops that matter are compiled twice, plainly and for AVX2, and the processor decides.
//! Results are the same: integer loops exactly, floating-point ones within each operator's tolerance.

/// Defines a function whose body is compiled for the baseline and for AVX2.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $(<$(const $constant:ident : $kind:ty),+>)? ($($arg:ident : $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        $vis fn $name $(<$(const $constant: $kind),+>)? ($($arg: $ty),*) {
            #[inline(always)]
            fn plain $(<$(const $constant: $kind),+>)? ($($arg: $ty),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2 $(<$(const $constant: $kind),+>)? ($($arg: $ty),*) {
                    plain $(::<$($constant),+>)? ($($arg),*);
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has AVX2, as just asked; the body itself is safe code.
                    return unsafe { avx2 $(::<$($constant),+>)? ($($arg),*) };
                }
            }
            plain $(::<$($constant),+>)? ($($arg),*);
        }
    };
}

pub(crate) use vectorised;
