//! Which observation belongs to which track: affinities and the assignment of largest total affinity.
//!
//! | | |
//! |---|---|
//! | affinity | .45 overlap + .35 nearness of centres + .20 likeness of size, 0–1; with embeddings on both sides half of it is their cosine |
//! | gate | overlap ≥ .1, or centres within `reach` sides; sizes within a factor of 2.5 |
//! | assignment | exact (Hungarian method with potentials, O(n²·m)) in every group of tracks and observations that reach each other; greedy by affinity in a group of more than [`EXACT_MAX`] tracks |
//! | order | ties fall to the lower index: callers sort first |

use crate::frame::BoxPx;

/// Largest group that is solved exactly.
pub(super) const EXACT_MAX: usize = 64;
/// Overlap that opens the gate by itself.
const IOU_GATE: f32 = 0.1;
/// Largest ratio of sizes.
pub(super) const SIZE_GATE: f32 = 2.5;

/// Distance of centres in sides: mean of both longer sides.
pub(super) fn distance_sides(a: &BoxPx, b: &BoxPx) -> f32 {
    let (ca, cb) = (a.center(), b.center());
    let side = (a.side() + b.side()) / 2.0;
    if side > 0.0 {
        (ca[0] - cb[0]).hypot(ca[1] - cb[1]) / side
    } else {
        f32::INFINITY
    }
}

/// How well two boxes fit, 0–1; `None` outside the gate of `reach` sides.
pub(super) fn fit(a: &BoxPx, b: &BoxPx, reach: f32) -> Option<f32> {
    let iou = a.iou(b);
    let far = distance_sides(a, b);
    let (sa, sb) = (a.area().sqrt(), b.area().sqrt());
    let ratio = sa.min(sb) / sa.max(sb);
    // NaN compares false, so it stays outside.
    let open = (iou >= IOU_GATE || far <= reach) && ratio >= 1.0 / SIZE_GATE;
    open.then(|| 0.45 * iou + 0.35 * (-2.0 * far * far).exp() + 0.2 * ratio)
}

/// Weighs in a cosine of embeddings.
pub(super) fn with_cos(motion: f32, cos: f32) -> f32 {
    0.5 * motion + 0.5 * ((cos + 0.2) / 1.2).clamp(0.0, 1.0)
}

/// Pairs (row, column), each row and column at most once, with the largest sum of affinities (> 0), by row.
pub(super) fn assign(rows: usize, cols: usize, affinity: impl Fn(usize, usize) -> Option<f32>) -> Vec<(usize, usize)> {
    let table: Vec<Vec<Option<f32>>> = (0..rows)
        .map(|r| (0..cols).map(|c| affinity(r, c).filter(|a| a.is_finite() && *a > 0.0)).collect())
        .collect();
    let at = |r: usize, c: usize| table.get(r).and_then(|row| row.get(c)).copied().flatten();
    let mut pairs = Vec::new();
    for (rs, cs) in groups(rows, cols, at) {
        if rs.len() > EXACT_MAX {
            greedy(&rs, &cs, at, &mut pairs);
        } else {
            exact(&rs, &cs, at, &mut pairs);
        }
    }
    pairs.sort_unstable();
    pairs
}

/// Rows and columns that reach each other, directly or by others.
fn groups(rows: usize, cols: usize, at: impl Fn(usize, usize) -> Option<f32>) -> Vec<(Vec<usize>, Vec<usize>)> {
    let mut col_taken = vec![false; cols];
    let mut row_taken = vec![false; rows];
    let mut out = Vec::new();
    for start in 0..rows {
        if row_taken[start] {
            continue;
        }
        row_taken[start] = true;
        let (mut rs, mut cs, mut open) = (vec![start], Vec::new(), vec![start]);
        while let Some(r) = open.pop() {
            for c in (0..cols).filter(|&c| at(r, c).is_some()) {
                if col_taken[c] {
                    continue;
                }
                col_taken[c] = true;
                cs.push(c);
                for other in (0..rows).filter(|&o| at(o, c).is_some()) {
                    if !row_taken[other] {
                        row_taken[other] = true;
                        rs.push(other);
                        open.push(other);
                    }
                }
            }
        }
        if !cs.is_empty() {
            rs.sort_unstable();
            cs.sort_unstable();
            out.push((rs, cs));
        }
    }
    out
}

fn greedy(rs: &[usize], cs: &[usize], at: impl Fn(usize, usize) -> Option<f32>, pairs: &mut Vec<(usize, usize)>) {
    let mut all: Vec<(f32, usize, usize)> = rs
        .iter()
        .flat_map(|&r| cs.iter().map(move |&c| (r, c)))
        .filter_map(|(r, c)| at(r, c).map(|a| (a, r, c)))
        .collect();
    all.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let (mut used_r, mut used_c) = (std::collections::HashSet::new(), std::collections::HashSet::new());
    for (_, r, c) in all {
        if !used_r.contains(&r) && !used_c.contains(&c) {
            used_r.insert(r);
            used_c.insert(c);
            pairs.push((r, c));
        }
    }
}

/// Shortest augmenting paths with potentials. Every row also has a column of its own of affinity 0, which
/// means "unmatched"; so there are always enough columns and a path always exists.
fn exact(rs: &[usize], cs: &[usize], at: impl Fn(usize, usize) -> Option<f32>, pairs: &mut Vec<(usize, usize)>) {
    const CLOSED: f64 = 1e6;
    let (n, real) = (rs.len(), cs.len());
    let m = real + n;
    // 1-based, as the method has it: row and column 0 stand for "none".
    let cost = |i: usize, j: usize| -> f64 {
        if j <= real {
            at(rs[i - 1], cs[j - 1]).map_or(CLOSED, |a| 1.0 - f64::from(a))
        } else if j - real == i {
            1.0
        } else {
            CLOSED
        }
    };
    let (mut u, mut v) = (vec![0.0f64; n + 1], vec![0.0f64; m + 1]);
    let mut row_of = vec![0usize; m + 1];
    let mut from = vec![0usize; m + 1];
    for i in 1..=n {
        row_of[0] = i;
        let mut j0 = 0;
        let mut least = vec![f64::INFINITY; m + 1];
        let mut used = vec![false; m + 1];
        loop {
            used[j0] = true;
            let i0 = row_of[j0];
            let (mut delta, mut j1) = (f64::INFINITY, 0);
            for j in 1..=m {
                if used[j] {
                    continue;
                }
                let reduced = cost(i0, j) - u[i0] - v[j];
                if reduced < least[j] {
                    least[j] = reduced;
                    from[j] = j0;
                }
                if least[j] < delta {
                    delta = least[j];
                    j1 = j;
                }
            }
            for j in 0..=m {
                if used[j] {
                    u[row_of[j]] += delta;
                    v[j] -= delta;
                } else {
                    least[j] -= delta;
                }
            }
            j0 = j1;
            if row_of[j0] == 0 {
                break;
            }
        }
        while j0 != 0 {
            row_of[j0] = row_of[from[j0]];
            j0 = from[j0];
        }
    }
    for j in 1..=real {
        let i = row_of[j];
        if i > 0 && at(rs[i - 1], cs[j - 1]).is_some() {
            pairs.push((rs[i - 1], cs[j - 1]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{assign, fit};
    use crate::frame::BoxPx;
    use proptest::prelude::*;

    /// Largest total over all assignments, by trying all.
    fn best(table: &[Vec<Option<f32>>], row: usize, used: &mut Vec<bool>) -> f32 {
        let Some(cells) = table.get(row) else { return 0.0 };
        let mut top = best(table, row + 1, used);
        for (c, cell) in cells.iter().enumerate() {
            if let Some(a) = cell.filter(|_| !used[c]) {
                used[c] = true;
                top = top.max(a + best(table, row + 1, used));
                used[c] = false;
            }
        }
        top
    }

    proptest! {
        #[test]
        fn the_total_is_the_largest_there_is(
            table in (1usize..6, 1usize..6).prop_flat_map(|(r, c)| {
                prop::collection::vec(prop::collection::vec(prop::option::weighted(0.6, 0.01f32..1.0), c), r)
            })
        ) {
            let cols = table[0].len();
            let pairs = assign(table.len(), cols, |r, c| table[r][c]);
            let rows: std::collections::HashSet<_> = pairs.iter().map(|p| p.0).collect();
            let columns: std::collections::HashSet<_> = pairs.iter().map(|p| p.1).collect();
            prop_assert_eq!(rows.len(), pairs.len());
            prop_assert_eq!(columns.len(), pairs.len());
            let total: f32 = pairs.iter().map(|&(r, c)| table[r][c].expect("only open cells are paired")).sum();
            prop_assert!((total - best(&table, 0, &mut vec![false; cols])).abs() < 1e-4);
        }
    }

    #[test]
    fn a_crowd_beyond_the_exact_size_is_still_paired() {
        let n = 90;
        let pairs = assign(n, n, |r, c| Some(if r == c { 1.0 } else { 0.2 }));
        assert_eq!(pairs, (0..n).map(|i| (i, i)).collect::<Vec<_>>());
    }

    #[test]
    fn the_gate_closes_for_far_and_for_other_sized_boxes() {
        let b = |x: f32, s: f32| BoxPx::around([x, 0.0], s, s);
        assert!(fit(&b(0.0, 10.0), &b(6.0, 10.0), 0.7).is_some());
        assert!(fit(&b(0.0, 10.0), &b(12.0, 10.0), 0.7).is_none());
        assert!(fit(&b(0.0, 10.0), &b(12.0, 10.0), 1.5).is_some());
        assert!(fit(&b(0.0, 10.0), &b(0.0, 30.0), 0.7).is_none());
        assert!(fit(&b(0.0, 10.0), &b(f32::NAN, 10.0), 0.7).is_none());
    }

    #[test]
    fn nothing_to_assign_is_nothing() {
        assert!(assign(0, 3, |_, _| Some(1.0)).is_empty());
        assert!(assign(3, 0, |_, _| Some(1.0)).is_empty());
        assert!(assign(2, 2, |_, _| None).is_empty());
    }
}
