"""A module as it stands: what is trainable, where it is, and whether a layer mixes examples."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from sfumato.learn.engine.refusals import may_mix, refuse, refuse_complex, refuse_hooks


class Survey:
    """What one walk over a module found; valid as long as :meth:`holds`.

    Walking a small network by ``named_parameters()`` several times a step costs as much as one of
    its layers; comparing identities does not.

    Args:
        module: The model.

    Raises:
        InputError: If a layer mixes examples, or a parameter cannot be trained.
    """

    def __init__(self, module: nn.Module) -> None:
        # Objects are kept, not only their identities: these would be given to others.
        self._seen = list(_walk(module))
        self.places = {id(part): place for place, part in module.named_modules()}
        self._suspects = [(p, part) for p, part in module.named_modules() if may_mix(part)]
        self.parameters = {k: p for k, p in module.named_parameters() if p.requires_grad}
        self.names = {id(p): name for name, p in self.parameters.items()}
        refuse_hooks(self.parameters)
        refuse_complex(self.parameters)
        self.check()

    def holds(self, module: nn.Module) -> bool:
        """Whether the module has the same parts and trainable parameters still."""
        seen = self._seen
        count = 0
        for found in _walk(module):
            if count == len(seen):
                return False
            before = seen[count]
            if found[0] is not before[0] or found[1] is not before[1]:
                return False
            count += 1
        return count == len(seen)

    def check(self) -> None:
        """Refuses layers that mix examples; what is refused may change without a new layer.

        Raises:
            InputError: Naming the layer and the fix.
        """
        for place, part in self._suspects:
            refuse(place, part)


def _walk(module: nn.Module) -> Iterator[tuple[object, object]]:
    """Every part, then its parameters with whether they are trainable, in a fixed order."""
    left: list[nn.Module] = [module]
    while left:
        part = left.pop()
        yield part, None
        for parameter in part._parameters.values():
            if parameter is not None:
                yield parameter, parameter.requires_grad
        left.extend(child for child in part._modules.values() if child is not None)
