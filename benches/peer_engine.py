"""Times one engine on one case, on demand from peers.py.

usage: peer_engine.py ENGINE KIND WHAT SIZE BATCH THREADS WORK

Prints "ready". Then, for each line "SECONDS" on standard input, runs for that long and prints the median in milliseconds.
Only the engine that needs a package imports it, so that each engine may live in its own environment.
"""

import os
import statistics
import sys
import time
from pathlib import Path


def fold_pool(model, side):
    """Folds VGG's adaptive average pool from side×side to 7×7 exactly into the first linear layer: both are linear."""
    import torch

    pool = torch.zeros(7, side)
    for i in range(7):
        first, end = i * side // 7, -(-(i + 1) * side // 7)
        pool[i, first:end] = 1.0 / (end - first)
    old = model.classifier[0]
    weight = old.weight.detach().view(old.out_features, -1, 7, 7)
    new = torch.nn.Linear(weight.shape[1] * side * side, old.out_features)
    new.weight = torch.nn.Parameter(torch.einsum("ocij,iy,jx->ocyx", weight, pool, pool).flatten(1))
    new.bias = old.bias
    model.classifier[0], model.avgpool = new, torch.nn.Identity()


def network(name, size):
    """Returns torchvision's network for ten classes, with one batch's statistics, and batch norms and VGG's pool folded."""
    import torch
    import torch.fx.experimental.optimization
    import torchvision

    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(num_classes=10).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches, which is one here
    with torch.no_grad():
        model(torch.randn(4, 3, size, size))
    model.eval()
    if name.startswith("vgg"):
        fold_pool(model, size // 32)
    return torch.fx.experimental.optimization.fuse(model).eval()


def onnx_file(name, size, batch, work):
    """Exports the network to an ONNX file in WORK, unless it exists."""
    path = Path(work) / f"{name}_{size}_b{batch}.onnx"
    if not path.exists():
        import torch

        part = path.with_suffix(".part")
        images = torch.randn(batch, 3, size, size)
        torch.onnx.export(network(name, size), (images,), str(part), dynamo=False, opset_version=13)
        part.rename(path)
    return str(path)


def lopper_file(name, size, batch, work):
    """Returns the ONNX file that peers.py let lopper write."""
    return f"{work}/{name}_{size}_b{batch}.lopper.onnx"


def onnxruntime_network(name, size, batch, threads, work, file=onnx_file):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(file(name, size, batch, work), options, ["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: images(size, batch)}
    return lambda: session.run(None, feed)


def openvino_network(name, size, batch, threads, work, file=onnx_file):
    import openvino

    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    model = openvino.Core().compile_model(file(name, size, batch, work), "CPU", options)
    request, x = model.create_infer_request(), images(size, batch)
    return lambda: request.infer([x])


def onnxruntime_file(*case):
    return onnxruntime_network(*case, file=lopper_file)


def openvino_file(*case):
    return openvino_network(*case, file=lopper_file)


def deepsparse_network(name, size, batch, threads, work):
    from deepsparse import compile_model

    engine = compile_model(onnx_file(name, size, batch, work), batch_size=batch, num_cores=threads)
    x = images(size, batch)
    return lambda: engine.run([x])


def deepsparse_sparse(what, size, batch, threads, work):
    """Runs the masked network that peers.py made."""
    from deepsparse import compile_model

    engine = compile_model(f"{work}/{what}_{size}_b{batch}.onnx", batch_size=batch, num_cores=threads)
    x = images(size, batch)
    return lambda: engine.run([x])


def pytorch_network(name, size, batch, threads, work):
    import torch

    model = network(name, size).to(memory_format=torch.channels_last)
    x = torch.from_numpy(images(size, batch)).to(memory_format=torch.channels_last)

    def run():
        with torch.inference_mode():
            model(x)

    return run


def training_step(name, size, batch, compiled):
    """Returns a step of forward, cross entropy, backward and fused Adam, channels last."""
    import torch
    import torchvision

    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(num_classes=10).train().to(memory_format=torch.channels_last)
    x = torch.from_numpy(images(size, batch)).to(memory_format=torch.channels_last)
    labels = torch.arange(batch) % 10
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-6, fused=True)
    forward = torch.compile(model) if compiled else model

    def step():
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(forward(x), labels).backward()
        optimizer.step()

    return step


def pytorch_training(name, size, batch, threads, work):
    return training_step(name, size, batch, compiled=False)


def compiled_training(name, size, batch, threads, work):
    return training_step(name, size, batch, compiled=True)


def onednn_layer(shape, size, batch, threads, work):
    """Returns a convolution `HxWxC O KxK/S` by oneDNN: direct, on channels-last images, with weights in its layout."""
    import torch

    image, filters, kernel = shape.split()[-3:]
    h, w, c = map(int, image.split("x"))
    k, stride = int(kernel.split("x")[0]), int(kernel.split("/")[1])
    options = [k // 2] * 2, [stride] * 2, [1, 1], 1
    x = torch.randn(batch, c, h, w).to(memory_format=torch.channels_last)
    weight = torch.randn(int(filters), c, k, k).to_mkldnn()
    packed = torch._C._nn.mkldnn_reorder_conv2d_weight(weight, *options, list(x.shape))
    bias = torch.randn(int(filters))

    def run():
        with torch.inference_mode():
            torch.ops.mkldnn._convolution_pointwise(x, packed, bias, *options, "none", [], "")

    return run


def jpegs(work):
    return [path.read_bytes() for path in sorted((Path(work) / "images").glob("*.jpg"))]


def torchvision_images(what, size, batch, threads, work):
    """Decodes and augments with torchvision's own decoder and tensor transforms."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg
    from torchvision.transforms import v2

    steps = [
        v2.RandomResizedCrop(size, antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
    augment = v2.Compose(steps) if "augment" in what else lambda image: image
    files = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in jpegs(work)]
    return per_image(files, lambda data: augment(decode_jpeg(data, mode=ImageReadMode.RGB)))


def pillow_images(what, size, batch, threads, work):
    """Decodes with Pillow and augments with torchvision's transforms of Pillow images."""
    import io

    from PIL import Image
    from torchvision import transforms

    steps = [
        transforms.RandomResizedCrop(size),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
    augment = transforms.Compose(steps) if "augment" in what else lambda image: image
    return per_image(jpegs(work), lambda data: augment(Image.open(io.BytesIO(data)).convert("RGB")))


def per_image(files, read):
    """Returns a run over all files, and the number of files, so that times are per image."""
    return lambda: [read(data) for data in files] and None, len(files)


def images(size, batch):
    import numpy as np

    return np.random.default_rng(0).standard_normal((batch, 3, size, size), dtype=np.float32)


ENGINES = {
    ("network", "onnxruntime"): onnxruntime_network,
    ("network", "openvino"): openvino_network,
    ("network", "pytorch"): pytorch_network,
    ("network", "deepsparse"): deepsparse_network,
    ("sparse", "deepsparse"): deepsparse_sparse,
    ("onnx", "onnxruntime"): onnxruntime_file,
    ("onnx", "openvino"): openvino_file,
    ("training", "pytorch"): pytorch_training,
    ("training", "torch.compile"): compiled_training,
    ("layer", "onednn"): onednn_layer,
    ("images", "torchvision"): torchvision_images,
    ("images", "pillow"): pillow_images,
}


def main():
    engine, kind, what, size, batch, threads, work = sys.argv[1:]
    if kind == "network":
        what = what.partition("+")[0]  # a suffix that only lopper acts on
    # Engine output goes to standard error; standard output is only for times.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    if kind not in ["network", "sparse", "onnx"] or engine == "pytorch":
        import torch

        torch.set_num_threads(int(threads))
    made = ENGINES[kind, engine](what, int(size), int(batch), int(threads), work)
    run, share = made if isinstance(made, tuple) else (made, 1)
    run()
    run()
    print("ready", file=out)
    for line in sys.stdin:
        times, end = [], time.perf_counter() + float(line)
        run()
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - start) / share)
        print(statistics.median(times), file=out)


if __name__ == "__main__":
    main()
