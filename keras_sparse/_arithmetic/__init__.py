"""Functions of numbers and tensors, which know nothing of layers."""
