"""The machines that kernels are compiled for. Vector width, instruction choice and panel layout are decided here."""

from collections.abc import Sequence

from edgelstm.record import record


@record()
class Target:
    """A machine: LLVM's names, float32 lanes of a vector register, how it multiplies bytes (`vectors.dots`), its registers."""

    name: str
    triple: str
    cpu: str
    features: str
    lanes: int
    abi: str = ""
    dot: str = "plain"
    registers: int = 16

    @property
    def vector_bits(self) -> int:
        """The width of a vector register in bits."""
        return 32 * self.lanes

    @property
    def alignment(self) -> int:
        """The bytes by which a build aligns buffers: those of a vector, or of an address where there are no vectors."""
        return (self.vector_bits if self.lanes > 1 else self.address_bits) // 8

    @property
    def address_bits(self) -> int:
        """The width of an address in bits."""
        return 32 if self.triple.startswith(("thumb", "armv7", "riscv32", "wasm32")) else 64

    def words(self) -> tuple[str, ...]:
        """Everything that determines what kernels are compiled to, and the name."""
        return (self.name, self.triple, self.cpu, self.features, str(self.lanes), self.abi, self.dot, str(self.registers))

    @classmethod
    def from_words(cls, words: Sequence[str]) -> "Target":
        """The target that these words describe."""
        name, triple, cpu, features, lanes, abi, dot, registers = words
        return cls(name, triple, cpu, features, int(lanes), abi, dot, int(registers))


# LLVM splits multiply-adds for this core's sake, which doubles the instructions; with independent sums none waits for another.
_ARMV7 = "+neon,+vfp4,-slowfpvmlx,-slowfpvfmx,-vmlx-hazards"

CROSS_TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("x86-64-v2", "x86_64-unknown-linux-gnu", "x86-64-v2", "", lanes=4, dot="sign"),
        Target("x86-64-v3", "x86_64-unknown-linux-gnu", "x86-64-v3", "", lanes=8, dot="sign"),
        Target("x86-64-v4", "x86_64-unknown-linux-gnu", "x86-64-v4", "", lanes=16, dot="madd"),
        Target("aarch64", "aarch64-unknown-linux-gnu", "cortex-a72", "", lanes=4, dot="neon", registers=32),
        Target("armv7", "armv7-unknown-linux-gnueabihf", "cortex-a7", _ARMV7, lanes=4, dot="neon32"),
        Target("cortex-m0", "thumbv6m-none-unknown-eabi", "cortex-m0", "", lanes=1, registers=4),
        Target("cortex-m4", "thumbv7em-none-unknown-eabihf", "cortex-m4", "", lanes=1, dot="smlad", registers=32),
        Target("cortex-m7", "thumbv7em-none-unknown-eabihf", "cortex-m7", "+fp-armv8d16", lanes=1, dot="smlad", registers=32),
        Target("cortex-m55", "thumbv8.1m.main-none-unknown-eabihf", "cortex-m55", "", lanes=4, registers=8),
        Target("riscv32", "riscv32-unknown-unknown-elf", "generic-rv32", "+m,+a,+c", lanes=1, abi="ilp32", registers=8),
        Target("riscv32f", "riscv32-unknown-unknown-elf", "generic-rv32", "+m,+a,+f,+c", lanes=1, abi="ilp32f", registers=32),
        Target("riscv64", "riscv64-unknown-linux-gnu", "generic-rv64", "+m,+a,+f,+d,+c", lanes=1, abi="lp64d", registers=32),
        Target("wasm32", "wasm32-unknown-unknown", "generic", "+simd128", lanes=4, dot="wasm"),
    )
}
