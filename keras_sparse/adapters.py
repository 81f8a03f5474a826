"""Which weights a layer class holds, and which of their axes mean what."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import keras
from keras import layers

from keras_sparse import _surgery


@dataclasses.dataclass(frozen=True)
class Slot:
    """One weight of a layer.

    Args:
        name: The weight's name within the layer, such as `"kernel"`.
        path: Attribute path from the layer, such as `"cell.kernel"`.
        inputs: Axes that a sum runs over, counted from the end.
        outputs: Axes of the output channels, counted from the end. Axes in
            neither (the window of a convolution) belong to the reduction too,
            but are no channels.
        slides: Whether the weight is used at many positions of an input
            though all its axes are in one of the two, as depthwise ones are.
    """

    name: str
    path: str
    inputs: tuple[int, ...] = (-2,)
    outputs: tuple[int, ...] = (-1,)
    slides: bool = False

    def owners(self, layer: keras.layers.Layer) -> list[object]:
        """The objects on the way from the layer to the weight."""
        owners: list[object] = [layer]
        for attribute in self.path.split(".")[:-1]:
            if not hasattr(owners[-1], attribute):
                raise ValueError(
                    f"Expected {layer.name!r} to hold its weight "
                    f"{self.name!r} at {self.path!r}. Received a layer "
                    f"without {attribute!r}. Mend the slots given to "
                    "`keras_sparse.register_adapter`."
                )
            owners.append(getattr(owners[-1], attribute))
        return owners

    def locate(self, layer: keras.layers.Layer) -> tuple[object, str]:
        """The object that holds the weight, and the attribute's name."""
        owner = self.owners(layer)[-1]
        return owner, _surgery.attribute_name(owner, self.path.split(".")[-1])

    def weight(self, layer: keras.layers.Layer) -> object:
        """The variable, or `None` where the layer has none of that name."""
        owner, attribute = self.locate(layer)
        return getattr(owner, attribute, None)

    def below(self, name: str, path: str) -> Slot:
        """The same weight seen from a layer that holds this one."""
        return dataclasses.replace(
            self, name=f"{name}.{self.name}", path=f"{path}.{self.path}"
        )


@dataclasses.dataclass(frozen=True)
class Adapter:
    """What `sparsify` knows about a layer class.

    Args:
        layer_class: The class; its subclasses are found too.
        slots: From a built layer to its weights.
        local: Name of the slot whose layer `call` is linear in it, so that it
            may be reparametrised locally, or `None`.
    """

    layer_class: type[keras.layers.Layer]
    slots: Callable[[keras.layers.Layer], Sequence[Slot]]
    local: str | None = None


_ADAPTERS: dict[type, Adapter] = {}


def find_adapter(layer: keras.layers.Layer) -> Adapter | None:
    """The adapter of the nearest class in the layer's ancestry, if any."""
    for ancestor in type(layer).__mro__:
        if ancestor in _ADAPTERS:
            return _ADAPTERS[ancestor]
    return None


def is_registered(layer_class: type) -> bool:
    """Whether the class itself, not only an ancestor, has an adapter."""
    return layer_class in _ADAPTERS


def slots_of(layer: keras.layers.Layer) -> list[Slot]:
    """The weights of a built layer that can be parametrized."""
    adapter = find_adapter(layer)
    return list(adapter.slots(layer)) if adapter else []


def is_linear_in(layer: keras.layers.Layer, slot: Slot) -> bool:
    """Whether the layer's `call` is known to be linear in the weight.

    The `call` of a subclass may do anything with what its ancestor returns,
    so it has to be registered itself.
    """
    adapter = find_adapter(layer)
    if adapter is None or adapter.local != slot.name:
        return False
    plain = getattr(type(layer), "plain_class", type(layer))
    return plain.call is adapter.layer_class.call


def add_adapter(adapter: Adapter) -> None:
    """Adds or replaces the adapter of a class."""
    _ADAPTERS[adapter.layer_class] = adapter


def inherited(
    ancestor: type[keras.layers.Layer],
    layer_class: type[keras.layers.Layer],
    local: str | None,
) -> Adapter:
    """The adapter of an ancestor, for a class below it.

    A `call` of its own need not be linear in the weight that the ancestor's
    is, unless `local` says so.
    """
    known = _ADAPTERS[ancestor]
    if local is None and layer_class.call is ancestor.call:
        local = known.local
    return dataclasses.replace(known, layer_class=layer_class, local=local)


def fixed_slots(
    slots: Mapping[str, str],
) -> Callable[[keras.layers.Layer], Sequence[Slot]]:
    """Slots that are the same for every layer of a class."""
    known = [Slot(name, path) for name, path in slots.items()]
    return lambda layer: known


def _slots_of_transposed(layer: keras.layers.Layer) -> Sequence[Slot]:
    return [Slot("kernel", "kernel", inputs=(-1,), outputs=(-2,))]


def _depthwise(layer: keras.layers.Layer, name: str) -> Slot:
    window = tuple(range(-2 - layer.rank, -2))
    return Slot(name, name, inputs=window, outputs=(-2, -1), slides=True)


def _slots_of_depthwise(layer: keras.layers.Layer) -> Sequence[Slot]:
    return [_depthwise(layer, "kernel")]


def _slots_of_separable(layer: keras.layers.Layer) -> Sequence[Slot]:
    return [
        _depthwise(layer, "depthwise_kernel"),
        Slot("pointwise_kernel", "pointwise_kernel"),
    ]


def _slots_of_einsum(layer: keras.layers.Layer) -> Sequence[Slot]:
    operands, result = layer.equation.replace(".", "").split("->")
    inputs, kernel = operands.split(",")
    axis = {label: i - len(kernel) for i, label in enumerate(kernel)}
    return [
        Slot(
            "kernel",
            "kernel",
            inputs=tuple(axis[c] for c in kernel if c not in result),
            outputs=tuple(axis[c] for c in kernel if c not in inputs),
        )
    ]


def _slots_of_reversible_embedding(layer: keras.layers.Layer) -> Sequence[Slot]:
    slots = [Slot("embeddings", "embeddings")]
    if not layer.tie_weights:
        slots.append(Slot("reverse_embeddings", "reverse_embeddings"))
    return slots


def _slots_of_attention(layer: keras.layers.Layer) -> Sequence[Slot]:
    slots = []
    for name in ("query", "key", "value", "gate", "output"):
        path = f"_{name}_dense"
        projection = getattr(layer, path, None)
        if projection is not None:
            slots += [s.below(name, path) for s in slots_of(projection)]
    return slots


def _slots_of_bidirectional(layer: keras.layers.Layer) -> Sequence[Slot]:
    # Some backends fuse both directions into one call that reads the cells'
    # weights past the inner layers, so the outer layer exchanges them.
    return [
        slot.below(name, f"{name}_layer")
        for name in ("forward", "backward")
        for slot in slots_of(getattr(layer, f"{name}_layer"))
    ]


_RECURRENT = fixed_slots(
    {
        "cell.kernel": "cell.kernel",
        "cell.recurrent_kernel": "cell.recurrent_kernel",
    }
)
_CELL = fixed_slots(
    {"kernel": "kernel", "recurrent_kernel": "recurrent_kernel"}
)
_KERNEL = fixed_slots({"kernel": "kernel"})
_EMBEDDINGS = fixed_slots({"embeddings": "embeddings"})

BUILT_IN: tuple[Adapter, ...] = (
    Adapter(layers.Dense, _KERNEL, local="kernel"),
    Adapter(layers.EinsumDense, _slots_of_einsum, local="kernel"),
    Adapter(layers.Embedding, _EMBEDDINGS),
    Adapter(layers.ReversibleEmbedding, _slots_of_reversible_embedding),
    *(
        Adapter(layer_class, _KERNEL, local="kernel")
        for layer_class in (layers.Conv1D, layers.Conv2D, layers.Conv3D)
    ),
    *(
        Adapter(layer_class, _slots_of_transposed, local="kernel")
        for layer_class in (
            layers.Conv1DTranspose,
            layers.Conv2DTranspose,
            layers.Conv3DTranspose,
        )
    ),
    *(
        Adapter(layer_class, _slots_of_depthwise, local="kernel")
        for layer_class in (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
    ),
    *(
        Adapter(layer_class, _slots_of_separable)
        for layer_class in (layers.SeparableConv1D, layers.SeparableConv2D)
    ),
    *(
        Adapter(layer_class, _RECURRENT)
        for layer_class in (
            layers.SimpleRNN,
            layers.LSTM,
            layers.GRU,
            layers.ConvLSTM1D,
            layers.ConvLSTM2D,
            layers.ConvLSTM3D,
        )
    ),
    *(
        Adapter(layer_class, _CELL)
        for layer_class in (
            layers.SimpleRNNCell,
            layers.LSTMCell,
            layers.GRUCell,
        )
    ),
    Adapter(layers.MultiHeadAttention, _slots_of_attention),
    Adapter(layers.GroupQueryAttention, _slots_of_attention),
    Adapter(layers.Bidirectional, _slots_of_bidirectional),
)
for _adapter in BUILT_IN:
    add_adapter(_adapter)
