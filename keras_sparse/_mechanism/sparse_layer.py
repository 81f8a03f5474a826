"""The mixin under every Sparse* layer.

A sparse layer is the plain layer with another class: same variables, same
attributes, plus one parametrization for each of its slots. The effective
weight takes the raw one's place only while `call` runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras

from keras_sparse import _surgery, adapters
from keras_sparse._mechanism.layout import laid_out_like
from keras_sparse._mechanism.penalty import hang_penalty
from keras_sparse.adapters import Slot
from keras_sparse.parametrizations.parametrization import Parametrization

if TYPE_CHECKING:
    from keras.layers import Layer as _Layer
else:
    _Layer = object


@dataclasses.dataclass(frozen=True)
class Attached:
    """One parametrized weight of a layer."""

    slot: Slot
    owner: Any
    attribute: str
    raw: keras.Variable
    sublayer_name: str

    def parametrization(self, layer: keras.layers.Layer) -> Parametrization:
        return getattr(layer, self.sublayer_name)


class SparseLayer(_Layer):
    """Mixin: weights pass through parametrizations while `call` runs.

    Args:
        *args: Arguments of the plain layer.
        parametrizations: Map from slot name to `Parametrization`, or to its
            serialised form; `"*"` stands for every slot. They are attached
            when the layer is built.
        **kwargs: Keyword arguments of the plain layer.
    """

    plain_class: type[keras.layers.Layer]

    def __init__(
        self,
        *args: Any,
        parametrizations: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        prepare(self)
        _await_build(self, parametrizations)

    @property
    def trainable(self) -> bool:
        """Whether the layer is trained, but for weights that are frozen."""
        return super().trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        plain: Any = super(SparseLayer, type(self)).trainable
        plain.fset(self, value)
        for each in attached(self).values():
            _freeze(each.parametrization(self), each.raw)

    @classmethod
    def from_config(cls, config: dict[str, Any], **kwargs: Any) -> Any:
        # Without the entry that a plain class's `from_config` may not expect.
        config = dict(config)
        parametrizations = config.pop("parametrizations", None)
        layer = super().from_config(config, **kwargs)
        _await_build(layer, parametrizations)
        return layer

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        attached_ones = {
            name: each.parametrization(self)
            for name, each in attached(self).items()
        }
        config["parametrizations"] = {
            name: _serialize(each)
            for name, each in {**attached_ones, **pending(self)}.items()
        }
        return config


def prepare(layer: keras.layers.Layer) -> None:
    """Gives a layer its (empty) records, out of sight of Keras' tracker."""
    layer.__dict__["_ks_slots"] = {}
    layer.__dict__["_ks_pending"] = {}


def attached(layer: keras.layers.Layer) -> dict[str, Attached]:
    """The layer's parametrized weights by slot name."""
    return layer.__dict__.get("_ks_slots", {})


def pending(layer: keras.layers.Layer) -> dict[str, Parametrization]:
    """Parametrizations that wait for the layer to be built."""
    return layer.__dict__.get("_ks_pending", {})


def _await_build(
    layer: keras.layers.Layer, parametrizations: Mapping[str, Any] | None
) -> None:
    for name, each in (parametrizations or {}).items():
        if not isinstance(each, Parametrization):
            each = keras.saving.deserialize_keras_object(each)
        pending(layer)[name] = each


def attach(
    layer: keras.layers.Layer, slot: Slot, parametrization: Parametrization
) -> None:
    """Makes a built parametrization a sublayer of the layer."""
    owner, attribute = slot.locate(layer)
    name = "_ks_" + slot.name.replace(".", "_")
    raw = getattr(owner, attribute)
    _surgery.add_sublayer(layer, name, parametrization)
    hang_penalty(parametrization, raw)
    if not (layer.trainable and raw.trainable):
        parametrization.trainable = False
    _freeze(parametrization, raw)
    attached(layer)[slot.name] = Attached(slot, owner, attribute, raw, name)


def detach_all(layer: keras.layers.Layer) -> None:
    """Removes every parametrization and the records."""
    for each in attached(layer).values():
        _thaw(each.parametrization(layer), each.raw)
        _surgery.remove_sublayer(layer, each.sublayer_name)
    del layer.__dict__["_ks_slots"], layer.__dict__["_ks_pending"]


def _freeze(parametrization: Parametrization, raw: keras.Variable) -> None:
    """Freezes a weight that its parametrization keeps as it is."""
    if parametrization.freezes_weight:
        parametrization.__dict__["_ks_was_trainable"] = raw.trainable
        raw.trainable = False


def _thaw(parametrization: Parametrization, raw: keras.Variable) -> None:
    """Undoes `_freeze`."""
    if parametrization.freezes_weight:
        raw.trainable = parametrization.__dict__.pop("_ks_was_trainable")


def build_parametrization(
    layer: keras.layers.Layer,
    parametrization: Parametrization,
    slot: Slot,
    raw: keras.Variable,
) -> None:
    """Builds for a weight, where deserialising has not done so already."""
    parametrization.place(
        raw,
        inputs=slot.inputs,
        outputs=slot.outputs,
        linear=adapters.is_linear_in(layer, slot),
        slides=slot.slides,
    )
    if not parametrization.built:
        kind = type(parametrization).__name__.lower()
        parametrization.name = f"{slot.name.replace('.', '_')}_{kind}"
        with laid_out_like(raw):
            parametrization.build(tuple(raw.shape))


def effective(layer: keras.layers.Layer, each: Attached) -> Any:
    """The weight that the layer uses, in the dtype it computes with."""
    value = each.parametrization(layer)(_surgery.read(each.raw))
    check_shape(value, each.parametrization(layer), each.raw)
    return keras.ops.cast(value, _surgery.compute_dtype(each.owner, each.raw))


def check_shape(
    value: Any, parametrization: Parametrization, raw: keras.Variable
) -> None:
    """Raises unless an effective weight has the shape of the raw one."""
    if tuple(value.shape) != tuple(raw.shape):
        raise ValueError(
            f"Expected {type(parametrization).__name__} to keep the shape "
            f"{tuple(raw.shape)} of {raw.path}. Received: "
            f"{tuple(value.shape)}. Mend its `call`, or choose another "
            "parametrization for this weight."
        )


def final(each: Attached, parametrization: Parametrization) -> Any:
    """The weight that `strip` leaves, in the raw weight's dtype."""
    value = parametrization.finalize(_surgery.read(each.raw))
    return keras.ops.cast(value, each.raw.dtype)


def _serialize(parametrization: Parametrization) -> dict[str, Any]:
    # Without its build config: it is built after the layer, so that variables
    # keep their order and optimizer state finds its place on reload.
    serialized = keras.saving.serialize_keras_object(parametrization)
    serialized.pop("build_config", None)
    return serialized


def attach_pending(layer: keras.layers.Layer) -> None:
    slots = {slot.name: slot for slot in adapters.slots_of(layer)}
    waiting = dict(pending(layer))
    if "*" in waiting:
        each_slot = waiting.pop("*")
        waiting = {name: each_slot.copy() for name in slots} | waiting
    for name, parametrization in waiting.items():
        if name not in slots:
            raise ValueError(
                f"Expected parametrizations for weights of {layer.name!r}, "
                f"which are {sorted(slots)}. Received: {name!r}."
            )
        owner, attribute = slots[name].locate(layer)
        raw = getattr(owner, attribute)
        build_parametrization(layer, parametrization, slots[name], raw)
        attach(layer, slots[name], parametrization)
        parametrization.adapt(_surgery.read(raw))
    pending(layer).clear()
