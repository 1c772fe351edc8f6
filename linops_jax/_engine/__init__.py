"""From a hook to XLA and back."""
