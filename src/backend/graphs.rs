//! CUDA graphs of a network: its launches, captured once, go to the device as one. An option, off unless
//! `NULLFACE_CUDA_GRAPHS=1`, for a pack's denoiser on the CUDA provider.
//!
//! | | |
//! |---|---|
//! | who captures | the runtime (`enable_cuda_graph`): it runs once plainly, captures the next run, replays those after |
//! | what a graph holds | addresses and shapes of that run, which the runtime does not look at again: each set of them has a number of its own here, and one that was never seen a new one |
//! | more than [`MOST`] sets | run without a graph, told once: shapes or addresses that change with every run have nothing to replay |
//! | inputs in the processor's memory | run without a graph |
//! | stream | the runtime's own: a capture that fails must not leave ours capturing. Our work is waited for before such a run, and the runtime waits at its end |
//! | a session that cannot have graphs, a run that fails with one | the network is built without, told once |
//!
//! Why the addresses recur: buffers come from a pool that gives the same ones to the same requests in the same order.
//! Why not our own kernels: regions, and with them grids, differ in every frame; between two runs of the denoiser lie
//! a copy and a launch a face, whose constants differ from step to step.

use std::sync::OnceLock;

/// Most graphs of a network: each keeps the memory of its intermediate values.
const MOST: usize = 8;

/// Whether graphs are asked for; the environment is read once a process.
pub(super) fn asked() -> bool {
    static ASKED: OnceLock<bool> = OnceLock::new();
    *ASKED.get_or_init(|| std::env::var_os("NULLFACE_CUDA_GRAPHS").is_some_and(|v| v == "1"))
}

/// What a graph was captured with: the address and the sides of each input and of the output.
pub(super) type Operands = Vec<(u64, Vec<usize>)>;

/// The graphs of one session.
#[derive(Debug, Default)]
pub(super) struct Graphs {
    known: Vec<Operands>,
    off: bool,
    full: bool,
}

impl Graphs {
    /// The number of the graph for a run, as the runtime's option `gpu_graph_id` takes it; −1 = without.
    pub(super) fn number(&mut self, operands: Operands, name: &str) -> i64 {
        if self.off {
            return -1;
        }
        let at = self.known.iter().position(|known| *known == operands);
        let at = at.or_else(|| {
            if self.known.len() >= MOST {
                if !self.full {
                    tracing::warn!(network = name, "more than {MOST} sets of buffers: others run without a CUDA graph");
                }
                self.full = true;
                return None;
            }
            self.known.push(operands);
            Some(self.known.len() - 1)
        });
        // The runtime's own default is 0.
        at.and_then(|at| i64::try_from(at + 1).ok()).unwrap_or(-1)
    }

    /// A run with a graph failed: from now on there are none.
    pub(super) fn give_up(&mut self, why: &str, name: &str) {
        if !self.off {
            tracing::warn!(network = name, why, "CUDA graphs fail; the network runs without");
        }
        self.off = true;
    }
}

#[cfg(test)]
mod tests {
    use super::{Graphs, MOST};

    fn operands(address: u64, rows: usize) -> super::Operands {
        vec![(address, vec![rows, 4, 8, 8]), (address + 4096, vec![rows])]
    }

    #[test]
    fn a_graph_is_replayed_only_with_the_addresses_and_shapes_it_was_captured_with() {
        let mut graphs = Graphs::default();
        let first = graphs.number(operands(256, 2), "net");
        assert!(first > 0, "0 is the runtime's default");
        assert_eq!(graphs.number(operands(256, 2), "net"), first);
        let others = [graphs.number(operands(512, 2), "net"), graphs.number(operands(256, 4), "net")];
        assert!(others.iter().all(|n| *n > 0 && *n != first) && others[0] != others[1], "{others:?}");
        assert_eq!(graphs.number(operands(256, 2), "net"), first);
    }

    #[test]
    fn addresses_that_never_recur_run_without_and_those_known_go_on() {
        let mut graphs = Graphs::default();
        let numbers: Vec<i64> = (0..2 * MOST as u64).map(|i| graphs.number(operands(i * 256, 2), "net")).collect();
        assert!(
            numbers[..MOST].iter().all(|n| *n > 0) && numbers[MOST..].iter().all(|n| *n == -1),
            "{numbers:?}"
        );
        assert_eq!(graphs.number(operands(0, 2), "net"), numbers[0]);
    }

    #[test]
    fn after_a_failure_there_are_none_whatever_comes() {
        let mut graphs = Graphs::default();
        assert!(graphs.number(operands(256, 2), "net") > 0);
        graphs.give_up("CUDA failure 900: operation not permitted when stream is capturing", "net");
        assert_eq!(graphs.number(operands(256, 2), "net"), -1, "one that was captured");
        assert_eq!(graphs.number(operands(512, 2), "net"), -1);
    }
}
