# SPDX-License-Identifier: Apache-2.0
# Target and test kernel_report: what the compiler made of each kernel. Each kernels/*.cu is compiled once more, to PTX, and
# assembled by ptxas -v for Hopper; the program kernel_report reads both.
find_program(UNETDN_PTXAS ptxas HINTS ${CUDAToolkit_BIN_DIR} REQUIRED)
mark_as_advanced(UNETDN_PTXAS)

file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/*.cu)
set(folder ${CMAKE_CURRENT_BINARY_DIR}/kernels)
set(files "")
set(includes "")
set(entries "")
foreach(source IN LISTS sources)
  get_filename_component(name ${source} NAME_WE)
  unetdn_kernel_list(${source} headers kernels)
  if(NOT kernels)
    continue()
  endif()
  list(JOIN headers "\n" headers)
  string(APPEND includes "${headers}\n")
  foreach(kernel IN LISTS kernels)
    string(APPEND entries "    entry<${kernel}>(),\n")
  endforeach()
  add_custom_command(OUTPUT ${folder}/${name}.ptx
    COMMAND ${CMAKE_CUDA_COMPILER} -std=c++20 -ptx -arch=compute_90 --diag-suppress=554
      -I${PROJECT_SOURCE_DIR}/include -I${PROJECT_SOURCE_DIR}/kernels -MD -MF ${folder}/${name}.d
      ${source} -o ${folder}/${name}.ptx
    DEPENDS ${source} DEPFILE ${folder}/${name}.d VERBATIM)
  add_custom_command(OUTPUT ${folder}/${name}.txt
    COMMAND sh -c "\"$1\" -v -arch=sm_90 \"$2.ptx\" -o \"$2.cubin\" 2> \"$2.txt\" || { cat \"$2.txt\"; exit 1; }"
      ptxas ${UNETDN_PTXAS} ${folder}/${name}
    DEPENDS ${folder}/${name}.ptx VERBATIM)
  list(APPEND files ${folder}/${name}.ptx ${folder}/${name}.txt)
endforeach()
file(CONFIGURE OUTPUT ${folder}/headers.inc CONTENT "${includes}")
file(CONFIGURE OUTPUT ${folder}/instantiations.inc CONTENT "${entries}")

add_executable(kernel_report seam/kernel_report.cpp ${files})
target_include_directories(kernel_report PRIVATE ${folder})
target_link_libraries(kernel_report PRIVATE unetdn::unetdn)
unetdn_warnings(kernel_report)
add_test(NAME kernel_report COMMAND kernel_report ${folder})
