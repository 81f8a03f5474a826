"""Which weights of a model are under masks, and which go next."""
