"""What is not there: the errors of functions that nobody gave, and of arguments that are fixed."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from linops_jax.functional._given import Given

_HESSIAN = ("hessian_apply", "hessian_transpose")


class Missing(Given):
    """Functions that say what is missing among them."""

    def missing(self, name: str) -> NotImplementedError:
        where = type(self)._given_as(name)
        if name.startswith("hessian") and not any(self._at(self.functions, hook) for hook in _HESSIAN):
            message = (
                f"Second derivatives of {self.name} are not available: its jvp and vjp do not say how they change with the "
                "arguments. Pass hessian=(hessian_apply, hessian_transpose) to get_nonlinear_call."
            )
        else:
            why = "reverse-mode differentiation needs it" if self._rules[name].reverses else "forward mode needs it"
            message = f"{self.name} has no {where}: {why}. Pass a function instead of None."
        return NotImplementedError(message)

    def not_linear(self, names: Sequence[str]) -> NotImplementedError:
        if "fixed" in names:
            return self._fixed_error(self.fixed)
        message = f"{self.name} cannot be transposed in several arguments together: it is linear in each of them alone."
        return NotImplementedError(message)

    def not_differentiable(self, argument: str, moving: Sequence[bool]) -> NotImplementedError:
        if argument == "fixed":
            return self._fixed_error([i for i, moves in zip(self.fixed, moving, strict=True) if moves])
        message = f"Third derivatives of {self.name} are not available: no function gives them."
        return NotImplementedError(message)

    def _fixed_error(self, positions: Sequence[int]) -> NotImplementedError:
        names = _argument_names(self._at(self.abstracts, "apply"))
        which = ", ".join(f"{i} ({names[i]})" if i < len(names) else str(i) for i in positions)
        message = (
            f"{self.name} is being differentiated in argument {which}, which is fixed. Wrap it in jax.lax.stop_gradient, or "
            "do not declare it fixed."
        )
        return NotImplementedError(message)


def _argument_names(abstract: Any) -> list[str]:
    try:
        parameters = inspect.signature(abstract).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
