"""How hooks become JAX primitives and parts of XLA programs, and how these programs call them."""
