# Compiler settings shared by every room, and the functions that rooms use to declare targets:
#   ratchet_library, ratchet_test              without LibTorch
#   ratchet_torch_library, ratchet_torch_test  with LibTorch and its precompiled headers
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
  # At -O1 GCC 12 takes the frames of Asio's coroutines for memory of another allocator.
  target_compile_options(ratchet_options INTERFACE
    $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-mismatched-new-delete>)
  target_compile_options(ratchet_options INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${RATCHET_SANITIZE} -fno-omit-frame-pointer>)
  target_link_options(ratchet_options INTERFACE -fsanitize=${RATCHET_SANITIZE})
endif()

find_program(RATCHET_CCACHE ccache)
if(RATCHET_CCACHE)
  # The sloppiness is what ccache asks for before it caches files that use a precompiled header.
  set(CMAKE_CXX_COMPILER_LAUNCHER
    ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${RATCHET_CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${RATCHET_CCACHE})
endif()
find_program(RATCHET_MOLD mold)
if(RATCHET_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

# ratchet_library(NAME SOURCES... [LINK libs...]): a static library of one room or sub-room.
function(ratchet_library name)
  cmake_parse_arguments(arg "" "" "LINK" ${ARGN})
  add_library(${name} STATIC ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PUBLIC ${arg_LINK} PRIVATE ratchet_options)
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
endfunction()

# ratchet_test(NAME SOURCES... [LINK libs...] [LABELS ...]): a GoogleTest program, one ctest entry.
function(ratchet_test name)
  cmake_parse_arguments(arg "" "" "LINK;LABELS" ${ARGN})
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${arg_LINK} GTest::gtest GTest::gtest_main ratchet_options)
  target_compile_definitions(${name} PRIVATE RATCHET_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  add_test(NAME ${name} COMMAND ${name})
  ratchet_test_properties(${name} "${arg_LABELS}")
endfunction()

# ratchet_torch_library(NAME SOURCES... [LINK libs...]): a ratchet_library that links LibTorch and
# compiles with the precompiled headers of trainer/ops/torch_pch.h.
function(ratchet_torch_library name)
  ratchet_library(${name} ${ARGN})
  target_link_libraries(${name} PUBLIC ratchet::torch)
  ratchet_use_torch_pch(${name})
endfunction()

# ratchet_torch_test(NAME SOURCES... [LINK libs...] [LABELS ...]): the same for a ratchet_test.
function(ratchet_torch_test name)
  ratchet_test(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE ratchet::torch)
  ratchet_use_torch_pch(${name})
endfunction()

# ratchet_use_torch_pch(TARGET): GCC takes a precompiled header only when the flags are the same, so
# programs are compiled with -fPIC as the libraries are, not with -fPIE.
function(ratchet_use_torch_pch name)
  if(NOT TARGET ratchet_torch_pch)
    file(WRITE ${CMAKE_BINARY_DIR}/ratchet_torch_pch.cc "")
    add_library(ratchet_torch_pch STATIC ${CMAKE_BINARY_DIR}/ratchet_torch_pch.cc)
    target_link_libraries(ratchet_torch_pch PRIVATE ratchet_options ratchet::torch)
    target_precompile_headers(ratchet_torch_pch PRIVATE
      $<$<COMPILE_LANGUAGE:CXX>:${PROJECT_SOURCE_DIR}/trainer/ops/torch_pch.h>)
    target_compile_options(ratchet_torch_pch PRIVATE ${RATCHET_PCH_FLAGS})
  endif()
  get_target_property(type ${name} TYPE)
  if(type STREQUAL "EXECUTABLE")
    set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${name} PRIVATE -fPIC)
  endif()
  target_compile_options(${name} PRIVATE ${RATCHET_PCH_FLAGS})
  target_precompile_headers(${name} REUSE_FROM ratchet_torch_pch)
endfunction()

# -fpch-preprocess lets ccache see which precompiled header a file used.
set(RATCHET_PCH_FLAGS $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fpch-preprocess>)

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
