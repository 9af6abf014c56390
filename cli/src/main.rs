//! Command `nullface`.
fn main(){}
