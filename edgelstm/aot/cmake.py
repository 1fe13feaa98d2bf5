"""CMakeLists.txt of a build: the library as a target, and the self-test where there is one."""

from edgelstm.aot.plan import StepProgram

_LIBRARY = """\
# {prefix}, a trained network as a static library: add_subdirectory(this folder), then target_link_libraries(app {prefix}).
# Made for {target}; compile with: {compiler}
cmake_minimum_required(VERSION 3.16)
project({prefix} C)

add_library({prefix} STATIC IMPORTED GLOBAL)
set_target_properties({prefix} PROPERTIES
  IMPORTED_LOCATION "${{CMAKE_CURRENT_LIST_DIR}}/{library}"
  INTERFACE_INCLUDE_DIRECTORIES "${{CMAKE_CURRENT_LIST_DIR}}")
"""

_SELF_TEST = """
add_executable({prefix}_self_test main.c)
target_link_libraries({prefix}_self_test {prefix})
target_include_directories({prefix}_self_test PRIVATE "${{CMAKE_CURRENT_LIST_DIR}}")
{blob}
enable_testing()
add_test(NAME {prefix} COMMAND {prefix}_self_test)
"""

_BLOB = 'target_compile_options({prefix}_self_test PRIVATE "-Wa,-I${{CMAKE_CURRENT_LIST_DIR}}")\n'


def cmake(program: StepProgram, target: str, compiler: str, library: str, *, self_test: bool, weights_apart: bool) -> str:
    """The file's text."""
    text = _LIBRARY.format(prefix=program.prefix, target=target, compiler=compiler, library=library)
    if self_test:
        text += _SELF_TEST.format(prefix=program.prefix, blob=_BLOB.format(prefix=program.prefix) if weights_apart else "")
    return text
