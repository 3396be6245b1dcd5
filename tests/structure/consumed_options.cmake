# SPDX-License-Identifier: Apache-2.0
# cmake -D ROOT=... -D SCRATCH=... -P consumed_options.cmake
# Configures a project that adds this one and sets nothing.
file(REMOVE_RECURSE ${SCRATCH})
file(WRITE ${SCRATCH}/CMakeLists.txt "cmake_minimum_required(VERSION 3.25)
project(consumer LANGUAGES CXX)
add_subdirectory(${ROOT} unetdn)
")
execute_process(COMMAND ${CMAKE_COMMAND} -S ${SCRATCH} -B ${SCRATCH}/build -G Ninja
  RESULT_VARIABLE failure OUTPUT_VARIABLE said ERROR_VARIABLE said)
if(failure)
  message(FATAL_ERROR "The consumer cannot be configured:\n${said}")
endif()
load_cache(${SCRATCH}/build READ_WITH_PREFIX consumed_
  UNETDN_CUDA UNETDN_TESTS UNETDN_EXAMPLES UNETDN_BENCHMARKS UNETDN_INSTALL)
foreach(name CUDA TESTS EXAMPLES BENCHMARKS INSTALL)
  if(NOT consumed_UNETDN_${name} STREQUAL "OFF")
    message(FATAL_ERROR "UNETDN_${name} is '${consumed_UNETDN_${name}}' in a project that adds this one, not OFF")
  endif()
endforeach()
