# Compiler settings shared by every room, and the functions that rooms use to declare targets:
#   ratchet_library, ratchet_test              without LibTorch
#   ratchet_torch_library, ratchet_torch_test  with LibTorch
#   ratchet_python_test                        a Python program of ours, run by the project's Python

add_library(ratchet_options INTERFACE)
target_include_directories(ratchet_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(ratchet_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wconversion -Werror>
  # Clang, for the fuzz harnesses, counts signed indices among conversions; GCC does not.
  $<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Wno-sign-conversion -Wno-unused-command-line-argument>
  # GCC 12 sees an overlap in "literal" + std::string that cannot be (GCC bug 105651).
  $<$<AND:$<COMPILE_LANG_AND_ID:CXX,GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>)
if(RATCHET_SANITIZE)
  # See ratchet_quick_options.
  target_compile_options(ratchet_options INTERFACE
    $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-mismatched-new-delete>)
  # Asio has fences, which the thread sanitizer does not see; what they order is behind locks as well.
  if(RATCHET_SANITIZE MATCHES thread)
    target_compile_options(ratchet_options INTERFACE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-tsan>)
  endif()
  target_compile_options(ratchet_options INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${RATCHET_SANITIZE} -fno-omit-frame-pointer>)
  target_link_options(ratchet_options INTERFACE -fsanitize=${RATCHET_SANITIZE})
endif()

find_program(RATCHET_CCACHE ccache)
if(RATCHET_CCACHE)
  # The sloppiness is what ccache asks for before it caches files that use a precompiled header. The
  # base folder lets two checkouts on one machine share what was compiled.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros
    CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${RATCHET_CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${RATCHET_CCACHE})
endif()
find_program(RATCHET_MOLD mold)
if(RATCHET_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

# Most of a build's time would go into the same templates (JSON, Asio) once a file. So the files of a
# library are compiled together, some at a time; `dev` compiles each alone, for short rounds of work.
# Names of a library's files must not clash therefore, and each file includes what it uses by itself
# all the same (tests/tidy/rules.py, includes_what_it_names).
set(RATCHET_UNITY 8 CACHE STRING "How many files of a library are compiled together; 0: each alone")
function(ratchet_compile_together name files)
  if(RATCHET_UNITY AND NOT RATCHET_KERNELS_ALONE)
    set_target_properties(${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${files})
    # Said of each class of an unnamed namespace that a coroutine of an included file holds.
    target_compile_options(${name} PRIVATE
      $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-subobject-linkage>)
  endif()
endfunction()

# What only reads flags, prints or checks results is not worth optimising. At -O1 GCC 12 takes the
# frames of Asio's coroutines for memory of another allocator.
set(ratchet_quick_options
  "$<$<AND:$<COMPILE_LANG_AND_ID:CXX,GNU>,$<CONFIG:Release>>:-O1;-Wno-mismatched-new-delete>")

# Precompiled headers, by name: what is precompiled, with which libraries and options.
set(ratchet_pch_test_headers <algorithm> <chrono> <filesystem> <functional> <map> <memory> <optional>
  <set> <string> <variant> <vector> <nlohmann/json.hpp> <gtest/gtest.h>)
set(ratchet_pch_test_options "${ratchet_quick_options}")
set(ratchet_pch_test_link GTest::gtest)
set(ratchet_pch_torch_headers ${PROJECT_SOURCE_DIR}/trainer/ops/torch_pch.h)
# at::parallel_for is a header template over OpenMP: without the flag, loops run on one thread.
set(ratchet_pch_torch_options $<$<COMPILE_LANGUAGE:CXX>:-fopenmp>)
set(ratchet_pch_torch_link ratchet::torch)

# ratchet_use_pch(TARGET PCH): GCC takes a precompiled header only when the flags are the same, so
# programs are compiled with -fPIC as the libraries are, not with -fPIE. The kernels' own project, which
# a bare GPU node builds, has none.
function(ratchet_use_pch name pch)
  if(RATCHET_KERNELS_ALONE)
    return()
  endif()
  set(shared ratchet_${pch}_pch)
  # -fpch-preprocess lets ccache see which precompiled header a file used. What comes out of one is no
  # system header to GCC 12, which then tells of copies beyond a std::string that cannot be.
  set(options
    "$<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fpch-preprocess;-Wno-array-bounds;-Wno-stringop-overflow;\
-Wno-stringop-overread>"
    ${ratchet_pch_${pch}_options})
  if(NOT TARGET ${shared})
    file(WRITE ${CMAKE_BINARY_DIR}/${shared}.cc "")
    add_library(${shared} STATIC ${CMAKE_BINARY_DIR}/${shared}.cc)
    target_link_libraries(${shared} PRIVATE ratchet_options ${ratchet_pch_${pch}_link})
    foreach(header ${ratchet_pch_${pch}_headers})
      string(REPLACE ">" "$<ANGLE-R>" header ${header})
      target_precompile_headers(${shared} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${header}>)
    endforeach()
    target_compile_options(${shared} PRIVATE ${options})
  endif()
  get_target_property(type ${name} TYPE)
  if(type STREQUAL "EXECUTABLE")
    set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${name} PRIVATE -fPIC)
  endif()
  target_compile_options(${name} PRIVATE ${options})
  target_precompile_headers(${name} REUSE_FROM ${shared})
endfunction()

# ratchet_library(NAME SOURCES... [LINK libs...] [QUICK]): a static library of one room or sub-room.
# QUICK: nothing in it is worth optimising.
function(ratchet_library name)
  cmake_parse_arguments(arg "QUICK" "" "LINK" ${ARGN})
  add_library(${name} STATIC ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PUBLIC ${arg_LINK} PRIVATE ratchet_options)
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
  if(arg_QUICK)
    target_compile_options(${name} PRIVATE ${ratchet_quick_options})
  endif()
  ratchet_compile_together(${name} ${RATCHET_UNITY})
endfunction()

# ratchet_test(NAME SOURCES... [LINK libs...] [LABELS ...] [PCH name]): a GoogleTest program, one
# ctest entry.
function(ratchet_test name)
  cmake_parse_arguments(arg "" "PCH" "LINK;LABELS" ${ARGN})
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${arg_LINK} GTest::gtest GTest::gtest_main ratchet_options)
  target_compile_definitions(${name} PRIVATE RATCHET_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  if(NOT arg_PCH)
    set(arg_PCH test)
  endif()
  ratchet_use_pch(${name} ${arg_PCH})
  ratchet_compile_together(${name} 4)
  add_test(NAME ${name} COMMAND ${name})
  ratchet_test_properties(${name} "${arg_LABELS}")
endfunction()

# The same with LibTorch.
function(ratchet_torch_library name)
  ratchet_library(${name} ${ARGN})
  target_link_libraries(${name} PUBLIC ratchet::torch)
  ratchet_use_pch(${name} torch)
  ratchet_compile_together(${name} 4)  # LibTorch's own templates are many
endfunction()
function(ratchet_torch_test name)
  ratchet_test(${name} ${ARGN} PCH torch)
  target_link_libraries(${name} PRIVATE ratchet::torch)
endfunction()

# ratchet_python_test(NAME SCRIPT [ARGS ...] [LABELS ...]): a Python program of ours as a ctest entry.
# It counts as one test, unless it is a unittest program run with --verbose or its last line reads
# `N passed, N failed, N skipped`; skips are named by lines `SKIP name: reason`.
function(ratchet_python_test name script)
  cmake_parse_arguments(arg "" "" "ARGS;LABELS" ${ARGN})
  add_test(NAME ${name} COMMAND ${RATCHET_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/${script} ${arg_ARGS})
  ratchet_test_properties(${name} "${arg_LABELS}")
  set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT
    PYTHONDONTWRITEBYTECODE=1 RATCHET_BINARY_DIR=${CMAKE_BINARY_DIR}
    RATCHET_SOURCE_DIR=${PROJECT_SOURCE_DIR})
endfunction()

if(EXISTS ${PROJECT_SOURCE_DIR}/.toolchain/venv/bin/python)
  set(RATCHET_PYTHON ${PROJECT_SOURCE_DIR}/.toolchain/venv/bin/python)
else()
  find_program(RATCHET_PYTHON python3)
endif()

# Sanitizers stop at their first finding; what LibTorch itself does is suppressed by name.
function(ratchet_test_properties name labels)
  set(suppressions ${PROJECT_SOURCE_DIR}/deploy/sanitizers)
  set_tests_properties(${name} PROPERTIES LABELS "${labels}" TIMEOUT 900 ENVIRONMENT
    "ASAN_OPTIONS=detect_stack_use_after_return=1:suppressions=${suppressions}/asan.txt;\
LSAN_OPTIONS=suppressions=${suppressions}/lsan.txt:print_suppressions=0;\
UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:suppressions=${suppressions}/ubsan.txt;\
TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:suppressions=${suppressions}/tsan.txt")
  if(RATCHET_SANITIZE MATCHES thread)
    # The crates are not instrumented: the sanitizer would see the memory that their threads pass on
    # to each other, and not the atomics by which they do.
    set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT TOKENIZERS_PARALLELISM=false)
  endif()
endfunction()
