# Finds LibTorch and the CUDA toolkit. Both come from the project's own Python environment
# (.toolchain/venv, made by `make setup`) unless RATCHET_LIBTORCH or CUDA_HOME name installed ones.
# find_package(Torch) is not used: it insists on CUDA arch flags of its own and puts stray
# directories into the run path.

file(GLOB RATCHET_SITE LIST_DIRECTORIES true
  ${PROJECT_SOURCE_DIR}/.toolchain/venv/lib/python3.*/site-packages)

if(RATCHET_TORCH)
  # Kept in the cache, so that a later build without the variable means the same library.
  set(RATCHET_LIBTORCH "" CACHE PATH "Installed LibTorch, or empty")
  if(NOT "$ENV{RATCHET_LIBTORCH}" STREQUAL "")
    set(RATCHET_LIBTORCH "$ENV{RATCHET_LIBTORCH}" CACHE PATH "Installed LibTorch" FORCE)
  endif()
  if(RATCHET_LIBTORCH)
    set(RATCHET_TORCH_ROOT ${RATCHET_LIBTORCH})
  else()
    set(RATCHET_TORCH_ROOT ${RATCHET_SITE}/torch)
  endif()
  if(NOT EXISTS ${RATCHET_TORCH_ROOT}/lib/libtorch_cpu.so)
    message(FATAL_ERROR "LibTorch is not at '${RATCHET_TORCH_ROOT}'. Run 'make setup', or set "
      "RATCHET_LIBTORCH to a folder that holds include/ and lib/ of PyTorch 2.11.")
  endif()
  # Only the CPU half is linked; libtorch_cuda is loaded at run time when a GPU is there
  # (trainer/gpu), which keeps start-up at a fifth and memory at a third on machines without one.
  add_library(ratchet_torch INTERFACE)
  add_library(ratchet::torch ALIAS ratchet_torch)
  target_include_directories(ratchet_torch SYSTEM INTERFACE
    ${RATCHET_TORCH_ROOT}/include ${RATCHET_TORCH_ROOT}/include/torch/csrc/api/include)
  target_link_directories(ratchet_torch INTERFACE ${RATCHET_TORCH_ROOT}/lib)
  target_link_libraries(ratchet_torch INTERFACE
    ${RATCHET_TORCH_ROOT}/lib/libtorch_cpu.so ${RATCHET_TORCH_ROOT}/lib/libc10.so)
  target_link_options(ratchet_torch INTERFACE -Wl,-rpath,${RATCHET_TORCH_ROOT}/lib)
  # At run time the path above finds LibTorch's own libgomp.so.1, so that there is one thread pool.
  find_package(OpenMP REQUIRED COMPONENTS CXX)
  target_link_libraries(ratchet_torch INTERFACE ${OpenMP_CXX_LIBRARIES})
endif()

# NCCL's header comes with the Python environment; an installed one is on the default path.
if(EXISTS ${RATCHET_SITE}/nvidia/nccl/include)
  set(RATCHET_NCCL_INCLUDE ${RATCHET_SITE}/nvidia/nccl/include)
endif()

if(RATCHET_CUDA)
  include(Cuda)
endif()

find_package(Boost 1.81 REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(OpenSSL 3 REQUIRED)
find_package(Threads REQUIRED)
find_package(SQLite3 3.35 REQUIRED)
if(RATCHET_TESTS)
  find_package(GTest REQUIRED)
endif()
