//! Affine maps of the plane, named at the call site as `destination_from_source`.

/// `x' = a·x + b·y + c`, `y' = d·x + e·y + f`. Pixel centres lie at integer + 0.5.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    /// Row-major 2×3 matrix `[a, b, c, d, e, f]`.
    pub m: [f32; 6],
}

impl Affine {
    /// The identity.
    pub const IDENTITY: Self = Self {
        m: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    };

    /// Scale about the origin, then shift.
    #[must_use]
    pub const fn scale_shift(sx: f32, sy: f32, tx: f32, ty: f32) -> Self {
        Self {
            m: [sx, 0.0, tx, 0.0, sy, ty],
        }
    }

    /// Maps a point.
    #[must_use]
    #[inline]
    pub fn apply(&self, p: [f32; 2]) -> [f32; 2] {
        let m = &self.m;
        [m[0] * p[0] + m[1] * p[1] + m[2], m[3] * p[0] + m[4] * p[1] + m[5]]
    }

    /// Determinant of the linear part: the factor by which areas grow.
    #[must_use]
    pub fn det(&self) -> f32 {
        self.m[0] * self.m[4] - self.m[1] * self.m[3]
    }

    /// The inverse map; `None` where the map is degenerate or not finite.
    #[must_use]
    pub fn inverse(&self) -> Option<Self> {
        let det = self.det();
        if !det.is_finite() || det.abs() < 1e-12 || self.m.iter().any(|v| !v.is_finite()) {
            return None;
        }
        let [a, b, c, d, e, f] = self.m;
        let (ia, ib, id, ie) = (e / det, -b / det, -d / det, a / det);
        Some(Self {
            m: [ia, ib, -(ia * c + ib * f), id, ie, -(id * c + ie * f)],
        })
    }

    /// `self ∘ other`: first `other`, then `self`.
    #[must_use]
    pub fn after(&self, other: &Self) -> Self {
        let (s, o) = (&self.m, &other.m);
        Self {
            m: [
                s[0] * o[0] + s[1] * o[3],
                s[0] * o[1] + s[1] * o[4],
                s[0] * o[2] + s[1] * o[5] + s[2],
                s[3] * o[0] + s[4] * o[3],
                s[3] * o[1] + s[4] * o[4],
                s[3] * o[2] + s[4] * o[5] + s[5],
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Affine;

    #[test]
    fn inverse_undoes_the_map() {
        let map = Affine {
            m: [1.5, -0.25, 7.0, 0.5, 2.0, -3.0],
        };
        let inverse = map.inverse().expect("map has an inverse");
        let round = inverse.after(&map);
        for (got, want) in round.m.iter().zip(Affine::IDENTITY.m) {
            assert!((got - want).abs() < 1e-5, "{round:?}");
        }
    }

    #[test]
    fn a_flat_map_has_no_inverse() {
        assert_eq!(
            Affine {
                m: [1.0, 2.0, 0.0, 2.0, 4.0, 0.0]
            }
            .inverse(),
            None
        );
        assert_eq!(
            Affine {
                m: [f32::NAN, 0.0, 0.0, 0.0, 1.0, 0.0]
            }
            .inverse(),
            None
        );
    }
}
