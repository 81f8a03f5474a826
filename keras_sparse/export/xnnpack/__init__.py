"""What XNNPACK computes with the zeros of a model."""
