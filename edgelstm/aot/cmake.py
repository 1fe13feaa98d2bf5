"""CMakeLists.txt of a build: the library as a target, and the self-test where there is one."""

from edgelstm.aot.plan import StepProgram

# Targets that CMake has itself, or reserves.
_RESERVED = frozenset(
    "all ALL_BUILD clean edit_cache help install INSTALL list_install_components package PACKAGE package_source preinstall "
    "rebuild_cache RUN_TESTS test ZERO_CHECK".split())

_LIBRARY = """\
# {prefix}, a trained network as a static library: add_subdirectory(this folder), then target_link_libraries(app {library}).
# Made for {target}; compile with: {compiler}
cmake_minimum_required(VERSION 3.16)
project({library} C)

add_library({library} STATIC IMPORTED GLOBAL)
set_target_properties({library} PROPERTIES
  IMPORTED_LOCATION "${{CMAKE_CURRENT_LIST_DIR}}/{file}"
  INTERFACE_INCLUDE_DIRECTORIES "${{CMAKE_CURRENT_LIST_DIR}}")
"""

_SELF_TEST = """
if(CMAKE_CURRENT_SOURCE_DIR STREQUAL CMAKE_SOURCE_DIR) # not where another project includes this one
  add_executable({prefix}_self_test main.c)
  target_link_libraries({prefix}_self_test {library})
{blob}  enable_testing()
  add_test(NAME {prefix}_self_test COMMAND {prefix}_self_test)
endif()
"""

_BLOB = '  target_compile_options({prefix}_self_test PRIVATE "-Wa,-I${{CMAKE_CURRENT_LIST_DIR}}")\n'


def cmake(program: StepProgram, target: str, compiler: str, file: str, *, self_test: bool, weights_apart: bool) -> str:
    """The text, around the static library `file`."""
    prefix = program.prefix
    library = f"{prefix}_model" if prefix in _RESERVED else prefix
    text = _LIBRARY.format(prefix=prefix, library=library, target=target, compiler=compiler, file=file)
    if self_test:
        text += _SELF_TEST.format(prefix=prefix, library=library, blob=_BLOB.format(prefix=prefix) if weights_apart else "")
    return text
