#!/usr/bin/env python3
"""How much exact promotion-suppression maps could gain if only what a cell can reach were computed again.

    python benches/cone.py MODEL.onnx … [--cell 16] [--batch 4]

A restored cell changes an early map only inside its receptive field. So the network is cut at a tensor that everything passes through: the part
before it runs on a crop, the result is pasted into the map of the whole adversarial image, the part behind runs in full. For every possible
cut this measures crop, paste and rest against the whole network, all on one thread of ONNX Runtime's CPU provider in one process, and prints
the best. It is an upper bound: cropping and deciding are not counted. Needs numpy, onnx and onnxruntime.
"""

import argparse
import time

import numpy as np
import onnx
import onnxruntime
from onnx import helper, shape_inference
from onnx.utils import Extractor

WINDOWS = {"Conv", "MaxPool", "AveragePool"}
POINTWISE = {"Relu", "Clip", "Sigmoid", "HardSwish", "HardSigmoid", "LeakyRelu", "Elu", "BatchNormalization", "Identity", "Dropout", "Cast"}
JOINS = {"Add", "Mul", "Concat", "Sum", "Sub", "Div"}


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def seconds(run, times=5):
    run()
    taken = []
    for _ in range(times):
        begun = time.process_time()
        run()
        taken.append(time.process_time() - begun)
    return min(taken)


class Network:
    def __init__(self, path):
        model = onnx.load(path)
        constants = {i.name for i in model.graph.initializer}
        self.input = next(i for i in model.graph.input if i.name not in constants)
        self.output = model.graph.output[0].name
        sides = self.input.type.tensor_type.shape.dim
        self.side = sides[2].dim_value or 224
        sides[0].dim_param = "N"
        sides[2].dim_value = sides[3].dim_value = self.side
        del model.graph.value_info[:]
        for output in model.graph.output:
            output.ClearField("type")
            output.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        self.model = shape_inference.infer_shapes(model)
        dims = lambda v: [d.dim_value or d.dim_param for d in v.type.tensor_type.shape.dim]
        self.shapes = {v.name: dims(v) for v in self.model.graph.value_info}
        self.weights = {i.name: list(i.dims) for i in self.model.graph.initializer}
        self.fields = self.receptive_fields()
        self.extractor = Extractor(self.model)

    def receptive_fields(self):
        """Per tensor (jump, first, last): value i reads the image from i * jump + first to i * jump + last. None: more than a window."""
        fields, constant = {self.input.name: (1, 0, 0)}, set(self.weights)
        for node in self.model.graph.node:
            varying = [x for x in node.input if x and x not in constant]
            if not varying:
                constant.update(node.output)
                if node.op_type == "Cast":
                    self.weights[node.output[0]] = self.weights.get(node.input[0])
                continue
            found = [fields.get(x) for x in varying]
            fields[node.output[0]] = None if None in found else self.field(node, varying, found)
        return fields

    def field(self, node, varying, found):
        jump, first, last = found[0]
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type in WINDOWS:
            kernel = self.weights[node.input[1]][2] if node.op_type == "Conv" else given["kernel_shape"][0]
            stride, pad = given.get("strides", [1])[0], given.get("pads", [0])[0]
            reach = given.get("dilations", [1])[0] * (kernel - 1)
            return jump * stride, first - pad * jump, last + (reach - pad) * jump
        if node.op_type in POINTWISE or (node.op_type in JOINS and len(varying) == 1):
            return found[0]
        sizes = {tuple(self.shapes.get(x, [])[2:]) for x in varying}
        if node.op_type in JOINS and len(sizes) == 1 and len({f[0] for f in found}) == 1:
            return jump, min(f[1] for f in found), max(f[2] for f in found)
        return None

    def cuts(self):
        """Tensors that everything passes through and that see only a window of the image, first to last."""
        made = {node.output[0]: i for i, node in enumerate(self.model.graph.node)}
        read = {x: i for i, node in enumerate(self.model.graph.node) for x in node.input}
        varying = [t for t in self.fields if t in made]
        passes = lambda t: all(read.get(x, -1) <= made[t] for x in varying if made[x] <= made[t] and x != t)
        return [t for t in varying if self.fields[t] and len(self.shapes.get(t, [])) == 4 and passes(t)]

    def crop(self, tensor, cell):
        """Side of the crop that holds what a cell can change at a tensor, aligned to the tensor's stride."""
        jump, first, last = self.fields[tensor]
        size = self.shapes[tensor][2]
        touched = lambda at: sum(i * jump + first < at + cell and i * jump + last >= at for i in range(size))
        most = max(touched(at) for at in range(0, self.side, cell))
        span = (most - 1) * jump + last - first + 1
        return min(span + (self.side - span) % jump + jump, self.side)

    def parts(self, tensor, crop):
        head = self.extractor.extract_model([self.input.name], [tensor])
        for axis in (2, 3):
            head.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = crop
            head.graph.output[0].type.tensor_type.shape.dim[axis].dim_param = f"side{axis}"
        del head.graph.value_info[:]
        return session(head), session(self.extractor.extract_model([tensor], [self.output]))


def study(path, cell, batch):
    network = Network(path)
    name = network.input.name
    images = np.random.default_rng(0).standard_normal((batch, 3, network.side, network.side)).astype(np.float32)
    whole = session(network.model)
    cuts = network.cuts()
    best = (0.0, None)
    for tensor in cuts[:: max(1, len(cuts) // 20)]:
        crop = network.crop(tensor, cell)
        if crop == network.side:
            break
        head, tail = network.parts(tensor, crop)
        part = np.ascontiguousarray(images[:, :, :crop, :crop])
        kept = np.random.default_rng(1).random([batch, *network.shapes[tensor][1:]], np.float32)
        room = np.empty_like(kept)
        full = seconds(lambda: whole.run(None, {name: images}))
        taken = [
            seconds(lambda: head.run(None, {name: part})),
            seconds(lambda: np.copyto(room, kept)),
            seconds(lambda: tail.run(None, {tensor: kept})),
        ]
        gain = full / sum(taken)
        best = max(best, (gain, tensor))
        columns = "  ".join(f"{word} {t / batch * 1e3:6.2f}" for word, t in zip(("whole", "crop", "paste", "rest"), [full, *taken]))
        print(f"  {tensor[-40:]:40} crop {crop:3} px  ms an image: {columns}  gain {gain:.2f}", flush=True)
    print(f"{path}: best gain {best[0]:.2f} at {best[1]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--cell", type=int, default=16, help="side of a cell in pixels")
    parser.add_argument("--batch", type=int, default=4)
    args = parser.parse_args()
    for path in args.models:
        study(path, args.cell, args.batch)


if __name__ == "__main__":
    main()
