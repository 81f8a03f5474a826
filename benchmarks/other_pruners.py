"""Question: which models do the pruners for Keras accept?

    python benchmarks/other_pruners.py
    python benchmarks/other_pruners.py --models nested VGG16
    python benchmarks/other_pruners.py --table

keras_sparse, tensorflow-model-optimization and PQuantML (`pip install
pquant-ml`; its quantization off, its method PDP, which follows magnitudes) on
one Keras 3 model each; `tfmot, tf_keras` is the same architecture in Keras 2.
They prune half of the weights in one step on two samples, finish, and predict.
"yes" is a model in which every kernel has zeros, "n of m kernels" one in which
some have none, else it is the error. For what they cost and leave see
`side_by_side.py`.
"""

from __future__ import annotations

import argparse
import os

from applications_shrink import FAMILIES
from recipes import record, recorded

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # for tfmot
BENCHMARK = "other_pruners"
TOOLS = ("keras_sparse", "tfmot", "tfmot, tf_keras", "pquant")
HARD = (
    "subclassed",
    "nested",
    "shared",
    "recurrent",
    "attention",
    "multi-input",
)
KERNELS = ("kernel", "embeddings")


def keras_of(tool):
    """The Keras that a tool's column is about."""
    if tool == "tfmot, tf_keras":
        import tf_keras as keras
    else:
        import keras
    return keras


def hard_case(keras, name):
    """A small model and the shapes of its inputs, without the batch."""
    import numpy as np

    layers = keras.layers
    if name == "subclassed":

        class Free(keras.Model):
            def __init__(self):
                super().__init__()
                self.hidden = layers.Dense(20, activation="relu")
                self.top = layers.Dense(4)

            def call(self, inputs):
                return self.top(self.hidden(inputs))

        model = Free()
        model(np.zeros((1, 8), "float32"))
        return model, [(8,)]
    if name == "recurrent":
        inputs = keras.Input((6, 8))
        x = layers.Bidirectional(layers.LSTM(10))(inputs)
        return keras.Model(inputs, layers.Dense(4)(x)), [(6, 8)]
    if name == "attention":
        inputs = keras.Input((6, 8))
        x = layers.MultiHeadAttention(2, 8)(inputs, inputs)
        x = layers.GlobalAveragePooling1D()(x)
        return keras.Model(inputs, layers.Dense(4)(x)), [(6, 8)]
    inputs = keras.Input((8,))
    if name == "multi-input":
        other = keras.Input((5,))
        x = layers.Concatenate()([inputs, layers.Dense(9)(other)])
        x = layers.Dense(4)(x)
        return keras.Model([inputs, other], x), [(8,), (5,)]
    if name == "shared":
        twice = layers.Dense(8, activation="relu")
        x = layers.Dense(4)(twice(twice(inputs)))
    else:
        inner = keras.Sequential(
            [keras.Input((8,)), layers.Dense(12, activation="relu")]
        )
        x = layers.Dense(4)(inner(inputs))
    return keras.Model(inputs, x), [(8,)]


def build(keras, name):
    """The model and its inputs' shapes."""
    if name in HARD:
        return hard_case(keras, name)
    shape = (FAMILIES[name], FAMILIES[name], 3)
    options = {"weights": None, "input_shape": shape, "classes": 10}
    make = getattr(keras.applications, name)
    return make(**options), [shape]


def wrap(tool, model, sparsity, epochs, steps):
    """The model under a tool, its callbacks, and what makes it plain again."""
    begin, end = int(0.1 * steps), max(int(0.6 * steps), 1)
    if tool == "keras_sparse":
        import keras_sparse as ks

        ks.sparsify(model, ks.Mask(), verbose=False)
        schedule = ks.schedules.Polynomial(sparsity, begin, end)
        return model, [ks.callbacks.Prune(schedule)], ks.strip
    if tool == "pquant":
        import pquant
        from pquant.core.keras.train import PQuantCallback

        config = pquant.pdp_config()
        config.quantization_parameters.enable_quantization = False
        config.quantization_parameters.quantize_input = False
        config.pruning_parameters.sparsity = sparsity
        config.pruning_parameters.epsilon = sparsity / (0.6 * epochs)
        training = config.training_parameters
        training.pretraining_epochs, training.epochs = 0, epochs
        training.fine_tuning_epochs = 0
        made = pquant.add_compression_layers(model, config)
        return made, [PQuantCallback(config, log_ebops=False)], lambda m: m
    from tensorflow_model_optimization.sparsity import keras as tfmot

    schedule = tfmot.PolynomialDecay(0.0, sparsity, begin, end, frequency=100)
    if steps == 1:
        schedule = tfmot.ConstantSparsity(sparsity, 0, frequency=1)
    made = tfmot.prune_low_magnitude(model, schedule)
    return made, [tfmot.UpdatePruningStep()], tfmot.strip_pruning


def zeros(model):
    """For each kernel or embedding, the number of zeros and of entries."""
    import numpy as np

    # PQuantML builds depthwise kernels twice, and uses the second.
    kernels = {
        getattr(weight, "path", weight.name): value
        for value, weight in zip(
            model.get_weights(), model.weights, strict=True
        )
        if any(kind in weight.name for kind in KERNELS)
    }
    return [(int(np.sum(value == 0)), value.size) for value in kernels.values()]


def accepts(tool, name):
    """What comes of half the weights pruned: a word for the table."""
    import numpy as np

    keras = keras_of(tool)
    try:
        keras.backend.clear_session()
        model, shapes = build(keras, name)
        x = [np.ones((2, *shape), "float32") for shape in shapes]
        x = x[0] if len(x) == 1 else x
        model, callbacks, finish = wrap(tool, model, 0.5, 1, 1)
        model.compile("sgd", "mse", run_eagerly=True)
        y = np.zeros_like(model.predict(x, verbose=0))
        model.fit(x, y, batch_size=2, verbose=0, callbacks=callbacks)
        model = finish(model)
        model.predict(x, verbose=0)
    except Exception as error:
        words = str(error).strip().splitlines() or [type(error).__name__]
        return f"{type(error).__name__}: {words[0][:60]}"
    counts = [count for count, _ in zeros(model)]
    if all(counts):
        return "yes"
    return f"{sum(count > 0 for count in counts)} of {len(counts)} kernels"


def table(rows):
    """What is accepted; the last run counts."""
    words = {(r["model"], r["tool"]): r["found"] for r in rows if "found" in r}
    models = list(dict.fromkeys(model for model, _ in words))
    lines = [
        f"| model | {' | '.join(TOOLS)} |",
        "|---" * (len(TOOLS) + 1) + "|",
    ]
    for model in models:
        cells = [words.get((model, tool), "") for tool in TOOLS]
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS)
    parser.add_argument("--models", nargs="+", default=[*HARD, *FAMILIES])
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    if not options.table:
        for name in options.models:
            for tool in options.tools:
                found = accepts(tool, name)
                row = {"model": name, "tool": tool, "found": found}
                print(record(BENCHMARK, row), flush=True)
    print(table(recorded(BENCHMARK)))


if __name__ == "__main__":
    main()
