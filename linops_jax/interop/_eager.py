"""What the converters evaluate is waited for, as eager calls are: the one file here that looks behind the public names."""

from linops_jax._engine.eager import as_raised as as_raised
