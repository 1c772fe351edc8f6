"""The one file here that looks behind the public names: what converters evaluate is waited for, as eager calls are."""

from linops_jax._engine.eager import as_raised as as_raised
