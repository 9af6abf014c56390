"""Time of one denoiser evaluation (batch 1) in each precision as a multiple of the face mesh's, measured in one run.

Runs alternate, the fastest of each counts: on shared cores the fastest is the least disturbed. With one thread the processor time of
that thread is taken, which waiting for a core does not touch. A ratio travels between machines, a millisecond does not.
"""
import argparse
import os
import time
import tomllib

import numpy as np

import small

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--pack", default=os.path.join(HERE, "..", "nullface-128"))
    ap.add_argument("--small", default=os.path.join(HERE, "..", "small"))
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--runs", type=int, default=80)
    a = ap.parse_args()
    t = tomllib.load(open(os.path.join(a.pack, "pack.toml"), "rb"))
    jobs = {"face mesh": (small.session(small.find(a.small, "mesh"), a.threads), None)}
    r = np.random.default_rng(0)
    feed = dict(x=r.standard_normal((1, 48, 32, 32)), prior=r.uniform(-1, 1, (1, 48, 32, 32)), identity=r.standard_normal((1, 192)) / 14, identity_mask=np.ones((1, 1)), attributes=np.zeros((1, 17)))
    feed = {k: v.astype(np.float32) for k, v in feed.items()} | {"lambda": np.zeros(1, np.float32)}
    for p, key in t["denoiser"]["files"].items():
        jobs[p] = (small.session(os.path.join(a.pack, t["files"][key]["path"]), a.threads), feed)
    i = jobs["face mesh"][0].get_inputs()[0].name
    jobs["face mesh"] = (jobs["face mesh"][0], {i: np.zeros((1, 192, 192, 3), np.float32)})
    clock = time.thread_time if a.threads == 1 else time.perf_counter
    best = {k: 1e9 for k in jobs}
    for n in range(a.runs):
        for k, (s, f) in jobs.items():
            t0 = clock()
            s.run(None, f)
            if n > 5:
                best[k] = min(best[k], clock() - t0)
    for k, v in best.items():
        print(f"{k}: {1000 * v:.2f} ms, {v / best['face mesh']:.2f} x the face mesh ({a.threads} threads)")


if __name__ == "__main__":
    main()
