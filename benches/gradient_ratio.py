"""What a gradient costs: CPU time of a gradient graph over that of its forward graph, one thread, both in one process.

    python benches/gradient_ratio.py [--psescope BIN] [--torch NAME=BUILDER ...] MODEL.onnx ...

For each model `psescope grad --loss ce` writes the gradient graph; forward, gradient and (where installed) torch and onnx-ad run
in turn, so that whatever else the machine does falls on all of them. Minimum and median CPU time over the repetitions, in ms.
--torch gives the torch network of a model by file stem: `resnet18=torchvision:resnet18` or `deit_tiny=timm:deit_tiny_patch16_224`;
it runs eagerly and in channels_last, with --compile through torch.compile too (which takes minutes a model). --profile prints the operators that take the time instead.
"""

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime


def session(path, profile=None):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if profile:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def feeds(s, size):
    noise = np.random.default_rng(0)
    result = {}
    for i in s.get_inputs():
        shape = [d if isinstance(d, int) else (size if k >= 2 and len(i.shape) == 4 else 1) for k, d in enumerate(i.shape)]
        if "int64" in i.type:
            result[i.name] = np.full(shape, 3, np.int64)
        elif len(shape) == 4:
            result[i.name] = noise.standard_normal(shape).astype(np.float32)
        else:
            result[i.name] = np.ones(shape, np.float32)
    return result


def onnx_runner(path, size):
    s = session(path)
    inputs = feeds(s, size)
    return lambda: s.run(None, inputs)


def torch_runner(spec, size, channels_last, compiled=False):
    import torch

    torch.set_num_threads(1)
    source, name = spec.split(":")
    if source == "timm":
        import timm

        net = timm.create_model(name, pretrained=False)
    else:
        import torchvision

        net = getattr(torchvision.models, name)(weights=None)
    net = net.eval().requires_grad_(False)
    x = torch.randn(1, 3, size, size)
    if channels_last:
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    label = torch.tensor([3])
    if compiled:
        net = torch.compile(net)

    def run():
        z = x.detach().requires_grad_(True)
        loss = torch.nn.functional.cross_entropy(net(z), label)
        torch.autograd.grad(loss, z)

    return run


def onnx_ad_runner(path, folder, size):
    """The peer package, given a model of fixed batch 1; the cotangent of the logits is an input. None where it is not installed or refuses."""
    try:
        import onnx
        from onnx_ad import reverse
    except ImportError:
        return None
    try:
        model = onnx.load(path)
        for value in [*model.graph.input, *model.graph.output]:
            for k, dim in enumerate(value.type.tensor_type.shape.dim):
                if not dim.HasField("dim_value"):
                    dim.dim_value = 1 if k == 0 else size
        out = os.path.join(folder, "peer.onnx")
        onnx.save(reverse(model), out)
        s = session(out)
        inputs = feeds(s, size)
        classes = model.graph.output[0].type.tensor_type.shape.dim[-1].dim_value
        for name in inputs:
            if name.startswith("adj_"):
                inputs[name] = np.ones((1, classes), np.float32)
        s.run(None, inputs)
        return lambda: s.run(None, inputs)
    except Exception as error:
        print(f"onnx-ad: {str(error).splitlines()[0][:120]}", file=sys.stderr)
        return None


def interleave(runners, repetitions, budget):
    for run in runners:
        run()
    times = [[] for _ in runners]
    end = time.time() + budget
    while len(times[0]) < repetitions and (len(times[0]) < 15 or time.time() < end):
        for run, list_ in zip(runners, times):
            start = time.process_time_ns()
            run()
            list_.append((time.process_time_ns() - start) / 1e6)
    return [np.array(t) for t in times]


def profile(path, size, folder):
    s = session(path, os.path.join(folder, "profile"))
    inputs = feeds(s, size)
    for _ in range(8):
        s.run(None, inputs)
    durations = collections.defaultdict(list)
    for e in json.load(open(s.end_profiling())):
        if e.get("cat") == "Node" and e["name"].endswith("_kernel_time"):
            durations[e["args"]["op_name"], e["name"]].append(e["dur"])
    sums = collections.defaultdict(lambda: [0, 0.0])
    for (op, _), d in durations.items():
        sums[op][0] += 1
        sums[op][1] += min(d) / 1e3
    print(f"  {sum(v for _, v in sums.values()):8.2f} ms in {len(durations)} nodes")
    for op, (count, ms) in sorted(sums.items(), key=lambda item: -item[1][1])[:14]:
        print(f"  {ms:8.3f} ms {count:4d} x {op}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--psescope", default="psescope")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repetitions", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=20, help="per model, once there are 15 repetitions")
    parser.add_argument("--torch", nargs="*", default=[], metavar="STEM=SOURCE:NAME")
    parser.add_argument("--compile", action="store_true", help="torch.compile as well, in channels_last")
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    networks = dict(t.split("=", 1) for t in args.torch)
    # A file called model.onnx is known by its folder.
    named = lambda model: model.parent.name if model.stem == "model" else model.stem
    columns = ["forward", "gradient", "torch", "torch channels_last", "torch compiled", "onnx-ad"]
    if not args.profile:
        print("| model | " + " | ".join(f"{c}, ms" for c in columns) + " | gradient / forward (min, median) | build, s |")
        print("|---" * (len(columns) + 3) + "|")
    for model in args.models:
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "grad.onnx")
            start = time.time()
            subprocess.run([args.psescope, "grad", model, "-o", out, "--loss", "ce"], check=True, stdout=subprocess.DEVNULL)
            built = time.time() - start
            if args.profile:
                print(f"{named(model)}: forward")
                profile(str(model), args.size, folder)
                print(f"{named(model)}: gradient")
                profile(out, args.size, folder)
                continue
            runners = {"forward": onnx_runner(str(model), args.size), "gradient": onnx_runner(out, args.size)}
            if named(model) in networks:
                runners["torch"] = torch_runner(networks[named(model)], args.size, False)
                runners["torch channels_last"] = torch_runner(networks[named(model)], args.size, True)
                if args.compile:
                    runners["torch compiled"] = torch_runner(networks[named(model)], args.size, True, True)
            peer = onnx_ad_runner(str(model), folder, args.size)
            if peer:
                runners["onnx-ad"] = peer
            times = dict(zip(runners, interleave(list(runners.values()), args.repetitions, args.seconds)))
            cells = [f"{times[c].min():.3g}" if c in times else "-" for c in columns]
            f, g = times["forward"], times["gradient"]
            print(f"| {named(model)} | {' | '.join(cells)} | {g.min() / f.min():.2f}, {np.median(g / f):.2f} | {built:.2f} |", flush=True)


if __name__ == "__main__":
    main()
