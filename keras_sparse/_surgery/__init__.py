"""The only folder that touches private names of Keras.

Everything here is a small operation on a live Keras object that the public
API has no word for: reading a variable before autocasting, exchanging an
attribute while `call` runs, adding and removing a sublayer.
"""

from keras_sparse._surgery.layers import (
    add_sublayer,
    all_layers,
    attribute_name,
    copy_of_lambda,
    exchange,
    exchanged,
    is_symbolic,
    is_training,
    own_variables,
    remove_sublayer,
    restore,
    seed_generators,
    sublayers,
    variables_to_train,
)
from keras_sparse._surgery.models import (
    examples_seen,
    forget_traces,
    graph_nodes,
    graph_of,
    graph_structure,
    is_functional,
    own_predict_function,
    require_compile,
    require_compile_of_all,
    say,
    sync_state,
)
from keras_sparse._surgery.optimizers import (
    accumulation,
    exempts_weights,
    learning_rate,
    micro_steps,
    optimizer_slots,
    start_of_slot,
)
from keras_sparse._surgery.variables import (
    compute_dtype,
    creation_scope,
    layout_of,
    read,
    to_numpy,
)

__all__ = [
    "accumulation",
    "add_sublayer",
    "all_layers",
    "attribute_name",
    "compute_dtype",
    "copy_of_lambda",
    "creation_scope",
    "examples_seen",
    "exchange",
    "exchanged",
    "exempts_weights",
    "forget_traces",
    "graph_nodes",
    "graph_of",
    "graph_structure",
    "is_functional",
    "is_symbolic",
    "is_training",
    "layout_of",
    "learning_rate",
    "micro_steps",
    "optimizer_slots",
    "own_predict_function",
    "own_variables",
    "read",
    "remove_sublayer",
    "require_compile",
    "require_compile_of_all",
    "restore",
    "say",
    "seed_generators",
    "start_of_slot",
    "sublayers",
    "sync_state",
    "to_numpy",
    "variables_to_train",
]
