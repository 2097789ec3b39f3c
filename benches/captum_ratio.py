#!/usr/bin/env python3
"""CPU seconds of a cell of psescope's exact maps against captum's FeatureAblation, one thread, EfficientNet-Lite0, one photo.

    python benches/captum_ratio.py --program target/release/psescope --rounds 3

Both put the clean pixels back cell by cell and look at a logit (psescope at two). The time of a coarse map is subtracted from that of a fine one,
which leaves out starting and loading; runs alternate. captum gets the fastest of several batch sizes. Needs captum and what peers.py needs.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy
from peers import Foolbox, children, call

COARSE, FINE = 7, 21
BATCHES = (1, 4, 16)


def ours(program, model, photo, adversarial, grid, classes):
    before = children()
    command = [program, "pse", model, photo, "--adv", adversarial, "--grid", str(grid), "--mode", "exact", "--threads", "1", "--json"]
    found = call([*command, "--true", str(classes[0]), "--target", str(classes[1])])
    return children() - before, len(found["cells"])


def captum(peer, adversarial, grid, target, batch):
    from captum.attr import FeatureAblation

    side = peer.image.shape[-1]
    cell = -(-side // grid)
    rows = peer.torch.arange(side) // cell
    mask = (rows[:, None] * grid + rows[None, :])[None, None]
    begun = time.process_time()
    with peer.torch.no_grad():
        FeatureAblation(peer.model).attribute(
            adversarial, baselines=peer.image, target=target, feature_mask=mask, perturbations_per_eval=batch
        )
    return time.process_time() - begun, int(mask.max()) + 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/psescope")
    parser.add_argument("--model", default="onnx/efficientnet-lite0.onnx")
    parser.add_argument("--photo", default="samples/chelsea.jpg")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    peer = Foolbox(args.photo)
    noise = numpy.random.default_rng(0).choice([-8 / 255, 8 / 255], peer.image.shape).astype(numpy.float32)
    adversarial = (peer.image + peer.torch.from_numpy(noise)).clamp(0, 1)
    classes = (285, 434)
    per_cell = lambda fine, coarse: (fine[0] - coarse[0]) / (fine[1] - coarse[1])
    theirs = lambda batch: per_cell(*(captum(peer, adversarial, g, classes[1], batch) for g in (FINE, COARSE)))
    best = min(BATCHES, key=theirs)
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        stored = str(Path(folder) / "adv.npy")
        numpy.save(stored, adversarial[0].numpy())
        for _ in range(args.rounds):
            mine = per_cell(*(ours(args.program, args.model, args.photo, stored, g, classes) for g in (FINE, COARSE)))
            other = theirs(best)
            rounds.append((mine, other, other / mine))
    mine, other, ratio = (statistics.median(column) for column in zip(*rounds))
    print(f"exact map, per cell: psescope {mine * 1e3:.2f} ms  captum {other * 1e3:.2f} ms (batches of {best})  ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
