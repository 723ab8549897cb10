"""Names of torch functions, grouped by what they do to the values of a tensor."""

from __future__ import annotations

MOVES = frozenset(
    {
        *("reshape", "view", "flatten", "unflatten", "permute", "transpose", "swapaxes"),
        *("swapdims", "movedim", "moveaxis", "squeeze", "unsqueeze", "t", "T", "mT", "getitem"),
        *("select", "narrow", "chunk", "split", "unbind", "expand", "expand_as", "view_as"),
        *("reshape_as", "flip", "roll", "rot90", "embedding", "index_select", "gather"),
        *("take_along_dim", "repeat", "tile", "unfold"),
    }
)
"""Functions that move numbers, leave some out or take some several times, and change none."""

COPIES = frozenset(
    {
        *("clone", "contiguous", "detach", "to", "type", "type_as", "float", "half", "double"),
        *("bfloat16", "cpu", "cuda", "requires_grad", "data", "dropout", "dropout1d", "dropout2d"),
        *("alpha_dropout", "feature_dropout", "identity"),
    }
)
"""Functions that hand their first argument on as it is, when the module is in evaluation mode."""

ACTIVATIONS = frozenset(
    {
        *("relu", "relu6", "gelu", "silu", "hardswish", "leaky_relu", "elu", "celu", "selu"),
        *("mish", "softplus", "softsign", "sigmoid", "tanh", "hardtanh", "hardsigmoid", "prelu"),
        *("hardshrink", "softshrink", "tanhshrink", "logsigmoid", "threshold", "rrelu", "clamp"),
        *("clamp_min", "abs", "exp", "square", "pow", "sin", "cos"),
    }
)
"""Functions of each number by itself that are not affine."""

NORMS = frozenset({"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"})
"""Functions that normalise and leave each number in its place."""

JOINS = frozenset({"cat", "concat", "concatenate"})

RECURRENT = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})

SUMS = frozenset({"add", "sub", "iadd", "isub", "radd", "rsub"})

SCALINGS = frozenset({"mul", "div", "imul", "itruediv", "truediv", "rmul", "multiply", "divide"})
