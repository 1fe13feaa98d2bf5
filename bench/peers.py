"""The other runtimes of the side-by-side benchmark, each in its fastest form from Python. Imported only when they are run."""

import functools
import importlib
import io
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from bench.cells import TORCH_GATES, onnx_bytes, reordered
from bench.runners import NotComparable, Runner, Work, calling

LITERT_MODELS = "EDGELSTM_PEERS"  # the environment variable that names the folder of LiteRT cell models


def onnxruntime_runner(work: Work) -> Runner:
    """ONNX Runtime with I/O binding: inputs, outputs and states at fixed addresses."""
    _imported("onnxruntime")
    return _bound_onnxruntime("ONNX Runtime", work, onnx_bytes(work.cell, work.is_step))


def onnxruntime_int8_runner(work: Work) -> Runner:
    """ONNX Runtime's DynamicQuantizeLSTM as its own tool makes it: int8 weights, a scale per channel."""
    if work.cell.op != "lstm":
        raise NotComparable("ONNX Runtime has no int8 GRU or RNN")
    quantization, onnx = _imported("onnxruntime.quantization"), _imported("onnx")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        model = onnx.load_from_string(onnx_bytes(work.cell, work.is_step))
        quantization.quantize_dynamic(model, path, op_types_to_quantize=["LSTM"], per_channel=True)
        nodes = {node.op_type for node in onnx.load(path).graph.node}
        if "DynamicQuantizeLSTM" not in nodes:
            raise NotComparable(f"its tool left the layer as {', '.join(sorted(nodes))}")
        return _bound_onnxruntime("ONNX Runtime int8", work, path.read_bytes())


def _bound_onnxruntime(name: str, work: Work, model: bytes) -> Runner:
    ort = _imported("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = work.threads, 1
    session = ort.InferenceSession(model, options, ["CPUExecutionProvider"])
    arrays = _Ports(work)

    def bound(sources: dict[str, np.ndarray], results: dict[str, np.ndarray]) -> Callable[[], None]:
        binding = session.io_binding()
        for bind, side in ((binding.bind_input, sources), (binding.bind_output, results)):
            for name, array in side.items():
                bind(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        return functools.partial(session.run_with_iobinding, binding)

    return arrays.runner(name, bound)


def openvino_runner(work: Work) -> Runner:
    """OpenVINO with tensors that share the arrays' memory."""
    ov = _imported("openvino")
    settings = {"INFERENCE_NUM_THREADS": work.threads, "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1,
                "PERFORMANCE_HINT": "LATENCY"}
    core, arrays = ov.Core(), _Ports(work)
    network = core.read_model(io.BytesIO(onnx_bytes(work.cell, work.is_step)))
    network.reshape({name: list(array.shape) for name, array in arrays.sources.items()})
    model = core.compile_model(network, "CPU", settings)

    def bound(sources: dict[str, np.ndarray], results: dict[str, np.ndarray]) -> Callable[[], None]:
        request = model.create_infer_request()
        for name, array in (*sources.items(), *results.items()):
            request.set_tensor(name, ov.Tensor(array, shared_memory=True))
        return request.infer

    return arrays.runner("OpenVINO", bound)


class _Ports:
    """Arrays of an ONNX cell, time first; the states twice, so that one call reads what the last one wrote."""

    def __init__(self, work: Work) -> None:
        cell = work.cell
        self._is_step = work.is_step
        self._x = np.zeros((work.steps, work.batch, cell.features), np.float32)
        self._y = np.zeros((work.steps, work.batch, cell.directions * cell.units), np.float32)
        carried = ["h", "c"][: 2 if cell.op == "lstm" else 1] if work.is_step else []
        self._states = [{s: np.zeros((1, work.batch, cell.units), np.float32) for s in carried} for _ in range(2)]

    @property
    def sources(self) -> dict[str, np.ndarray]:
        return self._side("x", "0", self._x, self._states[0])

    def runner(self, name: str, bound: Callable[[dict, dict], Callable[[], Any]]) -> Runner:
        """A runner of two bound calls that take turns. `bound` makes one from arrays by the ONNX names."""
        calls = [bound(self._side("x", "0", self._x, self._states[i]), self._side("y", "n", self._y, self._states[1 - i]))
                 for i in range(2)]
        x, turn = self._x, 0

        def burst(inputs: Iterable[np.ndarray]) -> None:
            nonlocal turn
            for array in inputs:
                x[...] = array if array.ndim == 1 else array.swapaxes(0, 1)
                calls[turn]()
                turn ^= 1

        return Runner(name, burst, lambda: self._y[0, 0].copy() if self._is_step else self._y.swapaxes(0, 1).copy())

    @staticmethod
    def _side(port: str, ending: str, array: np.ndarray, states: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {port: array} | {f"{name}{ending}": state for name, state in states.items()}


def torch_runner(work: Work) -> Runner:
    """PyTorch under inference_mode: its cell function for steps, its layer for sequences."""
    torch = _imported("torch")
    return _torch_steps(torch, work) if work.is_step else _torch_layer(torch, work)


def _torch_weights(torch: Any, work: Work, weights: tuple[np.ndarray, ...]) -> tuple[Any, ...]:
    """W, R and both biases of one direction in PyTorch's order of gates."""
    W, R, b, *rest = (torch.from_numpy(reordered(array, TORCH_GATES[work.cell.op])) for array in weights)
    return W, R, b, rest[0] if rest else torch.zeros_like(b)


def _torch_steps(torch: Any, work: Work) -> Runner:
    cells = {"lstm": torch.lstm_cell, "gru": torch.gru_cell, "simple_rnn": torch.rnn_tanh_cell}
    advance, weights = cells[work.cell.op], _torch_weights(torch, work, work.cell.weights[0][0])
    zeros = torch.zeros(1, work.cell.units)
    state: list[Any] = [(zeros, zeros) if work.cell.op == "lstm" else zeros]

    def burst(frames: Iterable[np.ndarray]) -> None:
        torch.set_num_threads(work.threads)
        carried = state[0]
        with torch.inference_mode():
            for frame in frames:
                carried = advance(torch.from_numpy(frame)[None], carried, *weights)
        state[0] = carried

    def last() -> np.ndarray:
        h = state[0][0] if work.cell.op == "lstm" else state[0]
        return h.numpy().reshape(-1).copy()

    return Runner("PyTorch", burst, last)


def _torch_layer(torch: Any, work: Work) -> Runner:
    cell, kinds = work.cell, {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "simple_rnn": torch.nn.RNN}
    layer = kinds[cell.op](cell.features, cell.units, cell.layers, batch_first=True, bidirectional=cell.directions == 2)
    for number, ways in enumerate(cell.weights):
        for suffix, weights in zip(("", "_reverse"), ways, strict=False):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            for name, tensor in zip(names, _torch_weights(torch, work, weights), strict=True):
                setattr(layer, f"{name}_l{number}{suffix}", torch.nn.Parameter(tensor, requires_grad=False))
    layer.eval()

    def call(x: np.ndarray) -> Any:
        torch.set_num_threads(work.threads)
        with torch.inference_mode():
            return layer(torch.from_numpy(x))[0]

    return calling("PyTorch", call, lambda y: y.numpy())


def litert_runner(work: Work) -> Runner:
    """LiteRT: the cell written in basic ops, its state in the model; files cellS_f32_F_H.tflite made beforehand."""
    return _litert("LiteRT", work, "f32")


def litert_dynamic_runner(work: Work) -> Runner:
    """The same in dynamic-range int8; files cellS_dyn_F_H.tflite."""
    return _litert("LiteRT int8", work, "dyn")


def _litert(name: str, work: Work, kind: str) -> Runner:
    if not work.is_step or work.cell.op != "lstm":
        raise NotComparable("only LSTM steps are prepared for it")
    folder = os.environ.get(LITERT_MODELS)
    if folder is None:
        raise NotComparable(f"no models: give --litert-models, or set {LITERT_MODELS}")
    path = Path(folder) / f"cellS_{kind}_{work.cell.features}_{work.cell.units}.tflite"
    if not path.exists():
        raise NotComparable(f"there is no {path.name}")
    model = _imported("ai_edge_litert.interpreter").Interpreter(str(path), num_threads=work.threads)
    model.allocate_tensors()
    x, y = (model.tensor(side[0]["index"]) for side in (model.get_input_details(), model.get_output_details()))
    invoke = model.invoke

    def burst(frames: Iterable[np.ndarray]) -> None:
        for frame in frames:
            x()[0] = frame
            invoke()

    return Runner(name, burst, lambda: y().reshape(-1).copy())


def numpy_runner(work: Work) -> Runner:
    """NumPy by hand, float32: one product for the four gates of an LSTM step."""
    if not work.is_step or work.cell.op != "lstm":
        raise NotComparable("only LSTM steps are written by hand")
    W, R, b = (np.ascontiguousarray(array) for array in work.cell.weights[0][0])
    units = work.cell.units
    h, c, gates, recurrent = (np.zeros(n * units, np.float32) for n in (1, 1, 4, 4))
    i, f, g, o = np.split(gates, 4)

    def burst(frames: Iterable[np.ndarray]) -> None:
        for frame in frames:
            np.dot(W, frame, out=gates)
            np.dot(R, h, out=recurrent)
            np.add(gates, recurrent, out=gates)
            np.add(gates, b, out=gates)
            np.tanh(g, out=g)
            for gate in (i, f, o):
                np.negative(gate, out=gate)
                np.exp(gate, out=gate)
                np.add(gate, 1, out=gate)
                np.reciprocal(gate, out=gate)
            np.multiply(f, c, out=c)
            np.multiply(i, g, out=i)
            np.add(c, i, out=c)
            np.tanh(c, out=h)
            np.multiply(h, o, out=h)

    return Runner("NumPy", burst, h.copy)


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise NotComparable(f"{module.partition('.')[0]} is not installed") from None


PEERS: dict[str, Callable[[Work], Runner]] = {
    "onnxruntime": onnxruntime_runner, "litert": litert_runner, "openvino": openvino_runner, "torch": torch_runner,
    "numpy": numpy_runner,
}
