# SPDX-License-Identifier: Apache-2.0
# unetdn::cuda, where nvcc is found. A program without it runs on the CPU.

# unetdn_nvcc_version(variable nvcc): "13.0"; empty where nvcc does not run.
function(unetdn_nvcc_version variable nvcc)
  execute_process(COMMAND ${nvcc} --version OUTPUT_VARIABLE said ERROR_QUIET)
  string(REGEX MATCH "release ([0-9]+\\.[0-9]+)" said "${said}")
  set(${variable} "${CMAKE_MATCH_1}" PARENT_SCOPE)
endfunction()

set(UNETDN_HAS_CUDA OFF)
set(oldest_nvcc 13.0)
if(UNETDN_CUDA)
  find_program(UNETDN_NVCC nvcc HINTS ENV CUDACXX ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
  mark_as_advanced(UNETDN_NVCC)
  if(UNETDN_NVCC)
    unetdn_nvcc_version(nvcc_version ${UNETDN_NVCC})
  endif()
  if(UNETDN_NVCC AND nvcc_version VERSION_GREATER_EQUAL oldest_nvcc)
    if(NOT CMAKE_CUDA_COMPILER)
      set(CMAKE_CUDA_COMPILER ${UNETDN_NVCC})
    endif()
    if(NOT CMAKE_CUDA_ARCHITECTURES)  # CMake's own test of the compiler needs one; ours are in kernels/CMakeLists.txt
      set(CMAKE_CUDA_ARCHITECTURES 80)
    endif()
    enable_language(CUDA)
    # CMake 3.25 does not know that nvcc has C++20.
    if(NOT cuda_std_20 IN_LIST CMAKE_CUDA_COMPILE_FEATURES)
      list(APPEND CMAKE_CUDA_COMPILE_FEATURES cuda_std_20)
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
      set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
    endif()
    add_subdirectory(${PROJECT_SOURCE_DIR}/kernels)
    set(UNETDN_HAS_CUDA ON)
  elseif(UNETDN_NVCC AND UNETDN_CUDA STREQUAL "AUTO")
    message(STATUS "Without CUDA: ${UNETDN_NVCC} is of version '${nvcc_version}', older than ${oldest_nvcc}")
  elseif(UNETDN_NVCC)
    message(FATAL_ERROR "UNETDN_CUDA is ${UNETDN_CUDA} but ${UNETDN_NVCC} is of version '${nvcc_version}', older than "
      "${oldest_nvcc}: install a newer one, or set CUDACXX to it")
  elseif(NOT UNETDN_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "UNETDN_CUDA is ${UNETDN_CUDA} but nvcc was not found: put it on PATH, or set CUDACXX to it")
  endif()
endif()
