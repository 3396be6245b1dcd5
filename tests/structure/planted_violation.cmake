# SPDX-License-Identifier: Apache-2.0
# cmake -D SCRATCH=<empty folder> -P planted_violation.cmake
# check_includes.cmake must fail on a planted violation, and name the file and the include.
cmake_minimum_required(VERSION 3.25)

function(expect_fault what text)
  execute_process(
    COMMAND ${CMAKE_COMMAND} -D ROOT=${SCRATCH} -P ${CMAKE_CURRENT_LIST_DIR}/check_includes.cmake
    RESULT_VARIABLE result ERROR_VARIABLE said OUTPUT_QUIET)
  string(REGEX REPLACE "[ \n]+" " " said "${said}")
  string(FIND "${said}" "${text}" at)
  if(result EQUAL 0 OR at EQUAL -1)
    message(SEND_ERROR "${what}: expected a failure that says '${text}', got ${result}: ${said}")
  endif()
  file(REMOVE_RECURSE ${SCRATCH})
endfunction()

file(REMOVE_RECURSE ${SCRATCH})

file(WRITE ${SCRATCH}/include/unetdn/core/shape.hpp "#include <unetdn/ops/relu.hpp>\n")
file(WRITE ${SCRATCH}/include/unetdn/ops/relu.hpp "#include <vector>\n")
expect_fault("an include of a higher level" "include/unetdn/core/shape.hpp (level 0, core) includes unetdn/ops/relu.hpp")

file(WRITE ${SCRATCH}/kernels/relu.cu "  #  include \"../include/unetdn/ops/relu.hpp\"\n#include <unetdn/ops/relu.hpp>\n")
file(WRITE ${SCRATCH}/include/unetdn/ops/relu.hpp "#include <vector>\n")
expect_fault("a kernel that includes an op" "kernels/relu.cu (level 2, kernels) includes unetdn/ops/relu.hpp")

file(WRITE ${SCRATCH}/include/unetdn/cpu/relu.hpp "#include <unetdn/kernels/relu.hpp>\n")
file(WRITE ${SCRATCH}/kernels/unetdn/kernels/relu.hpp "#pragma once\n")
expect_fault("two groups of one level" "include/unetdn/cpu/relu.hpp (level 2, cpu) includes unetdn/kernels/relu.hpp")

file(WRITE ${SCRATCH}/include/unetdn/core/shape.hpp "#include \"sizes.hpp\"\n")
expect_fault("a file that is not there" "include/unetdn/core/shape.hpp includes unetdn/core/sizes.hpp, which does not exist")

file(WRITE ${SCRATCH}/include/unetdn/misc/shape.hpp "#pragma once\n")
expect_fault("a folder without a level" "include/unetdn/misc/shape.hpp: 'misc' has no level")
