"""README.md of a build: what is in the folder, what it costs, and how it is called."""

import keyword

from edgelstm.aot.artefacts import Artefacts
from edgelstm.aot.header import C_TYPES
from edgelstm.aot.report import BuildReport
from edgelstm.version import __version__

_PAGE = """\
# {name} for {target}

Made by EdgeLSTM {version} for {target} ({cpu}), batch {batch}.

| bytes | |
|---|---|
| flash | {flash:,} |
| - code and its constants | {code:,} |
| - weights{apart} | {weights:,} |
| RAM of one sequence | {ram:,} |
| - state | {state:,} |
| - arena | {arena:,} |
| stack of the deepest entry | {stack:,} |
| global variables | 0 |

Read from the object; the frames of inputs and outputs are the caller's. Several sequences need a state each and may share one
arena as long as one thread runs them. {undefined}

| file | |
|---|---|
{files}

## C

```c
#include "{name}.h"

static {macro}_ALIGNED unsigned char state[{macro}_STATE_BYTES], arena[{macro}_ARENA_BYTES];
{weights_block}{buffers}

{name}_init(state);
{name}_step({given_weights}state, arena, {arguments});       /* one time step; the state is carried to the next */
```
{link}{python}{usage}"""

_WEIGHTS = "extern const unsigned char weights[];   /* the content of {name}.weights, aligned like state */\n"

_LINK = """
Link `lib{name}.a` (or `{name}.o`), for example `{compiler} main.c lib{name}.a`.
"""

_PYTHON = """
## Python

The folder is a package that needs NumPy alone; put it where Python finds it, under a name that is an identifier:

```python
import {module}

model = {module}.load()
y = model.predict(x)                   # whole sequences, any batch and number of time steps
stream = model.stream()                # one time step at a time, with the state carried
y = stream.step(frame)
```

`edgelstm.load("{folder}")` gives the same model.
"""


def readme(made: Artefacts, report: BuildReport, folder: str) -> str:
    """The file's text; `folder` is the name under which Python imports a native build."""
    program, weights_apart = made.program, made.wishes.weights_apart
    compiler = " ".join((made.target.compiler, *made.target.flags)).strip()
    frames = (*program.inputs, *program.outputs)
    helpers = ", ".join(f"`{name}`" for name in report.undefined)
    undefined = f"It calls {helpers} of the compiler's runtime." if helpers else "It calls nothing outside of itself."
    return _PAGE.format(
        name=report.name, macro=report.name.upper(), target=report.target, cpu=report.cpu, version=__version__,
        batch=program.batch, flash=report.flash, code=report.code, weights=report.weights, ram=report.ram,
        state=report.state, arena=report.arena,
        stack=report.stack, apart=" (in a file of their own)" * weights_apart, undefined=undefined,
        files="\n".join(f"| `{file}` | {about} |" for file, about in made.about.items()),
        buffers="\n".join(f"static {C_TYPES[frame.dtype]} {frame.identifier}[{frame.size}];" for frame in frames),
        weights_block=_WEIGHTS.format(name=report.name) if weights_apart else "",
        given_weights="weights, " * weights_apart, arguments=", ".join(frame.identifier for frame in frames),
        link=_LINK.format(name=report.name, compiler=compiler) if compiler else "",
        python=_PYTHON.format(folder=folder, module=_module(folder, report.name)) if "__init__.py" in made.files else "",
        usage=made.usage)


def _module(folder: str, name: str) -> str:
    """The name to import a folder by: its own, or that of the model where it is none in Python."""
    return folder if folder.isidentifier() and not keyword.iskeyword(folder) else name
