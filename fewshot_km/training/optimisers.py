"""Outer updates: what turns an outer gradient into new meta-parameters, and a state of its own that can be saved."""

import torch
from torch.optim.adam import adam

from fewshot_km.learners.base import Params


class Adam:
    """The steps of torch.optim.Adam, without its class, which imports torch's compiler: 1.7 s of every run."""

    def __init__(self, parameters: Params, lr: float, state: Params) -> None:
        """Change `parameters` from now on; `state` is what `state()` gave before, or {} to begin."""
        self._parameters = parameters
        self._lr = lr
        steps = float(state["steps"]) if state else 0.0
        self._steps = [torch.tensor(steps) for _ in parameters]
        zeros = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self._first, self._second = (
            {name: state.get(f"{moment}/{name}", zero).clone() for name, zero in zeros.items()}
            for moment in ("first", "second")
        )

    @torch.no_grad()
    def step(self, gradient: Params) -> None:
        """Change the parameters in place."""
        names = list(self._parameters)
        adam(
            [self._parameters[name] for name in names],
            [gradient[name] for name in names],
            [self._first[name] for name in names],
            [self._second[name] for name in names],
            max_exp_avg_sqs=[],
            state_steps=self._steps,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self._lr,
            weight_decay=0,
            eps=1e-8,
            maximize=False,
        )

    def state(self) -> Params:
        """A copy of all that the next step depends on beside the parameters."""
        moments = (("first", self._first), ("second", self._second))
        copies = {f"{moment}/{name}": value.clone() for moment, values in moments for name, value in values.items()}
        return {"steps": self._steps[0].clone(), **copies}
