"""Real models of the corpus: outputs equal the frameworks' stored ones, and streaming equals the whole."""

import numpy as np
import pytest

import edgelstm
from tests.conftest import corpus_models, meta_of

MAIN_LINE = (
    "third_textgenrnn", "third_dtln", "k3_keras_book", "k3_keras_lstm_dense", "k3_keras_gru", "k3_keras_bidi_concat",
    "k3_keras_stateful", "torch_leg17", "torch_dyn18_lstm_stream", "raw_lstm_plain", "raw_lstm_reverse", "raw_lstm_states",
)
MODELS = corpus_models(*MAIN_LINE)


def convert(folder):
    meta = meta_of(folder)
    weights = [f for f in meta["files"] if f != meta["model_file"]] if meta["model_file"].endswith(".json") else []
    return edgelstm.convert(folder / meta["model_file"], weights=folder / weights[0] if weights else None, probe=False)


def cases(folder, model):
    """(mode, [(inputs by name, reference outputs)]) of every case of a model."""
    meta = meta_of(folder)
    for case in meta["cases"]:
        calls = []
        for name in case["files"]:
            with np.load(folder / name) as stored:
                given = {key: stored[key] for key in stored.files if key in meta["inputs"]}
                refs = [stored[f"y{i}"] for i in range(meta["n_outputs"])]
            names = [spec.name for spec in model.inputs]
            if set(given) != set(names):
                given = {names[int(key[1:])]: array for key, array in given.items()}
            calls.append((given, refs))
        yield case["mode"], calls


@pytest.mark.usefixtures("corpus")
def test_the_main_line_is_there():
    for prefix in MAIN_LINE:
        assert any(folder.name.startswith(prefix) for folder in MODELS), prefix


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_outputs_equal_the_frameworks(corpus, folder):
    model, meta = edgelstm.load(convert(folder)), meta_of(folder)
    for mode, calls in cases(folder, model):
        carries = mode == "sequence" and not meta["model_file"].endswith(".onnx")
        stream = model.stream(batch=next(iter(calls[0][0].values())).shape[0]) if carries else None
        for given, refs in calls:
            found = stream.run(given if len(given) > 1 else next(iter(given.values()))) if stream else model.predict(given)
            found = found if isinstance(found, list) else [found]
            for array, ref in zip(found, refs, strict=True):
                np.testing.assert_allclose(array, ref, rtol=meta["rtol"], atol=meta["atol"])


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_steps_equal_predict(corpus, folder):
    graph = convert(folder)
    model = edgelstm.load(graph)
    if not model.streaming.ok:
        pytest.skip(f"{folder.name} {model.streaming}")
    for _, calls in cases(folder, model):
        given, _ = calls[0]
        if any(port.time is not None for port in graph.inputs):
            check_timed(graph, model, given)
        else:
            check_once_a_step(graph, model, [inputs for inputs, _ in calls])


def check_timed(graph, model, given):
    """T steps equal one run over T steps; explicit states start at zero in both."""
    frames = {p.name: given[p.name] for p in graph.inputs if p.time is not None}
    batch = next(given[p.name].shape[p.batch] for p in graph.inputs if p.time is not None)
    steps = next(given[p.name].shape[p.time] for p in graph.inputs if p.time is not None)
    expected = model.run(frames)
    stream = model.stream(batch=batch)
    stepped = [as_list(stream.step({p.name: one_step(p, frames[p.name], t, batch) for p in graph.inputs if p.name in frames}))
               for t in range(steps)]
    shown = [p for p in graph.outputs if p.name not in dict(graph.states).values()]
    for i, port in enumerate(shown):
        for t in range(steps) if port.time is not None else [steps - 1]:
            np.testing.assert_allclose(stepped[t][i], one_step(port, expected[port.name], t, batch), atol=2e-6, rtol=1e-5)


def check_once_a_step(graph, model, calls):
    """A stream over the calls equals runs whose explicit states are fed back by hand."""
    states = dict(graph.states)
    batch = next(calls[0][p.name].shape[p.batch] for p in graph.inputs if p.name not in states)
    stream, carried = model.stream(batch=batch), {}
    for given in calls:
        frames = {name: array for name, array in given.items() if name not in states}
        expected = model.run(frames | carried)
        frame = {p.name: one_step(p, frames[p.name], 0, batch) for p in graph.inputs if p.name in frames}
        stepped = as_list(stream.step(frame))
        shown = [p for p in graph.outputs if p.name not in states.values()]
        for port, array in zip(shown, stepped, strict=True):
            np.testing.assert_allclose(array, one_step(port, expected[port.name], 0, batch), atol=2e-6, rtol=1e-5)
        carried = {source: expected[result] for source, result in graph.states}


def one_step(port, array, t, batch):
    """What a step takes or gives: no time axis, and no batch axis when the batch is 1."""
    index = [slice(None)] * array.ndim
    if port.time is not None:
        index[port.time] = t
    if batch == 1 and port.batch is not None:
        index[port.batch] = 0
    return array[tuple(index)]


def as_list(found):
    return found if isinstance(found, list) else [found]
