"""What a build reports: the files it wrote and what the model costs on its device."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BuildReport:
    """Bytes, read from the object: `code` and `weights` make up `flash`, `state` and `arena` `ram`; `stack` is what the deepest
    entry needs besides. `undefined` names the functions of the compiler's runtime that the object calls, `files` what was
    written into `folder`.
    """

    target: str
    cpu: str
    name: str
    folder: str
    files: tuple[str, ...]
    code: int
    weights: int
    state: int
    arena: int
    stack: int
    undefined: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def flash(self) -> int:
        """Bytes of code and constants, weights included."""
        return self.code + self.weights

    @property
    def ram(self) -> int:
        """Bytes of state and arena of one sequence, which the caller gives."""
        return self.state + self.arena

    def __str__(self) -> str:
        lines = [f"{self.name} for {self.target} ({self.cpu}) in {self.folder}",
                 f"flash {self.flash:,} bytes: code {self.code:,}, weights {self.weights:,}",
                 f"ram   {self.ram:,} bytes: state {self.state:,}, arena {self.arena:,}; stack {self.stack:,}"]
        return "\n".join([*lines, *self.notes])
