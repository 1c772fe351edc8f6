"""``python -m linops_jax`` is the command ``linops-jax``."""

from linops_jax.cli import main

if __name__ == "__main__":
    main()
