#!/usr/bin/env python3
"""Export the gradient graph of a PyTorch classifier, for `psescope --grad-model`.

    export_gradient.py --torchvision resnet18 resnet18-gradient.onnx
    export_gradient.py --timm vit_tiny_patch16_224 vit-gradient.onnx
    export_gradient.py --entry mypackage.models:build --size 64x64 gradient.onnx

or from Python:

    from export_gradient import export
    export(model, torch.zeros(2, 3, 224, 224), "gradient.onnx", forward="model.onnx")

The graph takes `image` and `cotangent` and gives `logits` and `grad_image`, the gradient of sum(cotangent * logits) with respect
to the image. PyTorch's own derivatives are traced, written in operators that ONNX has, and exported; onnx/README.md has the contract.

Needs a recent torch (2.15 was used to test it), onnx and onnxscript.
"""

import argparse
import importlib
import sys
import warnings

import torch
from torch._dynamo.source import ConstantSource
from torch._decomp import core_aten_decompositions, decomposition_table
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

aten = torch.ops.aten


# --- Derivatives that the ONNX exporter does not know, in operators that it knows. Only the gradient of the input is needed. ---


def convolution_backward(
    grad, value, weight, _bias_sizes, stride, padding, dilation, transposed, _output_padding, groups, _output_mask
):
    """The transpose of a convolution is a transposed convolution, and the other way round."""
    rank = weight.dim() - 2

    def each(numbers):
        numbers = list(numbers)
        return numbers * rank if len(numbers) == 1 else numbers

    stride, padding, dilation = each(stride), each(padding), each(dilation)
    if transposed:
        return aten.convolution(grad, weight, None, stride, padding, dilation, False, [0] * rank, groups), None, None
    # A strided convolution may ignore the last rows and columns of its input: they get zeros.
    ignored = []
    for i in range(rank):
        reached = (grad.shape[2 + i] - 1) * stride[i] - 2 * padding[i] + dilation[i] * (weight.shape[2 + i] - 1) + 1
        ignored.append(value.shape[2 + i] - reached)
    return aten.convolution(grad, weight, None, stride, padding, dilation, True, ignored, groups), None, None


def max_pool_backward(grad, value, _kernel, _stride, _padding, _dilation, _ceil_mode, indices):
    """Each window's gradient goes to where its largest value was."""
    flat = torch.zeros_like(value).flatten(2)
    return flat.scatter_add(2, indices.flatten(2), grad.flatten(2)).reshape(value.shape)


def average_matrix(length, kernel, stride, padding, outputs, include_pad, divisor):
    """[outputs, length]: row o averages the window of output o along one axis."""
    matrix = torch.zeros(outputs, length)
    for o in range(outputs):
        low, high = o * stride - padding, min(o * stride - padding + kernel, length + padding)
        inside = range(max(low, 0), min(high, length))
        count = 1 if divisor else (high - low if include_pad else len(inside))
        for i in inside:
            matrix[o, i] = 1.0 / max(count, 1)
    return matrix


def average_pool_backward(grad, value, kernel, stride, padding, _ceil_mode, include_pad, divisor):
    """Averages over windows are a linear map along each axis; its transpose is a pair of matrix products."""
    kernel = list(kernel) * (2 if len(kernel) == 1 else 1)
    stride = list(stride) * (2 if len(stride) == 1 else 1) or kernel
    padding = list(padding) * (2 if len(padding) == 1 else 1)
    rows, columns = (
        average_matrix(value.shape[2 + i], kernel[i], stride[i], padding[i], grad.shape[2 + i], include_pad, divisor) for i in (0, 1)
    )
    spread = torch.matmul(rows.to(grad.dtype).t(), torch.matmul(grad, columns.to(grad.dtype)))
    return spread / divisor if divisor else spread


def adaptive_matrix(length, outputs):
    """The same for adaptive windows."""
    matrix = torch.zeros(outputs, length)
    for o in range(outputs):
        start, end = o * length // outputs, -(-(o + 1) * length // outputs)
        matrix[o, start:end] = 1.0 / (end - start)
    return matrix


def adaptive_average_pool_backward(grad, value):
    rows, columns = (adaptive_matrix(value.shape[2 + i], grad.shape[2 + i]).to(grad.dtype) for i in (0, 1))
    return torch.matmul(rows.t(), torch.matmul(grad, columns))


def adaptive_average_pool(value, size):
    rows, columns = (adaptive_matrix(value.shape[2 + i], int(size[i])).to(value.dtype) for i in (0, 1))
    return torch.matmul(rows, torch.matmul(value, columns.t()))


def batch_norm_backward(grad, value, weight, _mean, variance, _saved_mean, _saved_scale, train, eps, _output_mask):
    """In evaluation a batch norm is one factor per channel."""
    if train:
        raise ValueError("the model is in training mode; call model.eval() before exporting it")
    factor = torch.rsqrt(variance + eps)
    factor = factor if weight is None else factor * weight
    return grad * factor.reshape([1, -1] + [1] * (value.dim() - 2)), None, None


OWN = {
    aten.native_batch_norm_backward.default: batch_norm_backward,
    aten.convolution_backward.default: convolution_backward,
    aten.max_pool2d_with_indices_backward.default: max_pool_backward,
    aten.avg_pool2d_backward.default: average_pool_backward,
    aten._adaptive_avg_pool2d_backward.default: adaptive_average_pool_backward,
    aten._adaptive_avg_pool2d.default: adaptive_average_pool,
}


def decompositions():
    """PyTorch's own rewritings for whatever only occurs in derivatives, and ours."""
    core = core_aten_decompositions()
    table = {op: how for op, how in decomposition_table.items() if "backward" in str(op)}
    table.update({op: how for op, how in core.items() if "backward" in str(op) or "attention" in str(op)})
    return table | OWN


class PlainForms(TorchFunctionMode):
    """Two functions whose own implementation does more than ONNX can say, in plainer words.

    Pooling to one value also changes strides in PyTorch; a linear layer on more than two axes fixes the batch while it is traced.
    """

    POOLS = (torch.nn.functional.adaptive_avg_pool2d, torch._C._nn.adaptive_avg_pool2d)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in self.POOLS:
            size = args[1] if len(args) > 1 else kwargs["output_size"]
            if size == 1 or tuple(size) == (1, 1):
                return args[0].mean((-2, -1), keepdim=True)
        if function is torch.nn.functional.linear and args and args[0].dim() > 2:
            value, *rest = args
            flat = function(value.reshape(-1, value.shape[-1]), *rest, **kwargs)
            return flat.reshape([*value.shape[:-1], flat.shape[-1]])
        return function(*args, **kwargs)


class Forward(torch.nn.Module):
    """Logits of a classifier, whatever it wraps them in."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image):
        out = self.model(image)
        if isinstance(out, dict) or hasattr(out, "logits"):
            out = out["logits"]
        return out[0] if isinstance(out, (tuple, list)) else out


def trace(model, example, classes, dynamic=True):
    """One graph of the forward and the backward pass; only the batch is symbolic."""

    def both(image, cotangent):
        # The fused kernels for attention have derivatives of their own that nothing else knows.
        with PlainForms(), sdpa_kernel(SDPBackend.MATH):
            logits, back = torch.func.vjp(model, image)
        return logits, back(cotangent)[0]

    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)

    def fake(tensor, source):
        sizes = [DimDynamic.DYNAMIC if dynamic else DimDynamic.STATIC] + [DimDynamic.STATIC] * (tensor.dim() - 1)
        return mode.from_tensor(tensor, symbolic_context=StatelessSymbolicContext(dynamic_sizes=sizes), source=ConstantSource(source))

    cotangent = torch.zeros(example.shape[0], classes)
    # Equal sizes share one symbol, so the two batches are one.
    inputs = fake(example, "image"), fake(cotangent, "cotangent")
    with mode:
        traced = make_fx(both, decomposition_table=decompositions(), tracing_mode="real", _allow_non_fake_inputs=True)(*inputs)
    if dynamic and inputs[0].shape[0].node.maybe_as_int() is not None:
        # Something in the model asked for the batch as a number.
        return trace(model, example[:1], classes, dynamic=False)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced, (example, cotangent), dynamic


def save(module, arguments, path, inputs, outputs, metadata, dynamic=True):
    """Exports with a dynamic batch where that is possible; weights over 2 GB go to a file beside it."""
    batch = torch.export.Dim("N", min=1)
    with warnings.catch_warnings():
        # The inputs share one batch, which the exporter finds worth a warning.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            arguments,
            dynamo=True,
            optimize=True,
            verbose=False,
            opset_version=18,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=tuple({0: batch} for _ in arguments) if dynamic else None,
        )
    program.model.metadata_props.update(metadata)
    size = sum(value.const_value.nbytes for value in program.model.graph.initializers.values() if value.const_value is not None)
    program.save(path, external_data=size > 1 << 31)


def export(model, example, path, forward=None):
    """Writes the gradient graph of `model` to `path`, and its plain graph to `forward` when that is given.

    `example` is a batch [N, C, H, W] with N of at least 2 in the model's own input range (after mean and std, which psescope
    applies itself); its values do not matter. Height and width are fixed to the example's.
    """
    if example.shape[0] < 2:
        example = example.expand(2, *example.shape[1:]).contiguous()
    model = Forward(model.eval().requires_grad_(False)).eval()
    with torch.no_grad():
        logits = model(example)
    if logits.dim() != 2:
        raise ValueError(f"the model gives {list(logits.shape)} instead of logits [N, K]; wrap it so that it does")
    traced, arguments, dynamic = trace(model, example, logits.shape[1])
    names = {"image": "image", "logits": "logits", "cotangent": "cotangent", "grad_image": "grad_image"}
    metadata = {"psescope.kind": "gradient"} | {f"psescope.{role}": name for role, name in names.items()}
    save(traced, arguments, path, ["image", "cotangent"], ["logits", "grad_image"], metadata, dynamic)
    if not dynamic:
        print(f"{path}: the batch is fixed to 1, because the model turns its batch into a number", file=sys.stderr)
    if forward is not None:
        save(model, (example,), forward, ["image"], ["logits"], {})


def build(args):
    """The model that the command line names."""
    if args.torchvision:
        import torchvision

        return torchvision.models.get_model(args.torchvision, weights=None if args.random else "DEFAULT")
    if args.timm:
        import timm

        return timm.create_model(args.timm, pretrained=not args.random)
    module, _, function = args.entry.partition(":")
    sys.path.insert(0, "")
    return getattr(importlib.import_module(module), function or "build")()


def main():
    parser = argparse.ArgumentParser(description="Export the gradient graph of a PyTorch classifier for psescope --grad-model.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--torchvision", metavar="NAME", help="a model of torchvision")
    source.add_argument("--timm", metavar="NAME", help="a model of timm")
    source.add_argument("--entry", metavar="MODULE:FUNCTION", help="a function that returns the model")
    parser.add_argument("--size", default="224x224", metavar="WxH", help="input size (default 224x224)")
    parser.add_argument("--channels", type=int, default=3, help="input channels (default 3)")
    parser.add_argument("--weights", metavar="FILE", help="state dict to load (.pt, .pth or .safetensors)")
    parser.add_argument("--random", action="store_true", help="random weights instead of trained ones")
    parser.add_argument("--forward", metavar="FILE", help="also write the plain model here")
    parser.add_argument("output", metavar="OUT.onnx")
    args = parser.parse_args()
    model = build(args)
    if args.weights and args.weights.endswith(".safetensors"):
        from safetensors.torch import load_file

        model.load_state_dict(load_file(args.weights))
    elif args.weights:
        model.load_state_dict(torch.load(args.weights, map_location="cpu", weights_only=True))
    width, height = (int(side) for side in args.size.lower().split("x"))
    export(model, torch.zeros(2, args.channels, height, width), args.output, args.forward)
    print(f"{args.output}: gradient graph" + (f"; {args.forward}: plain model" if args.forward else ""))


if __name__ == "__main__":
    main()
