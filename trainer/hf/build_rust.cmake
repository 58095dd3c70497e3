# Builds the Rust library: cmake -DCARGO= -DSOURCE_DIR= -DTARGET_DIR= -DLIBRARY= -P build_rust.cmake
# Nothing is downloaded when the crates that Cargo.lock names are there already.

set(ENV{CARGO_TARGET_DIR} ${TARGET_DIR})
# Sanitizer and warning flags are for our C++; the crates' C parts are built as they are published.
unset(ENV{CFLAGS})
unset(ENV{CXXFLAGS})
set(fetch ${CARGO} fetch --locked --target x86_64-unknown-linux-gnu)
execute_process(COMMAND ${fetch} --offline
  WORKING_DIRECTORY ${SOURCE_DIR} RESULT_VARIABLE missing OUTPUT_QUIET ERROR_QUIET)
if(missing)
  execute_process(COMMAND ${fetch}
    WORKING_DIRECTORY ${SOURCE_DIR} RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "The crates of trainer/hf/Cargo.lock could not be fetched. Run 'make setup' "
      "with a network, or carry a filled CARGO_HOME to this machine.")
  endif()
endif()
execute_process(COMMAND ${CARGO} build --release --locked --offline --quiet
  WORKING_DIRECTORY ${SOURCE_DIR} RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR "cargo could not build trainer/hf (Rust 1.85 or later is needed).")
endif()
# cargo leaves an up-to-date library alone; the build needs it newer than the sources.
file(TOUCH_NOCREATE ${LIBRARY})
