# Compiler settings shared by every room, and the three functions that rooms use to declare targets.

add_library(ratchet_options INTERFACE)
target_include_directories(ratchet_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(ratchet_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wconversion -Werror>)
if(RATCHET_SANITIZE)
  target_compile_options(ratchet_options INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${RATCHET_SANITIZE} -fno-omit-frame-pointer>)
  target_link_options(ratchet_options INTERFACE -fsanitize=${RATCHET_SANITIZE})
endif()

find_program(RATCHET_CCACHE ccache)
if(RATCHET_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${RATCHET_CCACHE})
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
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT 900)
endfunction()
